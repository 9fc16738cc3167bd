"""Turns two masked sequences into what the one takes from the other by attention, at the least cost.

Between modalities one sequence is long (speech, hundreds of frames) and the other short (words, a few pictures).
Multi-head attention with its projections is a product of matrices, and a product may be bracketed in any way: here the
projections are folded into the short side, so that the long side is touched by two products and by no reshaping:

    H_i W_Q (H_j W_K)ᵀ = H_i (H_j (W_K W_Qᵀ))ᵀ          one product with H_i where j is short
                       = (H_i (W_Q W_Kᵀ)) H_jᵀ          one product with H_j where i is short
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gia_mic.fuse.models.layers import PaddedFrames

__all__ = ["CrossAttention", "attend", "padding"]

FAR = -1e30
"""Added to the scores of padding; finite, so that a row of padding alone becomes a mean and not NaN."""


def attend(queries: Tensor, frames: PaddedFrames) -> Tensor:
    """Attend with queries x to frames that are keys and values at once: softmax(x H_mᵀ / sqrt(d)) H_m.

    Args:
        queries: (B, K, d).
        frames: (B, T, d).

    Returns:
        (B, K, d). Where an utterance lacks the modality it means nothing.
    """
    values, mask = frames
    rows = queries * (1 / math.sqrt(values.shape[-1]))
    return _scores(rows, values, padding(mask, values).unsqueeze(1)).softmax(-1) @ values


class CrossAttention(nn.Module):
    """Multi-head attention of sequence i to sequence j, without biases and without an output matrix.

        C_h = softmax(H_i W_Q (H_j W_K)ᵀ / sqrt(d_h)) H_j W_V,    C = [C_1 ; … ; C_heads]

    where head h has its own d_h = d / heads columns of W_Q, W_K and W_V.

    Args:
        width: d.
        heads: Number of heads; divides d.

    Attributes:
        folded: Whether the projections may be folded into the short side; a graph that is traced once for all lengths
            goes the plain way.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.folded = heads, True
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, to: Tensor, of: PaddedFrames) -> tuple[Tensor, Tensor]:
        """Return C (B, T_i, d) and the weights (B, heads, T_i, T_j); without meaning where j is missing."""
        (_, T, d), J = to.shape, of.values.shape[1]
        # measured with gradients on one core, for 4 heads and the lengths of speech, words and pictures: in float32 for
        # d = 32 and 64, in bfloat16 for 64
        if self.folded and J <= T and J * self.heads <= (2 * d if to.dtype == torch.bfloat16 else 56):
            return self._short_source(to, of)
        if self.folded and J > T and T * self.heads <= 2.5 * d:
            return self._short_receiver(to, of)
        return self._plain(to, of)

    def _plain(self, to: Tensor, of: PaddedFrames) -> tuple[Tensor, Tensor]:
        queries, keys, values = (
            tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for tensor in (self.query(to), self.key(of.values), self.value(of.values))
        )
        scores = (queries * (1 / math.sqrt(queries.shape[-1]))) @ keys.transpose(-1, -2)
        shares = (scores + padding(of.mask, scores)[:, None, None]).softmax(-1)
        return (shares @ values).transpose(1, 2).flatten(2), shares

    def _short_source(self, to: Tensor, of: PaddedFrames) -> tuple[Tensor, Tensor]:
        (B, T, d), J, h = to.shape, of.values.shape[1], self.heads
        bias = padding(of.mask, to).unsqueeze(-1).expand(B, J, h).reshape(B, J * h, 1)
        # keys in rows and queries in columns: the softmax runs down the short columns, all queries side by side
        shares = _scores(self._folded(self.key, self.query, of.values), to, bias).view(B, J, h, T).softmax(1)
        # values of head h only in the columns of head h, so that one product joins the heads
        per_head = (self.value.weight.view(h, d // h, d) * self._head_identity().view(h, h, 1, 1)).view(h * d, d)
        values = F.linear(of.values, per_head).view(B, J * h, d)
        return shares.view(B, J * h, T).transpose(1, 2) @ values, shares.permute(0, 2, 3, 1)

    def _short_receiver(self, to: Tensor, of: PaddedFrames) -> tuple[Tensor, Tensor]:
        (B, T, d), h = to.shape, self.heads
        folded = self._folded(self.query, self.key, to)
        shares = _scores(folded, of.values, padding(of.mask, to).unsqueeze(1)).softmax(-1)
        contexts = (shares @ of.values).view(B, T, h * d)
        per_head = (self.value.weight.view(h, d // h, 1, d) * self._head_identity().view(h, 1, h, 1)).view(d, h * d)
        return F.linear(contexts, per_head), shares.view(B, T, h, -1).transpose(1, 2)

    def _folded(self, short: nn.Linear, long: nn.Linear, frames: Tensor) -> Tensor:
        """Return the short side's frames (B, T, d) as the long side meets them, by head: (B, T heads, d)."""
        (B, T, d), h = frames.shape, self.heads
        ends, starts = (linear.weight.view(h, d // h, d) for linear in (long, short))
        both = ends.transpose(1, 2) @ starts * math.sqrt(h / d)
        return F.linear(frames, both.view(h * d, d)).view(B, T * h, d)

    def _head_identity(self) -> Tensor:
        weight = self.value.weight
        return torch.eye(self.heads, dtype=weight.dtype, device=weight.device)


def padding(mask: Tensor, like: Tensor) -> Tensor:
    """Return what to add to scores of attention, (B, T), of the float type of `like`: 0 at frames, FAR at padding."""
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, FAR)


def _scores(rows: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
    """Return rows columnsᵀ + bias, in one product; the rows are the short side."""
    device = columns.device.type  # autocast doesn't reach into the function's own gradient
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else columns.dtype
    return _Scores.apply(rows.to(dtype), columns.to(dtype), bias.to(dtype))


class _Scores(torch.autograd.Function):
    """Turns (B, Q, d) and (B, T, d) into rows columnsᵀ + bias, (B, Q, T); the columns' gradient lies as they do.

    torch's own lies transposed, and to add that to the others that meet in a modality's frames takes ten times as long.
    The bias, of any shape that broadcasts, gets no gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
        return torch.baddbmm(bias, rows, columns.transpose(1, 2))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, columns = ctx.saved_tensors
        return gradient @ columns, gradient.transpose(1, 2) @ rows, None
