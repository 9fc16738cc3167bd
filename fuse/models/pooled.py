"""Turns one vector for each modality into emotion logits: the fusions that pool first.

u_m (B, D_m) is the mean over an utterance's scaled frames. A missing modality has u_m = 0 and, where a fusion chooses
or averages, no part.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gia_mic.fuse.config import LmfConfig, PooledConfig, TfnConfig
from gia_mic.fuse.models.layers import Batch, Output, drop, pool, scaled, scalers

__all__ = ["Attention", "Concat", "Late", "Lmf", "Pool", "Tfn", "UnimodalHeads"]


class Pool(nn.Module):
    """The part that all of them share: scaling and pooling.

    Args:
        dims: Features of each modality's frames, D_m, in the project's order of modalities.
        config: Width and dropout.
        layers: Number of encoder layers by modality, as `layers.scalers` takes them.
    """

    def __init__(self, dims: Mapping[str, int], config: PooledConfig, layers: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.modalities = tuple(dims)
        self.dims = dict(dims)
        self.width, self.dropout, self.dropouts = config.width, config.dropout, len(dims) + 1
        self.scalers = scalers(dims, layers)
        self.outs = list(scaled(dims, layers).values())

    def pool(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Return u_m (B, D_m) of each modality, and who has which, (B, M) bool."""
        return pool(batch, self.scalers, self.dims)

    def encoders(self, out: int) -> nn.ModuleList:
        """Return a layer D_m → out for each modality."""
        return nn.ModuleList(nn.Linear(dim, out) for dim in self.outs)

    def head(self, features: int, outputs: int) -> nn.ModuleList:
        """Return the layers features → d → C."""
        return nn.ModuleList([nn.Linear(features, self.width), nn.Linear(self.width, outputs)])

    def classify(self, head: nn.ModuleList, features: Tensor, keep: Tensor | None) -> Output:
        """Apply the head to features (B, …)."""
        hidden = drop(torch.relu(head[0](features)), keep, self.dropouts - 1)
        return Output(head[1](hidden), hidden.new_zeros(()), {})


class UnimodalHeads(nn.Module):
    """What each modality says by itself, v_m = V_m ReLU(W_m u_m + b_m) + c_m, and the mean over those that are there.

    Args:
        features: Size D_m of each modality's vector u_m, in the project's order of modalities.
        width: Features of the hidden layers.
        outputs: C.
    """

    def __init__(self, features: Mapping[str, int], width: int, outputs: int) -> None:
        super().__init__()
        self.modalities = tuple(features)
        self.encode = nn.ModuleList(nn.Linear(size, width) for size in features.values())
        self.decide = nn.ModuleList(nn.Linear(width, outputs) for _ in features)

    def forward(
        self, vectors: Sequence[Tensor], present: Tensor, keep: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the logits (B, C) of each modality by name, and their mean over the modalities that are there.

        Args:
            vectors: u_m (B, D_m) of each modality.
            present: (B, M) bool, who has which.
            keep: (B, P, d) dropout masks, the first M of them for the hidden layers; None drops nothing.
        """
        logits = [
            decide(drop(torch.relu(encode(vector)), keep, slot))
            for slot, (encode, decide, vector) in enumerate(zip(self.encode, self.decide, vectors, strict=True))
        ]
        share = present.to(logits[0].dtype) / present.sum(1, keepdim=True).clamp(min=1)
        mean = (torch.stack(logits, 1) * share.unsqueeze(-1)).sum(1)
        return dict(zip(self.modalities, logits, strict=True)), mean


class Concat(Pool):
    """The plainest fusion: logits = W₂ ReLU(W₁ [u_s ; u_t ; u_v] + b₁) + b₂."""

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: PooledConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(dims, config, layers)
        self.layers = self.head(sum(self.outs), outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch."""
        return self.classify(self.layers, torch.cat(self.pool(batch)[0], -1), keep)


class Late(Pool):
    """Late fusion: a model for each modality, trained jointly, and the mean of the logits of those that are there.

    logits = mean over present m of V_m ReLU(W_m u_m + b_m) + c_m
    """

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: PooledConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(dims, config, layers)
        self.heads = UnimodalHeads(scaled(dims, layers), config.width, outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch."""
        vectors, present = self.pool(batch)
        alone, logits = self.heads(vectors, present, keep)
        several = self.training and len(batch) > 1
        return Output(logits, logits.new_zeros(()), {}, tuple(alone[name] for name in batch) if several else ())


class Attention(Pool):
    """MERBench's attention over modalities (Lian et al. 2024, arXiv:2401.03429, section 4).

    h_m = ReLU(W_m u_m + b_m)
    α = softmax(W_α ReLU(W_h [h_s ; h_t ; h_v] + b_h) + b_α) ∈ R^M       over the modalities that are there
    z = Σ_m α_m h_m,   logits = V z + c
    """

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: PooledConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(dims, config, layers)
        self.encode = self.encoders(config.width)
        self.weigh = nn.ModuleList(
            [nn.Linear(len(dims) * config.width, config.width), nn.Linear(config.width, len(dims))]
        )
        self.decide = nn.Linear(config.width, outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch; `details` holds `weights` (B, M)."""
        vectors, present = self.pool(batch)
        hidden = [
            drop(torch.relu(encode(vector)), keep, slot)
            for slot, (encode, vector) in enumerate(zip(self.encode, vectors, strict=True))
        ]
        scores = self.weigh[1](drop(torch.relu(self.weigh[0](torch.cat(hidden, -1))), keep, self.dropouts - 1))
        shares = scores.masked_fill(~present, -1e30).softmax(-1)
        fused = (torch.stack(hidden, 1) * (shares * present).unsqueeze(-1)).sum(1)
        return Output(self.decide(fused), fused.new_zeros(()), {"weights": shares} if details else {})


class Tfn(Pool):
    """Tensor Fusion Network (Zadeh et al. 2017, arXiv:1707.07250): all products of features of different modalities.

        h_m = ReLU(W_m u_m + b_m) ∈ R^f,   Z = [1 ; h_s] ⊗ [1 ; h_t] ⊗ [1 ; h_v]
        logits = W₂ ReLU(W₁ vec Z + b₁) + b₂

    The 1 keeps the products of fewer modalities; with h_m = 0 for a missing one, only those are left.
    """

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: TfnConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(dims, config, layers)
        self.encode = self.encoders(config.factor)
        self.layers = self.head((config.factor + 1) ** len(dims), outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch."""
        product: Tensor | None = None
        for vector in _with_constant(self, batch, keep):
            product = vector if product is None else (product.unsqueeze(-1) * vector.unsqueeze(1)).flatten(1)
        assert product is not None
        return self.classify(self.layers, product, keep)


class Lmf(Pool):
    """Low-rank Multimodal Fusion (Liu et al. 2018, arXiv:1806.00064): TFN's tensor weights as a sum of r products.

    h_m = ReLU(W_m u_m + b_m) ∈ R^d
    z = Σ_{i=1..r} w_i ⊙_m (F_m^{(i)} [1 ; h_m]) + b,   logits = V ReLU(z) + c         ⊙_m multiplies over modalities
    """

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: LmfConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(dims, config, layers)
        d = config.width
        self.encode = self.encoders(d)
        self.factors = nn.ParameterList(torch.empty(config.rank, d + 1, d) for _ in dims)
        self.mix = nn.Parameter(torch.full((config.rank,), 1 / config.rank))
        self.bias = nn.Parameter(torch.zeros(d))
        self.decide = nn.Linear(d, outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch."""
        product: Tensor | None = None
        for vector, factor in zip(_with_constant(self, batch, keep), self.factors, strict=True):
            part = torch.einsum("be,red->brd", vector, factor.to(vector.dtype))
            product = part if product is None else product * part
        assert product is not None
        fused = (product * self.mix.unsqueeze(-1)).sum(1) + self.bias
        hidden = drop(torch.relu(fused), keep, self.dropouts - 1)
        return Output(self.decide(hidden), hidden.new_zeros(()), {})


def _with_constant(model: Tfn | Lmf, batch: Batch, keep: Tensor | None) -> list[Tensor]:
    """Return [1 ; h_m] of each modality, h_m = 0 where it is missing."""
    vectors, present = model.pool(batch)
    extended = []
    for slot, (encode, vector) in enumerate(zip(model.encode, vectors, strict=True)):
        hidden = torch.relu(encode(vector)) * present[:, slot, None]
        hidden = drop(hidden, keep, slot)
        extended.append(torch.cat([torch.ones_like(hidden[:, :1]), hidden], -1))
    return extended
