"""Turns ragged frames of a batch into masked tensors, with the few operations every fusion needs on them.

The letters are the project's: `B` utterances in a batch, `T` frames or tokens, `D` features, `C` outputs (one for each
class or score), `M` modalities, `K` latent tokens. `d` is a model's width. A mask is True at a frame and False at
padding; an utterance that lacks a modality has no True at all. Nothing here looks at values to decide what to do, so
all of it can be stacked over models (`torch.func.vmap`).
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Batch",
    "Fusion",
    "Output",
    "PaddedFrames",
    "Scaler",
    "drop",
    "initialise",
    "mean",
    "missing",
    "pool",
    "project",
    "scaled",
    "scalers",
]


class PaddedFrames(NamedTuple):
    """Frames of one modality for a batch of utterances.

    Attributes:
        values: (B, T, D) or, projected, (B, T, d). What stands at padding is never used. Features are stored in float16
            or float32; in bfloat16 they are without an origin that their scaler knows (`packed.Bfloat16Frames`).
        mask: (B, T) bool, True at a frame.
    """

    values: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """(B,) bool, True where the utterance has this modality."""
        return self.mask.any(-1)


Batch = Mapping[str, PaddedFrames]
"""Frames by modality. A modality that is left out is missing from every utterance of the batch."""


class Output(NamedTuple):
    """What a fusion makes of a batch.

    Attributes:
        logits: (B, C) float; of scores, how far they are from their mean, in standard deviations.
        constraint: () float, the fusion's own loss beside that of the target, already weighted; 0 where it has none.
        details: Gates, attention weights and the like, by name, for explanations; empty unless asked for.
        unimodal: Logits (B, C) of each of the batch's modalities by itself, as the fusion gives them for a batch with
            that one only: in training, from a fusion that gets them on the way; empty otherwise.
    """

    logits: Tensor
    constraint: Tensor = torch.zeros(())
    details: Mapping[str, Tensor] = MappingProxyType({})
    unimodal: tuple[Tensor, ...] = ()


class Fusion(Protocol):
    """What the trainer expects of a model beside being an `nn.Module`.

    Attributes:
        modalities: Names of the modalities, in the project's order.
        dropouts: Number of dropout masks that a training step needs, P.
        width: The masks' width, d.
        dropout: Probability that an element is dropped, in 0 … 1.
    """

    modalities: tuple[str, ...]
    dropouts: int
    width: int
    dropout: float

    def __call__(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch; `keep` (B, P, d) holds the dropout masks of `drop`, None when there is no dropout."""


def mean(frames: PaddedFrames) -> Tensor:
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
        keep: (B, P, W ≥ d), 0 or 1 / (1 − p), of which the first d features count; None drops nothing.
        slot: Number of the mask, from 0 to P − 1.
    """
    if keep is None:
        return values
    mask = keep[:, slot, : values.shape[-1]].to(values.dtype)
    return values * (mask if values.dim() == 2 else mask.unsqueeze(1))


class Scaler(nn.Module):
    """Brings each feature of a modality to mean 0 and deviation 1, and sums up the layers it has of its encoder.

    The statistics are the training part's, and buffers: they are saved with the model and are no parameters. Where L
    hidden layers lie side by side in D, what follows sees their weighted sum (SUPERB: Yang et al. 2021,
    arXiv:2105.01051)

        h = Σ_l a_l x_l,    a = softmax(w) ∈ R^L,    x_l ∈ R^(D / L)

    with learned w, at first 0: the mean.

    Args:
        dim: D.
        layers: L; divides D.

    Attributes:
        mean: (D,).
        scale: (D,), one over the deviation.
        origin: (D,), of frames in bfloat16; of no use beyond the training that has them.
    """

    mean: Tensor
    scale: Tensor
    origin: Tensor | None = None

    def __init__(self, dim: int, layers: int = 1) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.weights = nn.Parameter(torch.zeros(layers)) if layers > 1 else None

    def fit(self, mean: Tensor, deviation: Tensor, origin: Tensor | None = None) -> None:
        """Take over mean and deviation, (D,) each; a feature that never changes is only centred."""
        self.origin = origin
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), torch.ones_like(deviation)))

    def forward(self, values: Tensor) -> Tensor:
        """Return (…, D / L) for (…, D) of any float type, computing in float32."""
        standardised = self.centred(values) * self.scale
        return standardised if self.weights is None else self.shares() @ standardised.unflatten(-1, (self.layers, -1))

    def centred(self, values: Tensor) -> Tensor:
        """Return (…, D) without the mean, in float32."""
        return values - self.offset(values)

    def offset(self, values: Tensor) -> Tensor:
        """Return the mean of frames as they come, (D,): that of those in bfloat16 is near 0."""
        return self.mean - self.origin if self.origin is not None and values.dtype == torch.bfloat16 else self.mean

    def shares(self) -> Tensor:
        """Return a (L,), or 1 where there is nothing to weigh."""
        return self.scale.new_ones(1) if self.weights is None else self.weights.softmax(-1)

    def spread(self, weight: Tensor) -> Tensor:
        """Return the matrix (d, D) over centred frames that does what `weight` (d, D / L) does over `forward`'s."""
        if self.weights is not None:
            weight = (weight.unsqueeze(1) * self.shares().unsqueeze(-1)).flatten(1)
        return weight * self.scale


def scalers(dims: Mapping[str, int], layers: Mapping[str, int] | None) -> nn.ModuleDict:
    """Return a scaler for each modality.

    Args:
        dims: Features of each modality's frames, D_m.
        layers: Number of encoder layers L_m that lie side by side in D_m, by modality; 1 where it isn't named.
    """
    return nn.ModuleDict({name: Scaler(dim, (layers or {}).get(name, 1)) for name, dim in dims.items()})


def scaled(dims: Mapping[str, int], layers: Mapping[str, int] | None) -> dict[str, int]:
    """Return how many features of each modality its scaler gives, D_m / L_m."""
    return {name: dim // (layers or {}).get(name, 1) for name, dim in dims.items()}


def project(values: Tensor, scaler: nn.Module, linear: nn.Module) -> Tensor:
    """Return W scaled(x), with deviations and layer weights worked into W (d, D / L) rather than all frames (…, D).

    The mean is taken from the frames all the same: a feature whose mean is large against its deviation would lose
    its digits in W. What little is left of it in frames that were rounded isn't.
    """
    assert isinstance(scaler, Scaler)
    assert isinstance(linear, nn.Linear)
    weight = scaler.spread(linear.weight)
    if values.dtype == torch.bfloat16:
        return F.linear(values, weight, -(weight * scaler.offset(values)).sum(-1))
    return F.linear(scaler.centred(values), weight)


def pool(batch: Batch, scalers: nn.ModuleDict, dims: Mapping[str, int]) -> tuple[list[Tensor], Tensor]:
    """Return the mean u_m (B, D_m / L_m) of each modality's scaled frames, and who has which, (B, M) bool.

    Args:
        batch: Raw frames by modality.
        scalers: Scaler of each modality.
        dims: Features of each modality's frames, D_m, in the order of the answer.
    """
    complete = missing(dims, batch)
    vectors = [mean(PaddedFrames(scalers[name](values), mask)) for name, (values, mask) in complete.items()]
    return vectors, torch.stack([padded.present for padded in complete.values()], 1)


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw every matrix Xavier-uniform from the generator; biases become 0, what is left (norms, PReLU) stays."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() >= 2:
                bound = math.sqrt(6 / (parameter.shape[-1] + parameter.shape[-2]))
                parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
            elif name.endswith("bias"):
                parameter.zero_()


def missing(dims: Mapping[str, int], batch: Batch) -> dict[str, PaddedFrames]:
    """Return the batch with one padding frame for each modality that it leaves out, in the order of `dims`."""
    like = next(iter(batch.values()))
    count, device = like.mask.shape[0], like.mask.device
    return {
        name: batch[name]
        if name in batch
        else PaddedFrames(
            torch.zeros(count, 1, dim, dtype=like.values.dtype, device=device),
            torch.zeros(count, 1, dtype=torch.bool, device=device),
        )
        for name, dim in dims.items()
    }
