"""Keeps the libraries that encoders come from quiet where their errors say all that matters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quietly"]


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
