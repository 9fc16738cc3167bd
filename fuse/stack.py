"""Turns several runs into one training in which the models are stacked.

The weights of each model are one row of a matrix (R, W), R models of W weights, so clipping and the optimiser are a few
operations, whatever the model is made of. Several rows go through the model together by `torch.func.vmap`: the
operations are as many as for one model, and each does the work of R.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from gia_mic.extract.errors import RunError
from gia_mic.fuse import measure
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, epoch
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, initialise
from gia_mic.fuse.train import (
    Trained,
    decays,
    dropout_masks,
    feature_masks,
    fit,
    fit_scalers,
    hide,
    mixed,
    objective,
    predict,
    rounds_frames,
    schedule,
    targets,
    views,
    visits,
)

__all__ = ["Job", "Stack", "fit_together"]


@dataclass(frozen=True)
class Job:
    """One run of a stack, as `train.fit` takes it.

    Attributes:
        rows: Rows to train on.
        seed: Of all that is random.
        choose: Rows on which the best epoch is chosen; None takes the last.
        report: Called with each row of the history.
    """

    rows: np.ndarray
    seed: int
    choose: np.ndarray | None = None
    report: Callable[[Mapping[str, Any]], None] = lambda row: None


class Stack:
    """R models of one kind.

    Attributes:
        rows: Weights (R, W), a leaf that requires gradients.
        decaying: (W,), 1 for weights on which weight decay acts, else 0.
        buffers: Statistics by name, (R, …).
    """

    def __init__(self, models: list[nn.Module], device: torch.device) -> None:
        self.template = models[0].to(device)
        self._shapes = {name: parameter.shape for name, parameter in self.template.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        flat = [torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) for model in models]
        self.rows = torch.stack(flat).to(device).requires_grad_()
        self.decaying = torch.cat(
            [torch.full((parameter.numel(),), float(decays(parameter))) for parameter in self.template.parameters()]
        ).to(device)
        states = [dict(model.named_buffers()) for model in models]
        self.buffers = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(
        self, batch: Batch, keep: Tensor | None, seen: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Fuse a batch for each model.

        Args:
            batch: Frames by modality with a leading axis R: values (R, B, T, D), masks (R, B, T).
            keep: Dropout masks (R, B, P, d), or None.
            seen: Masks of buffers, (R, D) by name, as `train.feature_masks` draws them for one model.

        Returns:
            Logits (R, B, C), constraints (R,), and logits (R, B, C) of each modality by itself as in `Output.alone`.
        """
        parts = self.rows.split(self._sizes, 1)
        weights = {name: part.view(-1, *shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}
        buffers = self.buffers | {name: self.buffers[name] * mask for name, mask in seen.items()}

        def one(weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Batch, keep: Tensor | None) -> Any:
            output: Output = functional_call(self.template, {**weights, **buffers}, (batch, keep))
            return output.logits, output.constraint, output.alone

        if len(self) > 1:
            with sdpa_kernel(SDPBackend.MATH):  # of attention's kernels the one that vmap can stack everywhere
                found: tuple[Tensor, Tensor, tuple[Tensor, ...]] = vmap(
                    one, in_dims=(0, 0, 0, None if keep is None else 0)
                )(weights, buffers, batch, keep)
            return found
        first: Any = tree_map(lambda value: value[0], (weights, buffers, batch, keep))
        logits, constraint, alone = one(*first)
        return logits.unsqueeze(0), constraint.unsqueeze(0), tuple(single.unsqueeze(0) for single in alone)

    def state(self, row: int) -> dict[str, Tensor]:
        """Return the weights and buffers of one model, copied."""
        parts = self.rows[row].detach().split(self._sizes)
        weights = {
            name: part.view(shape).clone() for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
        return weights | {name: value[row].clone() for name, value in self.buffers.items()}


def fit_together(
    build: Callable[[], nn.Module],
    data: Data,
    jobs: Sequence[Job],
    config: TrainingConfig,
    *,
    steps: int,
    choose_by: str = "dev",
) -> list[Trained]:
    """Train several runs at once; each becomes what `train.fit` makes of it alone, within float tolerance.

    The runs draw from generators of their own in the same order as alone. At one step all of them have utterances of
    about the same length, so padding to the longest of all costs little. A run with fewer utterances than steps is
    trained alone. Stopping early keeps the weights of the chosen epoch, although the stack goes on for the others.

    Args:
        build: Makes the fusion, untrained.
        data: Frames and labels, on the device to train on.
        jobs: The runs.
        config: How.
        steps: Batches in an epoch.
        choose_by: What the history calls the choosing rows: dev or test.

    Raises:
        RunError: As `train.fit`.
    """
    costs = data.costs
    if any((costs[job.rows] > 0).sum() < steps for job in jobs):
        return [
            fit(
                build, data, job.rows, config, seed=job.seed, steps=steps, choose=job.choose, choose_by=choose_by,
                report=job.report,
            )
            for job in jobs
        ]  # fmt: skip
    runs = [_Run(build, data, job, config, choose_by) for job in jobs]
    stack = Stack([run.model for run in runs], data.labels.device)
    stack.template.train()
    optimiser = torch.optim.AdamW([stack.rows], lr=config.learning_rate, weight_decay=0.0, fused=True)
    tables = torch.stack([run.table for run in runs])
    for number in range(config.epochs):
        order = visits(steps, number)
        batches = [epoch(run.usable, costs, steps, run.generator, order) for run in runs]
        sums = torch.zeros(2, len(runs), device=data.labels.device)
        for step in range(steps):
            members = [parts[step] for parts in batches]
            rate = config.learning_rate * schedule(number * steps + step, config.epochs * steps, config.warmup)
            rows, batch = _gather(data, runs, members, config)
            wanted = tables.gather(1, data.labels[rows].unsqueeze(-1).expand(-1, -1, tables.shape[-1]))
            wanted = wanted * (rows >= 0).unsqueeze(-1)
            seen = _seen(runs, config)
            with mixed(config, data.labels.device):
                logits, constraint, alone = stack(batch, _keep(runs, members), seen)
                singles = alone or [stack(one, _keep(runs, members), seen)[0] for one in views(batch, config)]
            present = torch.stack([frames.present for frames in batch.values()])
            losses = objective(logits, singles, present, wanted, config) + constraint
            optimiser.zero_grad(set_to_none=True)
            losses.sum().backward()
            gradient = stack.rows.grad
            assert gradient is not None
            if config.clip_norm:
                gradient *= (config.clip_norm / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)
            for group in optimiser.param_groups:
                group["lr"] = rate
            with torch.no_grad():  # as AdamW does, but not to every weight of a row
                stack.rows *= 1 - rate * config.weight_decay * stack.decaying
            optimiser.step()
            counts = (rows >= 0).sum(1)
            sums += torch.stack([losses, constraint]).detach() * counts
            for run, found, row, count in zip(runs, logits.detach().argmax(-1), rows, counts.tolist(), strict=True):
                run.true.append(data.labels[row[:count]])
                run.predicted.append(found[:count])
        for place, run in enumerate(runs):
            loss, apart = (sums[:, place] / len(run.usable)).tolist()
            run.end_epoch(stack, place, number, loss, apart, rate)
        stack.template.train()
    return [run.finish(stack, place) for place, run in enumerate(runs)]


class _Run:
    """What belongs to one run of a stack: its generator, its history and its best weights so far."""

    def __init__(
        self, build: Callable[[], nn.Module], data: Data, job: Job, config: TrainingConfig, choose_by: str
    ) -> None:
        self.data, self.job, self.config, self.choose_by = data, job, config, choose_by
        self.usable = job.rows[data.costs[job.rows] > 0]
        self.generator = torch.Generator().manual_seed(job.seed)
        self.model = build()
        initialise(self.model, self.generator)
        fit_scalers(self.model, data, self.usable)
        self.model.to(data.labels.device)
        self.table = targets(data, self.usable, config, data.labels.device)
        self.history: list[dict[str, Any]] = []
        self.best, self.epoch, self.stopped = -1.0, config.epochs, False
        self.best_state: dict[str, Tensor] | None = None
        self.true: list[Tensor] = []
        self.predicted: list[Tensor] = []

    def end_epoch(self, stack: Stack, place: int, number: int, loss: float, apart: float, rate: float) -> None:
        """Write the history's row and remember the weights if they are the best."""
        classes = len(self.data.classes)
        if not isfinite(loss):
            raise RunError(f"The loss is {loss} in epoch {number + 1}: lower the learning rate.")
        row: dict[str, Any] = {
            "epoch": number + 1,
            "loss": loss,
            "constraint": apart,
            "learning_rate": rate,
            "train_UA": measure.ua(torch.cat(self.true).cpu(), torch.cat(self.predicted).cpu(), classes),
        }
        self.true, self.predicted = [], []
        if self.stopped:
            return
        if self.job.choose is not None:
            self.model.load_state_dict(stack.state(place))
            found = predict(self.model, self.data, self.job.choose).argmax(-1)
            true = self.data.labels.cpu()[torch.from_numpy(self.job.choose)]
            row[f"{self.choose_by}_UA"] = measure.ua(true, found, classes)
            if row[f"{self.choose_by}_UA"] > self.best:
                self.best, self.epoch = row[f"{self.choose_by}_UA"], number + 1
                self.best_state = copy.deepcopy(self.model.state_dict())
            patience = self.config.patience if self.choose_by == "dev" else 0
            self.stopped = bool(patience) and number + 1 - self.epoch >= patience
        self.history.append(row)
        self.job.report(row)

    def finish(self, stack: Stack, place: int) -> Trained:
        """Return the model with the chosen epoch's weights."""
        self.model.load_state_dict(self.best_state if self.best_state is not None else stack.state(place))
        return Trained(self.model.eval(), self.history, self.epoch, len(self.job.rows) - len(self.usable))


def _gather(
    data: Data, runs: Sequence[_Run], members: Sequence[np.ndarray], config: TrainingConfig
) -> tuple[Tensor, dict[str, PaddedFrames]]:
    """Return the rows (R, B), −1 for nobody, and their frames with a leading R."""
    R, B = len(runs), max(len(part) for part in members)
    padded = np.full((R, B), -1, dtype=np.int64)
    for place, part in enumerate(members):
        padded[place, : len(part)] = part
    rows = torch.from_numpy(padded).to(data.labels.device)
    flat = data.batch(rows.flatten(), for_bfloat16=rounds_frames(config, data.labels.device))
    batch = {name: PaddedFrames(*(value.unflatten(0, (R, B)) for value in frames)) for name, frames in flat.items()}
    for place, (run, part) in enumerate(zip(runs, members, strict=True)):
        if config.modality_dropout:
            mine = {name: PaddedFrames(v[place, : len(part)], m[place, : len(part)]) for name, (v, m) in batch.items()}
            for name, frames in hide(mine, config.modality_dropout, run.generator).items():
                batch[name].mask[place, : len(part)] = frames.mask
    return rows, batch


def _seen(runs: Sequence[_Run], config: TrainingConfig) -> dict[str, Tensor]:
    """Return which features of the frames each run sees in a step, (R, D) by buffer."""
    drawn = [feature_masks(run.model, config.feature_dropout, run.generator, run.data.labels.device) for run in runs]
    return {name: torch.stack([masks[name] for masks in drawn]) for name in drawn[0]}


def _keep(runs: Sequence[_Run], members: Sequence[np.ndarray]) -> Tensor | None:
    """Return the dropout masks of one pass through the models, (R, B, P, d)."""
    drawn = [
        dropout_masks(run.model, len(part), run.generator, run.data.labels.device)
        for run, part in zip(runs, members, strict=True)
    ]
    masks = [mask for mask in drawn if mask is not None]
    return torch.nn.utils.rnn.pad_sequence(masks, batch_first=True) if masks else None
