"""The pages are plain: no sentence is long, a term is explained where a page uses it first, and links lead somewhere.

A table's cells, a list's items and headings are sentences of their own. Blocks of code and addresses of links don't
count, and pieces of code side by side count as one word.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), ROOT / "bench" / "README.md", ROOT / "features" / "README.md"]
PAGES = sorted([*PAGES, *(ROOT / "docs").rglob("*.md")])

LONGEST = 30
"""Words of the longest sentence."""

TERMS = {
    "UA": "recalls|unweighted",
    "WA": "share of correct|weighted accuracy",
    "WAcc": "weighted accuracy",
    "CCC": "concordance",
    "mAP": "average precision",
    "MAE": "absolute error",
    "Bayes accuracy": "best possible",
    "naive baseline": "plain loop",
    "ablation": "without each|without a part",
    "fingerprint": "hash|settings",
    "bootstrap": "drawing|drawn",
}
"""Terms that a reader may not know, each with words that explain it, one of which its first paragraph has."""

BLOCK = re.compile(r"<!--.*?-->|^```.*?^```|\A---\n.*?^---$", re.DOTALL | re.MULTILINE)
ITEM = re.compile(r"\s*(?:[-*+]|\d+\.)\s+")
END = re.compile(r"(?<=[.!?])[)\"*_]*\s+(?=[^a-z\s])")
CODE = re.compile(r"`[^`]*`(?:(?:,| and| or|, and|, or)? `[^`]*`)*")


def paragraphs(page):
    """Line number, text as read, and whether it is running text, of each heading, paragraph, item and cell."""
    begun, lines = 0, []
    for number, line in enumerate([*BLOCK.sub(lambda block: "\n" * block[0].count("\n"), page).split("\n"), ""], 1):
        item, alone = ITEM.match(line), line.lstrip().startswith(("|", "#"))
        if lines and (item or alone or not line.strip()):
            yield begun, as_read(" ".join(lines)), True
            lines = []
        if alone:
            yield from ((number, as_read(cell), False) for cell in re.split(r"(?<!\\)\|", line.lstrip("# ")))
        elif line.strip() and (lines or item or not line.startswith("    ")):
            begun = begun if lines else number
            lines.append(line[item.end() :] if item else line.strip())


def as_read(text):
    """A text without its marks: a link by its words, pieces of code side by side as one word."""
    text = re.sub(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"<[^>]+>|\*\*|https?://\S+|\b(?:e\.g|i\.e|et al)\.", "", CODE.sub("Code", text))


def too_long(page):
    """What to say of each sentence that is too long; signs and numbers alone are no words."""
    for number, text, _ in paragraphs(page):
        for sentence in END.split(text):
            words = [word for word in sentence.split() if re.search(r"[^\W\d_]", word)]
            if len(words) > LONGEST:
                yield f"line {number}: {len(words)} words: {sentence}"


def unexplained(page):
    """What to say of each term that nothing explains in its first paragraph; a table may leave that to the text."""
    for term, explanation in TERMS.items():
        uses = [one for one in paragraphs(page) if re.search(rf"\b{term}\b", one[1])]
        first = next((one for one in uses if one[2]), uses[0] if uses else None)
        if first and not re.search(explanation, first[1], re.IGNORECASE):
            yield f"line {first[0]}: {term} is not explained: {first[1]}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sentences_are_short_and_terms_explained(path):
    page = path.read_text(encoding="utf-8")
    faults = [*too_long(page), *unexplained(page)]
    assert not faults, "\n".join(faults)


def anchors(page):
    """What links may name of a page, as GitHub makes it from headings."""
    heads = re.findall(r"^#+ (.*)", BLOCK.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_paths_lead_somewhere(path):
    page = path.read_text(encoding="utf-8")
    for address in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", BLOCK.sub("", page)):
        name, _, anchor = address.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), address
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), address
    for name in re.findall(r"`((?:bench|commands|docs|extract|fuse|gia_mic|report|tests)/[a-z_/-]+\.(?:py|md))`", page):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize(
    ("page", "faults"),
    [
        ("Word. " * 40, 0),
        ("word " * 31 + "end.", 1),
        ("word " * 16 + "\n" + "word " * 16, 1),
        ("- " + "word " * 16 + "\n- " + "word " * 16, 0),
        ("| " + "word " * 16 + "| " + "word " * 16 + "|", 0),
        ("```\n" + "word " * 40 + "\n```\n\n    " + "word " * 40, 0),
        ("`word`, " * 40, 0),
        ("word " * 29 + "[link](" + "word%20" * 40 + ").", 0),
        ("UA is 80.1.", 1),
        ("UA, the mean of the recalls, is 80.1. UA is high.", 0),
        ("| UA |\n\nThe mean of the recalls is UA.", 0),
        ("| UA |", 1),
    ],
)
def test_faults_are_counted(page, faults):
    assert len([*too_long(page), *unexplained(page)]) == faults
