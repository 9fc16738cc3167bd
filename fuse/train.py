"""Turns one fold and one seed into a trained model.

Everything random comes from one generator: first the matrices, then in each epoch the order and in each step the
dropout masks. Every run of a corpus makes the same number of steps, visits short and long utterances in the same order
and computes on one thread, so that on a CPU it gives the same numbers alone and beside others. On other devices some
sums are added up in whatever order they come, so there numbers agree up to rounding, from one time to the next too.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil, cos, isfinite, pi
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from gia_mic.extract.device import empty_cache, is_out_of_memory, keep_freed, keep_products
from gia_mic.extract.errors import RunError
from gia_mic.fuse import measure
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, sorted_batches
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, Scaler, initialise
from gia_mic.fuse.plan import NOBODY, Step, plan_epoch
from gia_mic.fuse.stack import Learner, OneModel, Stack

__all__ = [
    "RunSpec",
    "TrainResult",
    "bytes_of_run",
    "fit",
    "fit_scalers",
    "fit_together",
    "hide",
    "log_frequencies",
    "mixed",
    "objective",
    "one_thread",
    "predict",
    "predict_stack",
    "predict_together",
    "prepare_cpu",
    "rounds_frames",
    "schedule",
    "steps_per_epoch",
    "targets",
]

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


def bytes_of_run(build: Callable[[], nn.Module], data: Data, config: TrainingConfig) -> int:
    """Return how many bytes of a device one run of a stack takes in the step of the longest utterances.

    These are what the step keeps for its way back, its frames as they are stored, and the weights with gradient and
    moments. The step is done, without its way back, and counted.

    Args:
        build: Makes the fusion, untrained.
        data: Frames, on the device.
        config: Settings of the training.
    """
    device, model = data.labels.device, cast(Any, build()).to(data.labels.device)
    stack = Stack([model])
    stack.train()
    rows = np.argsort(-data.costs, kind="stable")[None, : config.batch_size]
    keep = torch.ones(*rows.shape, model.dropouts, model.width, device=device) if model.dropout else None
    step = Step(0, rows, torch.from_numpy(rows).to(device), keep=keep)
    held: dict[StorageWeakRef, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[StorageWeakRef(storage)] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        output = _forward(stack, step, data, config)  # held on to, and with it all that is counted
    frames = sum(
        rows.size * int(data.lengths[name][rows].max()) * packed.dim * packed.values[:1].element_size()
        for name, packed in data.modalities.items()
    )
    del output
    return sum(held.values()) + frames + 4 * stack.rows.nbytes


def mixed(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context in which a model computes in the configured precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16", cache_enabled=False)


def rounds_frames(config: TrainingConfig, device: torch.device) -> bool:
    """Whether frames are better rounded before training than in every step."""
    return config.precision == "bfloat16" and device.type == "cpu"


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
        unimodal: Logits (…, B, C) of each modality by itself; empty where there is only one, or the fusion has none.
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
    probabilities = np.empty((len(rows), len(data.classes)), dtype=np.float32)
    order = list(sorted_batches(np.arange(len(rows)), data.costs[rows], batch_size))
    if not order:
        return probabilities
    arranged = rows[np.concatenate(order)]
    answers = []
    with torch.inference_mode():
        on_device = torch.from_numpy(arranged).to(data.labels.device)
        for start in range(0, len(arranged), batch_size):
            part = slice(start, start + batch_size)
            batch = data.batch(on_device[part], on_host=arranged[part])
            visible = {name: frames for name, frames in batch.items() if name not in hidden}
            visible = change(visible) if change is not None else visible
            answers.append(model(visible).logits.float().softmax(-1))
        probabilities[np.concatenate(order)] = torch.cat(answers).cpu().numpy()
    return probabilities


def predict_stack(
    stack: Stack, data: Data, rows: Sequence[np.ndarray], *, hidden: Sequence[str] = (), batch_size: int = 64
) -> list[np.ndarray]:
    """Return what `predict` gives for each model of a stack and rows of its own, in one pass, within float tolerance.

    Args:
        stack: The R models.
        data: Frames of the corpus.
        rows: Rows of each model, some of which may be none.
        hidden: Names of the modalities to go without.
        batch_size: Most utterances of each model in a batch, at least 1.
    """
    stack.eval()
    orders = [np.argsort(-data.costs[part], kind="stable") for part in rows]
    most = max(1, *map(len, rows))
    batch_size = min(batch_size, most)
    count = -(-most // batch_size)
    arranged = np.full((len(rows), count * batch_size), NOBODY)
    for model_rows, part, order in zip(arranged, rows, orders, strict=True):
        model_rows[: len(part)] = part[order]
    answers = []
    with torch.inference_mode():
        on_device = torch.from_numpy(arranged).to(data.labels.device)
        for start in range(0, count * batch_size, batch_size):
            place = slice(start, start + batch_size)
            batch = _gather(data, on_device[:, place], arranged[:, place])
            visible = {name: frames for name, frames in batch.items() if name not in hidden}
            answers.append(stack(visible, None, {}).logits.float().softmax(-1))
        together = torch.cat(answers, 1).cpu().numpy()
    probabilities = [np.empty((len(order), len(data.classes)), np.float32) for order in orders]
    for model_probabilities, order, answer in zip(probabilities, orders, together, strict=True):
        model_probabilities[order] = answer[: len(order)]
    return probabilities


def predict_together(
    models: Sequence[nn.Module], data: Data, rows: Sequence[np.ndarray], *, hidden: Sequence[str] = ()
) -> list[np.ndarray]:
    """Return what `predict` gives for each of some models of one kind and rows of its own.

    On a CPU they are asked one after the other. Elsewhere they are stacked, unless memory doesn't suffice.
    """
    if len(models) > 1 and data.labels.device.type != "cpu":
        try:
            return predict_stack(Stack(models), data, rows, hidden=hidden)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        empty_cache()
    return [predict(model, data, part, hidden=hidden) for model, part in zip(models, rows, strict=True)]


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
            mean, deviation = data.statistics(name, rows)
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

    def end_epoch(
        self, row: dict[str, Any], model: Callable[[], nn.Module], true: Tensor, probabilities: np.ndarray | None
    ) -> None:
        """Add a row to the history; where the epoch is chosen, score the model and remember it if it is the best.

        Args:
            row: Row of the history.
            model: Gives the model as it is now.
            true: Labels (U,) of the corpus.
            probabilities: What the model says of the rows that choose the epoch, (B, C); None where it isn't chosen.
        """
        choose = self.spec.choose
        if choose is not None and probabilities is not None:
            predicted = probabilities.argmax(-1)
            score = row[f"{self.spec.choose_by}_UA"] = measure.ua(
                true[torch.from_numpy(choose)], predicted, probabilities.shape[-1]
            )
            if score > self._best_score:
                self._best_score, self._best_epoch = score, row["epoch"]
                self._best_state = copy.deepcopy(model().state_dict())
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
    device, true = data.labels.device, data.labels.cpu()
    tables = learner.join([run.targets for run in runs])
    log_prior = learner.join([run.log_prior for run in runs])
    groups = learner.parameter_groups(config.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.0, fused=True)
    for number in range(config.epochs):
        learner.train()
        sums = torch.zeros(2, len(runs), device=device)
        answers: list[Tensor] = []
        for step in plan_epoch(runs, data, config, steps=steps, number=number, stacked=learner.stacked):
            rate = _rate(config, number * steps + step.number, steps)
            rows, filled = step.rows, step.rows != NOBODY
            output, present = _forward(learner, step, data, config)
            label_targets = tables.take_along_dim(data.labels[rows].unsqueeze(-1), -2) * filled.unsqueeze(-1)
            losses = objective(output.logits, output.unimodal, present, label_targets, log_prior, config)
            losses = losses + output.constraint
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
        totals = sums.tolist()
        chosen = _choose(learner, runs, data)
        for index, run in enumerate(runs):
            loss, constraint = (total[index] / len(run.rows) for total in totals)
            if not isfinite(loss):
                raise RunError(f"The loss is {loss} in epoch {number + 1}: lower the learning rate.")
            if run.stopped:
                continue
            filled = visited[index] != NOBODY
            row = {
                "epoch": number + 1,
                "loss": loss,
                "constraint": constraint,
                "learning_rate": _rate(config, (number + 1) * steps - 1, steps),
                "train_UA": measure.ua(true[visited[index][filled]], predicted[index][filled], len(data.classes)),
            }
            run.end_epoch(row, partial(learner.model, index), true, chosen[index])
        if all(run.stopped for run in runs):
            break
    return [run.end(learner.model(index)) for index, run in enumerate(runs)]


def _rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step of the training, from 0, with so many in an epoch."""
    return config.learning_rate * schedule(step, config.epochs * steps, config.warmup)


def _choose(learner: Learner, runs: Sequence[_Run], data: Data) -> Sequence[np.ndarray | None]:
    """Return what each model says of the rows that choose its epoch; None where none does."""
    nothing = np.empty(0, dtype=np.int64)
    rows = [nothing if run.spec.choose is None or run.stopped else run.spec.choose for run in runs]
    if not any(map(len, rows)):
        return [None] * len(runs)
    if isinstance(learner, Stack):
        return predict_stack(learner, data, rows)
    return [predict(learner.model(0), data, rows[0])]


def _gather(data: Data, rows: Tensor, on_host: np.ndarray, *, for_bfloat16: bool = False) -> dict[str, PaddedFrames]:
    """Return frames (…, B, T, D) of utterances (…, B)."""
    flat = data.batch(rows.flatten(), on_host=on_host.ravel(), for_bfloat16=for_bfloat16)
    return {name: PaddedFrames(*(value.unflatten(0, rows.shape) for value in frames)) for name, frames in flat.items()}


def _forward(learner: Learner, step: Step, data: Data, config: TrainingConfig) -> tuple[Output, Tensor]:
    """Pass one step's utterances through the models.

    Args:
        learner: One model, or a stack of them.
        step: The step, of rows (…, B).
        data: Frames of the corpus.
        config: Settings of the training, of which the precision is used.

    Returns:
        The output, and who has which modality, (M, …, B) bool.
    """
    device = step.rows.device
    batch: Batch = _gather(data, step.rows, step.on_host, for_bfloat16=rounds_frames(config, device))
    if step.visible is not None:
        batch = hide(batch, step.visible)
    with mixed(config, device):
        output = learner(batch, step.keep, step.features)
    return output, torch.stack([frames.present for frames in batch.values()])
