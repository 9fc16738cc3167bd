"""`mer listen`: a trained run on speech, film and words as they go on."""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gia_mic.commands.model_options import RUN, model_options
from gia_mic.commands.settings import setting_options, typed_settings
from gia_mic.config import ListenConfig

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import ExitStack

    from gia_mic.predictor import Predictor
    from gia_mic.streams import Item

logger = logging.getLogger(__name__)

USUAL = ""
"""Stands for the usual device."""


@click.command()
@click.argument("run", type=RUN)
@click.argument("file", metavar="[FILE|-]", required=False, type=click.Path(allow_dash=True, dir_okay=False))
@click.option(
    "--camera",
    is_flag=False,
    flag_value=USUAL,
    metavar="[DEVICE]",
    help="Take pictures from a camera, beside the sound. Without a value, the usual one is used.",
)
@click.option(
    "--microphone",
    is_flag=False,
    flag_value=USUAL,
    metavar="[DEVICE]",
    help="Take sound from a microphone instead of a file. Without a value, the usual one is used.",
)
@click.option(
    "--transcribe",
    is_flag=False,
    flag_value="recorded",
    metavar="[MODEL|FOLDER]",
    help="Recognise the text of the latest seconds, for a run that takes text. Without a value, the recogniser "
    "recorded in the run is used.",
)
@click.option("--real-time", is_flag=True, help="Read FILE no faster than it would play.")
@setting_options(ListenConfig)
@click.option("--json", "as_json", is_flag=True, help="Print each answer as a line of JSON.")
@model_options
def listen(
    run: Path | str,
    file: str | None,
    camera: str | None,
    microphone: str | None,
    transcribe: str | None,
    real_time: bool,
    as_json: bool,
    encoders: Mapping[str, str],
    trust: bool,
    device: str | None,
    precision: str | None,
    **options: Any,
) -> None:
    """Predict emotions in speech or film as it goes on.

    RUN is the folder of a run or of one fold, or hf://OWNER/NAME. Sound and pictures come from FILE, from standard
    input if that is -, or from devices. Each line has the time and the answer: a class, the classes that apply, or
    scores, as RUN was trained on.

    Standard input is a film as Matroska. Otherwise it is, like a file that ends in .pcm or .raw, 16-bit little-endian
    mono PCM at 16 kHz, as `arecord -f S16_LE -r 16000 -c 1 -t raw` or `ffmpeg -f s16le -ar 16000 -ac 1` give it.
    """
    if file is not None and microphone is not None:
        raise click.UsageError("Give FILE or --microphone for the sound, not both.")
    if file is None and microphone is None and camera is None:
        raise click.UsageError("Give FILE, --microphone or --camera.")
    if real_time and (file is None or camera is not None):
        raise click.UsageError("--real-time is for a file: devices give no more than that anyway.")

    from contextlib import ExitStack, closing

    from gia_mic.extract.encoders.deferred import import_transformers
    from gia_mic.extract.errors import MediaError
    from gia_mic.listen import listen as answers_to
    from gia_mic.predictor import load_predictor

    config = ListenConfig(**typed_settings(ListenConfig, options))
    if file == "-" and sys.stdin is None:
        raise MediaError("Standard input is closed: pipe sound into it, or name a file.")
    import_transformers()
    predictor = load_predictor(
        run, encoders=encoders, transcribe=transcribe, device=device, precision=precision, trust=trust
    )
    computed_s = heard_s = 0.0
    live = real_time or file in (None, "-")
    with ExitStack() as opened:
        stream = _stream(predictor, opened, file, camera, microphone, real_time)
        answers = answers_to(
            predictor, stream, every_s=config.every_s, window_s=config.window_s, lag_s=config.lag_s, live=live
        )
        for answer in opened.enter_context(closing(answers)):
            computed_s, heard_s = computed_s + answer.seconds, answer.time_s
            if as_json:
                click.echo(json.dumps(answer.entries()))
            else:
                percentages = "  ".join(f"{name} {100 * p:3.0f} %" for name, p in answer.probabilities.items())
                click.echo(f"{answer.time_s:7.1f} s  {answer.in_words():12} {percentages}".rstrip())
    if heard_s:
        logger.info(f"{heard_s:.1f} s in {computed_s:.1f} s: real-time factor {computed_s / heard_s:.2f}.")
    else:
        logger.warning(f"There was less than {config.every_s:g} s of what the run takes: no answer.")


def _stream(
    predictor: "Predictor",
    opened: "ExitStack",
    file: str | None,
    camera: str | None,
    microphone: str | None,
    real_time: bool,
) -> "Iterable[Item]":
    """Return the stream that the options name; what it is read from is closed with `opened`."""
    from gia_mic.extract.errors import MediaError, words_of
    from gia_mic.extract.media.live import MATROSKA, open_device, open_pipe, stream_container
    from gia_mic.listen import sampling_rate
    from gia_mic.runtime.listen import NO_PCM, is_container, peeked
    from gia_mic.streams import Devices, film, paced, pcm

    hears = "speech" in predictor.modalities or predictor.encoders.recogniser is not None
    rate = sampling_rate(predictor)
    sound_hz = rate if hears else None
    picture_hz = predictor.encoders.specs.get("visual", {}).get("frame_rate_hz")
    if camera is not None and picture_hz is None:
        raise MediaError("The run takes no pictures: leave --camera out.")
    if microphone is not None and not hears:
        raise MediaError("The run takes no sound: leave --microphone out.")
    containers = [
        open_device(kind, name) for kind, name in (("video", camera), ("audio", microphone)) if name is not None
    ]
    devices = Devices(containers, sound_hz, picture_hz)
    if file is None:
        return opened.enter_context(devices)
    stream: Iterable[Item]
    if file == "-":
        standard_input: Any = sys.stdin.buffer
        head = peeked(standard_input)
        if head.startswith(MATROSKA):
            stream = stream_container(open_pipe(standard_input), sound_hz, None if containers else picture_hz)
        elif is_container(head):
            raise MediaError(f"Standard input {NO_PCM}, or a film to Matroska.")
        else:
            stream = pcm(standard_input)
    elif Path(file).suffix.lower() in (".pcm", ".raw"):
        try:
            samples = opened.enter_context(Path(file).open("rb"))  # noqa: SIM115 # closed with `opened`
        except OSError as error:
            raise MediaError(f"There is no file {file} to read ({words_of(error)}): check the path.") from error
        stream = pcm(samples)
    else:
        stream = film(Path(file), sound_hz, None if containers else picture_hz)
    if containers:
        return opened.enter_context(devices).beside(stream)
    return paced(stream, rate) if real_time else stream


COMMANDS = (listen,)
