"""The argument and the options of commands that apply a trained run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gia_mic.commands.options import device_option, pairs
from gia_mic.extract.config import PRECISIONS
from gia_mic.repository import HUB

FILE = click.Path(dir_okay=False, path_type=Path)


class _RunFolder(click.Path):
    """The folder of a run, or the text hf://owner/name."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return value if str(value).startswith(HUB) else super().convert(value, parameter, context)


RUN = _RunFolder(path_type=Path)


def parse_encoders(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Return MODALITY=FOLDER texts as a dictionary."""
    return pairs(texts, "MODALITY=FOLDER")


def trust_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --trust."""
    text = "Run the code of the run's own fusion and encoders, which is not part of mer. Read that code first."
    return click.option("--trust", is_flag=True, help=text)(command)


def precision_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --precision."""
    text = "Number type that the encoders compute in, such as int8 on a CPU. Another one than the run was trained on "
    text += "makes frames that differ a little.  [default: as recorded]"
    return click.option("--precision", type=click.Choice(PRECISIONS), help=text)(command)


def encoder_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --encoder."""
    text = "Load an encoder's weights from this folder, such as speech=~/whisper. May be repeated."
    return click.option(
        "--encoder",
        "encoders",
        multiple=True,
        metavar="MODALITY=FOLDER",
        callback=parse_encoders,
        help=f"{text}  [default: as recorded]",
    )(command)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which encoders to load, where, and what they compute in."""
    return encoder_option(trust_option(device_option(precision_option(command))))
