"""Turns the invariant representations of single modalities into one number that says how far apart they are.

Each constraint takes z_m (B, d) for each modality m, and who is present (B,) bool, and returns L_MIC as a scalar. A
pair of modalities counts the utterances that have both; without any, it counts nothing.
"""

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Adversary", "cmd", "cosine", "similarity"]

MOMENTS = 5


def similarity(z: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
    """Align the batch's similarity matrices: two utterances alike in one modality shall be so in the other.

    A_m[a, b] = cos(z_m[a], z_m[b])
    L = mean over pairs m ≠ n, mean over utterances a, b, of (A_m[a, b] − A_n[a, b])²
    """
    units = {name: F.normalize(value.float(), dim=-1) for name, value in z.items()}
    alike = {name: unit @ unit.transpose(-1, -2) for name, unit in units.items()}

    def between(m: str, n: str, both: Tensor) -> Tensor:
        pairs = both.unsqueeze(-1) * both.unsqueeze(-2)
        return ((alike[m] - alike[n]) ** 2 * pairs).sum() / pairs.sum().clamp(min=1)

    return _mean_over_pairs(between, z, present)


def cosine(z: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
    """Turn the modalities of one utterance the same way: L = mean over pairs and utterances of 1 − cos(z_m, z_n)."""

    def between(m: str, n: str, both: Tensor) -> Tensor:
        distances = 1 - F.cosine_similarity(z[m].float(), z[n].float(), dim=-1)
        return (distances * both).sum() / both.sum().clamp(min=1)

    return _mean_over_pairs(between, z, present)


def cmd(z: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
    """Central moment discrepancy of five orders (Zellinger et al. 2017, arXiv:1702.08811), as MISA uses it.

    u = sigmoid(z) ∈ (0, 1),  c_1 = E[u],  c_k = E[(u − E[u])^k]
    L = mean over pairs m ≠ n of Σ_{k=1..5} ‖c_k(u_m) − c_k(u_n)‖₂
    """
    units = {name: torch.sigmoid(value.float()) for name, value in z.items()}

    def between(m: str, n: str, both: Tensor) -> Tensor:
        share = (both / both.sum().clamp(min=1)).unsqueeze(-1)
        centre = {name: (units[name] * share).sum(0) for name in (m, n)}
        total = _length(centre[m] - centre[n])
        for order in range(2, MOMENTS + 1):
            moment = {name: ((units[name] - centre[name]) ** order * share).sum(0) for name in (m, n)}
            total = total + _length(moment[m] - moment[n])
        return total

    return _mean_over_pairs(between, z, present)


class Adversary(nn.Module):
    """A classifier that tells the modalities apart, while the gradient it sends back makes them harder to tell.

        L = mean over m and utterances of −log softmax(W₂ ReLU(W₁ R(z_m)))[m]

    R is the identity forwards and −1 backwards (gradient reversal, Ganin and Lempitsky 2015, arXiv:1409.7495).

    Args:
        width: d.
        modalities: M.
    """

    def __init__(self, width: int, modalities: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, modalities))

    def forward(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return L."""
        losses, counts = [], []
        for number, (name, value) in enumerate(z.items()):
            value = value.float()
            # 2·detach(v) − v is v forwards and has slope −1
            scores = self.layers(2 * value.detach() - value).float()
            weights = present[name].to(scores.dtype)
            losses.append((-scores.log_softmax(-1)[:, number] * weights).sum())
            counts.append(weights.sum())
        return torch.stack(losses).sum() / torch.stack(counts).sum().clamp(min=1)


def _mean_over_pairs(
    between: Callable[[str, str, Tensor], Tensor], z: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> Tensor:
    """Return the mean of `between(m, n, both)` over pairs; `both` is 1 where an utterance has m and n, else 0."""
    pairs = list(combinations(z, 2))
    terms = [between(m, n, (present[m] & present[n]).float()) for m, n in pairs]
    return torch.stack(terms).mean() if terms else next(iter(z.values())).new_zeros(())


def _length(vector: Tensor) -> Tensor:
    """Euclidean length with a finite slope at zero."""
    return (vector.square().sum(-1) + 1e-12).sqrt()
