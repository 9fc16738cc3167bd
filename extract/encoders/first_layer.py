"""Turns a batch of recordings into what wav2vec 2.0's first layer makes of each of them alone.

The group norm of that layer takes mean and variance over the padded batch, so that what else is in a batch would change
every value of a recording. Both are taken over each recording here, in one call for all, and the model's own code goes
on from there. How long the recordings are goes with the call: one model may be used by several threads.
"""

from typing import Any

import torch
from torch import nn

__all__ = ["FirstLayer", "take_first_layer"]


class FirstLayer(nn.Module):
    """The convolution, group norm and activation of the first layer, over each recording's own frames only.

    A channel's mean and variance over a recording follow from mean m (k,) and covariance S (k, k) of the samples that
    its filter w (k,) sees: they are w · m and w · S w. So the norm becomes part of the filters, as in
    `fast.Convolutions`, and each recording has filters of its own.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.conv, self.norm, self.activation = layer.conv, layer.layer_norm, layer.activation

    def forward(self, samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Map (B, n) samples, of which each recording has `lengths` (B,), to (B, H, T)."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        windows = samples.unfold(1, kernel, stride)  # (B, T, k)
        counts = (lengths - kernel) // stride + 1
        own = (torch.arange(windows.shape[1], device=samples.device) < counts[:, None])[..., None].float()
        shares = own / counts[:, None, None]
        mean = (windows * shares).sum(1, keepdim=True)
        centred = (windows - mean) * own
        covariance = centred.mT @ (centred * shares)
        weight = self.conv.weight[:, 0].float()
        variance = (weight @ covariance * weight).sum(2)
        scale = self.norm.weight.float() / (variance + self.norm.eps).sqrt()
        bias = self.norm.bias.float() - (mean @ weight.T)[:, 0] * scale
        filters = weight * scale[..., None]
        hidden = torch.baddbmm(bias[..., None].to(samples.dtype), filters.to(samples.dtype), windows.mT)
        return self.activation(hidden)


class _Taken(nn.Module):
    """Stands where the first layer was: what comes in is what it made, (B, 1, H, T)."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[:, 0]


def take_first_layer(model: nn.Module) -> FirstLayer | None:
    """Take a first layer with a group norm out of a model, which is then given what the layer makes of samples.

    None where there is none, and the model takes the samples.
    """
    for module in model.modules():
        layers = getattr(module, "conv_layers", None)
        if isinstance(layers, nn.ModuleList) and len(layers) and _fits(layers[0]):
            first = FirstLayer(layers[0])
            layers[0] = _Taken()
            return first
    return None


def _fits(layer: nn.Module) -> bool:
    conv, norm = getattr(layer, "conv", None), getattr(layer, "layer_norm", None)
    return (
        isinstance(conv, nn.Conv1d)
        and isinstance(norm, nn.GroupNorm)
        and norm.num_groups == norm.num_channels
        and (conv.in_channels, conv.padding, conv.dilation) == (1, (0,), (1,))
        and hasattr(layer, "activation")
    )
