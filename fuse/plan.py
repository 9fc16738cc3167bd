"""Turns the seeds of runs into the steps of an epoch: who is in each, and what is hidden from it.

All of it is drawn before the first step and carried to the device at once, so that no step waits for a copy. Each run
draws from its own generator, one function for each kind of mask, in the order in which the steps need them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, epoch

__all__ = [
    "NOBODY",
    "Step",
    "dropout_masks",
    "feature_masks",
    "modality_masks",
    "plan_epoch",
    "visits",
]

NOBODY = -1
"""Row number of an utterance that isn't there."""

BLOCK_BYTES = 2**26
"""Most bytes of masks that are drawn at once; what an epoch needs beyond them is drawn later."""


class Run(Protocol):
    """What belongs to one run, as far as its draws need it."""

    rows: np.ndarray
    generator: torch.Generator
    model: Any


@dataclass(frozen=True)
class Step:
    """One step of a model, or of a stack, whose axis R of runs stands where … does.

    Attributes:
        number: Number of the step in its epoch, from 0.
        on_host: Rows (…, B) of the utterances, `NOBODY` where a run has fewer than others.
        rows: The same, int64, on the device.
        visible: (…, B, M) bool, True where an utterance's modality is seen; None where all are.
        features: Masks of the scalers' buffers by name, (…, D_m), as `feature_masks` draws them.
        keep: (…, B, P, d) dropout masks, 0 or 1 / (1 − p), for `layers.drop`; None without dropout.
    """

    number: int
    on_host: np.ndarray
    rows: Tensor
    visible: Tensor | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    keep: Tensor | None = None


def plan_epoch(
    runs: Sequence[Run], data: Data, config: TrainingConfig, *, steps: int, number: int, stacked: bool
) -> Iterator[Step]:
    """Draw an epoch and give its steps, without those in which nobody is.

    Args:
        runs: The runs that step together.
        data: Frames of the corpus.
        config: Settings of the training.
        steps: Batches in an epoch.
        number: Number of the epoch, from 0.
        stacked: Whether there is an axis of runs; without it there is one run.
    """
    order = visits(steps, number)
    batches = [epoch(run.rows, data.costs, steps, run.generator, order) for run in runs]
    size, model = max(len(part) for parts in batches for part in parts), runs[0].model
    elements = model.dropouts * model.width if model.dropout else 0
    features = sum(data.dims.values()) if config.feature_dropout else 0
    block = max(BLOCK_BYTES // (4 * len(runs) * (size * (elements + len(data.dims)) + features)), 1)
    for first in range(0, steps, block):
        parts_of_runs = [parts[first : first + block] for parts in batches]
        yield from _block(runs, parts_of_runs, size, data, config, first, stacked)


def dropout_masks(model: Any, count: int, generator: torch.Generator) -> Tensor:
    """Draw which elements dropout keeps, (B, P, d) bool."""
    return torch.rand(count, model.dropouts, model.width, generator=generator) >= model.dropout


def feature_masks(model: Any, probability: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw which features of the frames one step sees, for all its utterances (Ho 1998, the random subspace method).

    What a step doesn't see can't be learnt by heart, so that weights spread over features that say the same: a model
    of few speakers then leans less on what tells their voices and faces apart. As the deviations are worked into the
    first weights (`layers.project`), masks for them cost no pass over the frames.

    Returns:
        (D_m,) for the buffer `scalers.m.scale` of each modality m, 0 or 1 / (1 − p); nothing where p is 0.
    """
    if not probability:
        return {}
    masks = {}
    for name, scaler in model.scalers.items():
        visible = torch.rand(scaler.scale.shape, generator=generator) >= probability
        masks[f"scalers.{name}.scale"] = visible.float() / (1 - probability)
    return masks


def modality_masks(count: int, modalities: int, probability: float, generator: torch.Generator) -> Tensor:
    """Draw which modalities of each utterance one step sees, (B, M) bool."""
    return torch.rand(count, modalities, generator=generator) >= probability


def visits(steps: int, number: int) -> list[int]:
    """Return the order in which the batches of an epoch, from short utterances to long, are visited.

    It depends on the epoch alone, so that all runs meet short and long utterances at the same step.
    """
    return torch.randperm(steps, generator=torch.Generator().manual_seed(number)).tolist()


def _block(
    runs: Sequence[Run],
    batches: Sequence[Sequence[np.ndarray]],
    size: int,
    data: Data,
    config: TrainingConfig,
    first: int,
    stacked: bool,
) -> Iterator[Step]:
    """Draw some steps (S, R, …) in a row, the first of which has this number, and give them."""
    device, M, model = data.device, len(data.modalities), runs[0].model
    S, R = len(batches[0]), len(runs)
    rows = np.full((S, R, size), NOBODY)
    visible = torch.ones(S, R, size, M, dtype=torch.bool) if config.modality_dropout else None
    keep = torch.zeros(S, R, size, model.dropouts, model.width, dtype=torch.bool) if model.dropout else None
    features: dict[str, Tensor] = {}
    for r, (run, parts) in enumerate(zip(runs, batches, strict=True)):
        for s, part in enumerate(parts):
            count = len(part)
            if not count:
                continue
            rows[s, r, :count] = part
            if visible is not None:
                visible[s, r, :count] = modality_masks(count, M, config.modality_dropout, run.generator)
            for name, mask in feature_masks(run.model, config.feature_dropout or 0, run.generator).items():
                features.setdefault(name, mask.new_ones(S, R, *mask.shape))[s, r] = mask
            if keep is not None:
                keep[s, r, :count] = dropout_masks(run.model, count, run.generator)
    on_device = torch.from_numpy(rows).to(device)
    visible = None if visible is None else visible.to(device)
    keep = None if keep is None else keep.to(device).float() / (1 - model.dropout)
    features = {name: masks.to(device) for name, masks in features.items()}
    for s in range(S):
        index = s if stacked else (s, 0)
        count = max(len(parts[s]) for parts in batches)
        if not count:
            continue
        yield Step(
            first + s,
            rows[index][..., :count],
            on_device[index][..., :count],
            None if visible is None else visible[index][..., :count, :],
            {name: masks[index] for name, masks in features.items()},
            None if keep is None else keep[index][..., :count, :, :],
        )
