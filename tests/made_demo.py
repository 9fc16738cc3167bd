"""Makes a small demo corpus, encoded by tiny encoders, with trained runs on it."""

from pathlib import Path

from gia_mic.extract.corpora import demo
from gia_mic.extract.corpus import Corpus
from gia_mic.extract.run import run
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.run import train_folds

MODEL = GiaMicConfig(width=16, heads=2, latents=2, layers=1)


def make_demo(folder: Path, utterances: int = 40, **options: object) -> tuple[Corpus, dict[str, Path]]:
    """Prepare and extract; `options` go to the encoders."""
    corpus = demo.prepare_demo(folder / "features", demo=demo.Demo(utterances=utterances))
    results = run(corpus, device="cpu", **options)
    return corpus, {result.path.parent.name: result.path for result in results}


def train_demo(corpus: Corpus, stores: dict[str, Path], runs: Path, **options: object) -> list[Path]:
    """Train two epochs of a small GIA-MIC, or of what `options` say."""
    settings = {"model": MODEL, "training": TrainingConfig(epochs=2, batch_size=8), **options}
    execution = Execution(device="cpu", jobs=1, command=settings.pop("command", None))
    return train_folds(corpus, stores, Experiment(**settings), execution, runs=runs)
