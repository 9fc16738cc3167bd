"""Turns frames into emotion logits by MulT, the Multimodal Transformer (Tsai et al. 2019, arXiv:1906.00295)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gia_mic.fuse.config import MultConfig
from gia_mic.fuse.models.attention import padding
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, drop, project, scaled, scalers

__all__ = ["Mult", "TransformerLayer"]


class TransformerLayer(nn.Module):
    """A transformer layer that normalises first, from a sequence to itself or to another one.

        z ← z + W_o MultiHead(LN z, LN y, LN y)              y = z, or the source's frames
        z ← z + W₂ ReLU(W₁ LN z + b₁) + b₂                   W₁ to 4 d

    Args:
        width: d.
        heads: Attention heads.

    Attributes:
        stacked: Whether it computes for a stack of models, inside `torch.func.vmap`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.stacked = heads, False
        self.norm, self.norm_source, self.norm_forward = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, to: Tensor, of: PaddedFrames | None = None, *, mask: Tensor | None = None, position: Tensor | None = None
    ) -> Tensor:
        """Return z (B, T, d), or (B, 1, d) at one position of each utterance.

        Args:
            to: (B, T, d).
            of: Another sequence to read.
            mask: (B, T) bool, of `to`, which then reads itself. With neither there is nothing to read.
            position: (B,) int64, the only frame of `to` that is wanted; None wants all.
        """
        source, norm = (of, self.norm_source) if mask is None else (PaddedFrames(to, mask), self.norm)
        if position is not None:
            to = _at(to, position)
        to = to + self._attention(to, source, norm)
        return to + self.narrow(torch.relu(self.widen(self.norm_forward(to))))

    def _attention(self, to: Tensor, of: PaddedFrames | None, norm: nn.Module) -> Tensor:
        """Return the first sum's second term; a source that is missing leaves of it the bias of W_o."""
        if of is None:
            return self.out.bias.to(to.dtype)
        query = self.norm(to)
        values = query if of.values is to else norm(of.values)
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.query, query), (self.key, values), (self.value, values))
        )
        context = _attend(q, k, v, of.mask, stacked=self.stacked).transpose(1, 2).flatten(2)
        return self.out(context * of.present[:, None, None].to(context.dtype))


class Mult(nn.Module):
    """MulT: each modality reads each other one through a crossmodal transformer.

        Z_m = Conv1D(X_m) + sinusoidal positions                                  kernel 1, to d features
        Z_{i←j} = L layers z ← z + attention(z, Z_j), then feed-forward          for each pair i ← j
        Z_i = L layers of self-attention over [Z_{i←j} ; Z_{i←k}]                2 d features
        h = [last frame of Z_s ; Z_t ; Z_v],   logits = V (h + W₂ ReLU(W₁ h)) + c

    One modality alone reads itself. Dropout is on Z_m (the same features in all frames) and in the head.

    Args:
        dims: Features of each modality's frames, D_m, in the project's order of modalities.
        outputs: C.
        config: Width, heads, layers, dropout.
        layers: Number of encoder layers by modality, as `layers.scalers` takes them.
    """

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: MultConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        self.modalities = tuple(dims)
        d = config.width
        self.sources = {name: tuple(other for other in dims if other != name) or (name,) for name in dims}
        self.joined = d * max(len(dims) - 1, 1)
        self.width, self.dropout, self.dropouts = self.joined * len(dims), config.dropout, len(dims) + 1
        self.scalers = scalers(dims, layers)
        self.project = nn.ModuleDict(
            {name: nn.Linear(dim, d, bias=False) for name, dim in scaled(dims, layers).items()}
        )
        self.cross = nn.ModuleDict(
            {
                f"{to}_{of}": nn.ModuleList(TransformerLayer(d, config.heads) for _ in range(config.layers))
                for to, sources in self.sources.items()
                for of in sources
            }
        )
        self.own = nn.ModuleDict(
            {
                name: nn.ModuleList(TransformerLayer(self.joined, config.heads) for _ in range(config.layers))
                for name in dims
            }
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(self.joined) for name in dims})
        self.head = nn.ModuleList([nn.Linear(self.width, self.width), nn.Linear(self.width, self.width)])
        self.decide = nn.Linear(self.width, outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch."""
        # a modality that nobody in the batch has costs nothing: it reads nothing, and nothing reads it
        frames = {}
        for slot, name in enumerate(self.modalities):
            if name in batch:
                projected = project(batch[name].values, self.scalers[name], self.project[name])
                frames[name] = PaddedFrames(drop(projected, keep, slot) + _positions(projected), batch[name].mask)
        last = {name: self._last(name, frames) for name in frames}
        nothing = torch.zeros_like(next(iter(last.values())))
        h = torch.cat([last.get(name, nothing) for name in self.modalities], -1)
        hidden = drop(torch.relu(self.head[0](h)), keep, self.dropouts - 1)
        logits = self.decide(h + self.head[1](hidden))
        return Output(logits, logits.new_zeros(()), {})

    def _last(self, name: str, frames: Mapping[str, PaddedFrames]) -> Tensor:
        """Return the last frame (B, joined) of what a modality reads from those in `frames`; 0 for who lacks it."""
        values, mask = frames[name]
        outputs = []
        for other in self.sources[name]:
            z = values
            for layer in self.cross[f"{name}_{other}"].children():
                z = layer(z, frames.get(other))
            outputs.append(z)
        joined = torch.cat(outputs, -1)
        *layers, top = self.own[name].children()
        for layer in layers:
            joined = layer(joined, mask=mask)
        # of what the top layer gives only the last frame is ever seen
        vectors = self.norms[name](top(joined, mask=mask, position=_last_position(mask)).squeeze(1))
        return vectors * mask.any(1, keepdim=True).to(vectors.dtype)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *, stacked: bool) -> Tensor:
    """Return softmax(Q Kᵀ / sqrt(d_h)) V, (B, heads, T, d_h), over the frames that are there, (B, T_j)."""
    if queries.device.type == "cpu":  # whose kernel takes twice as long in bfloat16 as in float32
        queries, keys, values = (tensor.float() for tensor in (queries, keys, values))
    bias = padding(mask, queries)[:, None, None]
    with torch.autocast("cpu", enabled=False):
        if stacked:
            return _StackedAttention.apply(queries, keys, values, bias)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)


class _StackedAttention(torch.autograd.Function):
    """torch's attention for a stack of models, which become more utterances of one batch.

    Left to itself `vmap` takes apart what it has no rule for, and keeps scores (T, T_j) for the way back. torch's
    kernels keep none; `vmap` below calls one where autograd sees it, so its own gradient is the one that is used.
    """

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, int]:
        flat = [
            (tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).flatten(0, 1)
            for tensor, dim in zip(tensors, in_dims, strict=True)
        ]
        return _StackedAttention.forward(*flat).unflatten(0, (info.batch_size, -1)), 0


def _positions(values: Tensor) -> Tensor:
    """Return sines and cosines of each position, (T, d) (Vaswani et al. 2017, arXiv:1706.03762, section 3.5)."""
    T, d = values.shape[1:]
    steps = torch.arange(T, device=values.device, dtype=torch.float32).unsqueeze(1)
    rates = torch.exp(torch.arange(0, d, 2, device=values.device, dtype=torch.float32) * (-math.log(10000) / d))
    return torch.stack([torch.sin(steps * rates), torch.cos(steps * rates)], -1).flatten(1).to(values.dtype)


def _last_position(mask: Tensor) -> Tensor:
    """Return the position (B,) of the last frame that is there; 0 for an utterance without any."""
    return (mask * torch.arange(mask.shape[1], device=mask.device)).amax(1)


def _at(values: Tensor, position: Tensor) -> Tensor:
    """Return one frame (B, 1, d) of each utterance's (B, T, d)."""
    return values.gather(1, position[:, None, None].expand(-1, 1, values.shape[-1]))
