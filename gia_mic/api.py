"""What the `mer` commands do, as functions: prepare a corpus, extract features, train a fusion, read a report.

A keyword has the name of the command's option. One whose option may be given several times is a mapping or a sequence,
and has the plural: `ranges={"valence": (1, 5)}`. Torch and transformers are loaded by the first function that needs
them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gia_mic.extract.corpus import Corpus
    from gia_mic.extract.forecast import Forecast
    from gia_mic.extract.run import ExtractionResult
    from gia_mic.report.report import Report
    from gia_mic.training import TrainedRun

__all__ = ["extract_features", "prepare", "read_report", "train"]

logger = logging.getLogger(__name__)


def prepare(
    source: str,
    path: str | Path | None = None,
    *,
    name: str | None = None,
    features: str | Path = "features",
    **options: Any,
) -> "Corpus":
    """Turn a corpus into a manifest, as `mer prepare SOURCE` does.

        corpus = gia_mic.prepare("demo", utterances=200)
        corpus = gia_mic.prepare("manifest", "table.csv", name="mine", ranges={"valence": (1, 5)})
        corpus = gia_mic.prepare("iemocap", "IEMOCAP_full_release", labels=5)

    Args:
        source: demo, manifest (a table of your own), hf (a set of the datasets library), or a published corpus.
            `mer corpora` lists those, and those that installed packages read. Your own is MODULE:NAME.
        path: The table, the folder of the corpus, or the hub's id of the set; nothing for the demo.
        name: Name of the new corpus; by default that of a published one. A table and a set need one.
        features: Folder, or address such as s3://bucket/features, of prepared corpora and their features.
        options: Options of that source's command. demo: seed, utterances, cues. manifest: root, labels (a sequence),
            ranges, missing, follow_links. hf: subset, columns, labels, ranges, missing. Published corpora: as
            `mer prepare SOURCE --help` says. Your own: its settings.

    Raises:
        CorpusError: The corpus isn't there, or something is wrong with it; everything that is wrong is listed.
    """
    from gia_mic.extract.address import local_folder
    from gia_mic.extract.corpora.release import RELEASES, prepare_release
    from gia_mic.extract.errors import CorpusError

    folder = local_folder(features)
    if options.get("root") is not None:
        options["root"] = Path(options["root"])
    if source == "demo" and path is None:
        from gia_mic.extract.corpora.demo import Demo, prepare_demo

        return prepare_demo(folder, name=name or source, demo=Demo(**options))
    sources = ("demo", "manifest", "hf", *RELEASES)
    if source not in sources:
        from gia_mic.extract.corpora.own import CORPUS, prepare_own
        from gia_mic.extract.plugins import installed

        names = [*sources, *installed(CORPUS)]
        if source not in names and ":" not in source:
            raise CorpusError(f"There is no source {source!r} of a corpus: choose one of {', '.join(names)}.")
        if path is None:
            raise CorpusError(f"The source {source} takes a path, which is missing.")
        return prepare_own(source, Path(path), folder, name=name, settings=options)
    if (path is None) is not (source == "demo"):
        raise CorpusError(f"The source {source} takes {'no path' if path else 'a path, which is missing'}.")
    assert path is not None
    if source in RELEASES:
        return prepare_release(source, Path(path), folder, name=name or options.get("dataset"), **options)
    if name is None:
        raise CorpusError(f"The corpus of {path} has no name yet: give name, such as name='mine'.")
    if source == "manifest":
        from gia_mic.extract.corpora.manifest import prepare_table

        return prepare_table(Path(path), folder, name, **options)
    from gia_mic.extract.corpora.hf import prepare_dataset

    return prepare_dataset(str(path), folder, name, **options)


def extract_features(
    corpus: "Corpus | str | None" = None,
    modality: str = "all",
    *,
    encoder: str | None = None,
    encoder_settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    dry_run: bool = False,
    allow_failures: bool = False,
    shard: tuple[int, int] | None = None,
    finish: bool = False,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    features: str | Path = "features",
    on_result: "Callable[[ExtractionResult | Forecast], object] | None" = None,
    **settings: Any,
) -> "dict[str, ExtractionResult | Forecast]":
    """Run frozen encoders over a corpus and cache their frames, as `mer extract` does.

    Stopped at any moment, the same call goes on from there; made again, it does only what is new.

        results = gia_mic.extract_features("demo")
        results["speech"].path      # the feature file

    Args:
        corpus: A prepared corpus or its name; None takes the only one there is, or makes the demo corpus.
        modality: speech, text, visual, or all that the corpus has.
        encoder: Hub id, local folder, tiny, or your own, MODULE:CLASS; None takes the corpus's own, or the default of
            the modality.
        encoder_settings: Settings of your own encoder.
        device: cpu, cuda, or several such as "cuda:0,cuda:1"; None takes cuda where there is one.
        dry_run: Only say what there is to do, how much room and how long it takes.
        allow_failures: Raise nothing where some utterances can't be read.
        shard: Share of the corpus and number of shares, such as (1, 8); with finish after all of them.
        finish: Encode nothing, but put together what the shards have left.
        engine: local, or ray: spread over a Ray cluster.
        address: The Ray cluster; None takes that of RAY_ADDRESS, or this machine alone.
        workers: Workers of Ray; None takes one for each GPU, or for each four cores.
        features: As in `prepare`; of no meaning where `corpus` is a prepared corpus.
        on_result: Called with each result as soon as its modality is done, such as `print`.
        settings: revision, and settings of the encoder, such as layers, pool and precision.

    Returns:
        What was done, by modality; with dry_run what it would take.

    Raises:
        MediaError: At the end: utterances couldn't be read. All others are in the file all the same.
        EncoderError: An encoder can't be found or doesn't fit, or there is no such device.
        CorpusError: There is no such corpus.
        StoreError: A file can't be written.
    """
    from gia_mic.extract.address import local_folder
    from gia_mic.extract.corpora import find_or_demo
    from gia_mic.extract.corpus import MODALITIES, Corpus
    from gia_mic.extract.device import find_devices
    from gia_mic.extract.errors import EncoderError
    from gia_mic.extract.plan import Shard
    from gia_mic.extract.run import run

    options = {name: value for name, value in settings.items() if value is not None}
    if encoder_settings:
        options["settings"] = dict(encoder_settings)
    if shard is not None:
        options["shard"] = Shard(*shard)
    if modality not in (choices := ("all", *MODALITIES.values())):
        raise EncoderError(f"There is no modality {modality!r}: choose one of {', '.join(choices)}.")
    if engine == "local":
        find_devices(device)  # refused before a corpus is made
        options["device"] = device
    elif engine == "ray":
        from gia_mic.extract.on_ray import ray_engine

        options["engine"] = ray_engine(address, workers=workers, device=device)
    else:
        raise EncoderError(f"There is no engine {engine!r}: choose local or ray.")
    prepared = corpus if isinstance(corpus, Corpus) else find_or_demo(local_folder(features), corpus)
    results: dict[str, ExtractionResult | Forecast] = {}
    options |= {"allow_failures": allow_failures, "dry_run": dry_run, "finish": finish}
    for result in run(prepared, modality, encoder, **options):
        results[result.path.parent.name] = result
        if on_result is not None:
            on_result(result)
    return results


def train(
    corpus: "Corpus | str | None" = None,
    *,
    fusion: str = "gia-mic",
    modalities: str | None = None,
    encoders: Sequence[str] = (),
    target: str | None = None,
    protocol: str = "session",
    fold: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    select: str = "last",
    allow_shared: bool = False,
    name: str | None = None,
    evaluate_subsets: bool = False,
    device: str | None = None,
    engine: str = "local",
    address: str | None = None,
    features: str | Path = "features",
    runs: str | Path = "runs",
    fusion_settings: Mapping[str, Any] | None = None,
    on_checked: Callable[[], object] | None = None,
    **settings: Any,
) -> "TrainedRun":
    """Train a fusion on cached features and test it on held-out folds, as `mer fuse-train` does.

    Finished folds are kept unless their settings have changed.

        run = gia_mic.train("demo", fusion="late", epochs=10, width=32)
        run.report                       # its scores
        run.load().predict(text="no way")

    Args:
        corpus: As in `extract_features`. One that mer makes itself is extracted first where it isn't yet.
        fusion: Model, as `mer fusions` lists them, or your own, MODULE:CLASS.
        modalities: Some of s (speech), t (text), v (visual), such as "s,t"; None takes all that are extracted.
        encoders: Which features, by their encoders' short names, where there are several.
        target: label, labels, votes, or the name of a score, several with commas between; None takes the corpus's.
        protocol: Column that makes the folds: session, speaker, split or scenario.
        fold: Fold to test on, from 1; None takes all.
        seed: Seed of weights, order and dropout; with several seeds, the first.
        seeds: Number of runs for each fold.
        select: Epoch to test: last, dev (best on a held-out part of the training) or test (optimistic).
        allow_shared: Accept folds that share speakers (or scenarios) between training and test.
        name: Name of the run; None takes the fusion's, with its target and the letters of its modalities.
        evaluate_subsets: Also test without some modalities, under noise and with frames lost.
        device: cpu, cuda or cuda:N; None takes cuda where there is one.
        engine: local, or ray: spread over a Ray cluster.
        address: The Ray cluster; None takes that of RAY_ADDRESS, or this machine alone.
        features: As in `extract_features`.
        runs: Folder of trained models and their scores.
        fusion_settings: Settings of the fusion alone; it needs one only for a name that training has too.
        on_checked: Called once the settings are found right, before a corpus is read or made.
        settings: Settings of the training, such as epochs; of the fusion, such as width; and of its execution, such as
            jobs, memory_gib and logs, as `fuse.experiment.Execution` has them.

    Raises:
        RunError: Something about the settings is wrong (all of it is named at once), or training failed.
        CorpusError: There is no such corpus.
        StoreError: A feature file is broken or lacks utterances, or the run folder can't be written.
    """
    from gia_mic.extract.address import local_folder
    from gia_mic.extract.corpus import Corpus
    from gia_mic.fuse.config import TrainingConfig
    from gia_mic.fuse.data import find_stores
    from gia_mic.fuse.experiment import Execution, Experiment
    from gia_mic.fuse.models.registry import configure
    from gia_mic.fuse.run import refuse_problems
    from gia_mic.training import TrainedRun, choose_engine, local_device, ready_corpus, warn_if_slow

    options = {name: value for name, value in settings.items() if value is not None}
    training = TrainingConfig(**_take_fields(TrainingConfig, options))
    execution = Execution(device=device, **_take_fields(Execution, options))
    experiment = Experiment(
        fusion=fusion,
        model=configure(fusion, {**options, **(fusion_settings or {})}),
        training=training,
        protocol=protocol,
        select=select,
        fold=fold,
        seeds=range(seed, seed + seeds),
        name=name,
        allow_shared=allow_shared,
        target=target,
    )
    warn_if_slow(training, engine, device)
    refuse_problems(experiment, Execution(device=local_device(device, engine)))
    carry_out = choose_engine(engine, address)
    if on_checked is not None:
        on_checked()
    prepared = corpus if isinstance(corpus, Corpus) else ready_corpus(local_folder(features), corpus)
    stores = find_stores(prepared, modalities, encoders)
    for modality, store in stores.items():
        logger.info(f"{modality}: {store}")
    run_dirs = carry_out(prepared, stores, [experiment], execution, runs=Path(runs))
    if evaluate_subsets:
        from gia_mic.fuse.robustness import evaluate

        evaluate(prepared, stores, run_dirs, allow_shared=allow_shared, memory_gib=execution.memory_gib)
    return TrainedRun(run_dirs[0].parent.parent, tuple(run_dirs))


def read_report(runs: str | Path = "runs", *, reference: str | None = None) -> "Report":
    """Read the scores of all finished runs, as `mer report` does.

        report = gia_mic.read_report("runs")
        report                       # prints, and in a notebook shows, the main tables
        report.to_pandas()           # a row for each run; with "fold", for each fold
        report.save("report.html")   # the page with all tables and figures

    Args:
        runs: Folder of all runs, of one corpus's, or one run.
        reference: Run that an ablation table compares the others with.

    Raises:
        RunError: Nothing is finished, the reference isn't known, or a run folder is broken.
    """
    from gia_mic.report.report import read_report

    return read_report(Path(runs), reference)


def _take_fields(config: type[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Take a config's fields out of options, and return them."""
    return {field.name: options.pop(field.name) for field in fields(config) if field.name in options}
