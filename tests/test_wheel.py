"""What a user gets from the wheel, beside another project's packages of the same general names."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PIP_NO_INPUT": "1"})
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An environment with the wheel, our dependencies, and somebody else's `fuse`."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages") if os.name != "nt" else folder.glob("Lib/site-packages")
    (ours,) = {path for path in sys.path if path.endswith("site-packages")}
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "dependencies.pth").write_text(ours)
    (packages / "fuse.py").write_text("FUSE = 'of another project'")
    return folder / "bin" / "python"


def run(python, program, folder):
    answer = subprocess.run([python, "-c", program], cwd=folder, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_wheel_holds_one_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gia_mic"}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for room in ("extract", "fuse", "report")
        for path in (ROOT / room).rglob("*.py")
    }
    assert {f"gia_mic/app/{path}" for path in {*wanted, "cli.py"}} <= set(names)
    assert not [name for name in names if "test" in name or "bench" in name]


def test_mer_runs_from_any_folder(python, tmp_path):
    program = "import sys; from gia_mic.launcher import main; sys.argv = ['mer', '--help']; main()"
    assert "extract" in run(python, program, tmp_path)


def test_the_rooms_are_ours_beside_another_projects_fuse(python, tmp_path):
    answer = run(python, "import gia_mic, fuse.measure, extract.store; print(fuse.__file__)", tmp_path)
    assert answer.strip().endswith("gia_mic/app/fuse/__init__.py")
    assert run(python, "import fuse; print(fuse.FUSE)", tmp_path).strip() == "of another project"


def test_a_process_that_uses_the_other_fuse_is_told(python, tmp_path):
    answer = subprocess.run([python, "-c", "import fuse, gia_mic"], cwd=tmp_path, capture_output=True, text=True)
    assert "gia_mic needs the module name 'fuse'" in answer.stderr


def test_spawned_workers_find_the_rooms(python, tmp_path):
    program = """
import multiprocessing, gia_mic
from extract.errors import one_line
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(one_line, (range(3),)))
"""
    (tmp_path / "program.py").write_text(program)
    answer = subprocess.run([python, "program.py"], cwd=tmp_path, capture_output=True, text=True)
    assert answer.stdout.strip() == "0, 1, 2", answer.stderr
