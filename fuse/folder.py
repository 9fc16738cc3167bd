"""Turns a trained fold into the files of its run folder, and back."""

import csv
import io
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import safetensors.torch
import torch
from torch import nn

from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.errors import RunError
from gia_mic.extract.files import replacing, write_json, write_text
from gia_mic.extract.store import Store
from gia_mic.fuse import fusions
from gia_mic.fuse.config import OF_ONE_FOLD
from gia_mic.fuse.data import layer_count

__all__ = [
    "CONFIG",
    "FORMAT",
    "METRICS",
    "begin",
    "load",
    "need_tensorboard",
    "provenance",
    "read_config",
    "shared",
    "state",
]

FORMAT = 1
CONFIG, METRICS, WEIGHTS = "config.json", "metrics.json", "model.safetensors"
HISTORY, PREDICTIONS = "history.csv", "predictions.parquet"
COLUMNS = ("dialog", "speaker", "session", "scenario", "text")
"""Columns of the manifest that stand beside each prediction."""


def state(place: Path, config: Mapping[str, Any]) -> str:
    """Return what a run folder is, beside a configuration: new, unfinished, finished, or changed since it finished."""
    if not (place / METRICS).exists():
        return "unfinished" if (place / CONFIG).exists() else "new"
    try:
        before = read_config(place)
    except RunError:
        return "changed"
    before.pop("provenance", None)
    return "finished" if before == json.loads(json.dumps(config)) else "changed"


def begin(place: Path, config: Mapping[str, Any]) -> None:
    """Make a run folder, or make an old one unfinished, and write its configuration."""
    (place / METRICS).unlink(missing_ok=True)
    write_json(place / CONFIG, config)


def shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration that all folds and seeds of a run have in common."""
    return {key: value for key, value in config.items() if key not in OF_ONE_FOLD}


def read_config(place: Path) -> dict[str, Any]:
    """Return a run folder's configuration.

    Raises:
        RunError: It is missing, no JSON, or of another format.
    """
    path = place / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{place} is no run folder ({CONFIG} is missing): give a fold-<k>/seed-<n> folder.") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read ({error}): train the fold again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise RunError(f"{path} is not of format {FORMAT}, the only one this version reads: train the fold again.")
    return config


def load(place: Path, device: str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained fusion of a run folder, in evaluation mode, and its configuration.

    Raises:
        RunError: The folder is no finished run, or its weights don't fit its configuration.
    """
    config = read_config(place)
    if not (place / METRICS).exists():
        raise RunError(f"{place} is not finished ({METRICS} is missing): run `mer fuse-train` again.")
    dims = {name: config["features"][name]["dim"] for name in config["modalities"]}
    weighed = config["training"].get("layer_weights", False)
    layers = {name: layer_count(config["features"][name].get("spec", {})) if weighed else 1 for name in dims}
    model = fusions.build(config["model"]["name"], dims, len(config["corpus"]["classes"]), config["model"], layers)
    try:
        model.load_state_dict(safetensors.torch.load_file(place / WEIGHTS))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise RunError(f"{place / WEIGHTS} doesn't fit its configuration ({error}): train the fold again.") from error
    return model.to(device).eval(), config


def about_corpus(corpus: Corpus, modalities: Sequence[str]) -> dict[str, Any]:
    """Return what a configuration says about its corpus."""
    letters = "".join(letter for letter, name in MODALITIES.items() if name in modalities)
    return {
        "name": corpus.name,
        "digest": corpus.digest,
        "utterances": len(corpus),
        "classes": list(corpus.classes),
        "ceiling": (corpus.about.get("ceiling") or {}).get(letters),
        **({"recognisers": corpus.about["recognisers"]} if corpus.about.get("recognisers") else {}),
    }


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
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device,
        "weights": {name: store.header.location for name, store in stores.items() if store.header.location},
    }


def write_history(place: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one line an epoch."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    write_text(place / HISTORY, text.getvalue())


def need_tensorboard() -> None:
    """Check that TensorBoard's writer is there.

    Raises:
        RunError: It isn't.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise RunError(
            "TensorBoard isn't installed: run `pip install 'gia-mic[tensorboard]'`, or go without --tensorboard."
        ) from None


def write_events(place: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the history for TensorBoard; `tensorboard --logdir runs` shows all runs side by side."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(place)) as writer:
        for row in history:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, row["epoch"])


def write_weights(place: Path, model: nn.Module) -> None:
    """Write the model's weights and the statistics of its scalers."""
    with replacing(place / WEIGHTS) as temporary:
        safetensors.torch.save_file(
            {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, temporary
        )


def write_predictions(place: Path, corpus: Corpus, rows: np.ndarray, probabilities: np.ndarray) -> None:
    """Write the test part's predictions, one row an utterance; `probabilities` (B, C) in the order of `rows`."""
    ids, labels = corpus.ids, corpus.column("label")
    text = pyarrow.string()
    columns = {
        "id": pyarrow.array([ids[row] for row in rows], text),
        "true": pyarrow.array([corpus.classes[labels[row]] for row in rows], text),
        "predicted": pyarrow.array([corpus.classes[best] for best in probabilities.argmax(-1)], text),
        "probabilities": pyarrow.array(list(probabilities.astype(np.float32)), pyarrow.list_(pyarrow.float32())),
    }
    for name in COLUMNS:
        values = corpus.column(name)
        columns[name] = pyarrow.array([values[row] for row in rows], text)
    with replacing(place / PREDICTIONS) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)


def _commit() -> str | None:
    """Return the commit of the checkout that this code runs from, None outside of one."""
    here = Path(__file__).resolve()
    try:
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", here.name],
            cwd=here.parent, check=True, capture_output=True, timeout=5,
        )  # fmt: skip
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here.parent, check=True, capture_output=True, timeout=5, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
