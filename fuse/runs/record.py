"""Says what a run's configuration records beside its settings: corpus, features, and what it was made by."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.device import device_name
from gia_mic.extract.store import Store
from gia_mic.extract.targets import Target
from gia_mic.fuse.data import speech_group

__all__ = ["about_corpus", "about_features", "provenance", "recorded_speech_group"]


def about_corpus(corpus: Corpus, modalities: Sequence[str], target: Target) -> dict[str, Any]:
    """Return what a configuration says about its corpus.

    Its `ceiling` is the best possible accuracy of the modalities where the target is `label`; of a score, the best
    possible value of each metric by name; and None where the corpus doesn't know it.
    """
    letters = "".join(letter for letter, name in MODALITIES.items() if name in modalities)
    return {
        "name": corpus.name,
        "digest": corpus.digest,
        "utterances": len(corpus),
        "classes": list(corpus.classes),
        "ceiling": _ceilings(corpus, target).get(letters),
        **({"recognisers": corpus.about["recognisers"]} if corpus.about.get("recognisers") else {}),
    }


def _ceilings(corpus: Corpus, target: Target) -> Mapping[str, Any]:
    """Return the best possible scores by the letters of the modalities; empty where the corpus doesn't know them."""
    if target.kind == "label":
        return corpus.about.get("ceiling") or {}
    if target.kind == "scores" and len(target.names) == 1:
        return (corpus.about.get("score_ceiling") or {}).get(target.names[0]) or {}
    return {}


def about_features(corpus: Corpus, store: Store) -> dict[str, Any]:
    """Return what a configuration says about a feature file."""
    inside = store.path.resolve().is_relative_to(corpus.folder.resolve())
    file = store.path.resolve().relative_to(corpus.folder.resolve()).as_posix() if inside else str(store.path)
    return {
        "file": file,
        "encoder": store.encoder,
        "fingerprint": store.fingerprint,
        "spec": dict(store.spec),
        "dim": store.dim,
        "frame_rate_hz": store.frame_rate_hz,
    }


def recorded_speech_group(config: Mapping[str, Any]) -> int:
    """Return how many neighbouring frames of speech the run of a configuration averages to one, at least 1."""
    rate_hz = config["features"].get("speech", {}).get("frame_rate_hz")
    return speech_group(rate_hz, config["training"]["speech_rate_hz"])


def provenance(command: str | None, device: str, stores: Mapping[str, Store]) -> dict[str, Any]:
    """Return when, by what and on what a run is made, and the folders that its encoders' weights were in."""
    try:
        version = metadata.version("gia-mic")
    except metadata.PackageNotFoundError:
        version = "not installed"
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": _commit(),
        "versions": {
            "gia-mic": version,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "device": device_name(device),
        "weights": {name: store.header.location for name, store in stores.items() if store.header.location},
    }


def _commit() -> str | None:
    """Return the commit of the checkout that this code runs from, None outside of one."""
    here = Path(__file__).resolve()
    try:
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", here.name],
            cwd=here.parent, check=True, capture_output=True, timeout=5,
        )  # fmt: skip
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here.parent, check=True, capture_output=True, timeout=5, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
