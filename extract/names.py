"""Turns names as people write them into what they stand for: parts of a corpus, and names that look alike."""

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["PARTS", "encodable", "look_alikes", "mended", "part_of", "same_name"]

PARTS = {
    "train": ("train", "training", "trainset", "trn", "tr"),
    "dev": ("dev", "devel", "development", "devset", "val", "valid", "validate", "validation", "valset", "cv"),
    "test": ("test", "testing", "testset", "tst", "tt", "te", "eval", "evaluation", "evalset"),
}
"""Parts of a corpus, each with its usual spellings."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_PART = {spelling: part for part, spellings in PARTS.items() for spelling in spellings}


def encodable(text: str) -> bool:
    r"""Whether a text can be written as UTF-8: not with half a pair of surrogates, nor a file name of other bytes.

    >>> encodable("ä😀"), encodable("\ud83d")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def mended(text: str) -> str:
    r"""Return a text with U+FFFD in the place of what can't be written as UTF-8.

    >>> mended("so \ud83d happy") == "so \ufffd happy"
    True
    """
    return _SURROGATE.sub("\ufffd", text)


def same_name(text: str) -> str:
    """Return what is left of a name without case, width, normal form, invisible characters and doubled spaces.

    >>> same_name("Ｈａｐｐｙ") == same_name("happy\u200b") == same_name(" HAPPY") == "happy"
    True
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(letter for letter in folded if not _invisible(letter)).split())


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Return the names that differ in nothing one sees, apart from capitals and width, together.

    >>> look_alikes(["sad", "happy", "Happy", "SAD", "calm"])
    [['SAD', 'sad'], ['Happy', 'happy']]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(same_name(name), []).append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def part_of(name: str) -> str | None:
    """Return the part of a corpus that a name stands for, train, dev or test; None where it is none of these.

    >>> part_of("Validation"), part_of("TRAIN"), part_of("test_set"), part_of("fold 1")
    ('dev', 'train', 'test', None)
    """
    plain = re.sub(r"[ _-]+(set|split|part|data)$", "", same_name(name))
    return _PART.get(plain)


def _invisible(letter: str) -> bool:
    return (unicodedata.category(letter) in ("Cf", "Cc") and not letter.isspace()) or "\ufe00" <= letter <= "\ufe0f"
