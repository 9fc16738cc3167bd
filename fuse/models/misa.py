"""Turns utterance vectors into emotion logits by MISA, shared and private (Hazarika et al. 2020, arXiv:2005.03545)."""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gia_mic.fuse.config import MisaConfig
from gia_mic.fuse.models.constraint import cmd
from gia_mic.fuse.models.layers import Batch, Output, drop
from gia_mic.fuse.models.mult import TransformerLayer
from gia_mic.fuse.models.pooled import Pool

__all__ = ["Misa"]


class Misa(Pool):
    """MISA: each modality's vector in a space of its own and in one that all share.

        v_m = LayerNorm(ReLU(W_m u_m + b_m))
        p_m = σ(W_m^p v_m + b_m^p)          private,     c_m = σ(W^c v_m + b^c)          shared, one W^c for all
        tokens [p_s ; p_t ; p_v ; c_s ; c_t ; c_v] through a transformer layer, joined, then a two-layer head

        L_sim  = mean over pairs of CMD(c_m, c_n)
        L_diff = Σ_m ‖C̃_mᵀ P̃_m‖² / d² + Σ_{m<n} ‖P̃_mᵀ P̃_n‖² / d²         rows centred, then of length 1
        L_rec  = mean over m of mean (v_m − D_m(p_m + c_m))²
        loss = cross-entropy + α L_sim + β L_diff + γ L_rec

    Here u_m is the mean of a modality's frames, where the paper has the last state of an LSTM or BERT's output.
    A missing modality has no tokens and no part in the losses.

    Args:
        dims: Features of each modality's frames, D_m, in the project's order of modalities.
        outputs: C.
        config: Width, heads, dropout and the weights α, β, γ.
        layers: Number of encoder layers by modality, as `layers.scalers` takes them.
    """

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: MisaConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(dims, config, layers)
        d = config.width
        self.alpha, self.beta, self.gamma = config.similarity, config.difference, config.reconstruction
        self.encode = self.encoders(d)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in dims)
        self.private = nn.ModuleList(nn.Linear(d, d) for _ in dims)
        self.shared = nn.Linear(d, d)
        self.rebuild = nn.ModuleList(nn.Linear(d, d) for _ in dims)
        self.fuse = TransformerLayer(d, config.heads)
        self.layers = self.head(2 * len(dims) * d, outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch."""
        vectors, present = self.pool(batch)
        inner = [
            norm(torch.relu(encode(vector)))
            for norm, encode, vector in zip(self.norms, self.encode, vectors, strict=True)
        ]
        private = [torch.sigmoid(layer(v)) for layer, v in zip(self.private, inner, strict=True)]
        raw = [self.shared(v) for v in inner]
        shared = [torch.sigmoid(value) for value in raw]
        tokens = torch.stack(
            [drop(token, keep, slot % len(inner)) for slot, token in enumerate([*private, *shared])], 1
        )
        mask = torch.cat([present, present], 1)
        joined = (self.fuse(tokens, mask=mask) * mask.unsqueeze(-1)).flatten(1)
        output = self.classify(self.layers, joined, keep)
        if not self.training:
            return output
        present_by_name = {name: present[:, slot] for slot, name in enumerate(self.modalities)}
        loss = self.alpha * cmd(dict(zip(present_by_name, raw, strict=True)), present_by_name)
        loss = loss + self.beta * self._difference(private, shared, present)
        rebuilt = [layer(p + c) for layer, p, c in zip(self.rebuild, private, shared, strict=True)]
        errors = [
            ((v - r).square().mean(-1) * here).sum() / here.sum().clamp(min=1)
            for v, r, here in zip(inner, rebuilt, present.unbind(1), strict=True)
        ]
        return output._replace(constraint=loss + self.gamma * torch.stack(errors).mean())

    def _difference(self, private: list[Tensor], shared: list[Tensor], present: Tensor) -> Tensor:
        here = present.unbind(1)
        terms = [_overlap(c, p, both) for c, p, both in zip(shared, private, here, strict=True)]
        terms += [_overlap(private[m], private[n], here[m] & here[n]) for m, n in combinations(range(len(private)), 2)]
        return torch.stack(terms).sum()


def _overlap(a: Tensor, b: Tensor, present: Tensor) -> Tensor:
    """Return ‖Ãᵀ B̃‖² / d² for vectors (B, d) of the utterances that are there, centred and then of length 1."""
    share = present.to(a.dtype).unsqueeze(-1)
    count = share.sum().clamp(min=1)
    left, right = (F.normalize(x - (x * share).sum(0) / count, dim=-1) * share for x in (a, b))
    return (left.transpose(0, 1) @ right).square().mean()
