"""Turns a linear layer into one that multiplies 8-bit integers, each row of its input rounded by that row alone.

A row of x is s q + e, with s = max |x| / 127, q of whole numbers in −127 … 127 and e what rounding costs; so is each
output channel's weight. What another row holds changes nothing, so neither padding nor the rest of a batch does. Other
dynamic quantisation mostly has one scale for a whole input. That lets them, and on trained weights it costs several
times the error: a few features of a transformer are 100 times as large as the others (Dettmers et al., NeurIPS 2022,
arXiv:2208.07339).
"""

import torch
from torch import nn
from torch.nn import functional as F

from gia_mic.extract.device import has_products

__all__ = ["Int8Linear"]

LARGEST = 127

BLOCK_ROWS = 256
"""Rows that are rounded and multiplied at a time, so that they stay in the cache."""


class Int8Linear(nn.Module):
    """A linear layer whose weight is rounded by output channel, and whose input by row, to 8 bits.

    The products are summed as 32-bit integers where the processor has instructions for that. Elsewhere the same whole
    numbers are multiplied in float32, which gives the same but for the last bits, and saves no time.

    Args:
        weight: (H, D) float32.
        bias: (H,) float32, or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        rounded, self._scales = _rounded(weight.detach())
        self._in_integers = bool(has_products("int8"))
        self._weight = rounded.T if self._in_integers else rounded.float()
        self._bias = bias
        self._added = torch.zeros(len(weight)) if bias is None else bias.detach()

    @property
    def weight(self) -> torch.Tensor:
        """The rounded weight (H, D) float32, for code that computes with it itself, such as WavLM's attention."""
        return (self._weight.T.float() if self._in_integers else self._weight) * self._scales

    @property
    def bias(self) -> torch.Tensor | None:
        """The bias."""
        return self._bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (..., D) to (..., H) float32."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        outputs = rows.new_empty(len(rows), len(self._scales))
        for block, result in zip(rows.split(BLOCK_ROWS), outputs.split(BLOCK_ROWS), strict=True):
            rounded, scales = _rounded(block)
            torch.addcmul(self._added, self._products(rounded).mul_(self._scales[:, 0]), scales, out=result)
        return outputs.view(*inputs.shape[:-1], -1)

    def _products(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the products (n, H) of rounded rows with the rounded weight, as float32."""
        if self._in_integers:
            return torch._int_mm(rounded, self._weight).float()
        return F.linear(rounded.float(), self._weight)


def _rounded(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows (n, D) as whole numbers, int8, and the scale (n, 1) that makes rows of them again."""
    scales = (rows.abs().amax(1, keepdim=True) / LARGEST).clamp_min_(torch.finfo(rows.dtype).tiny)
    return (rows / scales).round_().to(torch.int8), scales
