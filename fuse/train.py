"""Turns one fold and one seed into a trained model.

Everything random comes from one generator: first the matrices, then in each epoch the order and in each step the
dropout masks. Every run of a corpus makes the same number of steps, visits short and long utterances in the same order
and computes on one thread, so that it gives the same numbers alone and beside others.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, cos, isfinite, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gia_mic.extract.device import keep_freed, keep_products
from gia_mic.extract.errors import RunError
from gia_mic.fuse import measure
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, epoch, sorted_batches
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, Scaler, initialise
from gia_mic.fuse.stack import Learner, OneModel, Stack

__all__ = [
    "RunSpec",
    "TrainResult",
    "dropout_masks",
    "feature_masks",
    "fit",
    "fit_scalers",
    "fit_together",
    "hide",
    "log_frequencies",
    "mixed",
    "modality_masks",
    "objective",
    "one_thread",
    "predict",
    "prepare_cpu",
    "rounds_frames",
    "schedule",
    "steps_per_epoch",
    "targets",
    "views",
    "visits",
]

NOBODY = -1
"""Row number of an utterance that isn't there."""

COMPILED_PRODUCTS = 4096
"""Matrix products that are kept compiled; an epoch of IEMOCAP's size needs 1,400 in bfloat16."""


@dataclass(frozen=True)
class RunSpec:
    """One run: what a model is trained on.

    Attributes:
        rows: Rows to train on; those without any frame are left out.
        seed: Seed of the weights, the order and the dropout, at least 0.
        choose: Rows on which the best epoch is chosen by UA; None takes the last epoch.
        choose_by: Name of these rows in the history: dev or test. By dev, `patience` ends a run early.
        report: Called with each row of the history.
    """

    rows: np.ndarray
    seed: int
    choose: np.ndarray | None = None
    choose_by: str = "dev"
    report: Callable[[Mapping[str, Any]], None] = lambda row: None


@dataclass(frozen=True)
class TrainResult:
    """What training gives.

    Attributes:
        model: The fusion, in evaluation mode, with the chosen epoch's weights.
        history: One row an epoch: epoch, loss, constraint, learning_rate, train_UA, and dev_UA or test_UA where the
            epoch is chosen by it.
        epoch: The chosen epoch, from 1.
        unusable: Utterances of the training part without a frame in any modality, which were left out.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    epoch: int
    unusable: int


def steps_per_epoch(sizes: Sequence[int], batch_size: int) -> int:
    """Return the number of batches for folds with training parts of these sizes: the same for all."""
    return max(1, ceil(max(sizes) / batch_size))


def prepare_cpu(runs: int = 1) -> None:
    """Keep what a step leaves behind for the next: freed memory, and compiled products.

    Products are kept as in extraction, which wants fewer, in a process that has extracted before.

    Args:
        runs: Number of runs that are trained side by side, a thread each.
    """
    keep_freed(runs)
    keep_products(COMPILED_PRODUCTS)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums come out the same wherever they are made, and runs beside each other don't wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def fit(
    build: Callable[[], nn.Module], data: Data, spec: RunSpec, config: TrainingConfig, *, steps: int
) -> TrainResult:
    """Train a model on one training part.

    Args:
        build: Makes the fusion, untrained.
        data: Frames and labels, on the device to train on.
        spec: The run.
        config: Settings of the training.
        steps: Batches in an epoch, see `steps_per_epoch`.

    Raises:
        RunError: No training utterance has a frame, or the loss is not a finite number.
    """
    run = _Run(build, data, spec, config)
    [result] = _train(OneModel(run.model), [run], data, config, steps)
    return result


def fit_together(
    build: Callable[[], nn.Module], data: Data, specs: Sequence[RunSpec], config: TrainingConfig, *, steps: int
) -> list[TrainResult]:
    """Train several runs at once; each becomes what `fit` makes of it alone, within float tolerance.

    The runs draw from generators of their own in the same order as alone. At one step all of them have utterances of
    about the same length, so padding to the longest of all costs little. A run with fewer utterances than steps is
    trained alone, and so are the others with it. Stopping early keeps the weights of the chosen epoch, although the
    stack goes on for the others.

    Args:
        build: Makes the fusion, untrained.
        data: Frames and labels, on the device to train on.
        specs: The runs.
        config: Settings of the training.
        steps: Batches in an epoch, see `steps_per_epoch`.

    Raises:
        RunError: As `fit`.
    """
    costs = data.costs
    if len(specs) == 1 or any((costs[spec.rows] > 0).sum() < steps for spec in specs):
        return [fit(build, data, spec, config, steps=steps) for spec in specs]
    runs = [_Run(build, data, spec, config) for spec in specs]
    return _train(Stack([run.model for run in runs]), runs, data, config, steps)


def mixed(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context in which a model computes in the configured precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16", cache_enabled=False)


def rounds_frames(config: TrainingConfig, device: torch.device) -> bool:
    """Whether frames are better rounded before training than in every step."""
    return config.precision == "bfloat16" and device.type == "cpu"


def views(batch: Batch, config: TrainingConfig) -> list[Batch]:
    """Return the batch with each modality by itself; nothing where that is not asked for, or there is only one."""
    return [{name: frames} for name, frames in batch.items()] if config.unimodal_weight and len(batch) > 1 else []


def objective(
    logits: Tensor,
    unimodal: Sequence[Tensor],
    present: Tensor,
    label_targets: Tensor,
    log_prior: Tensor,
    config: TrainingConfig,
) -> Tensor:
    """Return the loss of a step but for the fusion's own constraint.

        q ∝ π Π_m (p_m / π)                          over the modalities m that an utterance has
        target = (1 − ε) label + ε q
        loss = CE(p, target) + α mean over m of CE(p_m, label)

    p is what the model says of all modalities together and p_m of m alone, π is how frequent the classes are, which q
    counts once, α = `unimodal_weight` and ε = `soft_target`.
    Models of several modalities lean on the one that is learnt fastest, and then learn by heart what it gets wrong; by
    itself each modality is learnt as well as it can be (Du et al. 2023, arXiv:2305.01233). And where an utterance's
    modalities contradict its label, a part of the target follows them (bootstrapping: Reed et al. 2015,
    arXiv:1412.6596), so that there is less to learn by heart. No gradient flows through q.

    Args:
        logits: (…, B, C).
        unimodal: Logits (…, B, C) of each modality by itself; empty where there is only one.
        present: (M, …, B) bool, True where the utterance has the modality.
        label_targets: Targets (…, B, C) by the labels, times the class's weight; all 0 for nobody.
        log_prior: log π (…, C), see `log_frequencies`.
        config: Settings of the training, of which α and ε are used.

    Returns:
        (…), the leading axes that stand for models of a stack.
    """
    total = label_targets.sum((-2, -1))
    target = label_targets
    unimodal_loss = torch.zeros_like(total)
    if unimodal and config.unimodal_weight:
        log_p = torch.stack([logits_m.float().log_softmax(-1) for logits_m in unimodal]) * present.unsqueeze(-1)
        counts = (label_targets.sum(-1) * present).sum(-1)
        unimodal_loss = (-(log_p * label_targets).sum((-2, -1)) / torch.where(counts > 0, counts, 1)).mean(0)
        likelihoods = log_p.detach() - log_prior.unsqueeze(-2) * present.unsqueeze(-1)
        product = (likelihoods.sum(0) + log_prior.unsqueeze(-2)).softmax(-1) * label_targets.sum(-1, keepdim=True)
        target = torch.lerp(label_targets, product, config.soft_target)
    return -(logits.float().log_softmax(-1) * target).sum((-2, -1)) / total + config.unimodal_weight * unimodal_loss


def predict(
    model: nn.Module,
    data: Data,
    rows: np.ndarray,
    *,
    hidden: Sequence[str] = (),
    change: Callable[[dict[str, PaddedFrames]], dict[str, PaddedFrames]] | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """Return the class probabilities of utterances, (B, C) float32, in the order of `rows`.

    Args:
        model: A trained fusion.
        data: Frames of the corpus.
        rows: Rows (B,) of the utterances.
        hidden: Names of the modalities to go without.
        change: Function that is applied to each batch first, such as one that adds noise.
        batch_size: Most utterances in a batch, at least 1.
    """
    model.eval()
    device = data.labels.device
    probabilities = np.empty((len(rows), len(data.classes)), dtype=np.float32)
    costs = data.costs[rows]
    with torch.inference_mode():
        for index in sorted_batches(np.arange(len(rows)), costs, batch_size):
            batch = data.batch(torch.from_numpy(rows[index]).to(device))
            visible = {name: frames for name, frames in batch.items() if name not in hidden}
            visible = change(visible) if change is not None else visible
            probabilities[index] = model(visible).logits.float().softmax(-1).cpu().numpy()
    return probabilities


def dropout_masks(model: Any, count: int, generator: torch.Generator) -> Tensor:
    """Draw the dropout masks of one step, (B, P, d), for `layers.drop`."""
    visible = torch.rand(count, model.dropouts, model.width, generator=generator) >= model.dropout
    return visible.float() / (1 - model.dropout)


def feature_masks(model: Any, probability: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw which features of the frames one step sees, for all its utterances (Ho 1998, the random subspace method).

    What a step doesn't see can't be learnt by heart, so that weights spread over features that say the same: a model
    of few speakers then leans less on what tells their voices and faces apart. As the deviations are worked into the
    first weights (`layers.project`), masks for them cost no pass over the frames.

    Returns:
        (D_m,) for the buffer `scalers.m.scale` of each modality m, 0 or 1 / (1 − p); nothing where p is 0.
    """
    if not probability:
        return {}
    masks = {}
    for name, scaler in model.scalers.items():
        visible = torch.rand(scaler.scale.shape, generator=generator) >= probability
        masks[f"scalers.{name}.scale"] = visible.float() / (1 - probability)
    return masks


def modality_masks(count: int, modalities: int, probability: float, generator: torch.Generator) -> Tensor:
    """Draw which modalities of each utterance one step sees, (B, M) bool."""
    return torch.rand(count, modalities, generator=generator) >= probability


def hide(batch: Batch, visible: Tensor) -> dict[str, PaddedFrames]:
    """Hide modalities of utterances; an utterance that would lose all that it has keeps all.

    Args:
        batch: Frames by modality, with masks (…, B, T).
        visible: (…, B, M) bool, True where the modality is seen.
    """
    present = torch.stack([frames.present for frames in batch.values()], -1)
    remaining = present & visible
    remaining = torch.where(remaining.any(-1, keepdim=True), remaining, present)
    return {
        name: PaddedFrames(frames.values, frames.mask & remaining[..., number, None])
        for number, (name, frames) in enumerate(batch.items())
    }


def visits(steps: int, number: int) -> list[int]:
    """Return the order in which the batches of an epoch, from short utterances to long, are visited.

    It depends on the epoch alone, so that all runs meet short and long utterances at the same step.
    """
    return torch.randperm(steps, generator=torch.Generator().manual_seed(number)).tolist()


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the rate of a step as a part of the highest: linear warm-up, then half a cosine down to 0."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + cos(pi * (step - rising) / max(steps - rising, 1)))


def fit_scalers(model: nn.Module, data: Data, rows: np.ndarray) -> None:
    """Fit a fusion's scalers on the frames of these utterances, the training part."""
    scalers: Any = model.scalers
    for name, packed in data.modalities.items():
        scaler = scalers[name]
        if isinstance(scaler, Scaler):
            mean, deviation = packed.statistics(rows)
            scaler.fit(mean.float(), deviation.float(), packed.rounded.origin if packed.rounded else None)


def targets(data: Data, rows: np.ndarray, config: TrainingConfig, device: torch.device) -> Tensor:
    """Return the target distribution of each class, (C, C), already multiplied by the class weights."""
    C = len(data.classes)
    table = torch.eye(C) * (1 - config.label_smoothing) + config.label_smoothing / C
    if config.class_weights:
        counts = torch.bincount(data.labels.cpu()[torch.from_numpy(rows)], minlength=C).float()
        weights = torch.where(counts > 0, len(rows) / (C * counts.clamp(min=1)), 0)
        table = table * weights.unsqueeze(1)
    return table.to(device)


def log_frequencies(targets: Tensor, labels: Tensor) -> Tensor:
    """Return log π (C,) of the classes in a training part, as its loss weighs them.

    Args:
        targets: Target distribution of each class, (C, C), times its weight.
        labels: Class indices (B,) of the training part.
    """
    mass = targets[labels].sum(0)
    return (mass / mass.sum()).clamp(min=1e-6).log()


class _Run:
    """What belongs to one run: its model and generator, its history and its best weights so far."""

    def __init__(self, build: Callable[[], nn.Module], data: Data, spec: RunSpec, config: TrainingConfig) -> None:
        self.spec, self.rows = spec, spec.rows[data.costs[spec.rows] > 0]
        if not len(self.rows):
            raise RunError(
                "No utterance of the training part has features in any of the chosen modalities: extract them."
            )
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.model: Any = build()
        initialise(self.model, self.generator)
        fit_scalers(self.model, data, self.rows)
        self.model.to(data.labels.device)
        self.targets = targets(data, self.rows, config, data.labels.device)
        labels = data.labels.cpu()[torch.from_numpy(self.rows)]
        self.log_prior = log_frequencies(self.targets.cpu(), labels).to(data.labels.device)
        self.stopped = False
        self._patience = config.patience if spec.choose_by == "dev" else 0
        self._history: list[dict[str, Any]] = []
        self._best_score, self._best_epoch = -1.0, config.epochs
        self._best_state: dict[str, Tensor] | None = None

    def end_epoch(self, model: nn.Module, data: Data, row: dict[str, Any]) -> None:
        """Add a row to the history; where the epoch is chosen, score the model and remember it if it is the best."""
        choose = self.spec.choose
        if choose is not None:
            true, predicted = data.labels.cpu()[torch.from_numpy(choose)], predict(model, data, choose).argmax(-1)
            score = row[f"{self.spec.choose_by}_UA"] = measure.ua(true, predicted, len(data.classes))
            if score > self._best_score:
                self._best_score, self._best_epoch = score, row["epoch"]
                self._best_state = copy.deepcopy(model.state_dict())
            self.stopped = bool(self._patience) and row["epoch"] - self._best_epoch >= self._patience
        self._history.append(row)
        self.spec.report(row)

    def end(self, model: nn.Module) -> TrainResult:
        """Return the model, with the chosen epoch's weights where one was chosen."""
        if self._best_state is not None:
            model.load_state_dict(self._best_state)
        return TrainResult(model.eval(), self._history, self._best_epoch, len(self.spec.rows) - len(self.rows))


def _train(learner: Learner, runs: Sequence[_Run], data: Data, config: TrainingConfig, steps: int) -> list[TrainResult]:
    """Train the models of runs, one by itself or a stack: the only loop there is.

    In the shapes here … is the axis R of runs, which a stack has and one model lacks. Each run draws from its own
    generator: in an epoch its order, and in a step the modalities to hide, the features to hide and the dropout.
    """
    device, costs, true = data.labels.device, data.costs, data.labels.cpu()
    tables = learner.join([run.targets for run in runs])
    log_prior = learner.join([run.log_prior for run in runs])
    groups = learner.parameter_groups(config.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.0, fused=True)
    for number in range(config.epochs):
        learner.train()
        order = visits(steps, number)
        batches = [epoch(run.rows, costs, steps, run.generator, order) for run in runs]
        sums = torch.zeros(2, len(runs), device=device)
        answers: list[Tensor] = []
        for step, members in enumerate(zip(*batches, strict=True)):
            rate = config.learning_rate * schedule(number * steps + step, config.epochs * steps, config.warmup)
            if not any(len(part) for part in members):
                continue
            rows = learner.join([torch.from_numpy(part) for part in members], NOBODY).to(device)
            filled = rows != NOBODY
            output, unimodal, present = _forward(learner, runs, members, data, rows, config)
            label_targets = tables.take_along_dim(data.labels[rows].unsqueeze(-1), -2) * filled.unsqueeze(-1)
            losses = objective(output.logits, unimodal, present, label_targets, log_prior, config) + output.constraint
            optimiser.zero_grad(set_to_none=True)
            losses.sum().backward()
            if config.clip_norm:
                learner.clip(config.clip_norm)
            for group in optimiser.param_groups:
                group["lr"] = rate
            learner.decay(rate * config.weight_decay)
            optimiser.step()
            sums += (torch.stack([losses, output.constraint]).detach() * filled.sum(-1)).view(2, -1)
            answers.append(torch.stack([rows, output.logits.detach().argmax(-1)]).view(2, len(runs), -1))
        visited, predicted = torch.cat(answers, -1).cpu()
        for index, run in enumerate(runs):
            loss, constraint = (total / len(run.rows) for total in sums[:, index].tolist())
            if not isfinite(loss):
                raise RunError(f"The loss is {loss} in epoch {number + 1}: lower the learning rate.")
            if run.stopped:
                continue
            filled = visited[index] != NOBODY
            row = {
                "epoch": number + 1,
                "loss": loss,
                "constraint": constraint,
                "learning_rate": rate,
                "train_UA": measure.ua(true[visited[index][filled]], predicted[index][filled], len(data.classes)),
            }
            run.end_epoch(learner.model(index), data, row)
        if all(run.stopped for run in runs):
            break
    return [run.end(learner.model(index)) for index, run in enumerate(runs)]


def _forward(
    learner: Learner,
    runs: Sequence[_Run],
    members: Sequence[np.ndarray],
    data: Data,
    rows: Tensor,
    config: TrainingConfig,
) -> tuple[Output, Sequence[Tensor], Tensor]:
    """Pass one step's utterances through the models.

    Args:
        learner: One model, or a stack of them.
        runs: The run of each model.
        members: Rows (B,) of each run.
        data: Frames of the corpus.
        rows: The same rows, (…, B), `NOBODY` where a run has fewer than others.
        config: Settings of the training: what is hidden, and the precision.

    Returns:
        The output, logits (…, B, C) of each modality by itself where they are asked for, and who has which modality,
        (M, …, B) bool.
    """
    device = rows.device

    def draw(masks: Callable[[_Run, int], Tensor]) -> Tensor:
        drawn = [masks(run, len(part)) for run, part in zip(runs, members, strict=True)]
        return learner.join(drawn).to(device)

    def keep() -> Tensor | None:
        if not runs[0].model.dropout:
            return None
        return draw(lambda run, count: dropout_masks(run.model, count, run.generator))

    flat = data.batch(rows.flatten(), for_bfloat16=rounds_frames(config, device))
    batch = {name: PaddedFrames(*(value.unflatten(0, rows.shape) for value in frames)) for name, frames in flat.items()}
    if config.modality_dropout:
        M, probability = len(batch), config.modality_dropout
        batch = hide(batch, draw(lambda run, count: modality_masks(count, M, probability, run.generator)))
    drawn = [feature_masks(run.model, config.feature_dropout, run.generator) for run in runs]
    features = {name: learner.join([masks[name] for masks in drawn]).to(device) for name in drawn[0]}
    with mixed(config, device):
        output = learner(batch, keep(), features)
        unimodal = output.unimodal or [learner(view, keep(), features).logits for view in views(batch, config)]
    return output, unimodal, torch.stack([frames.present for frames in batch.values()])
