"""Turns a corpus and an encoder into a feature file: decode ahead, encode, write behind, go on after any end.

Batches are planned over the whole corpus, not over what is left, so that a run that was killed and repeated computes
what an undisturbed one would have, on a CPU to the last bit. Its threads are spread over as many workers as there are
batches for: two models on one core each do more than one on two.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from gia_mic.extract import plan
from gia_mic.extract.config import DEFAULT_MODELS, EncoderConfig
from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.device import batch_positions, check_precision, find_devices, hand_back_freed, kind_of, slow
from gia_mic.extract.encoders.contract import TINY, EncodeJob, Encoder
from gia_mic.extract.encoders.make import OWNERS, check_names, make_encoder
from gia_mic.extract.encoders.weights import COMMIT_DIGITS, pin, recorded_revision
from gia_mic.extract.errors import EncoderError, Interrupted, MediaError, StoreError, one_line
from gia_mic.extract.forecast import Forecast, check_room, forecast
from gia_mic.extract.inspection import find_features
from gia_mic.extract.media import NO_VOICE
from gia_mic.extract.parts import PART_BYTES, Builder, frame_bytes
from gia_mic.extract.pipeline import encode_all, side_by_side
from gia_mic.extract.plan import WHOLE, Shard
from gia_mic.extract.progress import Progress, progress
from gia_mic.extract.store import FAILED, MISSING, Header, Item, open_store

__all__ = [
    "Engine",
    "ExtractionResult",
    "extract",
    "extract_generated",
    "run",
    "stop_on_interrupt",
    "stopped_after",
    "unreadable",
]

logger = logging.getLogger(__name__)

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
class ExtractionResult:
    """What an extraction did.

    Attributes:
        path: The feature file.
        extracted: Number of utterances encoded by this run.
        reused: Number of utterances that were finished before.
        changed: Number of those `extracted` whose input had changed since.
        partial: Number of utterances with a note, such as on pictures without a face; `mer inspect` says what.
        silent: Number of those `partial` in whose sound there is no voice to hear.
        missing: Number of utterances that the corpus doesn't have in this modality.
        failed: Why each other utterance has no frames, by id.
    """

    path: Path
    extracted: int
    reused: int
    changed: int
    partial: int
    silent: int
    missing: int
    failed: dict[str, str]

    def __str__(self) -> str:
        counts = {
            "extracted": self.extracted,
            "of them changed since": self.changed,
            "reused": self.reused,
            "with a note (see mer inspect)": self.partial,
            "of them without a voice to hear": self.silent,
            "missing in the corpus": self.missing,
            "failed": len(self.failed),
        }
        return f"{self.path}: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)

    __repr__ = __str__


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
    **options: Any,
) -> Iterator[ExtractionResult | Forecast]:
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
        options: `revision`, and settings of `EncoderConfig`.

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
    precision = str(options.get("precision") or EncoderConfig.precision)
    for computing in devices if engine is None else [engine.kind]:
        check_precision(precision, computing)
    if engine is None and not finish and (line := slow(precision, devices[0])):
        logger.warning(line)
    if precision == "float32" and "cuda" in {kind_of(each) for each in devices}:
        logger.info("float32 takes several times as long on a GPU as --precision bfloat16 or tf32.")
    failed: dict[str, str] = {}
    for name in MODALITIES.values() if modality == "all" else [modality]:
        if modality == "all" and not plan.has_modality(corpus, name):
            logger.info(f"The corpus {corpus.name} has no {plan.COLUMNS[name]}: no {name} features.")
            continue
        check_names(options, None if modality == "all" else name)
        fitting = {key: value for key, value in options.items() if OWNERS.get(key, name) == name}
        chosen = model or str(corpus.about.get("encoder") or DEFAULT_MODELS[name])
        if chosen != TINY:  # once, for all devices and machines that it will be loaded on
            begun = fitting.get("revision") or _begun_with(corpus, name, chosen)
            fitting["revision"] = pin(chosen, begun)
        make = partial(make_encoder, name, chosen, **fitting)
        if dry_run:
            encoder = make()
            _tell_of_other_files(corpus, encoder.header)
            yield forecast(corpus, encoder, devices[0])
            continue
        result = extract(corpus, make, devices=devices, shard=shard, finish=finish, engine=engine)
        failed.update(result.failed)
        yield result
    if failed and not allow_failures:
        raise unreadable(failed, corpus)


def unreadable(failed: Mapping[str, str], corpus: Corpus) -> MediaError:
    """Return what to raise when all is done but for these utterances, with a reason for each id."""
    return MediaError(
        f"{len(failed)} of {len(corpus)} utterances can't be read, the others are done: "
        f"{one_line(f'{i} ({why.rstrip(chr(46))})' for i, why in failed.items())}. Mend them and run the command "
        "again, or go on without them with --allow-failures."
    )


def extract_generated(corpus: Corpus, device: str | None = None) -> None:
    """Extract all modalities of a corpus that was made with an encoder of its own, such as the demo corpus, if none is.

    So whoever begins with training gets what it needs; a real corpus is never encoded unasked.
    """
    if corpus.about.get("encoder") and not any(
        find_features(corpus.folder, modality) for modality in MODALITIES.values()
    ):
        logger.info(f"Nothing is extracted from {corpus.name} yet: doing it now.")
        for result in run(corpus, device=device):
            logger.info(str(result))


def extract(
    corpus: Corpus,
    make: Callable[[], Encoder],
    *,
    devices: Sequence[str] = ("cpu",),
    budget: int | None = None,
    shard: Shard | None = None,
    finish: bool = False,
    engine: Engine | None = None,
    quiet: bool = False,
) -> ExtractionResult:
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
    plan.require_modality(corpus, header.modality)
    name = None if shard is None else f"{shard.number}-of-{shard.count}"
    _tell_of_other_files(corpus, header)
    with Builder(corpus.folder / header.modality / header.file_name, header, name) as builder:
        jobs, no_frames = plan.jobs(corpus, encoder, shard or WHOLE)
        budget = budget or batch_positions(devices[0] if engine is None else engine.kind)
        planned = plan.batches(jobs, budget, seed=header.fingerprint)
        batches = [
            left for batch in planned if (left := [job for job in batch if not builder.finished(job.id, job.source)])
        ]
        todo = {job.id: job for batch in batches for job in batch}
        before = builder.extracted_before()
        changed = todo.keys() & before
        if changed:
            logger.info(f"{len(changed)} of {len(corpus)} utterances have changed since they were extracted.")
        if finish:
            no_frames.update(_given_up(builder, [job for job in jobs if job.id in todo]))
        elif batches:
            check_room(list(todo.values()), jobs, header, corpus.folder)
            if engine is not None:
                no_frames.update(engine(builder, make, batches, budget))
            else:
                encoders = [encoder.to(devices[0]), *(make().to(device) for device in devices[1:])]
                if len(devices) == 1:
                    encoders = side_by_side(encoder, devices[0], len(planned))
                logger.debug(
                    f"{len(todo)} utterances in {len(batches)} batches of up to {budget} positions, "
                    f"{len(encoders)} at a time on {one_line(devices)}."
                )
                no_frames.update(_run(builder, encoders, batches, budget, quiet=quiet))
        lost = before & {item.id for item in no_frames.values() if item.status == FAILED}
        if lost:  # a disk that isn't mounted must not cost what was made from it
            logger.warning(
                f"{len(lost)} utterances that were extracted before can't be read any more: "
                f"{builder.path} is left as it is."
            )
        elif shard is None:
            sources = {job.id: job.source for job in jobs}
            builder.finalise([(utterance_id, sources.get(utterance_id, "")) for utterance_id in corpus.ids], no_frames)
        else:
            logger.info(f"Shard {shard} is done; once all are, `mer extract --finish` puts the feature file together.")
    failed = {item.id: item.reason for item in no_frames.values() if item.status == FAILED}
    noted = {} if builder.complete is None else builder.complete.partial
    return ExtractionResult(
        path=builder.path,
        extracted=0 if finish else len(todo.keys() - failed.keys()),
        reused=len(jobs) - len(todo),
        changed=len(changed - failed.keys()),
        partial=len(noted),
        silent=sum(NO_VOICE in note for note in noted.values()),
        missing=sum(item.status == MISSING for item in no_frames.values()),
        failed={utterance_id: failed[utterance_id] for utterance_id in corpus.ids if utterance_id in failed},
    )


def _begun_with(corpus: Corpus, modality: str, model: str) -> str | None:
    """Return the hub's commit that the features of a corpus were begun with by this model.

    None where there are none yet, where they are of several commits, or where that commit can't be had any more.
    """
    folder = corpus.folder / modality
    commits: set[str] = set()
    files: dict[str, Path] = {}  # by the commit that they name: of earlier versions it may be another
    begun = (spec for parts in sorted(folder.glob("*.parts")) for spec in islice(_specs(parts), 1))  # all have the same
    for path, spec in (*_specs(folder), *begun):
        with suppress(EncoderError):
            if spec.get("model") == model and len(str(spec.get("weights"))) == COMMIT_DIGITS:
                commits.add(recorded_revision(spec))
                files[spec["weights"]] = path
    if len(commits) != 1:
        return None
    [commit] = commits
    if commit in files:
        logger.info(
            f"{model} is taken at commit {commit[:12]}, as for {files[commit]}; --revision main takes what the hub has "
            "now."
        )
    return commit


def _tell_of_other_files(corpus: Corpus, header: Header) -> None:
    """Say which files a new one comes beside that hold the same model's frames by other weights or of its last layer.

    The last layer was every encoder's default; of speech it no longer is.
    """
    folder = corpus.folder / header.modality
    if (folder / header.file_name).exists():
        return
    for path, spec in _specs(folder):
        if spec.get("model") != header.spec["model"]:
            continue
        old, new = str(spec.get("weights", "")), str(header.spec["weights"])
        reasons = []
        if old != new and len(old) == len(new) == COMMIT_DIGITS:
            reasons.append(f"by commit {old[:12]}, and the weights are now taken from commit {new[:12]}")
        elif old != new:
            reasons.append("by other files of that name")
        if spec.get("layers") == [-1] != header.spec["layers"]:
            reasons.append(f"of its last layer, and now --layers {_layers_option(header.spec['layers'])} is taken")
        if reasons:
            logger.info(
                f"{path} has frames of {spec['model']} {', and '.join(reasons)}: a new file is made. Training can go "
                f"on with the old one by --encoder {path.stem}."
            )


def _specs(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Give the feature files in a folder and their specs, but for those that can't be read."""
    for path in sorted(folder.glob("*.h5")):
        with suppress(StoreError):
            yield path, open_store(path).spec


def _layers_option(layers: str | Sequence[int]) -> str:
    """Return layers of a spec as --layers takes them."""
    return layers if isinstance(layers, str) else ",".join(map(str, layers))


def _given_up(builder: Builder, todo: Sequence[EncodeJob]) -> dict[str, Item]:
    """Return the utterances that shards have found unreadable.

    Raises:
        StoreError: Others are not extracted yet.
    """
    items = {job.id: builder.failed(job.id, job.source) for job in todo}
    left = [utterance_id for utterance_id, item in items.items() if item is None]
    if left:
        raise StoreError(
            f"{builder.path} can't be finished: no shard has extracted {one_line(left)}, or what they had has changed "
            "since; run the shards again."
        )
    return {utterance_id: item for utterance_id, item in items.items() if item is not None}


def _run(
    builder: Builder,
    encoders: Sequence[Encoder],
    batches: Sequence[Sequence[EncodeJob]],
    budget: int,
    *,
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
        stop_on_interrupt(stop) as interrupted,
        progress(total, builder.title, "utterance", quiet=quiet) as bar,
        closing(encode_all(encoders, batches, budget, stop)) as results,
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
        if interrupted.is_set():
            raise stopped_after(bar)
    return failed


def stopped_after(work: Progress) -> Interrupted:
    """Return what to raise when Ctrl-C has ended work that the same command goes on with."""
    return Interrupted(
        f"Stopped after {work.done} of {work.total} utterances; they are kept: run the same command to go on."
    )


@contextmanager
def stop_on_interrupt(stop: threading.Event) -> Iterator[threading.Event]:
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
