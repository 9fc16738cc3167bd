"""Runs what is measured in a process of its own, and says how much memory that took."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["in_a_process", "memory"]


def in_a_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Return what `work` sends over the connection that it is given after its arguments, from a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*arguments, sender))
    process.start()
    sender.close()  # so that nothing is waited for where the process fails
    answer = receiver.recv()
    process.join()
    return answer


def memory(kind: str = "VmHWM") -> int:
    """Return a figure of this process's memory in bytes, as Linux counts it; by default its peak.

    In that pages of files count; with `getrusage` also what the process had that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))
