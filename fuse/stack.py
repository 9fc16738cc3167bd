"""Turns one model into a stack of models that differ in their weights alone and are trained side by side.

The weights of each model are one row of a matrix (R, W), R models of W weights, so clipping and the optimiser are a few
operations, whatever the model is made of. Several rows go through the model together by `torch.func.vmap`: the
operations are as many as for one model, and each does the work of R.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fuse.frames import Batch, Output

__all__ = ["Stack"]


class Stack:
    """R models of one kind.

    Attributes:
        rows: Weights (R, W), a leaf that requires gradients.
        buffers: Statistics by name, (R, …).
    """

    def __init__(self, models: list[nn.Module], device: torch.device) -> None:
        self.template = models[0].to(device)
        self._shapes = {name: parameter.shape for name, parameter in self.template.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        flat = [torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) for model in models]
        self.rows = torch.stack(flat).to(device).requires_grad_()
        states = [dict(model.named_buffers()) for model in models]
        self.buffers = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, batch: Batch, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fuse a batch for each model.

        Args:
            batch: Frames by modality with a leading axis R: values (R, B, T, D), masks (R, B, T).
            keep: Dropout masks (R, B, P, d), or None.

        Returns:
            Logits (R, B, C) and constraints (R,).
        """
        parts = self.rows.split(self._sizes, 1)
        weights = {name: part.view(-1, *shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

        def one(weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Batch, keep: Tensor | None) -> Any:
            output: Output = functional_call(self.template, {**weights, **buffers}, (batch, keep))
            return output.logits, output.constraint

        if len(self) > 1:
            found: tuple[Tensor, Tensor] = vmap(one, in_dims=(0, 0, 0, None if keep is None else 0))(
                weights, self.buffers, batch, keep
            )
            return found
        first: Any = torch.utils._pytree.tree_map(lambda value: value[0], (weights, self.buffers, batch, keep))
        logits, constraint = one(*first)
        return logits.unsqueeze(0), constraint.unsqueeze(0)

    def state(self, row: int) -> dict[str, Tensor]:
        """Return the weights and buffers of one model, copied."""
        parts = self.rows[row].detach().split(self._sizes)
        weights = {
            name: part.view(shape).clone() for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
        return weights | {name: value[row].clone() for name, value in self.buffers.items()}
