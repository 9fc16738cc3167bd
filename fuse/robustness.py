"""Turns finished folds into scores with less than they were trained on: fewer modalities, noise, lost frames.

An utterance that has none of a subset's modalities gets what the model says of nothing; it counts like the others.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gia_mic.extract import store as stores_on_disk
from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.errors import RunError
from gia_mic.fuse import split
from gia_mic.fuse.data import Data, read_data
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.runs.robustness import Condition, subsets, write_robustness
from gia_mic.fuse.runs.weights import TrainedFusion, load_fusion
from gia_mic.fuse.train import one_thread, predict

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)

DEVIATIONS = (0.25, 0.5, 1.0, 2.0)
"""Standard deviations of the noise, in each feature's own deviation over the training part."""
SHARES = (0.25, 0.5, 0.75, 0.9)
"""Parts of the frames that are lost; every modality keeps at least one."""


def evaluate(
    corpus: Corpus,
    stores: Mapping[str, Path],
    folders: Sequence[Path],
    *,
    allow_shared: bool = False,
    memory_gib: float | None = None,
) -> None:
    """Test the models of run folders on every subset of their modalities, under noise and with frames lost.

    Args:
        corpus: The corpus that the models were trained on.
        stores: Feature file by modality, the same as in training.
        folders: Finished run folders of one run.
        allow_shared: Accept folds that share speakers (or scenarios) between training and test, as in training.
        memory_gib: Most memory for frames; more than that are read from their files.

    Raises:
        RunError: A folder is no finished run of this corpus and these features.
    """
    opened = {name: stores_on_disk.open_store(path) for name, path in stores.items()}
    data: Data | None = None
    for run_dir in folders:
        if read_fold(run_dir).robustness is not None:
            continue
        trained = load_fusion(run_dir, trust=True)  # whoever trains it here has run its code
        config, target = trained.config, trained.readout.target
        if config["corpus"]["digest"] != corpus.digest or config["modalities"] != list(stores):
            raise RunError(f"{run_dir} was trained on another corpus or other modalities: train the fold again.")
        if data is None:
            rate_hz = config["training"]["speech_rate_hz"]
            data = read_data(corpus, opened, memory_gib=memory_gib, speech_rate_hz=rate_hz, target=target)
        [fold] = split.choose(split.folds(corpus, config["protocol"], allow_shared=allow_shared), config["fold"])
        test = _Test(trained, data, split.with_target(corpus, target, fold).test)
        with one_thread():
            robustness = {
                Condition("subset", letters): test.scores(
                    hidden=[name for letter, name in MODALITIES.items() if letter not in letters and name in stores]
                )
                for letters in subsets(list(stores))
            }
            for deviation in DEVIATIONS:
                robustness[Condition("noise", deviation)] = test.scores(noise(trained.model, deviation, config["seed"]))
            for share in SHARES:
                robustness[Condition("lost_frames", share)] = test.scores(lose(share, config["seed"]))
        write_robustness(run_dir, robustness)
        logger.info(f"{run_dir}: tested with less than it was trained on.")


def noise(model: Any, deviation: float, seed: int) -> Callable[[dict[str, PaddedFrames]], dict[str, PaddedFrames]]:
    """Return a change that adds Gaussian noise of `deviation` times each feature's deviation to all frames."""
    generator = torch.Generator().manual_seed(seed)

    def change(batch: dict[str, PaddedFrames]) -> dict[str, PaddedFrames]:
        return {
            name: PaddedFrames(
                frames.values.float()
                + torch.randn(frames.values.shape, generator=generator) * deviation / model.scalers[name].scale,
                frames.mask,
            )
            for name, frames in batch.items()
        }

    return change


def lose(share: float, seed: int) -> Callable[[dict[str, PaddedFrames]], dict[str, PaddedFrames]]:
    """Return a change that takes away a part of the frames at random, but never an utterance's first of a modality."""
    generator = torch.Generator().manual_seed(seed)

    def change(batch: dict[str, PaddedFrames]) -> dict[str, PaddedFrames]:
        changed = {}
        for name, (values, mask) in batch.items():
            remaining = torch.rand(mask.shape, generator=generator) >= share
            remaining[:, 0] = True
            changed[name] = PaddedFrames(values, mask & remaining)
        return changed

    return change


@dataclass(frozen=True)
class _Test:
    """A model and its test part."""

    trained: TrainedFusion
    data: Data
    rows: np.ndarray

    def scores(
        self,
        change: Callable[[dict[str, PaddedFrames]], dict[str, PaddedFrames]] | None = None,
        hidden: Sequence[str] = (),
    ) -> dict[str, float | None]:
        """Return the main scores after a change, without some modalities."""
        answers = predict(self.trained, self.data, self.rows, hidden=hidden, change=change)
        measure = measure_of(self.trained.readout.target)
        tally = measure.tally(self.data.values[self.rows], answers)
        values = {name: float(measure.value(name, tally)[0]) for name in measure.headline}
        return {name: None if math.isnan(value) else value for name, value in values.items()}
