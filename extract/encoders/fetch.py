"""Turns names of the hub's models into files in its local cache, all that later commands need without a network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gia_mic.extract.encoders.contract import TINY
from gia_mic.extract.encoders.hub import resolve
from gia_mic.extract.encoders.weights import HUB_ID
from gia_mic.extract.errors import EncoderError
from gia_mic.extract.files import size_text

__all__ = ["FetchedModel", "fetch"]


@dataclass(frozen=True)
class FetchedModel:
    """A model whose files all lie in the local cache.

    Attributes:
        model: Hub id.
        commit: Commit that they are of.
        folder: Where they lie.
        bytes: Size of them all.
        downloaded: How much of it wasn't there before.
    """

    model: str
    commit: str
    folder: Path
    bytes: int
    downloaded: int

    def __str__(self) -> str:
        new = f"{size_text(self.downloaded)} downloaded" if self.downloaded else "there before"
        return f"{self.model} {self.commit[:12]}: {size_text(self.bytes)}, {new}, in {self.folder}"


def fetch(models: Iterable[tuple[str, str | None]]) -> Iterator[FetchedModel]:
    """Download what encoding with models takes, unless it is there: configuration, preprocessing, tokenizer, weights.

    Args:
        models: Hub ids, each with its revision; None is main.

    Raises:
        EncoderError: One can't be found or had; those before it are there.
    """
    for model, revision in models:
        if model == TINY or not HUB_ID.fullmatch(model):
            raise EncoderError(
                f"{model!r} can't be fetched: a hub id looks like owner/name, and folders and {TINY} need no fetching."
            )
        snapshot = resolve(model, revision)
        names = (*snapshot.settings, *snapshot.weights)
        missing = sum(snapshot.missing(names).values())
        folder = snapshot.fetch(names)
        yield FetchedModel(model, snapshot.commit, folder, sum(snapshot.sizes[name] for name in names), missing)
