"""Options that several commands share."""

import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gia_mic.extract.corpora.cells import MISSING_TEXTS


class Finite(click.FloatRange):
    """A number that is neither infinite nor none, and may have bounds as click's own."""

    name = "float"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Return the number."""
        number: float = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", parameter, context)
        return number

    def _describe_range(self) -> str:
        """Return the bounds for a help; click itself takes for granted that there are some."""
        return "" if self.min is None and self.max is None else super()._describe_range()


FINITE = Finite()
FOLDER = click.Path(file_okay=False, path_type=Path)

WORDS, CHECK_ONLY = "gia_mic.words", "gia_mic.check_only"
"""What a context may know: a command's words where nobody typed them, and whether it is only to be checked."""


class FolderOrAddress(click.Path):
    """A folder, or the mirror of an fsspec address with what lies there."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the folder; what lies at an address is mirrored first."""
        from gia_mic.extract.address import is_address, local_folder

        return local_folder(value) if is_address(str(value)) else super().convert(value, parameter, context)


def features_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --features."""
    text = "Folder of prepared corpora and their features, or an address such as s3://bucket/features."
    folder = FolderOrAddress(file_okay=False, path_type=Path)
    return click.option("--features", type=folder, default=Path("features"), show_default=True, help=text)(command)


def corpus_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --corpus."""
    text = "Corpus to use. It may be left out if only one is prepared; if none is, the demo corpus is made."
    return click.option("--corpus", metavar="NAME", help=text)(command)


def target_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --target."""
    text = "What to predict: label, labels, votes, or the name of a score. Separate several scores by commas.  "
    return click.option("--target", metavar="NAME", help=f"{text}[default: label, or what there is]")(command)


def missing_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --missing, as a tuple of texts."""

    def split(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
        return tuple(part for each in text.split(",") if (part := each.strip()))

    help = 'Texts that mean a missing value, separated by commas. With "", only empty cells are missing.'
    return click.option(
        "--missing", default=",".join(MISSING_TEXTS), callback=split, show_default=True, metavar="TEXTS", help=help
    )(command)


def range_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --range, as ranges of scores by name."""

    def split(
        context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
    ) -> dict[str, tuple[float, float]]:
        ranges = {}
        for text in texts:
            name, _, limits = text.partition("=")
            try:
                low, high = (float(limit) for limit in limits.split(","))
            except ValueError:
                low = high = math.nan
            if not (name.strip() and -math.inf < low < high < math.inf):
                raise click.BadParameter(f"{text!r} is no NAME=LOW,HIGH, such as valence=1,5.")
            if name.strip() in ranges:
                raise click.BadParameter(f"{name.strip()} has two ranges: give one.")
            ranges[name.strip()] = (low, high)
        return ranges

    text = (
        "Give the lowest and highest value of a score, such as valence=1,5. May be repeated.  [default: the scale's, "
    )
    text += "where a corpus's is known, else what occurs]"
    return click.option("--range", "ranges", multiple=True, callback=split, metavar="NAME=LOW,HIGH", help=text)(command)


def runs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --runs."""
    text = "Folder that trained models and their scores are written to."
    return click.option("--runs", type=FOLDER, default=Path("runs"), show_default=True, help=text)(command)


def device_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --device, for one device."""
    return click.option("--device", help="Compute on cpu, cuda or cuda:N.  [default: cuda if there is a GPU]")(command)


def pairs(texts: tuple[str, ...], form: str) -> dict[str, str]:
    """Return NAME=VALUE texts as a dictionary.

    Args:
        texts: The texts that were typed.
        form: The form that each of them must have, for the message.

    Raises:
        click.BadParameter: One has no name or no value.
    """
    named_values = [text.partition("=")[::2] for text in texts]
    if not all(name and value for name, value in named_values):
        raise click.BadParameter(f"{', '.join(texts)}: not all of them are {form}.")
    return dict(named_values)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --engine and --address."""
    address = click.option(
        "--address", help="Use the Ray cluster at this address.  [default: that of RAY_ADDRESS, or this machine alone]"
    )
    text = (
        "Work on this machine (local) or on a Ray cluster (ray), whose machines must see the same folders. "
        "Ray needs pip install 'gia-mic[ray]'."
    )
    engine = click.option(
        "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help=text
    )
    return engine(address(command))


def typed() -> str:
    """Return the command as it was typed, or stands in a file for `mer run`, for the record."""
    return shlex.join(["mer", *click.get_current_context().meta.get(WORDS, sys.argv[1:])])


def end_check() -> None:
    """End the command if it is only to be checked; it has refused all that can be known to be wrong."""
    context = click.get_current_context()
    if context.meta.get(CHECK_ONLY):
        context.exit()
