"""Turns batches of utterances into frames: decoders run ahead of the models, one worker for each model."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from gia_mic.extract.device import empty_cache, is_out_of_memory
from gia_mic.extract.encoders.contract import EncodeJob, Encoder, Window, pool
from gia_mic.extract.errors import MerError
from gia_mic.extract.store import FAILED, Item

__all__ = ["encode_all", "encode_one", "reason", "side_by_side"]

DECODERS = 4
"""Batches decoded ahead of the models."""

LONG_UTTERANCE_PIECES = 8
"""Windows of a long utterance that wait decoded; a shorter one, or a batch of them, waits whole."""

SLACK = 1.1
"""How far a batch may exceed its budget because an utterance turned out longer than it was taken for."""

_Decoded = tuple[EncodeJob, Window | str]


def encode_all(
    encoders: Sequence[Encoder],
    batches: Sequence[Sequence[EncodeJob]],
    budget: int,
    say: Callable[[str], None],
    stop: threading.Event,
) -> Generator[list[Item], None, None]:
    """Encode batches on one or several devices.

    Args:
        encoders: One for each worker, loaded; on a CPU several workers may have the same. They share the threads that
            the caller computes with.
        batches: What to encode together, in this order.
        budget: Positions that a batch may have in the model.
        say: Takes a line about what is happening.
        stop: Once set, no further batch is begun.

    Yields:
        The utterances of each batch, as they get done: with frames, or failed with the reason.
    """
    import torch

    results: queue.Queue[list[Item] | None] = queue.Queue(maxsize=8)
    done = threading.Event()  # nobody takes results any more
    with ThreadPoolExecutor(DECODERS, "decode") as decoders, ThreadPoolExecutor(len(encoders), "encode") as models:
        threads = max(torch.get_num_threads() // len(encoders), 1)
        feed = _Feed(encoders[0], batches, decoders, ahead=DECODERS + len(encoders), stop=stop)
        running = [
            models.submit(_run, _Model(encoder, budget, say), feed, results, done, threads) for encoder in encoders
        ]
        try:
            left = len(running)
            while left:
                items = results.get()
                if items is None:
                    left -= 1
                else:
                    yield items
            for future in running:
                future.result()
        finally:
            done.set()
            stop.set()
            torch.set_num_threads(torch.get_num_threads())  # threads begun later compute as this one does


def side_by_side(encoder: Encoder, device: str, batches: int) -> list[Encoder]:
    """Return the encoder once for each worker: on a CPU one for each thread, but no more than there are batches."""
    import torch

    return [encoder] * (max(min(torch.get_num_threads(), batches), 1) if device == "cpu" else 1)


def encode_one(encoder: Encoder, job: EncodeJob, budget: int, say: Callable[[str], None]) -> Item:
    """Encode one utterance in the calling thread: for one alone, threads cost more than they save."""

    def decoded() -> Iterator[_Decoded]:
        try:
            for piece in encoder.pieces(job):
                yield job, piece
        except Exception as error:
            yield job, reason(error)

    [item] = _Model(encoder, budget, say).items([job], decoded())
    return item


def reason(error: BaseException) -> str:
    """Return why an utterance failed, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MerError) else f"{type(error).__name__}: {text}"


class _Feed:
    """Batches in order, each with a queue that a decoder fills; for any number of takers."""

    def __init__(
        self,
        encoder: Encoder,
        batches: Sequence[Sequence[EncodeJob]],
        decoders: ThreadPoolExecutor,
        ahead: int,
        stop: threading.Event,
    ) -> None:
        self._encoder, self._batches, self._decoders, self._ahead, self._stop = encoder, batches, decoders, ahead, stop
        self._lock = threading.Lock()
        self._next = 0
        self._waiting: list[tuple[Sequence[EncodeJob], queue.Queue[_Decoded | None], Future[None]]] = []

    def take(self) -> tuple[Sequence[EncodeJob], Iterator[_Decoded]] | None:
        """Return the next batch and what comes of decoding it, or None at the end."""
        with self._lock:
            while self._next < len(self._batches) and len(self._waiting) < self._ahead:
                batch = self._batches[self._next]
                channel: queue.Queue[_Decoded | None] = queue.Queue(maxsize=max(LONG_UTTERANCE_PIECES, len(batch)) + 1)
                self._waiting.append((batch, channel, self._decoders.submit(self._decode, batch, channel)))
                self._next += 1
            if self._stop.is_set() or not self._waiting:
                return None
            batch, channel, _ = self._waiting.pop(0)
        return batch, iter(channel.get, None)

    def _decode(self, batch: Sequence[EncodeJob], channel: "queue.Queue[_Decoded | None]") -> None:
        for job in batch:
            try:
                for piece in self._encoder.pieces(job):
                    if not self._put(channel, (job, piece)):
                        return
            except Exception as error:  # whatever one file does to a decoder, the others go on
                self._put(channel, (job, reason(error)))
        self._put(channel, None)

    def _put(self, channel: "queue.Queue[_Decoded | None]", entry: _Decoded | None) -> bool:
        """Wait for room; give up when nobody will make any. A batch that was taken is decoded to its end."""
        while True:
            with suppress(queue.Full):
                channel.put(entry, timeout=0.2)
                return True
            if self._stop.is_set() and any(channel is waiting for _, waiting, _ in self._waiting):
                return False


class _Model:
    """An encoder on its device, which halves its batches when the memory doesn't suffice."""

    def __init__(self, encoder: Encoder, budget: int, say: Callable[[str], None]) -> None:
        self._encoder, self._budget, self._say = encoder, budget, say

    def items(self, batch: Sequence[EncodeJob], decoded: Iterator[_Decoded]) -> list[Item]:
        """Encode a batch, in as many calls as the budget asks for."""
        frames: dict[str, list[np.ndarray]] = {job.id: [] for job in batch}
        failed: dict[str, str] = {}
        notes: dict[str, str] = {}
        group: list[tuple[EncodeJob, Window]] = []
        for job, piece in decoded:
            if isinstance(piece, str):
                failed[job.id] = piece
                continue
            notes[job.id] = piece.note or notes.get(job.id, "")
            largest = max(piece.size, *(other.size for _, other in group), 0)
            if group and (len(group) + 1) * largest > SLACK * self._budget:
                self._encode(group, frames, failed)
                group = []
            group.append((job, piece))
        if group:
            self._encode(group, frames, failed)
        return [self._item(job, frames[job.id], failed.get(job.id), notes.get(job.id, "")) for job in batch]

    def _encode(
        self, group: Sequence[tuple[EncodeJob, Window]], frames: dict[str, list[np.ndarray]], failed: dict[str, str]
    ) -> None:
        try:
            encoded = self._encoder.encode([piece for _, piece in group])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(group) == 1:
                failed[group[0][0].id] = f"not enough memory to encode even {group[0][1].size} positions alone"
                return
            self._budget = max(self._budget // 2, 1)
            self._say(f"Out of memory: going on with batches of {self._budget} positions.")
        else:
            pooled = self._encoder.spec.pool != "none"
            for (job, _), part in zip(group, encoded, strict=True):
                frames[job.id].append(part if pooled else self._stored(part))
            return
        empty_cache()  # only here is the error, and what it holds, gone
        half = len(group) // 2
        self._encode(group[:half], frames, failed)
        self._encode(group[half:], frames, failed)

    def _item(self, job: EncodeJob, parts: list[np.ndarray], failure: str | None, note: str) -> Item:
        if failure is None:
            spec = self._encoder.spec
            stored = self._stored(pool(np.concatenate(parts), spec.pool))
            if np.isfinite(stored).all():
                return Item(job.id, job.source, stored, reason=note)
            failure = f"{spec.name} gave values that {spec.dtype} can't hold"
        return Item(job.id, job.source, status=FAILED, reason=failure)

    def _stored(self, frames: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # found by their infinities
            return frames.astype(self._encoder.spec.dtype, copy=False)


def _run(
    model: _Model,
    feed: _Feed,
    results: "queue.Queue[list[Item] | None]",
    done: threading.Event,
    threads: int,
) -> None:
    """Encode what the feed gives until it ends."""
    import torch

    try:
        torch.set_num_threads(threads)
        while (taken := feed.take()) is not None:
            _offer(results, model.items(*taken), done)
    finally:
        _offer(results, None, done)


def _offer(results: "queue.Queue[list[Item] | None]", items: list[Item] | None, done: threading.Event) -> None:
    while not done.is_set():
        with suppress(queue.Full):
            results.put(items, timeout=0.2)
            return
