"""Turns an empty folder into a table of scores: the whole job on the demo corpus, stage by stage as users run it."""

import logging
from pathlib import Path
from typing import Any

import gia_mic
from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.device import find_devices

__all__ = ["run_demo"]

logger = logging.getLogger(__name__)


def run_demo(out: Path, *, device: str | None = None, **demo: Any) -> str:
    """Make the demo corpus, extract it, train GIA-MIC on all modalities and on each alone, and report.

    What an earlier call finished is kept, so a second one takes seconds.

    Args:
        out: Folder for `features/` and `runs/`.
        device: cpu or cuda; by default CUDA where there is some.
        demo: Parameters of the corpus, such as utterances.

    Returns:
        The report's tables.

    Raises:
        MerError: A file can't be written or read, or there is no such device.
    """
    find_devices(device)  # refused before anything is made
    corpus = gia_mic.prepare("demo", features=out / "features", **demo)
    results = gia_mic.extract_features(corpus, device=device, on_result=lambda result: logger.info(str(result)))
    files = {letter: results[name].path.stem for letter, name in MODALITIES.items()}
    for letters in ("".join(files), *files):
        gia_mic.train(
            corpus,
            modalities=letters,
            encoders=list(dict.fromkeys(files[letter] for letter in letters)),
            device=device,
            runs=out / "runs",
            command="mer demo",
        )
    return gia_mic.read_report(out / "runs" / corpus.name).render()
