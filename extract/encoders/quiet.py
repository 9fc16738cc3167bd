"""Keeps the libraries that encoders come from quiet where their errors say all that matters."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quietly", "with_bars_on_terminals"]


@contextmanager
def quietly(logging: Any) -> Iterator[None]:
    """Let a library log nothing but errors.

    Args:
        logging: Its module of that name, `transformers.utils.logging` or `huggingface_hub.utils.logging`.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def with_bars_on_terminals() -> Iterator[None]:
    """Let the hub's library show the progress of uploads on a terminal alone; that of downloads it hides by itself."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
