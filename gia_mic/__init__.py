"""Train, compare and use fusion models for emotion recognition from speech, text and face video."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from gia_mic.api import extract_features, prepare, read_report, train
from gia_mic.vectors import encode

if TYPE_CHECKING:
    from gia_mic.model import Model

__all__ = ["__version__", "encode", "extract_features", "load", "prepare", "read_report", "train"]

try:
    __version__ = metadata.version("gia-mic")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


def load(
    path: str | Path,
    *,
    encoders: Mapping[str, str | Path] | None = None,
    transcribe: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    trust: bool = False,
) -> "Model":
    """Load a trained run to predict with.

        model = gia_mic.load("runs/demo/gia-mic")
        answer = model.predict(audio="a.wav", text="no way", video="a.mp4")     # any of the run's modalities
        answer.label, answer.probabilities      # of a run trained on one class
        answer.labels, answer.scores            # on several labels, on scores such as valence

    Args:
        path: A run, whose folds and seeds are averaged; one `fold-<k>/seed-<n>` folder of it; a folder that
            `mer export` made; or `hf://owner/name`, one on the hub, with `@revision` where it isn't main's.
        encoders: Folders of encoders by modality, for weights that have moved.
        transcribe: Recogniser that hears the text where none is given: hub id, local folder, or "recorded", the one
            that heard the texts the run was trained on.
        device: cpu, cuda or cuda:N; by default cuda where there is one.
        precision: What the encoders compute in, such as int8; by default as the run was trained on.
        trust: Run the code of a fusion or an encoder that isn't one of the package's; read it before.

    Raises:
        MerError: There is no finished run, or it is of another version; one sentence says which.
    """
    from gia_mic.model import load_model

    return load_model(
        str(path), encoders=encoders, transcribe=transcribe, device=device, precision=precision, trust=trust
    )
