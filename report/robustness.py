"""Turns what trained models score with hidden modalities, noise and lost frames into tables.

`mer fuse-train --evaluate-subsets` tests the models so; nothing is trained anew for it.
"""

from collections.abc import Sequence

from gia_mic.extract.corpus import MODALITIES
from gia_mic.fuse.runs.robustness import Condition, Robustness, subsets
from gia_mic.fuse.runs.runs import Run
from gia_mic.report.group import Group
from gia_mic.report.summary import MeanStd, Summary, mean_std
from gia_mic.report.table import Column, Table
from gia_mic.report.wording import score_text, unit

__all__ = ["damage", "fold_robustness", "hidden_modalities", "run_robustness"]


def fold_robustness(run: Run) -> dict[int, dict[Condition, dict[str, float]]]:
    """Return the scores of each fold under each condition, the mean over its seeds; only of folds tested so.

    Conditions that one of the trainings wasn't tested under are left out. A score that no seed has is NaN.

    Raises:
        RunError: A `robustness.json` is broken.
    """
    by_fold: dict[int, list[Robustness]] = {}
    for fold in run.folds:
        if fold.robustness is not None:
            by_fold.setdefault(fold.number, []).append(fold.robustness)
    trainings = [training for several in by_fold.values() for training in several]
    shared = [condition for condition in next(iter(trainings), ()) if all(condition in other for other in trainings)]
    return {
        number: {
            condition: {
                score: mean_std([training[condition][score] for training in several]).mean
                for score in run.measure.headline
            }
            for condition in shared
        }
        for number, several in by_fold.items()
    }


def run_robustness(run: Run) -> dict[Condition, dict[str, MeanStd]]:
    """Return the main metrics, mean and std over folds, under each condition; empty where none was tested."""
    folds = list(fold_robustness(run).values())
    return {
        condition: {score: mean_std([fold[condition][score] for fold in folds]) for score in run.measure.headline}
        for condition in (folds[0] if folds else ())
    }


def hidden_modalities(group: Group) -> Table | None:
    """Return the primary metric of each model with only a subset of its modalities; None where no model was tested so.

    A model of one modality has none to hide.
    """
    able = [(name, row) for name, row in zip(group.names, group.rows, strict=True) if len(row.run.modalities) > 1]
    tested = {level for _, row in able for kind, level in run_robustness(row.run) if kind == "subset"}
    columns = [
        Column(" ".join(letters), number=True) for letters in subsets(list(MODALITIES.values())) if letters in tested
    ]
    conditions = [Condition("subset", column.title.replace(" ", "")) for column in columns]
    letters = ", ".join(f"{letter} {name}" for letter, name in MODALITIES.items())
    notes = [f"The other modalities are hidden from a model trained on all of its own. {letters}."]
    return _table(group, "modalities hidden after training", able, columns, conditions, notes)


def damage(group: Group) -> Table | None:
    """Return the primary metric of each model with noise and with frames lost; None where no model was tested so."""
    every = list(zip(group.names, group.rows, strict=True))
    tested = sorted(
        {condition for row in group.rows for condition in run_robustness(row.run) if condition.kind != "subset"},
        key=lambda condition: (condition.kind != "noise", condition.level),
    )
    columns = [
        Column(f"{condition.level:g}", "noise, in deviations", number=True)
        if condition.kind == "noise"
        else Column(f"{100 * float(condition.level):g} %", "frames lost", number=True)
        for condition in tested
    ]
    notes = [
        "noise: Gaussian, on every frame, in standard deviations of each feature over the training part. frames lost: "
        "at random, of every modality, which keeps at least one."
    ]
    return _table(group, "noise and with frames lost", every, columns, tested, notes)


def _table(
    group: Group,
    damage: str,
    named: Sequence[tuple[str, Summary]],
    columns: Sequence[Column],
    conditions: Sequence[Condition],
    notes: Sequence[str],
) -> Table | None:
    """Return a row a tested model, named, with its primary metric under each condition; None where there is none."""
    measure, primary = group.measure, group.measure.primary
    rows, incomplete = [], []
    for name, row in named:
        scores = run_robustness(row.run)
        if any(condition in scores for condition in conditions):
            means = [scores[condition][primary].mean if condition in scores else None for condition in conditions]
            rows.append([name, *(score_text(measure, primary, mean) for mean in means)])
            tested = len(fold_robustness(row.run))
            if tested < len(row.folds):
                incomplete.append(f"{name}: tested so in {tested} of its {len(row.folds)} folds.")
    title = f"{primary} with {damage}, mean over folds{unit(measure, [primary])}"
    return Table(title, [Column("model"), *columns], rows, [*notes, *incomplete]) if rows else None
