"""Turns mean frames into scores by ridge regression, which a fusion then corrects.

    r(X) = Σ_m V_m (u_m − c_m)            u_m is the mean of the modality's frames, 0 in the sum where it is missing
    output of the run = fusion(X) + r(X)

On small corpora a network finds what is linear worse than ridge regression does. So it begins with that, and learns
only what is left: what ridge regression gets wrong of utterances that it was not fitted on. In training r is therefore
the leave-one-out prediction, which has a closed form (Allen 1974, Technometrics 16).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gia_mic.fuse.data import Data, sorted_batches
from gia_mic.fuse.models.layers import Batch, PaddedFrames, mean

__all__ = ["Ridge", "fit_ridge"]

STRENGTHS = np.logspace(-1, 5, 25)
"""Penalties that are tried, of standardised features; the leave-one-out error chooses one for each score."""

TOGETHER = 256
"""Utterances whose frames are averaged at once."""


@dataclass(frozen=True, eq=False)
class Ridge:
    """A ridge regression on the mean frames of each modality.

    Attributes:
        weights: V_m (D_m / L_m, K) float32 by modality, where L_m layers of an encoder lie side by side.
        centres: c_m (D_m / L_m,) float32 by modality.
    """

    weights: Mapping[str, Tensor]
    centres: Mapping[str, Tensor]

    def __call__(self, batch: Batch) -> Tensor:
        """Return r, (B, K) float32, in deviations of the scores; modalities that it doesn't know count for nothing."""
        parts = []
        for name, frames in batch.items():
            weight, centre = self.weights[name].to(frames.values.device), self.centres[name].to(frames.values.device)
            shifted = pooled(frames, len(centre)) - centre
            parts.append((shifted * frames.present.unsqueeze(-1)) @ weight)
        return torch.stack(parts).sum(0)


def fit_ridge(data: Data, rows: NDArray[np.int64], targets: Tensor) -> tuple[Ridge, Tensor]:
    """Fit ridge regressions on a training part, one for each score.

    Args:
        data: The corpus.
        rows: Rows (B,) of the training part.
        targets: Scores (B, K) of these, in deviations from their mean.

    Returns:
        The regression, and its leave-one-out predictions (B, K) float32.
    """
    sizes = {name: packed.dim // packed.layers for name, packed in data.modalities.items()}
    vectors = _mean_frames(data, rows, sizes)
    present = {name: data.lengths[name][rows] > 0 for name in sizes}
    centres = {name: vectors[name][present[name]].mean(0) for name in sizes if present[name].any()}
    deviations = {name: vectors[name][present[name]].std(0) for name in centres}
    deviations = {name: torch.where(deviation > 0, deviation, 1) for name, deviation in deviations.items()}
    columns = [
        (vectors[name] - centres[name]) / deviations[name] * torch.from_numpy(present[name]).unsqueeze(1)
        for name in centres
    ]
    weights, left_out = _solve(torch.cat(columns, 1), targets.double())
    parts = weights.split([sizes[name] for name in centres])
    by_name = {name: (part / deviations[name].unsqueeze(1)).float() for name, part in zip(centres, parts, strict=True)}
    nothing = {name: torch.zeros(size, targets.shape[1]) for name, size in sizes.items() if name not in centres}
    means = {name: centres[name].float() if name in centres else torch.zeros(size) for name, size in sizes.items()}
    return Ridge(by_name | nothing, means), left_out.float()


def pooled(frames: PaddedFrames, size: int) -> Tensor:
    """Return the mean (B, D / L) float32 of frames (B, T, D) over time and over the L layers that lie side by side."""
    values = mean(PaddedFrames(frames.values.float(), frames.mask))
    return values.unflatten(-1, (-1, size)).mean(-2)


def _mean_frames(data: Data, rows: NDArray[np.int64], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the mean frames (B, D_m / L_m) float64 of utterances by modality, on the host."""
    vectors = {name: torch.zeros(len(rows), size, dtype=torch.float64) for name, size in sizes.items()}
    for part in sorted_batches(np.arange(len(rows)), data.costs[rows], TOGETHER):
        batch = data.batch(torch.from_numpy(rows[part]).to(data.device), on_host=rows[part])
        for name, frames in batch.items():
            vectors[name][torch.from_numpy(part)] = pooled(frames, sizes[name]).cpu().double()
    return vectors


def _solve(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (D, K) and leave-one-out predictions (B, K) for centred features (B, D) and targets (B, K)."""
    B, D = features.shape
    centre = targets.mean(0)
    # the smaller of the two matrices of inner products has the same eigenvalues
    values, vectors = torch.linalg.eigh(features.T @ features if D <= B else features @ features.T)
    values = values.clamp(min=0)
    directions = vectors if D <= B else features.T @ vectors / values.sqrt().clamp(min=1e-9)
    scores = features @ directions  # (B, R), principal components
    explained = scores.T @ (targets - centre)
    best = torch.full((targets.shape[1],), torch.inf, dtype=targets.dtype)
    coefficients, left_out = torch.zeros_like(explained), torch.zeros_like(targets)
    for strength in STRENGTHS:
        shrunk = explained / (values + strength).unsqueeze(1)
        leverage = (scores.square() / (values + strength)).sum(1, keepdim=True) + 1 / B
        residuals = (targets - centre - scores @ shrunk) / (1 - leverage).clamp(min=1e-3)
        errors = residuals.square().mean(0)
        better = errors < best
        best = torch.where(better, errors, best)
        coefficients = torch.where(better, shrunk, coefficients)
        left_out = torch.where(better, targets - residuals, left_out)
    return directions @ coefficients, left_out
