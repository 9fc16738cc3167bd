"""What the pages show works: every command parses, those that are marked run, and code runs."""

import doctest
import tomllib
from pathlib import Path

import click
import pytest
from made_pages import PAGES, ROOT, blocks, commands, make_folder

from gia_mic.cli import main
from gia_mic.commands.options import FolderOrAddress
from gia_mic.commands.reference_page import reference_page
from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of

TRAINING = {"epochs": 1, "batch_size": 16, "device": "cpu", "jobs": 1}
SMALL = {
    "prepare": {"demo": {"utterances": 40}},
    "extract": {"encoder": "tiny", "device": "cpu"},
    "fuse-train": TRAINING,
    "tune": TRAINING,
    "ablate": TRAINING,
    "predict": {"device": "cpu"},
    "listen": {"device": "cpu"},
}
"""Defaults of options while pages are tried: little data, short training, no GPU."""

ELSEWHERE = {"docs/python.md", "docs/predict.md"}
"""Pages whose sessions of Python other tests run, in folders of their own."""


def parse(words):
    """Parse a command as click does, without running it."""
    command, context = main, None
    while isinstance(command, click.Group) and words and words[0] not in ("--help", "--version"):
        context = click.Context(command, context, info_name=command.name, **main.context_settings)
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    if not isinstance(command, click.Group):
        command.make_context(command.name, words, context)


@pytest.fixture(scope="module")
def folder(targets, tmp_path_factory):
    """A folder with all that pages name, to parse in."""
    return make_folder(targets[0].folder.parents[1], tmp_path_factory.mktemp("pages") / "pages")


def test_there_are_pages():
    assert len(PAGES) > 20
    everything = [block for page in PAGES for block in blocks((ROOT / page).read_text(encoding="utf-8"))]
    assert len([words for block in everything for words in commands(block)]) > 100
    assert len([block for block in everything if block.mark == "run"]) > 20
    assert {block.mark.split()[0] for block in everything if block.mark} == {"run", "parse", "file"}


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist_and_files_can_be_read(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for kind in (click.Path, FolderOrAddress):  # files needn't be there, nor what an address names
        monkeypatch.setattr(kind, "convert", lambda self, value, *_: self.coerce_path_result(value))
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        where = f"{name}, line {block.line}"
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "python" and ">>>" not in block.text:
            compile(block.text, where, "exec")
        for words in commands(block):
            try:
                parse(words)
            except (click.ClickException, AssertionError) as error:
                pytest.fail(f"{where}: mer {' '.join(words)}: {error}")


def runs(name):
    """Blocks of a page that are tried: marked commands, and Python that isn't marked otherwise."""
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        python = block.language == "python" and block.mark != "parse"
        if block.mark.startswith(("run", "file ")) or (python and not (">>>" in block.text and name in ELSEWHERE)):
            yield block


@pytest.mark.parametrize("name", [name for name in PAGES if any(runs(name))])
def test_what_a_page_shows_runs_in_its_order(name, targets, tmp_path, monkeypatch, mer):
    monkeypatch.chdir(make_folder(targets[0].folder.parents[1], tmp_path / "page"))
    names = {"path": str(next(Path.cwd().glob("features/demo/speech/*.h5")))}
    for block in runs(name):
        where = f"{name}, line {block.line}"
        if block.mark.startswith("file "):
            Path(block.mark.removeprefix("file ")).write_text(block.text, encoding="utf-8")
        elif block.language == "toml":
            Path("page.toml").write_text(block.text, encoding="utf-8")
            answer = mer("run", "page.toml", "--dry-run")
            assert answer.exit_code == 0, f"{where}: {answer.output}"
        elif block.language != "python":
            for words in commands(block):
                answer = mer(*words, default_map=SMALL)
                assert answer.exit_code == 0, f"{where}: mer {' '.join(words)}: {answer.output}"
        elif ">>>" in block.text:
            test = doctest.DocTestParser().get_doctest(block.text, names, where, name, block.line)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0, where
            names |= test.globs
        else:
            exec(compile(block.text, where, "exec"), names)


def test_the_page_of_all_commands_is_what_they_say():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == reference_page(), "make it anew, as its head says"
    assert "<=None" not in page


def test_the_page_of_metrics_has_each_of_them():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    targets = [
        Target("label", ("a", "b")),
        Target("votes", ("a", "b")),
        Target("labels", ("happy", "b")),
        *(Target("scores", ("s",), ((low, -low),)) for low in (-1, -3)),
    ]
    names = {name for target in targets for name in measure_of(target).table if not name.endswith("_b")}
    assert len(names) > 25
    assert not [name for name in names if f"`{name}`" not in page]
