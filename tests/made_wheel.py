"""Builds wheels of source folders, and environments that hold them beside our dependencies, without a network."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build_ours(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "checkout", symlinks=True, ignore=left_out)
    return build(folder / "checkout", folder)


def build(source: Path, folder: Path) -> Path:
    """Build the wheel of a source folder into a folder that has none yet."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PIP_NO_INPUT": "1"})
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(folder: Path, *wheels: Path) -> tuple[Path, Path]:
    """Make an environment with wheels and our dependencies; return its Python and where its packages are."""
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages") if os.name != "nt" else folder.glob("Lib/site-packages")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return folder / "bin" / "python", packages
