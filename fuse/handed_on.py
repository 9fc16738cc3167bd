"""Turns run folders into copies that tell nothing of the machine and the people they come from."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import make_folder, write_json
from gia_mic.fuse import folder as run_folder

__all__ = ["copy"]


def copy(places: Sequence[Path], folder: Path) -> list[Path]:
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
        made = folder / f"fold-{config['fold']}" / f"seed-{config['seed']}"
        make_folder(made)
        told = {key: value for key, value in config["provenance"].items() if key not in ("command", "weights")}
        write_json(made / run_folder.CONFIG, {**config, "provenance": {**told, "command": None}})
        for name in (run_folder.WEIGHTS, run_folder.METRICS):
            shutil.copyfile(place / name, made / name)
        copies.append(made)
    return copies
