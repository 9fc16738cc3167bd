"""Turns a transcript into the inputs of a text encoder: token ids in windows that overlap."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import PredictionError
from .settings import TOKENIZER
from .windows import overlapping

__all__ = ["load_tokenizer", "text_windows"]

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a pair of surrogates, which stands for no character and can't be written as UTF-8."""


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of an export.

    Raises:
        PredictionError: It is missing or broken.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises no other kind
        raise PredictionError(f"{folder / TOKENIZER} can't be read ({error}): export the run again.") from error


def text_windows(settings: Mapping[str, Any], tokenizer: Any, text: str) -> Iterator[tuple[np.ndarray, slice]]:
    """Give the token ids (1, n) int64 of a transcript in turn, each with the frames of it that count.

    Args:
        settings: Entries of `text` in `runtime.json`.
        tokenizer: What `load_tokenizer` returned.
        text: The transcript.

    Raises:
        PredictionError: There is nothing in it.
    """
    if not text.strip():
        raise PredictionError("The text is empty: fill it in, or leave it out.")
    tokens = np.array(tokenizer.encode(_SURROGATE.sub("\ufffd", text)).ids, np.int64)
    for begin, end, keep in overlapping(len(tokens), settings["window"], settings["context"]):
        yield tokens[None, begin:end], keep
