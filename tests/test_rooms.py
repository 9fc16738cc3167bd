"""The rules between the rooms, read off the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("extract", "fuse", "report", "runtime", "serve")
API = sorted(path for path in (ROOT / "gia_mic").glob("*.py") if not path.is_symlink())
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")) + API
RUN_FILES = {
    "config.json",
    "metrics.json",
    "model.safetensors",
    "history.csv",
    "predictions.parquet",
    "robustness.json",
}


def imports(path):
    """Absolute names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            in_runtime = relative_path(path).startswith("runtime/")
            assert node.level <= in_runtime, f"{path} imports relatively"
            # a package by two names knows itself by none of them
            assert not (in_runtime and node.level == 0 and node.module.startswith("gia_mic")), path
            module = ".".join(filter(None, ("gia_mic.runtime" if node.level else "", node.module)))
            names.add(module)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def relative_path(path):
    return path.relative_to(ROOT).as_posix()


def importers(*modules):
    """Files that import a module or something in it."""
    return {
        relative_path(path)
        for path in SOURCES
        for name in imports(path)
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    }


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 25


def test_extract_knows_nothing_of_what_comes_after_it():
    assert not {path for path in importers("gia_mic.fuse", "gia_mic.report") if path.startswith("extract/")}


def test_fuse_knows_nothing_of_report():
    assert not {path for path in importers("gia_mic.report") if path.startswith("fuse/")}


def test_the_runtime_knows_nothing_beside_itself():
    for path in SOURCES:
        if relative_path(path).startswith("runtime/"):
            beside = {name for name in imports(path) if not f"{name}.".startswith("gia_mic.runtime.")}
            assert not {name for name in beside if name.startswith("gia_mic")}, path


def test_nothing_imports_the_command_line():
    assert not importers("gia_mic.cli", "gia_mic.commands")


def test_only_the_commands_and_what_applies_a_run_see_all_rooms():
    api = (
        "gia_mic.explain",
        "gia_mic.export",
        "gia_mic.inputs",
        "gia_mic.model",
        "gia_mic.predictor",
        "gia_mic.rebuild",
    )
    assert {path.split("/")[0] for path in importers(*api)} == {"gia_mic", "serve"}


def test_only_the_page_knows_gradio_and_nothing_but_the_commands_knows_the_page():
    assert importers("gradio", "starlette") == {"serve/page.py", "serve/server.py"}
    assert {path.split("/")[0] for path in importers("gia_mic.serve")} == {"serve"}


def test_fuse_and_report_see_of_extract_only_its_contracts():
    names = "corpus store inspection errors files device cluster settings plugins progress names targets".split()
    names += ["plugin_settings", "truths"]
    allowed = {"gia_mic.extract", *(f"gia_mic.extract.{name}" for name in names)}
    for path in SOURCES:
        if relative_path(path).startswith(("fuse/", "report/")):
            modules = {".".join(name.split(".")[:3]) for name in imports(path) if name.startswith("gia_mic.extract")}
            assert modules <= allowed, f"{relative_path(path)} imports {modules - allowed}"


def test_only_the_store_knows_hdf5():
    # and csd, which reads the HDF5 files that another toolkit publishes features in
    assert importers("h5py") == {"extract/store.py", "extract/imports/csd.py"}


def test_only_the_encoders_import_transformers():
    assert {path.rpartition("/")[0] for path in importers("transformers")} == {"extract/encoders"}


def test_only_one_room_knows_the_files_of_a_run():
    knowing = {
        relative_path(path)
        for path in SOURCES
        if not relative_path(path).startswith("extract/encoders/")  # where the hub's files have the same names
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in RUN_FILES
    }
    assert knowing == {"fuse/runs/folder.py"}


def test_only_what_spreads_work_imports_ray():
    assert importers("ray") == {"extract/cluster.py", "extract/on_ray.py"}


@pytest.mark.parametrize("module", ["cli", "extract.config", "extract.corpus", "extract.errors", "extract.files"])
def test_what_the_command_line_loads_first_is_light(module):
    heavy = ("torch", "transformers", "datasets", "pandas")
    program = f"import sys, gia_mic.{module}; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
