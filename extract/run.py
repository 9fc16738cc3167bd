"""Turns a corpus and an encoder into a feature file: decode ahead, encode, write behind, go on after any end.

Batches are planned over the whole corpus, not over what is left, so that a run that was killed and repeated computes
what an undisturbed one would have, to the last bit. A CPU's threads are spread over as many workers as there are
batches for: two models on one core each do more than one on two.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from gia_mic.extract import plan
from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.device import batch_positions, find_devices, hand_back_freed, slow
from gia_mic.extract.encoders.contract import DEFAULT_MODELS, TINY, EncodeJob, Encoder
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import EncoderError, Interrupted, MediaError, StoreError, one_line
from gia_mic.extract.forecast import Forecast, check_room, forecast
from gia_mic.extract.inspection import find_features
from gia_mic.extract.parts import PART_BYTES, Builder, frame_bytes
from gia_mic.extract.pipeline import encode_all, side_by_side
from gia_mic.extract.plan import WHOLE, Shard
from gia_mic.extract.store import FAILED, MISSING, Header, Item, open_store

__all__ = [
    "Engine",
    "Outcome",
    "beside_bars",
    "extract",
    "extract_generated",
    "run",
    "unreadable",
]


_OWNERS = {"window_s": "speech", "frame_rate_hz": "visual", "crop": "visual"}
"""Options that only one modality has."""

PART_SECONDS, PART_SHARE = 10.0, 0.01
"""A part is written every so many seconds, or every such share of the time since the start where that is longer."""

TRIM_SECONDS = 3.0
"""Freed memory is handed back to the system once in so many seconds, when a batch is done."""


class Engine(Protocol):
    """Something that encodes elsewhere than in this process."""

    @property
    def kind(self) -> str:
        """What it computes on: cpu or cuda."""

    def __call__(
        self, builder: Builder, make: Callable[[], Encoder], batches: Sequence[Sequence[EncodeJob]], budget: int
    ) -> dict[str, Item]:
        """Encode batches into parts of the builder's feature file; return the utterances that failed, by id."""


@dataclass(frozen=True)
class Outcome:
    """What an extraction did.

    Attributes:
        path: The feature file.
        extracted: Utterances encoded by this run.
        reused: Utterances that were finished before.
        changed: Those of `extracted` whose input had changed since.
        partial: Utterances of which something was left out, such as pictures without a face; `mer inspect` says what.
        missing: Utterances that the corpus doesn't have in this modality.
        failed: Why others have no frames, by id.
    """

    path: Path
    extracted: int
    reused: int
    changed: int
    partial: int
    missing: int
    failed: dict[str, str]

    def __str__(self) -> str:
        counts = {
            "extracted": self.extracted,
            "of them changed since": self.changed,
            "reused": self.reused,
            "not whole (see mer inspect)": self.partial,
            "missing in the corpus": self.missing,
            "failed": len(self.failed),
        }
        return f"{self.path}: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def run(
    corpus: Corpus,
    modality: str = "all",
    model: str | None = None,
    *,
    device: str | None = None,
    allow_failures: bool = False,
    dry_run: bool = False,
    shard: Shard | None = None,
    finish: bool = False,
    engine: Engine | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Iterator[Outcome | Forecast]:
    """Extract one modality of a corpus, or all that it has, each with its encoder.

    Args:
        corpus: The corpus.
        modality: speech, text, visual, or all.
        model: Hub id, local folder, or "tiny"; by default the corpus's own encoder, or the one for real work.
        device: Where to compute, such as cpu, cuda, or "cuda:0,cuda:1"; by default CUDA where there is some.
        allow_failures: Whether utterances that can't be read are no error.
        dry_run: Only say what it would take.
        shard: As in `extract`, like the next two.
        finish: Encode nothing, but put together what shards have left.
        engine: Encodes the batches elsewhere.
        say: Takes a line about what is happening.
        options: `revision`, and fields of `EncoderSpec`.

    Yields:
        What was done, once a modality is; for a dry run what it would take.

    Raises:
        MediaError: At the end: utterances couldn't be read. All others are in the file all the same.
        EncoderError: An encoder can't be found or doesn't fit, or there is no such device.
        StoreError: A file can't be written.
    """
    if modality == "all" and model not in (None, TINY):
        raise EncoderError(f"{model!r} is the encoder of one modality: name that with --modality, not all.")
    devices = find_devices(device)
    if engine is None and not finish and (line := slow(str(options.get("precision") or "float32"), devices[0])):
        say(line)
    failed: dict[str, str] = {}
    for name in MODALITIES.values() if modality == "all" else [modality]:
        if modality == "all" and not plan.has(corpus, name):
            say(f"The corpus {corpus.name} has no {plan.COLUMNS[name]}: no {name} features.")
            continue
        fitting = {key: value for key, value in options.items() if _OWNERS.get(key, name) == name}
        if modality != "all" and len(fitting) < len(options):
            raise EncoderError(f"{one_line(options.keys() - fitting.keys())} is no option of {name}: leave it out.")
        chosen = model or str(corpus.about.get("encoder") or DEFAULT_MODELS[name])
        make = partial(make_encoder, name, chosen, **fitting)
        if dry_run:
            encoder = make()
            _say_of_last_layer(corpus, encoder.header, say)
            yield forecast(corpus, encoder, devices[0])
            continue
        outcome = extract(corpus, make, devices=devices, shard=shard, finish=finish, engine=engine, say=say)
        failed.update(outcome.failed)
        yield outcome
    if failed and not allow_failures:
        raise unreadable(failed, corpus)


def _say_of_last_layer(corpus: Corpus, header: Header, say: Callable[[str], None]) -> None:
    """Say so if a new file of features is begun beside one of the same encoder that keeps its last layer.

    The last layer was every encoder's default; of speech it no longer is.
    """
    folder, wanted = corpus.folder / header.modality, {**header.spec, "layers": [-1]}
    if header.spec == wanted or (folder / header.file_name).exists():
        return
    for path in sorted(folder.glob("*.h5")):
        if open_store(path).spec == wanted:
            say(
                f"{path.name} holds the last layer of {header.encoder}, and a file of layers {header.spec['layers']} "
                f"comes beside it: --layers -1 goes on with that one, and whoever trains chooses by --encoder "
                f"{path.stem} or {Path(header.file_name).stem}."
            )


def unreadable(failed: Mapping[str, str], corpus: Corpus) -> MediaError:
    """Return what to raise when all is done but for these utterances, with a reason for each id."""
    return MediaError(
        f"{len(failed)} of {len(corpus)} utterances can't be read, the others are done: "
        f"{one_line(f'{i} ({why.rstrip(chr(46))})' for i, why in failed.items())}. Mend them and run the command "
        "again, or go on without them with --allow-failures."
    )


def extract_generated(corpus: Corpus, say: Callable[[str], None], device: str | None = None) -> None:
    """Extract all modalities of a corpus that was made with an encoder of its own, such as the demo corpus, if none is.

    So whoever begins with training gets what it needs; a real corpus is never encoded unasked.
    """
    if corpus.about.get("encoder") and not any(
        find_features(corpus.folder, modality) for modality in MODALITIES.values()
    ):
        say(f"Nothing is extracted from {corpus.name} yet: doing it now.")
        for outcome in run(corpus, device=device, say=say):
            say(str(outcome))


def extract(
    corpus: Corpus,
    make: Callable[[], Encoder],
    *,
    devices: Sequence[str] = ("cpu",),
    budget: int | None = None,
    shard: Shard | None = None,
    finish: bool = False,
    engine: Engine | None = None,
    say: Callable[[str], None] = lambda line: None,
    quiet: bool = False,
) -> Outcome:
    """Make, complete or refresh one feature file of a corpus.

    Args:
        corpus: The corpus.
        make: Gives the encoder; called once for each device.
        devices: Where to compute, such as ("cpu",) or ("cuda:0", "cuda:1").
        budget: Positions that a batch may have in the model, padding included; by default what suits the device.
        shard: Do only this share of the corpus, and leave its parts beside the feature file; other processes, here or
            elsewhere, may do the others meanwhile.
        finish: Encode nothing, but put together what the shards have left.
        engine: Encodes the batches elsewhere than on `devices`.
        say: Takes a line about what is happening.
        quiet: Whether to show no progress bar.

    Returns:
        What was done. Utterances that can't be read don't stop the others.

    Raises:
        MediaError: The corpus has nothing in this modality.
        StoreError: The file can't be written, is broken, or another process writes it.
        Interrupted: Ctrl-C; what is finished is kept.
    """
    encoder = make()
    header = encoder.header
    plan.require(corpus, header.modality)
    _say_of_last_layer(corpus, header, say)
    name = None if shard is None else f"{shard.number}-of-{shard.count}"
    with Builder(corpus.folder / header.modality / header.file_name, header, name) as builder:
        jobs, others = plan.jobs(corpus, encoder, shard or WHOLE)
        budget = budget or batch_positions(devices[0] if engine is None else engine.kind)
        planned = plan.batches(jobs, budget, seed=header.fingerprint)
        batches = [
            left for batch in planned if (left := [job for job in batch if not builder.finished(job.id, job.source)])
        ]
        todo = {job.id: job for batch in batches for job in batch}
        before = builder.extracted_before()
        changed = todo.keys() & before
        if changed:
            say(f"{len(changed)} of {len(corpus)} utterances have changed since they were extracted.")
        if finish:
            others.update(_given_up(builder, [job for job in jobs if job.id in todo]))
        elif batches:
            check_room(list(todo.values()), jobs, header, corpus.folder)
            if engine is not None:
                others.update(engine(builder, make, batches, budget))
            else:
                encoders = [encoder.to(devices[0]), *(make().to(device) for device in devices[1:])]
                if len(devices) == 1:
                    encoders = side_by_side(encoder, devices[0], len(planned))
                others.update(_run(builder, encoders, batches, budget, say=say, quiet=quiet))
        lost = before & {item.id for item in others.values() if item.status == FAILED}
        if lost:  # a disk that isn't mounted must not cost what was made from it
            say(
                f"{len(lost)} utterances that were extracted before can't be read any more: "
                f"{builder.path} is left as it is."
            )
        elif shard is None:
            sources = {job.id: job.source for job in jobs}
            builder.finalise([(utterance_id, sources.get(utterance_id, "")) for utterance_id in corpus.ids], others)
        else:
            say(f"Shard {shard} is done; once all are, `mer extract --finish` puts the feature file together.")
    failed = {item.id: item.reason for item in others.values() if item.status == FAILED}
    return Outcome(
        path=builder.path,
        extracted=0 if finish else len(todo.keys() - failed.keys()),
        reused=len(jobs) - len(todo),
        changed=len(changed - failed.keys()),
        partial=0 if builder.complete is None else len(builder.complete.partial),
        missing=sum(item.status == MISSING for item in others.values()),
        failed={utterance_id: failed[utterance_id] for utterance_id in corpus.ids if utterance_id in failed},
    )


def _given_up(builder: Builder, todo: Sequence[EncodeJob]) -> dict[str, Item]:
    """Return the utterances that shards have found unreadable.

    Raises:
        StoreError: Others are not extracted yet.
    """
    found = {job.id: builder.failed(job.id, job.source) for job in todo}
    left = [utterance_id for utterance_id, item in found.items() if item is None]
    if left:
        raise StoreError(
            f"{builder.path} can't be finished: no shard has extracted {one_line(left)}, or what they had has changed "
            "since; run the shards again."
        )
    return {utterance_id: item for utterance_id, item in found.items() if item is not None}


def _run(
    builder: Builder,
    encoders: Sequence[Encoder],
    batches: Sequence[Sequence[EncodeJob]],
    budget: int,
    *,
    say: Callable[[str], None],
    quiet: bool,
) -> dict[str, Item]:
    """Encode batches and add the frames to the builder; return the utterances that failed."""
    failed: dict[str, Item] = {}
    held: list[Item] = []
    waiting = 0
    total = sum(len(batch) for batch in batches)
    stop = threading.Event()

    started = written = trimmed = time.monotonic()
    with (
        _stop_on_interrupt(stop) as interrupted,
        tqdm(total=total, desc=builder.header.modality, unit="utterance", disable=True if quiet else None) as bar,
        closing(encode_all(encoders, batches, budget, beside_bars(say), stop)) as results,
    ):
        for items in results:
            failed.update({item.id: item for item in items if item.status == FAILED})
            held += items
            waiting += frame_bytes(items)
            bar.update(len(items))
            now = time.monotonic()
            if now - trimmed > TRIM_SECONDS:
                hand_back_freed()
                trimmed = now
            pause = max(PART_SECONDS, PART_SHARE * (now - started))
            if held and (now - written > pause or waiting > PART_BYTES):
                builder.add(held)
                held, waiting, written = [], 0, now
        if held:
            builder.add(held)
        if interrupted.is_set() and bar.n < total:
            raise Interrupted(
                f"Stopped after {bar.n} of {total} utterances; they are kept: run the same command to go on."
            )
    return failed


def beside_bars(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says a line without tearing the progress bar that is shown."""

    def beside(line: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            say(line)

    return beside


@contextmanager
def _stop_on_interrupt(stop: threading.Event) -> Iterator[threading.Event]:
    """Let the first Ctrl-C set `stop` and the event given; a second one is Python's own."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def on_interrupt(*_: object) -> None:
        interrupted.set()
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
