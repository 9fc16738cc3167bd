"""Turns a loaded transformers model into one that gives the same frames sooner on a CPU.

Modules are swapped inside the model, and its own code goes on calling them. On a CPU padding is pure loss and weights
are read as fast for one recording as for many, so `speech.py` gives such a model one recording at a time, on one
core; several cores encode several recordings. What is left to gain lies in four places, each a swap below:

- float32 products go to MKL, which keeps below half the speed of an AMD core; oneDNN does not, and with weights laid
  out beforehand it gains in bfloat16 too (`PackedLinear`);
- convolutions over time run as such products, in blocks of time whose activations stay in the cache (`Convolutions`);
- wav2vec 2.0's position convolution, 128 taps wide, costs a tenth as a product of spectra (`PositionConvolution`);
- attention in bfloat16 is faster as two plain products than in torch's fused kernel.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from gia_mic.extract.device import has_products, keep_products
from gia_mic.extract.encoders.int8 import Int8Linear

__all__ = ["Convolutions", "PackedLinear", "PositionConvolution", "accelerate", "receptive_field", "suits"]

BLOCK_FRAMES = 100
"""Frames that `Convolutions` computes at a time: two seconds of 50 frames, about 10 MB of activations in float32."""

PRODUCTS_A_WORKER = 64
"""Compiled products that are kept for each thread: each length of a recording needs about 20."""


def suits(device: str) -> bool:
    """Whether the swaps are for this device."""
    return torch.device(device).type == "cpu"


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return how many samples one frame of stacked convolutions sees, and how many lie from one frame to the next."""
    width, hop = 1, 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        width, hop = (width - 1) * stride + kernel, hop * stride
    return width, hop


def accelerate(model: Any, *, int8: bool = False) -> None:
    """Swap what is slow on a CPU, in place; what no swap fits stays as it is.

    Args:
        model: A transformers model in its final precision, on the CPU, in eval mode.
        int8: Whether its linear layers multiply 8-bit integers; all else stays in the model's precision.
    """
    if next(model.parameters()).dtype == torch.bfloat16:
        model.set_attn_implementation("eager")
    threads = torch.get_num_threads()
    keep_products(PRODUCTS_A_WORKER * threads)
    torch.set_num_threads(1)  # oneDNN lays weights out for so many, and the layout decides the last bits of a sum
    try:
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if Convolutions.fits(child):
                    setattr(parent, name, Convolutions(child))
                elif PositionConvolution.fits(child):
                    setattr(parent, name, PositionConvolution(child))
                elif type(child) is nn.Linear:
                    setattr(parent, name, Int8Linear(child.weight, child.bias) if int8 else _packed(child))
    finally:
        torch.set_num_threads(threads)


class PackedLinear(nn.Module):
    """A linear layer computed by oneDNN, its weight in the layout that oneDNN wants.

    torch offers this to its compiler alone, so the two operators are private and looked for before use.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
        self._bias = bias

    @staticmethod
    def supports(dtype: torch.dtype) -> bool:
        """Whether this torch and this processor can compute it in a precision."""
        operations = ("_reorder_linear_weight", "_linear_pointwise")
        there = all(hasattr(torch.ops.mkldnn, name) for name in operations)
        return there and bool(has_products(str(dtype).removeprefix("torch.")))

    @property
    def weight(self) -> torch.Tensor:
        """The weight as it was, for code that computes with it itself, such as WavLM's attention."""
        return self._weight.to_dense()

    @property
    def bias(self) -> torch.Tensor | None:
        """Return the bias of the layer, None where it has none."""
        return self._bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (..., D) to (..., H)."""
        return torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")


class Convolutions(nn.Module):
    """The convolutions that turn samples into frames, for one recording, block after block.

    A block's frames are computed from all samples they see, so that blocks change nothing. A convolution from H to H'
    channels of k taps is a product of the (T, k H) neighbourhoods, of a (T, H) layout where these lie in one piece.

    The first layer's group norm, where there is one, takes mean and variance over the whole recording. Both follow
    from mean m (k,) and covariance S (k, k) of the samples its filters w see: channel c has mean w_c · m and variance
    w_c · S w_c. So the norm is known before any frame is, and part of the filters.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.conv_layers: Any = original.conv_layers
        self._kernels = [layer.conv.kernel_size[0] for layer in self.conv_layers]
        self._strides = [layer.conv.stride[0] for layer in self.conv_layers]
        self._seen, self._hop = receptive_field(self._kernels, self._strides)
        self._products = nn.ModuleList(_as_product(layer.conv) for layer in self.conv_layers)

    @staticmethod
    def fits(module: nn.Module) -> bool:
        """Whether these are wav2vec 2.0's convolutions, as HuBERT, WavLM and data2vec have them too."""
        layers = getattr(module, "conv_layers", None)
        if not isinstance(layers, nn.ModuleList):
            return False
        convs = [getattr(layer, "conv", None) for layer in layers]
        return all(
            isinstance(conv, nn.Conv1d) and (conv.padding, conv.dilation, conv.groups) == ((0,), (1,), 1)
            for conv in convs
        )

    def forward(self, samples: torch.Tensor, skip: int = 0) -> torch.Tensor:
        """Map (1, n) samples to (1, H, T), or to (1, H, T - skip) without the first frames."""
        assert len(samples) == 1, "one recording at a time"
        count = (samples.shape[1] - self._seen) // self._hop + 1
        first = self._first(samples[0])
        blocks = []
        for begin in range(skip, count, BLOCK_FRAMES):
            end = min(begin + BLOCK_FRAMES, count)
            hidden = samples[0, begin * self._hop : (end - 1) * self._hop + self._seen, None]
            for number, layer in enumerate(self.conv_layers):
                seen = _neighbourhoods(hidden, self._kernels[number], self._strides[number])
                hidden = self._products[number](seen) if number else F.linear(seen, *first)
                norm = getattr(layer, "layer_norm", None)
                if isinstance(norm, nn.LayerNorm):
                    hidden = norm(hidden)
                hidden = layer.activation(hidden)
            blocks.append(hidden)
        return torch.cat(blocks).T[None]

    def _first(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the first layer's weight and bias, with its group norm for this recording in them."""
        plain: Any = self._products[0]
        norm = getattr(self.conv_layers[0], "layer_norm", None)
        if not isinstance(norm, nn.GroupNorm):
            return plain.weight, plain.bias
        windows = samples.unfold(0, self._kernels[0], self._strides[0]).double()
        mean = windows.mean(0)
        covariance = (windows - mean).T @ (windows - mean) / len(windows)
        weight = plain.weight.double()
        scale = norm.weight.double() / ((weight @ covariance * weight).sum(1) + norm.eps).sqrt()
        folded, bias = weight * scale[:, None], norm.bias.double() - weight @ mean * scale
        return folded.to(samples.dtype), bias.to(samples.dtype)


class PositionConvolution(nn.Module):
    """wav2vec 2.0's convolution that tells frames where they are, computed in blocks as a product of spectra.

    A kernel of K taps, over blocks of 2 K frames of which K results hold (overlap-save). Always in float32.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        conv = original.conv
        self._groups, self._taps, self._activation = conv.groups, conv.kernel_size[0], original.activation
        filters = conv.weight.detach().float().unflatten(0, (self._groups, -1))  # groups, D out, D in, K
        spectra = torch.fft.rfft(filters, 2 * self._taps).conj()
        self._spectra = spectra.permute(3, 0, 2, 1).contiguous()  # frequencies, groups, D in, D out
        self._bias = conv.bias

    @staticmethod
    def fits(module: nn.Module) -> bool:
        """Whether this is such a convolution, followed by nothing but its activation."""
        conv = getattr(module, "conv", None)
        return (
            isinstance(conv, nn.Conv1d)
            and conv.padding == (conv.kernel_size[0] // 2,)
            and (conv.stride, conv.dilation) == ((1,), (1,))
            and hasattr(module, "padding")
            and hasattr(module, "activation")
            and getattr(module, "layer_norm", None) is None
            and getattr(module, "batch_norm", None) is None
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (1, T, D) to (1, T, D)."""
        frames, taps = hidden.shape[1], self._taps
        blocks = -(-frames // taps)
        padded = F.pad(hidden[0].float(), (0, 0, taps // 2, blocks * taps + taps - taps // 2 - frames))
        spectra = torch.fft.rfft(padded.unfold(0, 2 * taps, taps))  # blocks, D, frequencies
        spectra = spectra.unflatten(1, (self._groups, -1)).permute(3, 1, 0, 2)
        products = torch.matmul(spectra, self._spectra).permute(2, 1, 3, 0).flatten(1, 2)
        positions = torch.fft.irfft(products, 2 * taps)[..., :taps].transpose(1, 2).flatten(0, 1)[:frames]
        return self._activation((positions + self._bias).to(hidden.dtype))[None]


def _packed(linear: nn.Linear) -> nn.Module:
    """Return the layer as a `PackedLinear`, or as it is where there can be none."""
    return PackedLinear(linear.weight, linear.bias) if PackedLinear.supports(linear.weight.dtype) else linear


def _as_product(conv: nn.Conv1d) -> nn.Module:
    """Return the linear layer that maps a convolution's (T, k H) neighbourhoods to what it gives."""
    weight = conv.weight.detach().transpose(1, 2).flatten(1)
    linear = nn.Linear(weight.shape[1], weight.shape[0], conv.bias is not None, dtype=weight.dtype)
    linear.weight.data = weight
    if conv.bias is not None:
        linear.bias.data = conv.bias.detach()
    return linear if conv.in_channels == 1 else _packed(linear)


def _neighbourhoods(hidden: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """View (T, H) as the ((T - k) // stride + 1, k H) rows that each step of a convolution sees."""
    channels = hidden.shape[1]
    count = (len(hidden) - kernel) // stride + 1
    return hidden.as_strided((count, kernel * channels), (stride * channels, 1))
