"""`mer listen`: a trained run on speech as it goes on."""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gia_mic.commands.model_options import RUN, model_options, precision_option
from gia_mic.commands.settings import setting_options, typed_settings
from gia_mic.config import ListenConfig

logger = logging.getLogger(__name__)


@click.command()
@click.argument("run", type=RUN)
@click.argument("file", metavar="FILE|-", type=click.Path(allow_dash=True, dir_okay=False))
@setting_options(ListenConfig)
@click.option("--json", "as_json", is_flag=True, help="Print each answer as a line of JSON.")
@model_options
@precision_option
def listen(
    run: Path | str,
    file: str,
    as_json: bool,
    encoders: Mapping[str, str],
    trust: bool,
    device: str | None,
    precision: str | None,
    **options: Any,
) -> None:
    """Predict emotions in speech as it goes on, with a trained run.

    RUN is the folder of a run or of one fold, or hf://OWNER/NAME. Speech comes from FILE, or from standard input if
    that is -. Each line has the time and the answer: a class, the classes that apply, or scores, as RUN was trained on.

    Standard input, and a file that ends in .pcm or .raw, is 16-bit little-endian mono PCM at 16 kHz, as
    `arecord -f S16_LE -r 16000 -c 1 -t raw` or `ffmpeg -f s16le -ar 16000 -ac 1` give it.
    """
    from contextlib import ExitStack

    from gia_mic.extract.errors import MediaError, words_of
    from gia_mic.extract.media import stream_audio
    from gia_mic.listen import listen as hear
    from gia_mic.listen import pcm
    from gia_mic.predictor import load_predictor

    config = ListenConfig(**typed_settings(ListenConfig, options))
    if file == "-" and sys.stdin is None:
        raise MediaError("Standard input is closed: pipe sound into it, or name a file.")
    predictor = load_predictor(run, encoders=encoders, device=device, precision=precision, trust=trust)
    computed_s = heard_s = 0.0
    with ExitStack() as opened:
        if file == "-":
            blocks = pcm(sys.stdin.buffer)
        elif Path(file).suffix.lower() in (".pcm", ".raw"):
            try:
                blocks = pcm(opened.enter_context(Path(file).open("rb")))
            except OSError as error:
                raise MediaError(f"There is no file {file} to read ({words_of(error)}): check the path.") from error
        else:
            blocks = stream_audio(Path(file), 16_000)
        for answer in hear(predictor, blocks, every_s=config.every_s, window_s=config.window_s):
            computed_s, heard_s = computed_s + answer.seconds, answer.time_s
            if as_json:
                click.echo(json.dumps({"time_s": answer.time_s, **answer.entries()}))
            else:
                percentages = "  ".join(f"{name} {100 * p:3.0f} %" for name, p in answer.probabilities.items())
                click.echo(f"{answer.time_s:7.1f} s  {answer.in_words():12} {percentages}".rstrip())
    if heard_s:
        logger.info(f"{heard_s:.1f} s of sound in {computed_s:.1f} s: real-time factor {computed_s / heard_s:.2f}.")
    else:
        logger.warning(f"There was less than {config.every_s:g} s of sound: no answer.")


COMMANDS = (listen,)
