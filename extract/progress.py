"""Shows how far long work is: a bar on a terminal or in a notebook, elsewhere a line in the log every half minute."""

import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # a notebook without ipywidgets has a bar of text, which will do
    from tqdm.auto import tqdm

__all__ = ["Progress", "progress", "time_text"]

logger = logging.getLogger(__name__)

LINE_SECONDS = 30.0
"""Time between two lines; work that takes less gets none."""

PACKAGE = "gia_mic"
"""Logger of the whole package. Above INFO, as `mer -q` sets it, nothing is shown."""


class Progress:
    """How far some work is; any thread may tell.

    Attributes:
        done: Number of units done so far, shown or not.
        total: Number of units there are to do.
    """

    def __init__(self, total: int, display: "tqdm[Any] | _Lines | None" = None) -> None:
        self.done, self.total = 0, total
        self._display = display
        self._lock = threading.Lock()

    def update(self, n: int = 1) -> None:
        """Count `n` more as done."""
        with self._lock:
            self.done += n
            if self._display is not None:
                self._display.update(n)

    def set(self, **values: str) -> None:
        """Show values beside the count, such as loss="0.312"."""
        with self._lock:
            if self._display is not None:
                self._display.set_postfix(values, refresh=False)


class _Lines:
    """What a bar shows, as lines in the log; it has the methods of a bar.

    Args:
        total: Number of units there are to do.
        what: What is done, such as "demo speech".
        unit: What is counted, in the plural.
    """

    def __init__(self, total: int, what: str, unit: str) -> None:
        self._done, self._total, self._what, self._unit = 0, total, what, unit
        self._values: Mapping[str, str] = {}
        self._begun = self._told = time.monotonic()

    def update(self, n: int) -> None:
        """Count, and write a line where the last is long enough ago and the end isn't reached."""
        self._done += n
        now = time.monotonic()
        if 0 < self._done < self._total and now - self._told >= LINE_SECONDS:
            self._told = now
            left_s = (now - self._begun) / self._done * (self._total - self._done)
            self._write(f", {self._rate(now)}, {time_text(left_s)} left")

    def set_postfix(self, values: Mapping[str, str], refresh: bool) -> None:
        """Keep values for the next line."""
        self._values = values

    def close(self) -> None:
        """Write the last line, however far the work came, unless it was short."""
        now = time.monotonic()
        if now - self._begun >= LINE_SECONDS:
            self._write(f" in {time_text(now - self._begun)}, {self._rate(now)}")

    def _write(self, pace: str) -> None:
        values = "".join(f", {name} {value}" for name, value in self._values.items())
        logger.info(f"{self._what}: {self._done} of {self._total} {self._unit}{pace}{values}")

    def _rate(self, now: float) -> str:
        rate = self._done / max(now - self._begun, 1e-9)
        return f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"


@contextmanager
def progress(total: int, description: str, unit: str, *, leave: bool = True, quiet: bool = False) -> Iterator[Progress]:
    """Show how far the work inside is: a bar on a terminal or in a notebook, otherwise a line every half minute.

    Args:
        total: Number of units there are to do.
        description: What is done, such as "demo speech".
        unit: What is counted, in the singular, such as "utterance".
        leave: Whether a bar stays when the work is done.
        quiet: Whether to show nothing; counted is in any case.

    Yields:
        What to tell: `update(n)` for what is done, `set(loss="0.312")` for what to show beside it.
    """
    display: tqdm[Any] | _Lines | None = None
    if not quiet and logging.getLogger(PACKAGE).level <= logging.INFO:
        if _in_notebook() or (sys.stderr is not None and sys.stderr.isatty()):
            display = tqdm(total=total, desc=description, unit=f" {unit}s", leave=leave)
        else:
            display = _Lines(total, description, f"{unit}s")
    try:
        yield Progress(total, display)
    finally:
        if display is not None:
            display.close()


def _in_notebook() -> bool:
    """Return whether this is a notebook's kernel; a program that starts such kernels may have imported theirs."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


def time_text(seconds: float) -> str:
    """Return a time as people say it.

    >>> time_text(107)
    '1 min 47 s'
    """
    hours, remainder = divmod(round(seconds), 3600)
    minutes, seconds = divmod(remainder, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
