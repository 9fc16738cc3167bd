"""What a user gets from the wheel, beside modules of their own with the names of our folders."""

import subprocess
import sys
import zipfile

import pytest
from made_wheel import ROOT, build_ours, environment

ROOMS = ("extract", "fuse", "report", "commands", "runtime", "serve")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the checkout, so that nothing is left in it and others may build at the same time."""
    return build_ours(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An environment with the wheel, our dependencies, and somebody else's `fuse`."""
    python, packages = environment(tmp_path_factory.mktemp("environment"), wheel)
    (packages / "fuse.py").write_text("FUSE = 'of another project'")
    return python


@pytest.fixture
def project(tmp_path):
    """A user's folder whose own modules are called like our folders."""
    (tmp_path / "report.py").write_text("NAME = 'my report'")
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "train.py").write_text("NAME = 'my training'")
    return tmp_path


def run(python, program, folder):
    answer = subprocess.run([python, "-c", program], cwd=folder, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_the_wheel_holds_one_package_with_all_of_the_checkout(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gia_mic"}
    expected = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert len(expected) > 80
    assert {f"gia_mic/{path}" for path in {*expected, "cli.py"}} <= set(names)
    assert {f"gia_mic/report/page.{kind}" for kind in ("html", "css", "js")} <= set(names)
    assert {f"gia_mic/serve/{name}" for name in ("head.html", "page.css", "view.html")} <= set(names)
    assert not [name for name in names if "test" in name or "bench" in name]


def test_mer_runs_from_any_folder(python, project):
    program = "import sys; from gia_mic.cli import main; sys.argv = ['mer', '--help']; main()"
    assert "extract" in run(python, program, project)


def test_no_other_name_is_taken(python, project):
    program = f"import sys, gia_mic; gia_mic.load; print([name for name in {(*ROOMS, 'cli')} if name in sys.modules])"
    assert run(python, program, project) == "[]"


def test_a_users_own_modules_of_the_same_names_are_theirs(python, project):
    program = """
import gia_mic.cli, gia_mic.fuse.measure, gia_mic.report.render
import report, commands.train, fuse
print(report.NAME, commands.train.NAME, fuse.FUSE, sep=", ")
"""
    assert run(python, program, project) == "my report, my training, of another project"


def test_spawned_workers_find_the_package(python, project):
    program = """
import multiprocessing
from gia_mic.extract.errors import one_line
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(one_line, (range(3),)))
"""
    (project / "program.py").write_text(program)
    answer = subprocess.run([python, "program.py"], cwd=project, capture_output=True, text=True)
    assert answer.stdout.strip() == "0, 1, 2", answer.stderr


def test_a_type_checker_sees_what_the_api_gives(python, project):
    (project / "mine.py").write_text(
        'import gia_mic\n\nmodel = gia_mic.load("runs/demo/gia-mic")\n'
        'reveal_type(model)\nreveal_type(model.predict(audio="a.wav", text="no way"))\n'
        'reveal_type(model.explain(text="no way"))\n'
        'reveal_type(gia_mic.prepare("demo"))\nreveal_type(gia_mic.train("demo").report)\n'
    )
    (project / "mypy.ini").write_text("[mypy]\n[mypy-torch.*,transformers.*]\nfollow_imports = skip\n")  # minutes
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), "mine.py"]
    answer = subprocess.run(command, cwd=project, capture_output=True, text=True)
    revealed = [line.partition("Revealed type is ")[2].strip('"') for line in answer.stdout.splitlines()]
    names = [name.rpartition(".")[2] for name in revealed if name]
    assert names == ["Model", "Prediction", "Explanation", "Corpus", "Report"], answer.stdout + answer.stderr
    assert answer.returncode == 0, answer.stdout
