"""Turns what a script prints into its section of a page, so that the page can't say anything else.

A section stands between two marks that name its script. `--markdown`, which `measured` adds to a script, puts it into
`bench/README.md`: in the place of the one before, or at the end of the part whose heading names the script.
"""

import io
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from gia_mic.extract.files import write_text

OPTION = "--markdown"
PAGE = Path(__file__).with_name("README.md")
MOST_LINES = 12
"""Last lines of what a script prints that its section shows."""


class _Copy(io.StringIO):
    """Remembers what is printed, and prints it."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)
        return super().write(text)

    def flush(self) -> None:
        sys.__stdout__.flush()


def measured(main: Callable[[], object], page: Path = PAGE) -> None:
    """Run a script, and with --markdown put what it printed into its section.

    Args:
        main: The script; it reads the other options.
        page: Markdown file of the sections.
    """
    script, *words = Path(sys.argv[0]).name, *sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(f"{OPTION}: also put what is printed into {page.name}, as the section of {script}\n")
    if OPTION not in words:
        main()
        return
    sys.argv[1:] = [word for word in words if word != OPTION]
    start, printed = time.perf_counter(), _Copy()
    with redirect_stdout(printed):
        main()
    minutes = (time.perf_counter() - start) / 60
    write_section(page, script, section(script, sys.argv[1:], printed.getvalue(), minutes))


def section(script: str, words: list[str], printed: str, minutes: float) -> str:
    """Return a section: the command, where and how long it ran, and the end of what it printed.

    Args:
        script: Name of the script.
        words: Its arguments, of whose absolute paths the last part is shown.
        printed: What it printed.
        minutes: How long it took.
    """
    command = shlex.join(["python", f"bench/{script}", *(_without_folders(word) for word in words)])
    duration = f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds"
    lines = [f"    {line}".rstrip() for line in printed.strip().splitlines()[-MOST_LINES:]]
    return "\n".join([f"`{command}`, {duration} on {hardware()}:", "", *lines])


def write_section(page: Path, script: str, text: str) -> None:
    """Put a text between a script's marks, which are made where there are none."""
    begin, end = marks(script)
    content = page.read_text(encoding="utf-8")
    if begin not in content:
        content = _with_marks(content, script)
    before, _, rest = content.partition(begin)
    _, closed, after = rest.partition(end)
    if not closed:
        raise SystemExit(f"{page} has {begin} without {end}: write it where the section ends.")
    write_text(page, f"{before}{begin}\n\n{text}\n\n{end}{after}")


def marks(script: str) -> tuple[str, str]:
    """Return the marks between which a script's section stands."""
    return f"<!-- made by bench/{script} -->", f"<!-- end of what bench/{script} made -->"


def hardware() -> str:
    """Return how many processors there are for this process, and of which kind."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    kind = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        kind = names[0].partition(": ")[2] if names else kind
    return f"{cores} core{'s' if cores > 1 else ''} ({kind})"


def _with_marks(content: str, script: str) -> str:
    """Return a page with marks at the end of the part whose heading names the script, or at its own end."""
    lines = content.rstrip("\n").split("\n")
    headings = [number for number, line in enumerate(lines) if line.startswith("## ")]
    own = next((number for number in headings if f"`{script}`" in lines[number]), None)
    if own is None:
        lines += ["", f"## `{script}`"]
        own = len(lines) - 1
    following = next((number for number in headings if number > own), len(lines))
    part = "\n".join(lines[:following]).rstrip("\n")
    rest = "".join(f"\n{line}" for line in lines[following:])
    return "\n\n".join([part, "\n".join(marks(script))]) + "\n" + rest + ("\n" if rest else "")


def _without_folders(word: str) -> str:
    return Path(word).name if Path(word).is_absolute() else word
