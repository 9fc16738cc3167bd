"""Compares every fusion with GIA-MIC on three real corpora, by features that others made.

    python bench/real.py FEATURES WORK                            # every fusion at its defaults, three seeds
    python bench/real.py FEATURES WORK --tuned                    # and with settings searched inside each training part
    python bench/real.py FEATURES WORK --ablation                 # and GIA-MIC without each of its parts
    python bench/real.py FEATURES WORK --write bench/README.md    # put the tables into the file, between its two marks

FEATURES has a folder for each of `CORPORA`, with `table.csv` (id, label, speaker, dialog or session, split) and an
`.npz` a modality, an array (frames, features) an id. WORK keeps what is imported and trained: after a stop, the same
command goes on. The defaults were chosen on folds that are not counted here, unless by `--all-folds`.

The last line is `ratio N`: GIA-MIC's mean UA over that of the best other fusion.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from section import PAGE, marks, write_section

from gia_mic.extract.corpora.manifest import prepare_table
from gia_mic.extract.corpus import MODALITIES, Corpus, corpus_names, load_corpus
from gia_mic.extract.imports.features import import_features
from gia_mic.extract.inspection import find_features
from gia_mic.fuse import split
from gia_mic.fuse.ablate import REFERENCE, ablations
from gia_mic.fuse.config import SPACE, TRIALS, TrainingConfig
from gia_mic.fuse.data import find_stores
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_here
from gia_mic.fuse.runs.fold import FoldRun, read_fold
from gia_mic.fuse.runs.folder import shared
from gia_mic.fuse.runs.runs import Run
from gia_mic.fuse.tune import tune
from gia_mic.report import statistics
from gia_mic.report.compare import gather
from gia_mic.report.group import groups
from gia_mic.report.table import Column, Table, markdown
from gia_mic.report.tuning import chosen_settings
from gia_mic.report.wording import percent

BEGIN, END = marks("real.py")


@dataclass(frozen=True)
class RealCorpus:
    """A folder of features, and how it is divided.

    Attributes:
        title: Name in the tables.
        experiment: Its protocol.
        untouched: Folds on which nothing was chosen.
    """

    title: str
    experiment: Experiment
    untouched: tuple[int, ...]


CORPORA = {
    "ravdess": RealCorpus("RAVDESS", Experiment(protocol="session"), (4, 5, 6)),
    "mosi": RealCorpus("CMU-MOSI", Experiment(protocol="split"), (1,)),
    "meld-dev": RealCorpus("MELD dev", Experiment(protocol="session", allow_shared=True), (4, 5)),
}


@dataclass(frozen=True)
class Scores:
    """UA of a model on one corpus, pooled over folds, the mean over seeds.

    Attributes:
        ua: In 0 … 1.
        differences: (draws,) bootstrap samples of the difference from the reference.
    """

    ua: float
    differences: np.ndarray


def prepare(folder: Path, features: Path) -> Corpus:
    """Read a corpus and its features, unless they were read before."""
    name = folder.name
    if name not in corpus_names(features):
        prepare_table(folder / "table.csv", features, name)
    corpus = load_corpus(features, name)
    for modality in MODALITIES.values():
        path = folder / f"{modality}.npz"
        if path.exists() and find_features(corpus.folder, modality) is None:
            import_features([path], modality, features, name)
    return corpus


def group_by_name(run_dirs: Sequence[Path]) -> list[Run]:
    """Return the runs whose folders these are, in their order."""
    by_name: dict[str, list[FoldRun]] = {}
    for fold in map(read_fold, run_dirs):
        by_name.setdefault(fold.folder.parents[1].name, []).append(fold)
    return [Run(name, shared(folds[0].config), tuple(folds)) for name, folds in by_name.items()]


def scores(runs: Sequence[Run], reference: str) -> dict[str, Scores]:
    """Compare runs of one corpus with one of them, on the same utterances."""
    measure = runs[0].measure
    ua = partial(measure.value, "UA")
    evidence = {run.name: one for run, one in zip(runs, gather(runs), strict=True)}
    tallies = {name: measure.tally(one.true, one.answers, one.group, one.weight) for name, one in evidence.items()}
    return {
        name: Scores(
            float(ua(tally.sum(0))),
            statistics.paired_draws(tally, tallies[reference], ua),
        )
        for name, tally in tallies.items()
    }


def table(title: str, by_corpus: Mapping[str, Mapping[str, Scores]], reference: str, notes: Sequence[str]) -> Table:
    """Return the table of models on all corpora and in the mean, the best first."""
    means = mean_ua(by_corpus)
    rows = []
    for name in sorted(means, key=lambda name: -means[name]):
        row = [scores_of_corpus[name] for scores_of_corpus in by_corpus.values()]
        # All corpora are drawn from by the same seed, which must not make one rise and fall with another.
        shuffled = [np.random.default_rng(number).permutation(one.differences) for number, one in enumerate(row)]
        values = [*(one.ua for one in row), means[name]]
        draws = [*(one.differences for one in row), np.mean(shuffled, axis=0)]
        rows.append([name, *(cell(*pair, name == reference) for pair in zip(values, draws, strict=True))])
    titles = [*(CORPORA[name].title for name in by_corpus), "mean"]
    return Table(title, [Column("model"), *(Column(title, number=True) for title in titles)], rows, notes)


def cell(ua: float, differences: np.ndarray, is_reference: bool) -> str:
    """Return a UA, and for all but the reference the interval of its difference from that."""
    if is_reference:
        return percent(ua)
    interval = statistics.interval(differences)
    return f"{percent(ua)} ({signed(interval.low)}…{signed(interval.high)})"


def mean_ua(by_corpus: Mapping[str, Mapping[str, Scores]]) -> dict[str, float]:
    """Return each model's mean over the corpora."""
    names = next(iter(by_corpus.values()))
    return {name: float(np.mean([of_models[name].ua for of_models in by_corpus.values()])) for name in names}


def signed(share: float) -> str:
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def experiments(real: RealCorpus, arguments: argparse.Namespace) -> Iterator[Experiment]:
    """Give what is trained at its defaults: every fusion, and the parts of GIA-MIC."""
    training = TrainingConfig() if arguments.epochs is None else TrainingConfig(epochs=arguments.epochs)
    whole = replace(real.experiment, training=training, seeds=range(arguments.seeds))
    for fusion in arguments.fusions:
        yield replace(whole, fusion=fusion, name=fusion)
    if arguments.ablation:
        yield from ablations(replace(whole, name=REFERENCE), list(MODALITIES.values()))[1:]


def train(arguments: argparse.Namespace) -> tuple[dict[str, list[Run]], dict[str, list[Run]], list[str]]:
    """Train what is missing.

    Returns:
        By corpus the runs at their defaults, and those with searched settings; and in words the folds that are counted.
    """
    features, runs = arguments.work / "features", arguments.work / "runs"
    execution = Execution(device="cpu", jobs=arguments.jobs)
    space = {name: values for name, values in SPACE.items() if name != "epochs" or arguments.epochs is None}
    untuned: dict[str, list[Run]] = {}
    tuned: dict[str, list[Run]] = {}
    counted = []
    for name, real in CORPORA.items():
        corpus = prepare(arguments.features / name, features)
        stores = find_stores(corpus)
        folds = split.folds(corpus, real.experiment.protocol, allow_shared=real.experiment.allow_shared)
        numbers = [fold.number for fold in folds if arguments.all_folds or fold.number in real.untouched]
        counted.append(f"{real.title} {', '.join(map(str, numbers))} of {len(folds)}")
        planned = [
            replace(experiment, fold=number) for experiment in experiments(real, arguments) for number in numbers
        ]
        untuned[name] = group_by_name(train_here(corpus, stores, planned, execution, runs=runs))
        run_dirs = []
        for experiment in planned:
            if arguments.tuned and experiment.name in arguments.fusions:
                whole = replace(experiment, name=f"{experiment.fusion}-tuned")
                options = {"trials": arguments.trials, "space": space}
                run_dirs += tune(corpus, stores, whole, execution, runs=runs, **options)
        tuned[name] = group_by_name(run_dirs)
    return untuned, tuned, counted


def report(arguments: argparse.Namespace) -> tuple[list[Table], float]:
    """Train what is missing, and return all tables, and GIA-MIC's mean UA over that of the best other fusion."""
    untuned, tuned, counted = train(arguments)
    seeds = "1 seed" if arguments.seeds == 1 else f"{arguments.seeds} seeds"
    epochs = "" if arguments.epochs is None else f" {arguments.epochs} epochs."
    notes = [
        f"All tables: {seeds}; folds {'; '.join(counted)}.{epochs}",
        "UA is the mean of the classes' recalls, in %, pooled over folds and averaged over seeds. In brackets: the 95 "
        "% interval of the difference from the row without one, by drawing dialogs (RAVDESS: speakers).",
    ]

    def compared(runs: Mapping[str, Sequence[Run]], names: Sequence[str]) -> dict[str, dict[str, Scores]]:
        return {
            corpus: scores([run for run in of_corpus if run.name in names], names[0])
            for corpus, of_corpus in runs.items()
        }

    defaults = compared(untuned, arguments.fusions)
    tables = [table("Every fusion at its defaults", defaults, REFERENCE, notes)]
    if arguments.tuned:
        names = [f"{fusion}-tuned" for fusion in arguments.fusions]
        title = f"Every fusion, with the best of {arguments.trials} settings for each fold"
        tables.append(table(title, compared(tuned, names), names[0], ()))
        for group in (group for of_corpus in tuned.values() for group in groups(of_corpus)):
            if (settings := chosen_settings(group)) is not None:
                tables.append(replace(settings, title=f"{settings.title}, {CORPORA[group.corpus].title}"))
    if arguments.ablation:
        parts = [run.name for run in next(iter(untuned.values())) if run.name not in arguments.fusions]
        tables.append(table("GIA-MIC without each of its parts", compared(untuned, [REFERENCE, *parts]), REFERENCE, ()))
    means = mean_ua(defaults)
    others = [mean for name, mean in means.items() if name != REFERENCE]
    return tables, means[REFERENCE] / max(others, default=means[REFERENCE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("features", type=Path, help="folder with a folder of each corpus")
    parser.add_argument("work", type=Path, help="where features and runs are kept")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each fold")
    parser.add_argument("--fusions", default=",".join(FUSIONS), help="names, with commas")
    parser.add_argument("--epochs", type=int, help="passes over the training part, instead of the default")
    parser.add_argument("--tuned", action="store_true", help="also search settings inside each training part")
    parser.add_argument("--trials", type=int, default=TRIALS, help="settings that each fusion tries with --tuned")
    parser.add_argument("--ablation", action="store_true", help="also train GIA-MIC without each of its parts")
    parser.add_argument("--all-folds", action="store_true", help="count the folds too on which defaults were chosen")
    parser.add_argument("--jobs", type=int, help="runs trained side by side")
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file whose marked part becomes the tables")
    parser.add_argument("--markdown", dest="write", action="store_const", const=PAGE, help=f"the same for {PAGE.name}")
    arguments = parser.parse_args()
    arguments.fusions = list(dict.fromkeys([REFERENCE, *arguments.fusions.split(",")]))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tables, ratio = report(arguments)
    text = "\n\n".join(map(markdown, tables))
    print(text)
    if arguments.write is not None:
        write_section(arguments.write, "real.py", text)
    print(f"ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
