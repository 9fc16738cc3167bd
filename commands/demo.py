"""Turns an empty folder into a table of scores: the whole job on the demo corpus, stage by stage as users run it."""

import logging
from pathlib import Path

from gia_mic.extract.corpora import demo
from gia_mic.extract.device import find_devices
from gia_mic.extract.run import run
from gia_mic.fuse.experiment import Execution
from gia_mic.fuse.run import train_folds
from gia_mic.report.render import render

__all__ = ["run_demo"]

logger = logging.getLogger(__name__)


def run_demo(out: Path, *, device: str | None = None) -> str:
    """Make the demo corpus, extract it, train GIA-MIC on all modalities and on each alone, and report.

    What an earlier call finished is kept, so a second one takes seconds.

    Args:
        out: Folder for `features/` and `runs/`.
        device: cpu or cuda; by default CUDA where there is some.

    Returns:
        The report's tables.

    Raises:
        MerError: A file can't be written or read, or there is no such device.
    """
    find_devices(device)  # refused before anything is made
    corpus = demo.prepare_demo(out / "features")
    stores = {}
    for outcome in run(corpus, device=device):
        logger.info(str(outcome))
        stores[outcome.path.parent.name] = outcome.path
    for modalities in [list(stores), *([modality] for modality in stores)]:
        train_folds(
            corpus,
            {modality: stores[modality] for modality in modalities},
            execution=Execution(device=device, command="mer demo"),
            runs=out / "runs",
        )
    return render(out / "runs" / corpus.name)
