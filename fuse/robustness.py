"""Turns finished folds into scores with less than they were trained on: fewer modalities, noise, lost frames.

Each run folder gets a `robustness.json`:

    {"format": 1, "subsets": {"s": {"WA", "UA"}, …, "stv": …}, "noise": [{"deviation": 0.5, "WA", "UA"}, …],
     "lost_frames": [{"share": 0.25, "WA", "UA"}, …]}

An utterance that has none of a subset's modalities gets what the model says of nothing; it counts like the others.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gia_mic.extract import store as stores_on_disk
from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.errors import RunError
from gia_mic.extract.files import write_json
from gia_mic.fuse import measure, split
from gia_mic.fuse.data import Data, read
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.runs import folder as run_folder
from gia_mic.fuse.runs.weights import load_fusion
from gia_mic.fuse.train import one_thread, predict

__all__ = ["evaluate", "table"]

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
        corpus: Their corpus.
        stores: The feature files they were trained on.
        folders: Finished run folders of one run.
        allow_shared: As in training.
        memory_gib: Most memory for frames; more than that are read from their files.

    Raises:
        RunError: A folder is no finished run of this corpus and these features.
    """
    opened = {name: stores_on_disk.open_store(path) for name, path in stores.items()}
    data: Data | None = None
    for place in folders:
        if (place / run_folder.ROBUSTNESS).exists() and (place / run_folder.ROBUSTNESS).stat().st_mtime > (
            place / run_folder.METRICS
        ).stat().st_mtime:
            continue
        model, config = load_fusion(place)
        if config["corpus"]["digest"] != corpus.digest or config["modalities"] != list(stores):
            raise RunError(f"{place} was trained on another corpus or other modalities: train the fold again.")
        if data is None:
            data = read(corpus, opened, memory_gib=memory_gib, speech_stride=config["training"]["speech_stride"])
        fold = split.choose(split.folds(corpus, config["protocol"], allow_shared=allow_shared), config["fold"])[0]
        labels = data.labels[torch.from_numpy(fold.test)].numpy()

        test = _Test(model, data, fold.test, labels)
        with one_thread():
            result = {
                "format": run_folder.FORMAT,
                "subsets": {
                    letters: test.scores(hidden=[name for name in stores if name not in _named(letters)])
                    for letters in _subsets(stores)
                },
                "noise": [
                    {"deviation": deviation, **test.scores(noise(model, deviation, config["seed"]))}
                    for deviation in DEVIATIONS
                ],
                "lost_frames": [{"share": share, **test.scores(lose(share, config["seed"]))} for share in SHARES],
            }
        write_json(place / run_folder.ROBUSTNESS, result)
        logger.info("%s: %s written.", place, run_folder.ROBUSTNESS)


def table(folders: Sequence[Path]) -> str:
    """Return the mean UA over run folders for every subset, noise and loss, in per cent."""
    found = [json.loads((place / run_folder.ROBUSTNESS).read_text(encoding="utf-8")) for place in folders]
    lines = ["mean UA in % over the folds", "", "subset of modalities"]
    for letters in found[0]["subsets"]:
        lines.append(f"  {letters:12}{100 * np.mean([one['subsets'][letters]['UA'] for one in found]):6.1f}")
    for key, name, unit in (
        ("noise", "deviation", "noise, in deviations"),
        ("lost_frames", "share", "part of frames lost"),
    ):
        lines += ["", unit]
        for number, row in enumerate(found[0][key]):
            lines.append(f"  {row[name]:<12}{100 * np.mean([one[key][number]['UA'] for one in found]):6.1f}")
    return "\n".join(lines)


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
        found = {}
        for name, (values, mask) in batch.items():
            kept = torch.rand(mask.shape, generator=generator) >= share
            kept[:, 0] = True
            found[name] = PaddedFrames(values, mask & kept)
        return found

    return change


@dataclass(frozen=True)
class _Test:
    """A model and its test part."""

    model: nn.Module
    data: Data
    rows: np.ndarray
    true: np.ndarray

    def scores(
        self,
        change: Callable[[dict[str, PaddedFrames]], dict[str, PaddedFrames]] | None = None,
        hidden: Sequence[str] = (),
    ) -> dict[str, float]:
        """Return WA and UA after a change, without some modalities."""
        found = predict(self.model, self.data, self.rows, hidden=hidden, change=change).argmax(-1)
        return {
            "WA": measure.wa(self.true, found),
            "UA": measure.ua(self.true, found, len(self.data.classes)),
        }


def _subsets(modalities: Mapping[str, Any]) -> list[str]:
    """Return the letters of every subset, such as s, t, st."""
    letters = [letter for letter, name in MODALITIES.items() if name in modalities]
    return ["".join(some) for count in range(1, len(letters) + 1) for some in combinations(letters, count)]


def _named(letters: str) -> list[str]:
    return [MODALITIES[letter] for letter in letters]
