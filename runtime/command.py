"""`mer-runtime`: what `mer predict` and `mer listen` do, from an exported run and without torch."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from . import load
from .errors import PredictionError
from .listen import EVERY_S, NO_PCM, WINDOW_S, is_container, pcm, peeked
from .model import Model
from .sound import stream_sound

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code: 0, or 1 after an error, or 2 where its usage is wrong."""
    options = _parser().parse_args(words)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where bars can't be written
    try:
        model = load(options.folder, threads=options.threads)
        if options.command == "predict":
            _predict(model, options)
        else:
            _listen(model, options)
    except PredictionError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="mer-runtime", description=__doc__.partition(": ")[2])
    commands = whole.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict", help="Predict from a recording, a transcript or a film.")
    listen = commands.add_parser("listen", help="Predict from speech as it goes on.")
    for command in (predict, listen):
        command.add_argument("folder", metavar="FOLDER", help="What `mer export RUN FOLDER --onnx` wrote.")
    predict.add_argument("--audio", metavar="FILE", help="Sound file or film.")
    predict.add_argument("--text", help="Transcript.")
    predict.add_argument("--video", metavar="FILE", help="Film or picture; needs av and pillow.")
    listen.add_argument(
        "file", metavar="FILE|-", help="Sound file; or -, standard input: 16-bit mono PCM at 16 kHz, as .pcm files are."
    )
    for option, default, about in (
        ("--every", EVERY_S, "Seconds between answers"),
        ("--window", WINDOW_S, "Seconds of each answer"),
    ):
        help_text = f"{about}.  [default: {default:g}]"
        listen.add_argument(option, type=float, default=default, metavar="S", help=help_text)
    for command in (predict, listen):
        command.add_argument("--threads", type=_count, metavar="N", help="Cores to compute on.  [default: all]")
        command.add_argument("--json", action="store_true", help="Print answers as JSON, one a line.")
    return whole


def _count(text: str) -> int:
    """Return a number from 1.

    Raises:
        ValueError: The text is none; argparse says so.
    """
    if int(text) < 1:
        raise ValueError
    return int(text)


def _predict(model: Model, options: argparse.Namespace) -> None:
    answer = model.predict(audio=options.audio, text=options.text, video=options.video)
    print(json.dumps(answer.entries()) if options.json else answer.lines())


def _listen(model: Model, options: argparse.Namespace) -> None:
    computed_s = heard_s = 0.0
    for answer in model.listen(_blocks(model, options.file), every_s=options.every, window_s=options.window):
        computed_s, heard_s = computed_s + answer.seconds, answer.time_s
        line = json.dumps({"time_s": answer.time_s, **answer.entries()})
        print(line if options.json else f"{answer.time_s:7.1f} s  {answer.in_words()}", flush=True)
    if not heard_s:
        print(f"There was less than {options.every:g} s of sound: no answer.", file=sys.stderr)
        return
    factor = computed_s / heard_s
    print(f"{heard_s:.1f} s of sound in {computed_s:.1f} s: real-time factor {factor:.2f}.", file=sys.stderr)


def _blocks(model: Model, file: str) -> Iterator[np.ndarray]:
    """Give the samples of a file, or of standard input, at the encoder's rate."""
    if file == "-":
        if sys.stdin is None:
            raise PredictionError("Standard input is closed: pipe sound into it, or name a file.")
        if is_container(peeked(sys.stdin.buffer)):
            raise PredictionError(f"Standard input {NO_PCM}.")
        yield from pcm(sys.stdin.buffer)
    elif file.lower().endswith((".pcm", ".raw")):
        if not Path(file).is_file():
            raise PredictionError(f"There is no file {file}: check the path.")
        with Path(file).open("rb") as raw:
            yield from pcm(raw)
    else:
        yield from stream_sound(file, None, model.settings.encoders.get("speech", {}).get("sampling_rate_hz", 16_000))
