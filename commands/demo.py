"""Turns an empty folder into a table of scores: the whole job on the demo corpus, stage by stage as users run it."""

from collections.abc import Callable
from pathlib import Path

from gia_mic.extract.corpora import demo
from gia_mic.extract.run import run
from gia_mic.fuse.experiment import Execution
from gia_mic.fuse.run import train_folds
from gia_mic.report.render import render

__all__ = ["run_demo"]


def run_demo(out: Path, *, device: str | None = None, say: Callable[[str], None] = lambda line: None) -> str:
    """Make the demo corpus, extract it, train GIA-MIC on all modalities and on each alone, and report.

    What an earlier call finished is kept, so a second one takes seconds.

    Args:
        out: Folder for `features/` and `runs/`.
        device: cpu or cuda; by default CUDA where there is some.
        say: Takes a line about what is happening.

    Returns:
        The report's tables.

    Raises:
        MerError: A file can't be written or read, or there is no such device.
    """
    corpus = demo.prepare(out / "features", say=say)
    stores = {}
    for outcome in run(corpus, device=device, say=say):
        say(str(outcome))
        stores[outcome.path.parent.name] = outcome.path
    for modalities in [list(stores), *([modality] for modality in stores)]:
        train_folds(
            corpus,
            {modality: stores[modality] for modality in modalities},
            execution=Execution(device=device, command="mer demo"),
            runs=out / "runs",
        )
    return render(out / "runs" / corpus.name)
