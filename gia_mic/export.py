"""Turns run folders into copies that tell nothing of the machine and the people they come from."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import make_folder, write_json, write_text
from gia_mic.fuse.runs import folder as run_folder
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.fuse.runs.source import copy_source
from gia_mic.model_card import FOLDER, at_address, card
from gia_mic.repository import CARD
from gia_mic.runtime.settings import FILES

__all__ = ["EXPORT_FILES", "export", "refuse_others"]

EXPORT_FILES = (CARD, ".gitattributes", "fold-*", *FILES)
"""Patterns of what may lie in an exported folder."""


def export(
    run_dirs: tuple[Path, ...],
    folder: Path,
    *,
    licence: str = "other",
    onnx: bool = False,
    int8: bool = False,
    encoders: Mapping[str, str | Path] | None = None,
    trust: bool = False,
    address: str = FOLDER,
) -> Path:
    """Write runs into a folder that can be handed on: configuration, weights, scores, and a model card.

    The folder has the layout of a run, and is loaded like one. What the corpus's people said or where files lay on this
    machine isn't in it. Encoders' weights aren't either, but with `onnx`: the configuration says which they are.

    Args:
        run_dirs: Finished run folders of one configuration.
        folder: Folder to write into; new, empty, or an earlier export.
        licence: Licence of the weights, by the hub's identifier.
        onnx: Also write what `gia_mic.runtime` predicts with: fusion and encoders as ONNX files, and their settings.
        int8: Have these encoders multiply in 8 bits.
        encoders: Folders of encoders by modality, for weights that have moved.
        trust: Run the code of a fusion that isn't one of the package's, which `onnx` needs.
        address: What the model card calls the folder, where it shows how it is used; such as `hf://owner/name`.

    Raises:
        RunError: The folder holds something else, the scores can't be read, or something can't be exported as ONNX.
    """
    if onnx:
        from gia_mic.onnx import check_packages

        check_packages()  # before anything is written
    _copy(run_dirs, folder)
    card_path = run_dirs[0].parents[1] / CARD
    if card_path.is_file() and not (run_dirs[0] / run_folder.PREDICTIONS).exists():
        # exported before: its scores are in there
        write_text(folder / CARD, at_address(card_path.read_text(encoding="utf-8"), address))
    else:
        selected = {run_dir.resolve() for run_dir in run_dirs}
        whole = run_dirs[0].parent.name == f"fold-{run_folder.WHOLE}"
        config = run_folder.shared(run_folder.read_config(run_dirs[0]))
        for run in read_runs(run_dirs[0].parents[1]):
            folds = tuple(fold for fold in run.folds if fold.folder.resolve() in selected)
            if whole and run_folder.shared(run.config) == config:
                write_text(folder / CARD, card(run, licence=licence, address=address, whole=True))
            elif folds:
                write_text(folder / CARD, card(replace(run, folds=folds), licence=licence, address=address))
    if not (folder / CARD).is_file():
        raise RunError(f"There are no scores in {run_dirs[0].parents[1]} to describe the model with: train it again.")
    if onnx:
        from gia_mic.onnx_encoders import write_runtime

        write_runtime(run_dirs, folder, encoders=encoders, int8=int8, trust=trust)
    return folder


def refuse_others(folder: Path, patterns: Sequence[str]) -> None:
    """Refuse a folder that holds what no export wrote.

    Raises:
        RunError: A name in it matches none of the patterns.
    """
    names = [path.name for path in sorted(folder.glob("*"))]
    if others := [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]:
        raise RunError(f"{folder} holds {one_line(others)}, and an export would mix with it: name another.")


def _copy(run_dirs: Sequence[Path], folder: Path) -> list[Path]:
    """Copy configuration, weights and scores of runs into a folder, and return the copies.

    Predictions and transcripts stay behind, and so do the command that was typed and the paths of encoders.

    Raises:
        RunError: The folder holds what is no export, or a run isn't finished.
    """
    refuse_others(folder, EXPORT_FILES)
    if any(folder.glob(f"fold-*/seed-*/{run_folder.PREDICTIONS}")):
        raise RunError(f"{folder} holds a run, and an export would mix with it: name another.")
    for old in folder.glob("fold-*"):
        shutil.rmtree(old)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    copies = []
    for run_dir in run_dirs:
        config = run_folder.read_config(run_dir, {"fold": int, "seed": int, "provenance": dict})
        copy = run_folder.run_dir_of(folder, config["fold"], config["seed"])
        make_folder(copy)
        provenance = {key: value for key, value in config["provenance"].items() if key not in ("command", "weights")}
        write_json(copy / run_folder.CONFIG, {**config, "provenance": {**provenance, "command": None}})
        for name in (run_folder.WEIGHTS, run_folder.READOUT, run_folder.METRICS):
            if name != run_folder.READOUT or (run_dir / name).exists():  # some targets need none
                shutil.copyfile(run_dir / name, copy / name)
        copy_source(run_dir, copy)
        copies.append(copy)
    return copies
