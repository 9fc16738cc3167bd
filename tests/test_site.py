"""The site of the documentation is built without a warning, and loads nothing from elsewhere."""

import os
import subprocess
import sys

import pytest
from made_pages import ROOT

import gia_mic
from gia_mic.cli import main


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    return folder


def test_every_page_is_in_the_site(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 20
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in pages:
        assert (site / page).is_file()
        assert f'href="{page.as_posix()}"' in home, f"the navigation lacks {page}"


def test_the_reference_has_every_public_function_and_command(site):
    functions = (site / "api.html").read_text(encoding="utf-8")
    assert not [name for name in gia_mic.__all__ if f'id="gia_mic.{name}"' not in functions and name != "__version__"]
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert len(main.commands) > 15
    assert not [name for name in main.commands if f'id="mer-{name}"' not in commands]


def test_examples_and_pages_from_elsewhere_are_linked_inside(site):
    page = (site / "own-fusion.html").read_text(encoding="utf-8")
    assert 'href="examples/my_fusion.py"' in page
    assert (site / "examples" / "my_fusion.py").is_file()
    assert 'href="benchmarks.html"' in (site / "tuning-log.html").read_text(encoding="utf-8")
