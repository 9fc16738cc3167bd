"""Reads the blocks of code in the pages, and makes a folder in which they can run.

A block is fenced, or indented by four spaces. A comment above it may say what is done with it:

    <!-- test: run -->         the commands of a shell block are run, not only parsed; those of a TOML file are planned
    <!-- test: parse -->       Python code is compiled, not run
    <!-- test: file NAME -->   the block is written to this file, which the blocks below it may read
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from made_media import tone, video
from made_releases import iemocap

ROOT = Path(__file__).parent.parent

GENERATED = {"docs/commands.md", "docs/settings.md"}
"""Pages made from the code; what they show beside are usages, no commands."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [path.relative_to(ROOT).as_posix() for path in PAGES if path.relative_to(ROOT).as_posix() not in GENERATED]

BLOCK = re.compile(
    r"^(?P<margin> *)```(?P<language>\w*)\n(?P<fenced>.*?)^(?P=margin)```$"
    r"|(?<=\n\n)(?P<indented>(?: {4}[^\n]*\n|\n(?= {4}))+)"
    r"|<!--\s*test:\s*(?P<mark>.*?)\s*-->",
    re.DOTALL | re.MULTILINE,
)
COMMAND = re.compile(r"(?:^|[|&;])\s*(?:\w+=\S*\s+)*mer\s", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        line: Line of the page that it begins in, from 1.
        language: What a fence says, such as python; shell where commands of mer are in it, else empty.
        text: The code.
        mark: What is done with it, such as run; empty where the page doesn't say.
    """

    line: int
    language: str
    text: str
    mark: str


def blocks(page: str) -> Iterator[Block]:
    """Give the blocks of a page, in their order."""
    mark = ""
    for match in BLOCK.finditer(page):
        if match["mark"] is not None:
            mark = match["mark"]
            continue
        code = match["indented"] if match["fenced"] is None else match["fenced"]
        margin = 4 if match["fenced"] is None else len(match["margin"])
        text = "\n".join(line[margin:] for line in code.rstrip().split("\n")) + "\n"
        language = match["language"] or ("shell" if COMMAND.search(text) else "")
        yield Block(page.count("\n", 0, match.start()) + 1, language, text, mark)
        mark = ""


def commands(block: Block) -> Iterator[list[str]]:
    """Give what is typed after `mer` in a shell block, each command as its words."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if not COMMAND.search(line):
            continue
        lexer = shlex.shlex(line.replace("$SLURM_ARRAY_TASK_ID", "1"), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, ";"]:
            if token.strip("|&;") and not token.startswith(">"):
                words.append(token)
                continue
            while words and re.match(r"\w+=", words[0]):
                words = words[1:]
            if words[:1] == ["mer"]:
                yield words[1:]
            words = []


def make_folder(demo: Path, folder: Path) -> Path:
    """Make a folder with all that the pages name: the demo corpus and its runs, recordings, tables and a fusion.

    Args:
        demo: Folder with features/ and runs/ of a small demo. It is linked, so that nothing may write into its files.
        folder: Folder to make.
    """
    shutil.copytree(demo, folder, copy_function=os.link)
    for number, name in enumerate(("a", "call", "one", "two", "three", "four"), 1):
        tone(folder / f"{name}.wav", 0.4 + number / 10)
    video(folder / "a.mp4", [80] * 10)
    shutil.copy(ROOT / "examples" / "my_fusion.py", folder)
    (folder / "many.csv").write_text(
        "id,audio,text,video\nfirst,a.wav,no way,a.mp4\nsecond,,so sad,\n", encoding="utf-8"
    )
    rows = ["id,label,speaker,audio,text", "u1,happy,anna,one.wav,so kind", "u2,sad,ben,two.wav,so sad"]
    (folder / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    iemocap(folder / "IEMOCAP_full_release")
    return folder
