"""A benchmark's section of a page is what the benchmark printed."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
PAGE = "# Benchmarks\n\n## `store.py`\n\n- A caveat.\n\n## `scale.py`\n\n- Another.\n"


@pytest.fixture
def section(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    import section

    return section


def run(section, page, monkeypatch, script, *words):
    """Run a script that prints its arguments and a ratio."""
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{script}", *words])
    section.measured(lambda: print(f"{sys.argv[1:]}\nratio 2.5"), page)
    return page.read_text()


def test_a_section_stands_under_its_scripts_heading_and_is_replaced(section, tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    assert run(section, page, monkeypatch, "store.py") == PAGE
    text = run(section, page, monkeypatch, "store.py", "--markdown", "/home/me/folder", "--small")
    part = text.partition("## `store.py`")[2].partition("## `scale.py`")[0]
    assert part.startswith(
        "\n\n- A caveat.\n\n<!-- made by bench/store.py -->\n\n`python bench/store.py folder --small`, 0 s"
    )
    assert "    ['/home/me/folder', '--small']\n    ratio 2.5\n" in part
    assert "/home" not in part.partition("    [")[0]
    again = run(section, page, monkeypatch, "store.py", "--markdown")
    assert again.count("ratio 2.5") == 1
    assert again.startswith(PAGE.partition("- A caveat.")[0])
    assert again.endswith("## `scale.py`\n\n- Another.\n")
    assert run(section, page, monkeypatch, "new.py", "--markdown").count("## `new.py`\n\n<!-- made by") == 1


def test_a_script_that_fails_leaves_its_section(section, tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    monkeypatch.setattr(sys, "argv", ["store.py", "--markdown"])
    with pytest.raises(ZeroDivisionError):
        section.measured(lambda: 1 / 0, page)
    assert page.read_text() == PAGE


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.py")), ids=lambda path: path.name)
def test_every_script_writes_its_own_section(path):
    text = path.read_text(encoding="utf-8")
    assert '__name__ == "__main__"' not in text or "write_section(" in text or "measured(main)" in text
