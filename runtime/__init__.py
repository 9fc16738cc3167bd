"""Predict with an exported run without torch: NumPy, soundfile, soxr, tokenizers and ONNX Runtime are enough.

This folder is one package with two names: `gia_mic.runtime` of the distribution gia-mic, and `gia_mic_runtime` of the
small one that holds nothing else. So it imports itself relatively, and nothing of what lies beside it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import PredictionError

if TYPE_CHECKING:
    from .model import Model

__all__ = ["PredictionError", "load"]


def load(folder: str | Path, *, threads: int | None = None, session_options: Any = None) -> "Model":
    """Load a folder that `mer export RUN FOLDER --onnx` wrote.

        model = gia_mic_runtime.load("feelings")
        answer = model.predict(audio="a.wav", text="no way")     # any of the run's modalities
        answer.label, answer.probabilities

    Args:
        folder: The folder.
        threads: Cores that a model may compute on; None takes all.
        session_options: An `onnxruntime.SessionOptions` to go by instead.

    Raises:
        PredictionError: It is no such folder, or ONNX Runtime isn't installed.
    """
    from .model import Model

    return Model(Path(folder), threads=threads, session_options=session_options)
