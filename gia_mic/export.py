"""Turns run folders into copies that tell nothing of the machine and the people they come from."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import make_folder, write_json, write_text
from gia_mic.fuse.runs import folder as run_folder
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.model_card import card

__all__ = ["CARD", "export"]

CARD = "README.md"


def export(places: tuple[Path, ...], folder: Path, *, licence: str = "other", onnx: bool = False) -> Path:
    """Write runs into a folder that can be handed on: configuration, weights, scores, and a model card.

    The folder has the layout of a run, and is loaded like one. What the corpus's people said or where files lay on this
    machine isn't in it. Encoders' weights aren't either: the configuration says which they are.

    Args:
        places: Finished run folders of one configuration.
        folder: Where to write; new, empty, or an earlier export.
        licence: Of the weights, by the hub's identifier.
        onnx: Also write the fusion as `model.onnx`.

    Raises:
        RunError: The folder holds something else, or the scores can't be read.
    """
    _copy(places, folder)
    given = places[0].parents[1] / CARD
    if (
        given.is_file() and not (places[0] / run_folder.PREDICTIONS).exists()
    ):  # exported before: its scores are in there
        shutil.copyfile(given, folder / CARD)
    else:
        chosen = {place.resolve() for place in places}
        for run in read_runs(places[0].parents[1]):
            folds = tuple(fold for fold in run.folds if fold.folder.resolve() in chosen)
            if folds:
                write_text(folder / CARD, card(replace(run, folds=folds), licence=licence))
    if onnx:
        from gia_mic.onnx import write_onnx

        write_onnx(places, folder / "model.onnx")
    if not (folder / CARD).is_file():
        raise RunError(f"There are no scores in {places[0].parents[1]} to describe the model with: train it again.")
    return folder


def _copy(places: Sequence[Path], folder: Path) -> list[Path]:
    """Copy configuration, weights and scores of runs into a folder, and return the copies' places in it.

    Predictions and transcripts stay behind, and so do the command that was typed and the paths of encoders.

    Raises:
        RunError: The folder holds what is no export, or a run isn't finished.
    """
    kept = {"README.md", "model.onnx", ".gitattributes"}
    strange = [
        path.name
        for path in sorted(folder.glob("*"))
        if path.name not in kept and not (path.is_dir() and path.name.startswith("fold-"))
    ]
    if strange or any(folder.glob(f"fold-*/seed-*/{run_folder.PREDICTIONS}")):
        raise RunError(f"{folder} holds {one_line(strange) or 'a run'}, and an export would mix with it: name another.")
    for old in folder.glob("fold-*"):
        shutil.rmtree(old)
    copies = []
    for place in places:
        config = run_folder.read_config(place)
        made = run_folder.run_dir_of(folder, config["fold"], config["seed"])
        make_folder(made)
        told = {key: value for key, value in config["provenance"].items() if key not in ("command", "weights")}
        write_json(made / run_folder.CONFIG, {**config, "provenance": {**told, "command": None}})
        for name in (run_folder.WEIGHTS, run_folder.METRICS):
            shutil.copyfile(place / name, made / name)
        copies.append(made)
    return copies
