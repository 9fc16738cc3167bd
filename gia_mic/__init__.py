"""The Python face of `mer`: importing it makes the rooms `extract`, `fuse`, `report` and `cli` importable.

In a checkout the rooms are top-level packages beside this one; in the wheel they lie in `gia_mic/app`. Either folder is
put first on `sys.path`, so the same absolute imports work in both, and in spawned workers, which inherit it.
"""

import sys
from importlib import metadata
from pathlib import Path

__all__ = ["__version__"]

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
