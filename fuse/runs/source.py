"""Keeps code that others wrote in the run folder, and loads a fusion of theirs back for those who trust it."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import replacing
from gia_mic.extract.plugins import Source, load_recorded
from gia_mic.extract.store import Store
from gia_mic.fuse.config import fusion_name
from gia_mic.fuse.models import registry
from gia_mic.fuse.models.plugins import FUSION, own_class
from gia_mic.fuse.runs.folder import CONFIG, ENCODERS, HINT, SOURCE

__all__ = [
    "copy_source",
    "encoder_files",
    "encoder_folder",
    "load_entry",
    "named_fusion",
    "record_of",
    "write_source",
]


def record_of(source: Source | None) -> dict[str, Any]:
    """Return the entry of a configuration that says where a fusion comes from; none for one of ours."""
    return {} if source is None else {"fusion": source.record()}


def named_fusion(config: Mapping[str, Any]) -> str:
    """Return how a run's fusion is named on the command line.

    One that a file holds is looked for in the current folder: code is never taken from a run folder unasked.
    """
    name, record = str(config["model"]["name"]), config.get("fusion")
    if not isinstance(record, dict):
        return name
    own = f"{record.get('module')}:{record.get('class_name')}"
    return own if fusion_name(own) == name else name


def write_source(run_dir: Path, source: Source | None, encoders: Mapping[str, tuple[str, bytes]]) -> None:
    """Write the files of code that others wrote into the run folder, in place of those of an earlier run.

    Args:
        run_dir: The run folder.
        source: Where the fusion comes from; None for one of ours.
        encoders: Name and content of an encoder's file by modality, where there is one.
    """
    for name in (SOURCE, ENCODERS):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    files = {encoder_folder(run_dir, modality) / name: code for modality, (name, code) in encoders.items()}
    if source is not None and source.code is not None:
        files[run_dir / SOURCE / source.file] = source.code
    for path, code in files.items():
        with replacing(path) as temporary:
            temporary.write_bytes(code)


def encoder_files(stores: Mapping[str, Store]) -> dict[str, tuple[str, bytes]]:
    """Return name and content of the file of each encoder that others wrote, by modality, as feature files have them.

    Raises:
        RunError: A feature file names it in a way that leads elsewhere, or has other code than it says.
    """
    files = {}
    for modality, store in stores.items():
        record, code = store.spec.get("code"), store.header.code
        if not code:
            continue
        name = record.get("file") if isinstance(record, Mapping) else None
        if not isinstance(name, str) or PurePath(name).name != name:
            raise RunError(f"{store.path} doesn't say which file its encoder's code is in: run `mer extract` again.")
        files[modality] = (name, code)
    return files


def encoder_folder(run_dir: Path, modality: str) -> Path:
    """Return where a run folder keeps the file of a modality's encoder."""
    return run_dir / ENCODERS / modality


def copy_source(run_dir: Path, copy: Path) -> None:
    """Copy the files of code that others wrote from one run folder to another; they aren't run."""
    for name in (SOURCE, ENCODERS):
        if (run_dir / name).is_dir():
            shutil.copytree(run_dir / name, copy / name)


def load_entry(run_dir: Path, config: Mapping[str, Any], *, trust: bool) -> registry.Entry:
    """Return the fusion of a run; the folder may come from a stranger.

    Args:
        run_dir: The run folder.
        config: Its configuration.
        trust: Whether code of others may be run.

    Raises:
        RunError: The fusion's code is of others and isn't trusted, has changed, or can't be loaded.
    """
    name, record = config["model"]["name"], config.get("fusion")
    if record is None and name in registry.FUSIONS:
        return registry.FUSIONS[name]
    if record is None:
        raise RunError(f"There is no fusion {name!r} in this version, which has {', '.join(registry.FUSIONS)}: {HINT}.")
    plugin = load_recorded(FUSION, name, record, run_dir / SOURCE, where=run_dir / CONFIG, trust=trust)
    return registry.own_entry(name, own_class(plugin))
