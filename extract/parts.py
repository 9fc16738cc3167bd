"""Turns utterances that get finished one by one into a feature file, whatever ends the run meanwhile.

While an extraction runs, finished utterances lie in parts beside the file they will be in: small files of its layout,
in `<encoder>-<fingerprint>.parts/`. The next run goes on from them.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from gia_mic.extract.address import withdraw
from gia_mic.extract.errors import NoStoreError, StoreError
from gia_mic.extract.files import lock, size_text
from gia_mic.extract.store import EXTRACTED, FAILED, Header, Item, Store, open_store, write_store

__all__ = ["PART_BYTES", "Builder", "frame_bytes", "write_part"]

logger = logging.getLogger(__name__)

PART_BYTES = 2**28
"""Bytes of frames beyond which no more wait for their part."""


def frame_bytes(items: Sequence[Item]) -> int:
    """Return the bytes of all their frames."""
    return sum(item.frames.nbytes for item in items if item.frames is not None)


def write_part(parts: Path, header: Header, items: Sequence[Item]) -> Path:
    """Write finished utterances beside the feature file that they will be in; any process may, at any time.

    Args:
        parts: `Builder.parts` of that file.
        header: What all frames have in common.
        items: The utterances, failed ones too.
    """
    path = parts / f"{uuid.uuid4().hex}.h5"
    write_store(path, header, items)
    return path


class Builder:
    """A feature file in the making: what is finished, and where more goes. One process at a time may have it.

    Use it as a context, which holds the lock:

        with Builder(path, header) as builder:
            if not builder.finished("u1", source):
                builder.add([Item("u1", source, frames)])
            builder.finalise([("u1", source), ("u2", "")])

    What is finished is known by id and source together, so an utterance whose input has changed isn't.

    Args:
        path: The feature file.
        header: What all frames have in common.
        shard: Name of a share of the utterances, whose writer may work beside those of other shares; it adds parts, and
            leaves it to a builder of the whole to finalise.
    """

    def __init__(self, path: Path, header: Header, shard: str | None = None) -> None:
        self.path = path
        self.header = header
        self.parts = path.with_suffix(".parts")
        self._lock_path = path.with_suffix(".lock" if shard is None else f".{shard}.lock")

    def __enter__(self) -> "Builder":
        self._lock = lock(self._lock_path)
        self._lock.__enter__()
        try:
            self.refresh()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.clear()
        self._lock.__exit__(None, None, None)

    @property
    def title(self) -> str:
        """What is extracted, for people: corpus and modality."""
        return f"{self.path.parent.parent.name} {self.header.modality}"

    def refresh(self) -> None:
        """See what is finished, by this process or by others."""
        self.complete = open_store(self.path) if self.path.exists() else None
        self._finished: dict[tuple[str, str], Store] = {}
        self._failed: dict[tuple[str, str], Store] = {}
        if self.complete is not None:
            self._remember(self.complete)
        for part in sorted(self.parts.glob("*.h5")):
            try:
                self._remember(open_store(part))
            except NoStoreError:  # a part is only saved time: what it held is made again
                part.unlink(missing_ok=True)

    def failed(self, utterance_id: str, source: str) -> Item | None:
        """Return why this input was given up, if it was and isn't finished."""
        if (utterance_id, source) in self._finished:
            return None
        store = self._failed.get((utterance_id, source))
        return store.item(utterance_id) if store is not None else None

    def finished(self, utterance_id: str, source: str) -> bool:
        """Whether a run before this one, or an earlier part of it, has made frames of this input."""
        return (utterance_id, source) in self._finished

    def extracted_before(self) -> set[str]:
        """Return the ids that the complete file, if there is one, has frames for, whatever they were made from."""
        if self.complete is None:
            return set()
        return {i for i, status in zip(self.complete.ids, self.complete.status, strict=True) if status == EXTRACTED}

    def add(self, items: Sequence[Item]) -> None:
        """Keep finished utterances, as one part: after the return they survive whatever happens."""
        path = write_part(self.parts, self.header, items)
        self._remember(open_store(path))
        logger.debug(f"{path}: {len(items)} utterances, {size_text(path.stat().st_size)}.")

    def finalise(self, order: Sequence[tuple[str, str]], no_frames: Mapping[str, Item] | None = None) -> None:
        """Put the finished file in place and remove the parts.

        Args:
            order: (id, source) of every utterance, in the order of the rows.
            no_frames: By id, the utterances that have no frames.

        Raises:
            StoreError: An utterance is neither finished nor among those, or the file can't be written.
        """
        no_frames = no_frames or {}
        items, stores = [], {}
        for utterance_id, source in order:
            store = self._finished.get((utterance_id, source))
            if store is not None:
                stores[utterance_id] = store
            item = no_frames.get(utterance_id) if store is None else store.item(utterance_id)
            if item is None:
                raise StoreError(f"{self.path} can't be finished: {utterance_id} is neither extracted nor given up.")
            items.append(item)
        if not self._unchanged(items):
            write_store(self.path, self.header, items, stores)
            self.complete = open_store(self.path)
        withdraw(self.parts)

    def _remember(self, store: Store) -> None:
        for utterance_id, source, status in zip(store.ids, store.sources, store.status, strict=True):
            if status == EXTRACTED:
                self._finished[utterance_id, source] = store
            elif status == FAILED:
                self._failed[utterance_id, source] = store

    def _unchanged(self, items: Sequence[Item]) -> bool:
        """Whether the finished file already holds just these items."""
        store = self.complete
        return (
            store is not None
            and store.ids == [item.id for item in items]
            and store.sources == [item.source for item in items]
            and store.status.tolist() == [item.status for item in items]
            and store.reasons == [item.reason for item in items]
        )
