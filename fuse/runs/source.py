"""Keeps the code of a fusion that others wrote in the run folder, and loads it back for those who trust it."""

import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path, PurePath
from typing import Any, NoReturn

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import replacing
from gia_mic.fuse.config import fusion_name
from gia_mic.fuse.models import registry
from gia_mic.fuse.models.plugins import Source, load_copy, load_installed
from gia_mic.fuse.runs.folder import CONFIG, HINT, SOURCE

__all__ = ["copy_source", "load_entry", "named_fusion", "record_of", "write_source"]


def record_of(source: Source | None) -> dict[str, Any]:
    """Return the entry of a configuration that says where a fusion comes from; none for one of ours."""
    if source is None:
        return {}
    return {"fusion": {each.name: getattr(source, each.name) for each in fields(source) if each.name != "code"}}


def named_fusion(config: Mapping[str, Any]) -> str:
    """Return how a run's fusion is named on the command line.

    One that a file holds is looked for in the current folder: code is never taken from a run folder unasked.
    """
    name, record = str(config["model"]["name"]), config.get("fusion")
    if not isinstance(record, dict):
        return name
    own = f"{record.get('module')}:{record.get('class_name')}"
    return own if fusion_name(own) == name else name


def write_source(run_dir: Path, source: Source | None) -> None:
    """Write the file that a fusion is in into the run folder, in place of that of an earlier one."""
    shutil.rmtree(run_dir / SOURCE, ignore_errors=True)
    if source is not None and source.code is not None:
        with replacing(run_dir / SOURCE / source.file) as temporary:
            temporary.write_bytes(source.code)


def copy_source(run_dir: Path, copy: Path) -> None:
    """Copy the file that a fusion is in from one run folder to another; it isn't run."""
    if (run_dir / SOURCE).is_dir():
        shutil.copytree(run_dir / SOURCE, copy / SOURCE)


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
    if not isinstance(record, dict):
        _refuse(run_dir)
    texts = [record.get(key) for key in ("class_name", "module", "digest", "file")]
    if not all(isinstance(text, str) for text in texts) or PurePath(str(texts[3])).name != texts[3]:
        _refuse(run_dir)
    class_name, module, digest, file = map(str, texts)
    package = record.get("distribution")
    where = f"the package {package}" if package else str(run_dir / SOURCE / file)
    if not trust:
        raise RunError(
            f"The fusion {name} is code of its author, {class_name} in {where}, and could do whatever you can: read "
            "it, and say --trust (in Python, trust=True) to run it."
        )
    if not package:
        return registry.own_entry(name, load_copy(run_dir / SOURCE / file, class_name, digest))
    own = load_installed(module, class_name)
    if own.source.digest != digest:
        raise RunError(
            f"{run_dir} was trained with {package}, and {own.source.distribution} that is installed has other code: "
            "install that version, or train the fold again."
        )
    return registry.own_entry(name, own)


def _refuse(run_dir: Path) -> NoReturn:
    raise RunError(f"{run_dir / CONFIG} doesn't say where its fusion comes from: {HINT}.")
