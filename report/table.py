"""Turns a table of cells into text: for the terminal, Markdown or LaTeX."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from markupsafe import escape
from tabulate import tabulate

__all__ = [
    "GAP",
    "WIDTH",
    "Column",
    "Table",
    "clean",
    "escaped_markdown",
    "html",
    "latex",
    "markdown",
    "terminal",
    "wrapped",
]

WIDTH = 100
"""Columns of a terminal that a table keeps to."""

NOTHING = "—"
"""A cell without a value."""
GAP = "  "
"""Between columns, and before each line."""

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "★": r"$\star$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Heading of the column.
        group: A heading over this column and its neighbours of the same group.
        number: Whether its cells are numbers, and stand to the right.
        foldable: Whether it may become a note where the table is too wide and all its cells are the same.
    """

    title: str
    group: str = ""
    number: bool = False
    foldable: bool = False

    @property
    def heading(self) -> str:
        """Both headings in one."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Line above the table that says what it shows.
        columns: The first names the row.
        rows: A cell a column.
        notes: Sentences below it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())

    @property
    def headings(self) -> list[tuple[str, int]]:
        """Headings over the columns with the number of columns below each; empty text where there is none."""
        return [(name, size) for name, _, size in _groups(self.columns)]

    def _repr_html_(self) -> str:
        return html(self)


def clean(text: object) -> str:
    r"""Return text on one line without control characters, which a terminal could obey.

    >>> clean("sad\x1b[2J\nface")
    'sad [2J face'
    """
    return "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in str(text))


def terminal(table: Table, width: int = WIDTH) -> str:
    """Return a table as aligned text.

    Where it is wider than `width`, foldable columns that say the same in every row become a note; what still doesn't
    fit goes below as further columns, beside the first column again.
    """
    columns = [replace(column, title=clean(column.title), group=clean(column.group)) for column in table.columns]
    rows = [[clean(cell) for cell in row] for row in table.rows]
    widths = _widths(columns, rows)
    folded = []
    for index in reversed(range(len(columns))):
        same = {row[index] for row in rows} - {NOTHING}
        if columns[index].foldable and len(same) == 1 and len(GAP) * len(widths) + sum(widths) > width:
            folded.append(f"{columns[index].heading} {same.pop()}")
            columns = [*columns[:index], *columns[index + 1 :]]
            rows = [[*row[:index], *row[index + 1 :]] for row in rows]
            widths = _widths(columns, rows)
    blocks = [_block(columns, rows, widths, indices) for indices in _index_blocks(widths, width - len(GAP))]
    shared = [f"In every row: {', '.join(reversed(folded))}."] if folded else []
    notes = [line for note in (*shared, *table.notes) for line in wrapped(note, width - len(GAP))]
    return "\n".join(
        [clean(table.title), "", "\n\n".join(blocks), *([""] if notes else []), *(GAP + line for line in notes)]
    )


def markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown, under a heading, its notes as a list."""
    text = tabulate(
        [[escaped_markdown(cell) for cell in row] for row in table.rows],
        headers=[escaped_markdown(column.heading) for column in table.columns],
        tablefmt="pipe",
        colalign=["right" if column.number else "left" for column in table.columns],
        disable_numparse=True,
        preserve_whitespace=True,
    )
    notes = [f"- {escaped_markdown(note)}" for note in table.notes]
    return "\n".join([f"### {escaped_markdown(table.title)}", "", text, *([""] if notes else []), *notes])


def html(table: Table) -> str:
    """Return a table in HTML for a notebook, its title above and its notes below, all text escaped."""
    text = tabulate(
        [[clean(cell) for cell in row] for row in table.rows],
        headers=[clean(column.heading) for column in table.columns],
        tablefmt="html",
        colalign=["right" if column.number else "left" for column in table.columns],
        disable_numparse=True,
    )
    notes = "<br>".join(str(escape(clean(note))) for note in table.notes)
    return f"<p><b>{escape(clean(table.title))}</b></p>\n{text}" + (f"\n<p><small>{notes}</small></p>" if notes else "")


def latex(table: Table) -> str:
    """Return a table as a LaTeX float; it needs the package booktabs, and its notes stand in the caption."""
    groups = _groups(table.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(' '.join([_sentence(table.title), *table.notes]))}}}",
        rf"\begin{{tabular}}{{{''.join('r' if column.number else 'l' for column in table.columns)}}}",
        r"\toprule",
    ]
    if any(name for name, _, _ in groups):
        cells = [
            _latex(name) if size == 1 else rf"\multicolumn{{{size}}}{{c}}{{{_latex(name)}}}" for name, _, size in groups
        ]
        rules = [rf"\cmidrule(lr){{{start + 1}-{start + size}}}" for name, start, size in groups if name and size > 1]
        lines += [" & ".join(cells) + r" \\", *(["".join(rules)] if rules else [])]
    lines += [" & ".join(_latex(column.title) for column in table.columns) + r" \\", r"\midrule"]
    lines += [" & ".join(_latex(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width` places, broken at spaces."""
    text = clean(text)
    lines = [""]
    for word in text.split():
        if lines[-1] and _width(lines[-1]) + 1 + _width(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def escaped_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    for letter in "\\`*_[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return clean(text)


def _block(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], indices: Sequence[int]
) -> str:
    visible = [columns[index] for index in indices]
    room = [widths[index] for index in indices]
    lines = []
    if any(column.group for column in visible):
        over = [
            _centred(name, sum(room[start : start + size]) + len(GAP) * (size - 1))
            for name, start, size in _groups(visible)
        ]
        lines.append(GAP.join(over))
    lines.append(
        GAP.join(_aligned(column.title, size, column.number) for column, size in zip(visible, room, strict=True))
    )
    lines.append("─" * (sum(room) + len(GAP) * (len(room) - 1)))
    for row in rows:
        cells = [row[index] for index in indices]
        lines.append(
            GAP.join(
                _aligned(cell, size, column.number) for cell, size, column in zip(cells, room, visible, strict=True)
            )
        )
    return "\n".join((GAP + line).rstrip() for line in lines)


def _index_blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Cut columns into blocks that each begin with the first column and fit the width, if one column does at all."""
    blocks = [[0]]
    for index in range(1, len(widths)):
        block = [*blocks[-1], index]
        if len(block) > 2 and sum(widths[p] for p in block) + len(GAP) * (len(block) - 1) > width:
            blocks.append([0, index])
        else:
            blocks[-1] = block
    return blocks


def _groups(columns: Sequence[Column]) -> list[tuple[str, int, int]]:
    """Return name, first place and size of each stretch of columns of one group; without a group each is its own."""
    groups: list[tuple[str, int, int]] = []
    for index, column in enumerate(columns):
        if groups and column.group and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1], groups[-1][2] + 1)
        else:
            groups.append((column.group, index, 1))
    return groups


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is, so that its cells and the headings over it fit."""
    widths = [
        max(_width(text) for text in (column.title, *(row[index] for row in rows)))
        for index, column in enumerate(columns)
    ]
    for name, start, size in _groups(columns):
        widths[start] += max(0, _width(name) - sum(widths[start : start + size]) - len(GAP) * (size - 1))
    return widths


def _width(text: str) -> int:
    """Return how many places a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _aligned(text: str, size: int, right: bool) -> str:
    space = " " * (size - _width(text))
    return space + text if right else text + space


def _centred(text: str, size: int) -> str:
    before = (size - _width(text)) // 2
    return " " * before + text + " " * (size - _width(text) - before)


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in clean(text))


def _sentence(text: str) -> str:
    return f"{text}."
