"""Turns ragged frames of a batch into masked tensors, with the few operations every fusion needs on them.

The letters are the project's: `B` utterances in a batch, `T` frames or tokens, `D` features, `C` classes, `M`
modalities, `K` latent tokens. `d` is a model's width. A mask is True at a frame and False at padding; an utterance that
lacks a modality has no True at all. Nothing here looks at values to decide what to do, so all of it can be stacked over
models (`torch.func.vmap`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Batch", "Fusion", "Output", "Padded", "Scaler", "drop", "initialise", "mean", "missing", "project"]


class Padded(NamedTuple):
    """Frames of one modality for a batch of utterances.

    Attributes:
        values: (B, T, D) or, projected, (B, T, d). What stands at padding is never used.
        mask: (B, T) bool, True at a frame.
    """

    values: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """(B,) bool, True where the utterance has this modality."""
        return self.mask.any(-1)


Batch = Mapping[str, Padded]
"""Frames by modality. A modality that is left out is missing from every utterance of the batch."""


class Output(NamedTuple):
    """What a fusion makes of a batch.

    Attributes:
        logits: (B, C) float.
        constraint: () float, the fusion's own loss beside cross-entropy, already weighted; 0 where it has none.
        details: Gates, attention weights and the like, by name, for explanations; empty unless asked for.
    """

    logits: Tensor
    constraint: Tensor
    details: dict[str, Tensor]


class Fusion(Protocol):
    """What the trainer expects of a model beside being an `nn.Module`.

    Attributes:
        modalities: Names of the modalities, in the project's order.
        dropouts: How many dropout masks a training step needs, P.
        width: The masks' width, d.
        dropout: Probability that an element is dropped.
    """

    modalities: tuple[str, ...]
    dropouts: int
    width: int
    dropout: float

    def __call__(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch; `keep` (B, P, d) holds the dropout masks of `drop`, None when there is no dropout."""


def mean(frames: Padded) -> Tensor:
    """Return the mean over the frames that are there, (B, d); zeros for an utterance without any."""
    share = frames.mask.to(frames.values.dtype)
    share = share / share.sum(-1, keepdim=True).clamp(min=1)
    return (share.unsqueeze(1) @ frames.values).squeeze(1)


def drop(values: Tensor, keep: Tensor | None, slot: int) -> Tensor:
    """Drop features, the same ones in all frames of an utterance (Gal and Ghahramani 2016, arXiv:1512.05287).

    The masks come from outside, one a step, because a model trained in a stack must see the masks that it
    would see alone, whatever the padding.

    Args:
        values: (B, d) or (B, T, d).
        keep: (B, P, d), 0 or 1 / (1 − p); None drops nothing.
        slot: Which of the P masks.
    """
    if keep is None:
        return values
    mask = keep[:, slot].to(values.dtype)
    return values * (mask if values.dim() == 2 else mask.unsqueeze(1))


class Scaler(nn.Module):
    """Brings each feature of a modality to mean 0 and deviation 1, by the training part's statistics.

    The statistics are buffers: they are saved with the model and are no parameters.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Take over mean and deviation, (D,) each; a feature that never changes is only centred."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), torch.ones_like(deviation)))

    def forward(self, values: Tensor) -> Tensor:
        """Scale (…, D) of any float type, computing in float32."""
        return (values.float() - self.mean) * self.scale


def project(values: Tensor, scaler: nn.Module, linear: nn.Module) -> Tensor:
    """Return W scaled(x), with the deviations divided out of W (d, D) rather than of all frames (…, D).

    The mean is taken from the frames all the same: a feature whose mean is large against its deviation would lose
    its digits in W.
    """
    assert isinstance(scaler, Scaler)
    assert isinstance(linear, nn.Linear)
    return F.linear(values.float() - scaler.mean, linear.weight * scaler.scale)


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw every matrix Xavier-uniform from the generator; biases become 0, what is left (norms, PReLU) stays."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() >= 2:
                bound = math.sqrt(6 / (parameter.shape[-1] + parameter.shape[-2]))
                parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
            elif name.endswith("bias"):
                parameter.zero_()


def missing(dims: Mapping[str, int], batch: Batch, modalities: Sequence[str]) -> dict[str, Padded]:
    """Return the batch with one padding frame for each modality that it leaves out, in the order of `modalities`."""
    like = next(iter(batch.values()))
    count, device = like.mask.shape[0], like.mask.device
    return {
        name: batch[name]
        if name in batch
        else Padded(
            torch.zeros(count, 1, dims[name], dtype=like.values.dtype, device=device),
            torch.zeros(count, 1, dtype=torch.bool, device=device),
        )
        for name in modalities
    }
