"""The recipes of containers: what they copy is there and suffices, and they install what pyproject.toml says."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECIPES = sorted((ROOT / "container").glob("Dockerfile*"))


def steps(recipe):
    """Name and arguments of each instruction."""
    text = recipe.read_text(encoding="utf-8").replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def arguments(recipe, name):
    return [arguments for instruction, arguments in steps(recipe) if instruction == name]


def copied(recipe):
    """Paths that a recipe copies from the checkout, each with the folder or file that it becomes."""
    for line in arguments(recipe, "COPY"):
        *sources, target = line.split()
        yield from ((source, target if target != "./" else source) for source in sources)


def test_there_is_one_for_cpus_and_one_for_gpus_that_differ_in_little():
    assert [recipe.name for recipe in RECIPES] == ["Dockerfile", "Dockerfile.cuda"]
    cpu, gpu = map(steps, RECIPES)
    assert [step for step in gpu if not step[1].startswith("NVIDIA_")] == cpu


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_it_installs_what_the_project_says(recipe):
    (base,) = arguments(recipe, "FROM")
    assert re.fullmatch(r"python:3\.\d+-slim", base)
    assert base >= f"python:{PROJECT['requires-python'].removeprefix('>=')}"
    torch, mer, _ = arguments(recipe, "RUN")
    assert re.search('"([^"]*)"$', torch)[1] in PROJECT["dependencies"]
    assert mer == 'pip install --no-cache-dir ".[$EXTRAS]"'
    (extras,) = (line for line in arguments(recipe, "ARG") if line.startswith("EXTRAS="))
    assert set(extras.removeprefix("EXTRAS=").strip('"').split(",")) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_it_ends_as_a_user_who_is_not_root_with_folders_that_outlive_it(recipe):
    assert arguments(recipe, "USER") == ["mer"]
    assert "useradd --uid 1000" in arguments(recipe, "RUN")[-1]
    assert steps(recipe)[-3:] == [("WORKDIR", "/work"), ("ENTRYPOINT", '["mer"]'), ("CMD", '["--help"]')]
    assert arguments(recipe, "VOLUME") == ['["/cache", "/work"]']
    variables = dict(pair.split("=") for line in arguments(recipe, "ENV") for pair in line.split())
    assert {variables["HF_HOME"], variables["MER_CACHE"]} == {"/cache/huggingface", "/cache/gia-mic"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_it_names_no_host_and_no_secret(recipe):
    text = recipe.read_text(encoding="utf-8")
    assert not re.findall(r"\w+://|\b[\w-]+\.(?:com|io|org|net|dev|ai|co)\b|@sha256", text)
    assert not re.findall(r"(?i)token|secret|password|api_?key|credential|netrc|\.ssh|^ADD\b", text, re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_all_that_is_copied_is_there_and_sent_to_the_builder(recipe):
    exceptions = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [source for source, _ in copied(recipe)]
    assert sorted(sources) == sorted(exceptions)
    for source in sources:
        assert (ROOT / source).exists(), source


def test_what_is_copied_suffices_to_build_the_whole_package(tmp_path):
    for source, target in copied(RECIPES[0]):
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, tmp_path / "source" / target, symlinks=True, ignore=ignored)
        else:
            (tmp_path / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / "source" / target)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, tmp_path / "source"]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        f"gia_mic/{path.relative_to(ROOT / 'gia_mic').as_posix()}"
        for room in ("", "commands", "extract", "fuse", "report", "runtime", "serve")
        for path in (ROOT / "gia_mic" / room).glob("**/*.py" if room else "*.py")
    }
    assert names >= expected
    assert len(expected) > 90
