"""The Python face of `mer`: importing it makes the rooms `extract`, `fuse`, `report` and `cli` importable.

In a checkout the rooms are top-level packages beside this one; in the wheel they lie in `gia_mic/app`. Either folder is
put first on `sys.path`, so the same absolute imports work in both, and in spawned workers, which inherit it.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gia_mic.model import Model

__all__ = ["__version__", "load"]

_here = Path(__file__).resolve().parent
_rooms = _here / "app" if (_here / "app").is_dir() else _here.parent
if sys.path[:1] != [str(_rooms)]:
    sys.path.insert(0, str(_rooms))

for _name in ("extract", "fuse", "report", "cli"):
    _other = sys.modules.get(_name)
    if _other is not None and not Path(getattr(_other, "__file__", None) or "/").resolve().is_relative_to(_rooms):
        raise ImportError(
            f"gia_mic needs the module name {_name!r}, which {getattr(_other, '__file__', _other)!r} has taken in this "
            "process: import gia_mic first, or use it in a process of its own."
        )

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
    say: Callable[[str], None] = lambda line: None,
) -> "Model":
    """Load a trained run to predict with.

        model = gia_mic.load("runs/demo/gia-mic")
        answer = model.predict(audio="a.wav", text="no way", video="a.mp4")     # any of the run's modalities
        answer.label, answer.probabilities

    Args:
        path: A run, whose folds and seeds are averaged; one `fold-<k>/seed-<n>` folder of it; a folder that
            `mer export` made; or `hf://owner/name`, one on the hub.
        encoders: Folders of encoders by modality, for weights that have moved.
        transcribe: Recogniser that hears the text where none is given: hub id, local folder, or "recorded", the one
            that heard the texts the run was trained on.
        device: cpu, cuda or cuda:N; by default cuda where there is one.
        say: Takes lines about what is used.

    Raises:
        MerError: There is no finished run, or it is of another version; one sentence says which.
    """
    from gia_mic.model import load_model

    return load_model(str(path), encoders=encoders, transcribe=transcribe, device=device, say=say)
