"""Turns models of one kind into what the training loop steps: one model by itself, or R of them stacked.

In a stack the weights of each model are one row of a matrix (R, W), R models of W weights, so clipping and the
optimiser are a few operations, whatever the model is made of. The rows go through the model together by
`torch.func.vmap`: the operations are as many as for one model, and each does the work of R.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from gia_mic.extract.device import is_out_of_memory
from gia_mic.extract.errors import first_line
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames
from gia_mic.fuse.models.mult import TransformerLayer
from gia_mic.fuse.models.own import OwnFusion, random_batch

__all__ = ["Learner", "OneModel", "Stack", "decays", "why_unstackable"]


class Learner(Protocol):
    """One model, or R of one kind, as the training loop sees them.

    Tensors of a stack have a leading axis R, which those of one model lack; below, … stands for it.

    Attributes:
        stacked: Whether there is that axis.
    """

    stacked: bool

    def train(self) -> None:
        """Go into training mode."""

    def join(self, tensors: Sequence[Tensor], padding: float = 0) -> Tensor:
        """Make one tensor of what belongs to each model, padded at its end along the first axis to the longest."""

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the parameters as AdamW takes them."""

    def __call__(self, batch: Batch, keep: Tensor | None, feature_masks: Mapping[str, Tensor]) -> Output:
        """Fuse a batch.

        Args:
            batch: Frames by modality: values (…, B, T, D), masks (…, B, T).
            keep: Dropout masks (…, B, P, d), or None.
            feature_masks: Masks of buffers by name, (…, D), as `plan.feature_masks` draws them.

        Returns:
            Logits (…, B, C), constraint (…), and logits (…, B, C) of each modality by itself, where there are some.
        """

    def clip(self, longest: float) -> None:
        """Shorten the gradient of each model to this Euclidean length."""

    def decay(self, share: float) -> None:
        """Take this share away from weights that decay, where AdamW can't tell them from the others."""

    def model(self, index: int) -> nn.Module:
        """Return a model with its present weights; the next call may change them."""


class OneModel:
    """One model that is trained by itself."""

    stacked = False

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters = list(model.parameters())

    def train(self) -> None:
        """Go into training mode."""
        self._model.train()

    def join(self, tensors: Sequence[Tensor], padding: float = 0) -> Tensor:
        """Return the one tensor that there is."""
        [only] = tensors
        return only

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the parameters that decay, and those that don't."""
        return [
            {
                "params": [parameter for parameter in self._parameters if decays(parameter)],
                "weight_decay": weight_decay,
            },
            {"params": [parameter for parameter in self._parameters if not decays(parameter)], "weight_decay": 0.0},
        ]

    def __call__(self, batch: Batch, keep: Tensor | None, feature_masks: Mapping[str, Tensor]) -> Output:
        """Fuse a batch."""
        buffers = {name: self._model.get_buffer(name) * mask for name, mask in feature_masks.items()}
        output: Output = functional_call(self._model, buffers, (batch, keep))
        return output

    def clip(self, longest: float) -> None:
        """Shorten the gradient to this Euclidean length."""
        nn.utils.clip_grad_norm_(self._parameters, longest)

    def decay(self, share: float) -> None:
        """Do nothing: AdamW has a group of those that decay."""

    def model(self, index: int) -> nn.Module:
        """Return the model."""
        return self._model


class Stack:
    """R ≥ 2 models of one kind.

    Attributes:
        rows: Weights (R, W), a leaf that requires gradients.
        decaying: (W,), 1 for weights on which weight decay acts, else 0.
        buffers: Statistics by name, (R, …).
    """

    stacked = True

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = models
        self._template = copy.deepcopy(models[0])
        for module in self._template.modules():
            if isinstance(module, TransformerLayer):
                module.stacked = True
        parameters = dict(self._template.named_parameters())
        self._shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        flat = [torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) for model in models]
        self.rows = torch.stack(flat).requires_grad_()
        self.decaying = torch.cat(
            [torch.full((parameter.numel(),), float(decays(parameter))) for parameter in parameters.values()]
        ).to(self.rows.device)
        buffers = [dict(model.named_buffers()) for model in models]
        self.buffers = {name: torch.stack([each[name] for each in buffers]) for name in buffers[0]}

    def train(self) -> None:
        """Go into training mode."""
        self._template.train()

    def eval(self) -> None:
        """Go into evaluation mode."""
        self._template.eval()

    def join(self, tensors: Sequence[Tensor], padding: float = 0) -> Tensor:
        """Pad the tensors at their ends to the longest and stack them, (R, …)."""
        return nn.utils.rnn.pad_sequence(list(tensors), batch_first=True, padding_value=padding)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the matrix of all weights, which `decay` makes smaller."""
        return [{"params": [self.rows], "weight_decay": 0.0}]

    def __call__(self, batch: Batch, keep: Tensor | None, feature_masks: Mapping[str, Tensor]) -> Output:
        """Fuse a batch for each model."""
        weights = self._named(self.rows.split(self._sizes, 1), len(self.rows))
        buffers = self.buffers | {name: self.buffers[name] * mask for name, mask in feature_masks.items()}

        def call(
            weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Batch, keep: Tensor | None
        ) -> Any:
            output: Output = functional_call(self._template, {**weights, **buffers}, (batch, keep))
            return output.logits, output.constraint, output.unimodal

        logits, constraint, unimodal = vmap(call, in_dims=(0, 0, 0, None if keep is None else 0))(
            weights, buffers, batch, keep
        )
        return Output(logits, constraint, {}, unimodal)

    def clip(self, longest: float) -> None:
        """Shorten the gradient of each model to this Euclidean length."""
        gradient = self.rows.grad
        assert gradient is not None
        gradient *= (longest / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)

    def decay(self, share: float) -> None:
        """Take this share away from weights that decay, as AdamW does, but not from every weight of a row."""
        with torch.no_grad():
            self.rows *= 1 - share * self.decaying

    def model(self, index: int) -> nn.Module:
        """Write a model's row into the model and return it."""
        model = self._models[index]
        weights = self._named(self.rows[index].detach().split(self._sizes))
        model.load_state_dict(weights | {name: value[index] for name, value in self.buffers.items()})
        return model

    def _named(self, parts: Iterable[Tensor], *leading: int) -> dict[str, Tensor]:
        """Return flat weights by name, in their shapes after these leading axes."""
        return {
            name: part.view(*leading, *shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }


def why_unstackable(model: nn.Module) -> str | None:
    """Return why models of this kind can't be stacked; None where they can.

    Ours can. One that others wrote is tried, there and back: it can't if a value decides what it does, or if it draws
    at random by itself.
    """
    if not isinstance(model, OwnFusion):
        return None
    device = next(model.parameters()).device
    batch = {
        name: PaddedFrames(*(torch.stack([tensor] * 2).to(device) for tensor in frames))
        for name, frames in random_batch(model.dims, 3, 4).items()
    }
    if len(list(model.named_parameters(remove_duplicate=False))) > len(list(model.parameters())):
        return "one parameter has several names"
    keep = torch.ones(2, 3, model.dropouts, model.width, device=device) if model.dropout else None
    try:
        stack = Stack([model, model])
        stack.train()
        output = stack(batch, keep, {})
        (output.logits.sum() + output.constraint.sum()).backward()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return first_line(error)
    return None


def decays(parameter: Tensor) -> bool:
    """Whether weight decay acts on a parameter: on matrices, not on biases, norms and weights of layers."""
    return parameter.dim() >= 2
