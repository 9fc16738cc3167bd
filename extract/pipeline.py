"""Turns batches of utterances into frames: decoders run ahead of the models, one worker for each model."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from gia_mic.extract.device import empty_cache, is_out_of_memory, kind_of
from gia_mic.extract.encoders.contract import EncodeJob, Encoder, EncoderSpec, Window, pool
from gia_mic.extract.errors import MerError
from gia_mic.extract.store import FAILED, Item, checksum

if TYPE_CHECKING:
    from gia_mic.extract.encoders.batch import Pending

__all__ = ["encode_all", "encode_one", "reason", "side_by_side"]

logger = logging.getLogger(__name__)

FEWEST_DECODERS = 4
"""Batches decoded side by side, ahead of the models, where there are fewer cores."""

AHEAD = 2
"""Batches whose frames are taken while the next are computed."""

LONG_UTTERANCE_WINDOWS = 8
"""Windows of a long utterance that wait decoded; a shorter one, or a batch of them, waits whole."""

SLACK = 1.1
"""How far a batch may exceed its budget because an utterance turned out longer than it was taken for."""

_Decoded = tuple[EncodeJob, Window | str]


def encode_all(
    encoders: Sequence[Encoder],
    batches: Sequence[Sequence[EncodeJob]],
    budget: int,
    stop: threading.Event,
) -> Generator[list[Item], None, None]:
    """Encode batches on one or several devices.

    Args:
        encoders: One for each worker, loaded; on a CPU several workers may have the same. They share the threads that
            the caller computes with.
        batches: What to encode together, in this order.
        budget: Positions that a batch may have in the model.
        stop: Once set, no further batch is begun.

    Yields:
        The utterances of each batch, as they get done: with frames, or failed with the reason.
    """
    import torch

    results: queue.Queue[list[Item] | None] = queue.Queue(maxsize=8)
    done = threading.Event()  # nobody takes results any more
    cores = torch.get_num_threads()
    at_once = max(cores, FEWEST_DECODERS)
    with ThreadPoolExecutor(at_once, "decode") as decoders, ThreadPoolExecutor(len(encoders), "encode") as models:
        threads = max(cores // len(encoders), 1)
        feed = _Feed(encoders[0], batches, decoders, ahead=at_once + len(encoders), stop=stop)
        running = [models.submit(_run, _Model(encoder, budget), feed, results, done, threads) for encoder in encoders]
        try:
            working = len(running)
            while working:
                items = results.get()
                if items is None:
                    working -= 1
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

    return [encoder] * (max(min(torch.get_num_threads(), batches), 1) if kind_of(device) == "cpu" else 1)


def encode_one(encoder: Encoder, job: EncodeJob, budget: int) -> Item:
    """Encode one utterance in the calling thread: for one alone, threads cost more than they save."""

    def decoded() -> Iterator[_Decoded]:
        try:
            for window in encoder.pieces(job):
                yield job, window
        except Exception as error:
            yield job, reason(error)

    [item] = _Model(encoder, budget).begin([job], decoded()).items()
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
                channel: queue.Queue[_Decoded | None] = queue.Queue(maxsize=max(LONG_UTTERANCE_WINDOWS, len(batch)) + 1)
                self._waiting.append((batch, channel, self._decoders.submit(self._decode, batch, channel)))
                self._next += 1
            if self._stop.is_set() or not self._waiting:
                return None
            batch, channel, _ = self._waiting.pop(0)
        return batch, iter(channel.get, None)

    def _decode(self, batch: Sequence[EncodeJob], channel: "queue.Queue[_Decoded | None]") -> None:
        for job in batch:
            try:
                for window in self._encoder.pieces(job):
                    if not self._put(channel, (job, window)):
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

    def __init__(self, encoder: Encoder, budget: int) -> None:
        self._encoder, self._budget = encoder, budget

    def begin(self, batch: Sequence[EncodeJob], decoded: Iterator[_Decoded]) -> "_Begun":
        """Have a batch encoded, in as many calls as the budget asks for."""
        begun = _Begun(self._encoder.spec, batch)
        group: list[tuple[EncodeJob, Window]] = []
        for job, window in decoded:
            if isinstance(window, str):
                begun.failed[job.id] = window
                continue
            begun.notes[job.id] = window.note or begun.notes.get(job.id, "")
            largest = max(window.size, *(other.size for _, other in group), 0)
            if group and (len(group) + 1) * largest > SLACK * self._budget:
                self._begin(group, begun)
                group = []
            group.append((job, window))
        if group:
            self._begin(group, begun)
        return begun

    def _begin(self, group: Sequence[tuple[EncodeJob, Window]], begun: "_Begun") -> None:
        try:
            pending = self._encoder.begin([window for _, window in group], begun.dtype)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(group) == 1:
                begun.failed[group[0][0].id] = f"not enough memory to encode even {group[0][1].size} positions alone"
                return
            self._budget = max(self._budget // 2, 1)
            logger.warning(f"Out of memory: going on with batches of {self._budget} positions.")
        else:
            begun.add([job.id for job, _ in group], pending)
            return
        empty_cache()  # only here is the error, and what it holds, gone
        half = len(group) // 2
        self._begin(group[:half], begun)
        self._begin(group[half:], begun)


class _Begun:
    """A batch whose frames a device may still be computing.

    Attributes:
        dtype: What the frames are wanted in.
        failed: Why an utterance has no frames, by id.
        notes: What there is to note of one, by id.
    """

    def __init__(self, spec: EncoderSpec, batch: Sequence[EncodeJob]) -> None:
        self._spec, self._batch = spec, batch
        self.dtype = spec.dtype if spec.pool == "none" else "float32"
        self.failed: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self._parts: dict[str, list[np.ndarray]] = {job.id: [] for job in batch}
        self._pending: deque[tuple[Sequence[str], Pending]] = deque()

    def add(self, ids: Sequence[str], pending: "Pending") -> None:
        """Take the next windows of utterances; of a long one, what was there before is waited for."""
        self._pending.append((ids, pending))
        while len(self._pending) > AHEAD:
            self._collect()

    def items(self) -> list[Item]:
        """Wait for the frames, and return the utterances: with frames, or failed with the reason."""
        while self._pending:
            self._collect()
        return [self._item(job) for job in self._batch]

    def _collect(self) -> None:
        ids, pending = self._pending.popleft()
        for utterance_id, frames, finite in zip(ids, pending.frames(), pending.finite(), strict=True):
            self._parts[utterance_id].append(frames)
            if not finite:
                self.failed.setdefault(utterance_id, self._beyond)

    def _item(self, job: EncodeJob) -> Item:
        if job.id not in self.failed:
            with np.errstate(over="ignore"):  # found by their infinities
                frames = pool(np.concatenate(self._parts[job.id]), self._spec.pool).astype(self._spec.dtype, copy=False)
            if self._spec.pool == "none" or np.isfinite(frames).all():
                note = self.notes.get(job.id, "")
                return Item(job.id, job.source, frames, reason=note, checksum=checksum(frames))
        return Item(job.id, job.source, status=FAILED, reason=self.failed.get(job.id, self._beyond))

    @property
    def _beyond(self) -> str:
        return f"{self._spec.name} gave values that {self._spec.dtype} can't hold"


def _run(
    model: _Model,
    feed: _Feed,
    results: "queue.Queue[list[Item] | None]",
    done: threading.Event,
    threads: int,
) -> None:
    """Encode what the feed gives until it ends; meanwhile another thread takes the frames of the batches before."""
    import torch

    def take(begun: _Begun) -> None:
        _offer(results, begun.items(), done)

    try:
        torch.set_num_threads(threads)
        with ThreadPoolExecutor(1, "take") as taker:
            taking: deque[Future[None]] = deque()
            while (batch := feed.take()) is not None:
                taking.append(taker.submit(take, model.begin(*batch)))
                if len(taking) > AHEAD:
                    taking.popleft().result()
            for future in taking:
                future.result()
    finally:
        _offer(results, None, done)


def _offer(results: "queue.Queue[list[Item] | None]", items: list[Item] | None, done: threading.Event) -> None:
    while not done.is_set():
        with suppress(queue.Full):
            results.put(items, timeout=0.2)
            return
