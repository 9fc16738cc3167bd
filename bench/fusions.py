"""Compares every fusion with GIA-MIC on a harder demo, on the decisions that `fusions.csv` keeps of each run.

    python bench/fusions.py                                  # the table of what has been trained: seconds
    python bench/fusions.py --train FOLDER --seeds 5         # train what is missing, in FOLDER, and keep its decisions

A run of other settings than the present defaults is not counted, and trained again; float32 and bfloat16 count alike.
The demo knows what each modality of an utterance displays, and so the probability of each label. The *expected
accuracy* of a model's decisions is their mean probability of being right, over the labels that such utterances could
have. It has less noise than UA, which is of the labels drawn. No model has more than the Bayes accuracy.

The last line is `ratio N`: GIA-MIC's UA over that of the best other fusion, on the runs that both have.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from gia_mic.extract.corpora.demo import Demo, ceilings, plan_demo, prepare_demo
from gia_mic.extract.corpora.demo_cues import EMOTIONS
from gia_mic.extract.files import replacing
from gia_mic.extract.run import extract_generated
from gia_mic.fuse import measure, split
from gia_mic.fuse.config import PRECISIONS, RENAMED, TrainingConfig
from gia_mic.fuse.data import find_stores
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.report import statistics
from gia_mic.report.summary import mean_std

HARDER = Demo(seed=7, utterances=4000, cues={"s": 0.65, "t": 0.62, "v": 0.66})
REFERENCE = "gia-mic"
KEPT = Path(__file__).with_suffix(".csv")


class Corpus:
    """What is known of the harder demo without its recordings.

    Attributes:
        true: (U,) class indices.
        dialog: (U,) dialog numbers.
        session: (U,) session numbers, which are the folds, from 1.
        posterior: (U, 4) probability of each label, given what the modalities display.
    """

    def __init__(self) -> None:
        utterances, displayed = plan_demo(HARDER)
        self.true = np.array([EMOTIONS.index(utterance.label) for utterance in utterances])
        self.dialog = np.unique([utterance.dialog for utterance in utterances], return_inverse=True)[1]
        self.session = np.unique([utterance.session for utterance in utterances], return_inverse=True)[1] + 1
        cues = np.array(list(HARDER.cues.values()))
        says = np.where(displayed[..., None] == np.arange(len(EMOTIONS)), cues[:, None], (1 - cues[:, None]) / 3)
        self.posterior = says.prod(1) / says.prod(1).sum(-1, keepdims=True)


@dataclass(frozen=True)
class Run:
    """One training: the decisions (B,) for the utterances of its fold, in the order of the corpus."""

    fusion: str
    seed: int
    fold: int
    precision: str
    settings: str
    decisions: str

    def predicted(self) -> np.ndarray:
        """Return the decisions as class indices."""
        initials = [name[0] for name in EMOTIONS]
        return np.array([initials.index(letter) for letter in self.decisions])


def settings_of(fusion: str) -> str:
    """Return the digest of the demo and of all that is chosen by default, but the precision.

    It is of the settings' first names, so that a run which is kept stays valid when a setting is only renamed.
    """
    first = {now: before for before, now in RENAMED.items()}
    training = {name: value for name, value in asdict(TrainingConfig()).items() if name != "precision"}
    model = asdict(FUSIONS[fusion].config())
    training, model = ({first.get(name, name): value for name, value in part.items()} for part in (training, model))
    defaults = {"demo": asdict(HARDER), "training": training, "model": model}
    return hashlib.sha256(json.dumps(defaults, sort_keys=True).encode()).hexdigest()[:8]


def kept_runs() -> list[Run]:
    if not KEPT.exists():
        return []
    with KEPT.open(newline="") as file:
        return [Run(**{**row, "seed": int(row["seed"]), "fold": int(row["fold"])}) for row in csv.DictReader(file)]


def keep(runs: Sequence[Run]) -> None:
    """Add runs to those kept, in the place of the same fusion, seed and fold."""
    by_key = {(run.fusion, run.seed, run.fold): run for run in [*kept_runs(), *runs]}
    with replacing(KEPT) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, [column.name for column in fields(Run)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(by_key[key]) for key in sorted(by_key))


def train(folder: Path, fusions: Sequence[str], seeds: int, precision: str, jobs: int | None) -> None:
    """Train what is not kept yet, seed by seed."""
    corpus = prepare_demo(folder / "features", name="hard", demo=HARDER)
    extract_generated(corpus)
    folds = split.folds(corpus)
    rows = {utterance_id: row for row, utterance_id in enumerate(corpus.ids)}
    for seed in range(seeds):
        for fusion in fusions:
            settings = settings_of(fusion)
            trained = [run for run in kept_runs() if (run.fusion, run.seed, run.settings) == (fusion, seed, settings)]
            if len(trained) == len(folds):
                continue
            print(f"{fusion}, seed {seed}", flush=True)
            run_dirs = train_folds(
                corpus,
                find_stores(corpus),
                Experiment(fusion, training=TrainingConfig(precision=precision), seeds=[seed]),
                Execution(device="cpu", jobs=jobs),
                runs=folder / "runs",
            )
            new_runs = []
            for run_dir in run_dirs:
                fold_run = read_fold(run_dir)
                order = np.argsort([rows[utterance_id] for utterance_id in fold_run.predictions.ids])
                letters = "".join(corpus.classes[label][0] for label in fold_run.predictions.predicted[order])
                new_runs.append(Run(fusion, seed, fold_run.number, precision, settings, letters))
            keep(new_runs)


def row_of(runs: Sequence[Run], corpus: Corpus) -> tuple[int, str, float]:
    """Return the number of runs, UA over the folds, and the expected accuracy, in per cent."""
    by_fold: dict[int, list[float]] = {}
    means = []
    for run in runs:
        test = corpus.session == run.fold
        predicted = run.predicted()
        by_fold.setdefault(run.fold, []).append(measure.ua(corpus.true[test], predicted, len(EMOTIONS)))
        means.append(corpus.posterior[test][np.arange(len(predicted)), predicted].mean())
    ua = mean_std([float(np.mean(values)) for values in by_fold.values()])
    std = "" if ua.std is None else f" ± {100 * ua.std:.1f}"
    return len(runs), f"{100 * ua.mean:.1f}{std}", 100 * float(np.mean(means))


def tables_of(runs: Sequence[Run], corpus: Corpus) -> np.ndarray:
    """Return a confusion matrix for each dialog, (G, 4, 4), in which each fold counts once however many its runs."""
    counts = {fold: sum(run.fold == fold for run in runs) for fold in {run.fold for run in runs}}
    total = np.zeros((corpus.dialog.max() + 1, len(EMOTIONS), len(EMOTIONS)))
    for run in runs:
        test = corpus.session == run.fold
        tables = statistics.grouped_confusions(
            corpus.true[test],
            run.predicted(),
            corpus.dialog[test],
            len(EMOTIONS),
            np.full(test.sum(), 1 / counts[run.fold]),
        )
        total[: len(tables)] += tables
    return total


def lines(runs: Sequence[Run], corpus: Corpus) -> Iterator[str]:
    """Yield the table and the headline."""
    by_fusion = {name: [run for run in runs if run.fusion == name] for name in FUSIONS}
    by_fusion = {name: its_runs for name, its_runs in by_fusion.items() if its_runs}
    differences, ratios = {}, {}
    for name, its_runs in by_fusion.items():
        pairs = {(run.seed, run.fold) for run in its_runs} & {
            (run.seed, run.fold) for run in by_fusion.get(REFERENCE, [])
        }
        if name == REFERENCE or not pairs:
            continue
        sides = [
            tables_of([run for run in by_fusion[fusion] if (run.seed, run.fold) in pairs], corpus)
            for fusion in (name, REFERENCE)
        ]
        used = sides[0].any(axis=(1, 2))
        differences[name] = statistics.paired_bootstrap(sides[0][used], sides[1][used])
        ratios[name] = float(measure.ua_of(sides[1].sum(0)) / measure.ua_of(sides[0].sum(0)))
    if not differences:
        yield f"There are no runs of the same seed and fold to compare with {REFERENCE}'s: train them first."
        return
    p_values = statistics.holm([difference.p for difference in differences.values()])
    corrected = dict(zip(differences, p_values, strict=True))
    ideal = corpus.posterior.max(-1).mean()
    bayes = f"{100 * ceilings(HARDER.cues)['stv']:.1f}"
    yield f"Bayes accuracy: {bayes} over all such corpora, {100 * ideal:.2f} on the utterances of this one"
    yield f"| fusion | runs | UA, mean ± std | from {REFERENCE}, pooled | 95 % interval | p | expected accuracy |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    rows = {name: row_of(its_runs, corpus) for name, its_runs in by_fusion.items()}
    for name in sorted(rows, key=lambda name: -rows[name][2]):
        count, ua, mean = rows[name]
        away = "| | | "
        if name in differences:
            difference = differences[name]
            low, high = 100 * difference.interval.low, 100 * difference.interval.high
            p = "<0.001" if corrected[name] < 0.001 else f"{corrected[name]:.3f}"
            away = f"| {100 * difference.value:+.1f} | {low:+.1f} … {high:+.1f} | {p} "
        yield f"| {name} | {count} | {ua} {away}| {mean:.2f} |"
    yield f"ratio {min(ratios.values()):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="where features and runs are kept")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each fold")
    parser.add_argument("--fusions", default=",".join(FUSIONS), help="names, with commas")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--jobs", type=int, help="runs trained side by side")
    arguments = parser.parse_args()
    if arguments.train is not None:
        train(arguments.train, arguments.fusions.split(","), arguments.seeds, arguments.precision, arguments.jobs)
    runs = [run for run in kept_runs() if run.fusion in FUSIONS and run.settings == settings_of(run.fusion)]
    for line in lines(runs, Corpus()):
        print(line)


if __name__ == "__main__":
    main()
