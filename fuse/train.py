"""Turns one fold and one seed into a trained model.

Everything random comes from one generator: first the matrices, then in each epoch the order and in each step the
dropout masks. Every run of a corpus makes the same number of steps, visits short and long utterances in the same order
and computes on one thread, so that on a CPU it gives the same numbers alone and beside others. On other devices some
sums are added up in whatever order they come, so there numbers agree up to rounding, from one time to the next too.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, cos, inf, isfinite, pi
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from gia_mic.extract.device import empty_cache, is_out_of_memory, keep_freed, keep_products
from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, sorted_batches
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, Scaler, initialise
from gia_mic.fuse.models.own import OwnFusion, seeded
from gia_mic.fuse.objective import log_prior, objective, step_targets
from gia_mic.fuse.plan import NOBODY, Step, plan_epoch
from gia_mic.fuse.readout import Readout, fit_readout
from gia_mic.fuse.ridge import fit_ridge
from gia_mic.fuse.stack import Learner, OneModel, Stack, why_unstackable

__all__ = [
    "RunSpec",
    "TrainResult",
    "Trained",
    "bytes_of_run",
    "fit",
    "fit_scalers",
    "fit_together",
    "hide",
    "mixed",
    "one_thread",
    "predict",
    "predict_stack",
    "predict_together",
    "prepare_cpu",
    "rounds_frames",
    "schedule",
    "steps_per_epoch",
]

COMPILED_PRODUCTS = 4096
"""Matrix products that are kept compiled; an epoch of IEMOCAP's size needs 1,400 in bfloat16."""


@dataclass(frozen=True)
class RunSpec:
    """One run: what a model is trained on.

    Attributes:
        rows: Rows to train on; those without any frame are left out.
        seed: Seed of the weights, the order and the dropout, at least 0.
        choose: Rows on which the best epoch is chosen, by the measure's primary metric; None takes the last epoch.
        choose_by: Name of these rows in the history: dev or test. By dev, `patience` ends a run early.
        report: Called with each row of the history.
        taught: (U, K) what to learn in the place of the corpus's target, for the training part; None learns that.
    """

    rows: np.ndarray
    seed: int
    choose: np.ndarray | None = None
    choose_by: str = "dev"
    report: Callable[[Mapping[str, Any]], None] = lambda row: None
    taught: NDArray[np.float64] | None = None


class Trained(Protocol):
    """A trained fusion that can be asked for answers."""

    @property
    def model(self) -> nn.Module:
        """Return the fusion, in evaluation mode."""

    @property
    def readout(self) -> Readout:
        """Return what turns its outputs into answers."""


@dataclass(frozen=True)
class TrainResult:
    """A trained fusion, and how its training went.

    Attributes:
        model: The fusion, in evaluation mode, with the chosen epoch's weights.
        readout: How its outputs are read.
        history: One row an epoch: epoch, loss, constraint, learning_rate, the measure's primary metric on the training
            part, such as train_UA, and dev_UA or test_UA where the epoch is chosen by it.
        epoch: The chosen epoch, from 1.
        unusable: Utterances of the training part without a frame in any modality, which were left out.
    """

    model: nn.Module
    readout: Readout
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
        data: Frames and targets, on the device to train on.
        spec: The run.
        config: Settings of the training.
        steps: Batches in an epoch, see `steps_per_epoch`.

    Raises:
        RunError: No training utterance has a frame, or the loss is not a finite number.
    """
    config = config.of(data.target)
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
        data: Frames and targets, on the device to train on.
        specs: The runs.
        config: Settings of the training.
        steps: Batches in an epoch, see `steps_per_epoch`.

    Raises:
        RunError: As `fit`.
    """
    costs = data.costs
    if len(specs) == 1 or any((costs[spec.rows] > 0).sum() < steps for spec in specs):
        return [fit(build, data, spec, config, steps=steps) for spec in specs]
    config = config.of(data.target)
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
    device, model = data.device, cast(Any, build()).to(data.device)
    stack = Stack([model])
    stack.train()
    rows = np.argsort(-data.costs, kind="stable")[None, : config.batch_size]
    keep = torch.ones(*rows.shape, model.dropouts, model.width, device=device) if model.dropout else None
    step = Step(0, rows, torch.from_numpy(rows).to(device), keep=keep)
    bytes_by_storage: dict[StorageWeakRef, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        bytes_by_storage[StorageWeakRef(storage)] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        output = _forward(stack, step, data, config)  # held on to, and with it all that is counted
    frames = sum(
        rows.size * int(data.lengths[name][rows].max()) * packed.dim * packed.values[:1].element_size()
        for name, packed in data.modalities.items()
    )
    del output
    return sum(bytes_by_storage.values()) + frames + 4 * stack.rows.nbytes


def mixed(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context in which a model computes in the configured precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16", cache_enabled=False)


def rounds_frames(config: TrainingConfig, device: torch.device) -> bool:
    """Whether frames are better rounded before training than in every step."""
    return config.precision == "bfloat16" and device.type == "cpu"


def predict(
    trained: Trained,
    data: Data,
    rows: np.ndarray,
    *,
    hidden: Sequence[str] = (),
    change: Callable[[dict[str, PaddedFrames]], dict[str, PaddedFrames]] | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """Return the answers for utterances, (B, K) float32, in the order of `rows`.

    Args:
        trained: A trained fusion and how its outputs are read.
        data: Frames of the corpus.
        rows: Rows (B,) of the utterances.
        hidden: Names of the modalities to go without.
        change: Function that is applied to each batch first, such as one that adds noise.
        batch_size: Most utterances in a batch, at least 1.
    """
    outputs = _outputs(trained.model, data, rows, hidden, change, batch_size, trained.readout)
    return _read(trained.readout, outputs)


def _read(readout: Readout, outputs: Tensor) -> np.ndarray:
    return readout.answers(outputs).numpy()


def _outputs(
    model: nn.Module,
    data: Data,
    rows: np.ndarray,
    hidden: Sequence[str] = (),
    change: Callable[[dict[str, PaddedFrames]], dict[str, PaddedFrames]] | None = None,
    batch_size: int = 64,
    readout: Readout | None = None,
) -> Tensor:
    """Return the outputs for utterances, (B, K) float32 on the host, corrected where there is a readout."""
    model.eval()
    order = list(sorted_batches(np.arange(len(rows)), data.costs[rows], batch_size))
    outputs = torch.empty(len(rows), len(data.target.names))
    if not order:
        return outputs
    arranged = rows[np.concatenate(order)]
    parts = []
    with torch.inference_mode():
        on_device = torch.from_numpy(arranged).to(data.device)
        for start in range(0, len(arranged), batch_size):
            part = slice(start, start + batch_size)
            batch = data.batch(on_device[part], on_host=arranged[part])
            visible = {name: frames for name, frames in batch.items() if name not in hidden}
            visible = change(visible) if change is not None else visible
            part_outputs = model(visible).logits.float()
            parts.append(part_outputs if readout is None else readout.corrected(part_outputs, visible))
        outputs[torch.from_numpy(np.concatenate(order))] = torch.cat(parts).cpu()
    return outputs


def predict_stack(
    stack: Stack,
    readouts: Sequence[Readout],
    data: Data,
    rows: Sequence[np.ndarray],
    *,
    hidden: Sequence[str] = (),
    batch_size: int = 64,
) -> list[np.ndarray]:
    """Return what `predict` gives for each model of a stack and rows of its own, in one pass, within float tolerance.

    Args:
        stack: The R models.
        readouts: How the outputs of each are read.
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
    parts = []
    with torch.inference_mode():
        on_device = torch.from_numpy(arranged).to(data.device)
        for start in range(0, count * batch_size, batch_size):
            columns = slice(start, start + batch_size)
            batch = _gather(data, on_device[:, columns], arranged[:, columns])
            visible = {name: frames for name, frames in batch.items() if name not in hidden}
            outputs = stack(visible, None, {}).logits.float()
            batches = (
                {name: PaddedFrames(values[index], mask[index]) for name, (values, mask) in visible.items()}
                for index in range(len(readouts))
            )
            corrected = [readout.corrected(*pair) for readout, *pair in zip(readouts, outputs, batches, strict=True)]
            parts.append(torch.stack(corrected))
        together = torch.cat(parts, 1).cpu()
    answers = []
    for readout, order, outputs in zip(readouts, orders, together, strict=True):
        answers.append(np.empty((len(order), outputs.shape[-1]), np.float32))
        answers[-1][order] = _read(readout, outputs[: len(order)])
    return answers


def predict_together(
    trained: Sequence[Trained],
    data: Data,
    rows: Sequence[np.ndarray],
    *,
    hidden: Sequence[str] = (),
) -> list[np.ndarray]:
    """Return what `predict` gives for each of some models of one kind and rows of its own.

    On a CPU they are asked one after the other. Elsewhere they are stacked, unless memory doesn't suffice or their
    fusion can't be.
    """
    if len(trained) > 1 and data.device.type != "cpu" and why_unstackable(trained[0].model) is None:
        readouts = [one.readout for one in trained]
        try:
            return predict_stack(Stack([one.model for one in trained]), readouts, data, rows, hidden=hidden)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        empty_cache()
    return [predict(one, data, part, hidden=hidden) for one, part in zip(trained, rows, strict=True)]


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


class _Run:
    """What belongs to one run: its model and generator, its history and its best weights so far."""

    def __init__(self, build: Callable[[], nn.Module], data: Data, spec: RunSpec, config: TrainingConfig) -> None:
        self.spec, self.rows = spec, spec.rows[data.costs[spec.rows] > 0]
        if not len(self.rows):
            raise RunError(
                "No utterance of the training part has features in any of the chosen modalities: extract them."
            )
        self.generator = torch.Generator().manual_seed(spec.seed)
        with seeded(spec.seed):
            self.model: Any = build()
        if not isinstance(self.model, OwnFusion):
            initialise(self.model, self.generator)
        fit_scalers(self.model, data, self.rows)
        self.model.to(data.device)
        self.readout = fit_readout(data.target, data.values[self.rows])
        taught = data.values if spec.taught is None else spec.taught
        targets = step_targets(self.readout, taught, self.rows, config)
        self.base: Tensor | None = None
        if data.target.kind == "scores" and config.ridge_base:
            own = targets[torch.from_numpy(self.rows)]
            fit = partial(fit_ridge, data, self.rows, own)
            ridge, left_out = data.once("ridge", self.rows, fit) if spec.taught is None else fit()
            self.readout = replace(self.readout, ridge=ridge)
            base = torch.zeros_like(targets)
            base[torch.from_numpy(self.rows)] = left_out
            self.base = base.to(data.device)
        self._rescales = data.target.kind == "scores" and config.score_loss == "ccc"
        self.targets = targets.to(data.device)
        self.prior = log_prior(data.target, targets[torch.from_numpy(self.rows)]).to(data.device)
        self.measure = measure_of(data.target)
        self.stopped = False
        self._patience = config.patience if spec.choose_by == "dev" else 0
        self._history: list[dict[str, Any]] = []
        self._best_score, self._best_epoch = -inf, config.epochs
        self._best_state: dict[str, Tensor] | None = None

    def score(self, true: NDArray[np.float64], answers: np.ndarray) -> float:
        """Return the measure's primary metric, from true values and answers, both (B, K)."""
        return float(self.measure.value(self.measure.primary, self.measure.tally(true, answers))[0])

    def end_epoch(
        self, row: dict[str, Any], model: Callable[[], nn.Module], data: Data, answers: np.ndarray | None
    ) -> None:
        """Add a row to the history; where the epoch is chosen, score the model and remember it if it is the best.

        Args:
            row: Row of the history.
            model: Gives the model as it is now.
            data: The corpus.
            answers: What the model says of the rows that choose the epoch, (B, K); None where it isn't chosen.
        """
        choose = self.spec.choose
        if choose is not None and answers is not None:
            score = self.score(data.values[choose], answers)
            row[f"{self.spec.choose_by}_{self.measure.primary}"] = score
            if score > self._best_score:
                self._best_score, self._best_epoch = score, row["epoch"]
                self._best_state = copy.deepcopy(model().state_dict())
            self.stopped = bool(self._patience) and row["epoch"] - self._best_epoch >= self._patience
        self._history.append(row)
        self.spec.report(row)

    def end(self, model: nn.Module, data: Data) -> TrainResult:
        """Return the model, with the chosen epoch's weights where one was chosen."""
        if self._best_state is not None:
            model.load_state_dict(self._best_state)
        readout = self.readout
        if data.target.kind == "labels" or self._rescales:
            outputs = _outputs(model, data, self.rows)
            if self.base is not None:
                outputs += self.base.cpu()[torch.from_numpy(self.rows)]
            fit = readout.rescaled if self._rescales else readout.with_thresholds
            readout = fit(outputs.numpy(), data.values[self.rows])
        unusable = len(self.spec.rows) - len(self.rows)
        return TrainResult(model.eval(), readout, self._history, self._best_epoch, unusable)


def _train(learner: Learner, runs: Sequence[_Run], data: Data, config: TrainingConfig, steps: int) -> list[TrainResult]:
    """Train the models of runs, one by itself or a stack: the only loop there is.

    In the shapes here … is the axis R of runs, which a stack has and one model lacks. Each run draws from its own
    generator: in an epoch its order, and in a step the modalities to hide, the features to hide and the dropout.
    """
    device, kind = data.device, data.target.kind
    targets = learner.join([run.targets for run in runs])
    prior = learner.join([run.prior for run in runs])
    bases = [run.base for run in runs if run.base is not None]
    base = learner.join(bases) if bases else None
    groups = learner.parameter_groups(config.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.0, fused=True)
    for number in range(config.epochs):
        learner.train()
        sums = torch.zeros(2, len(runs), device=device)
        visited: list[np.ndarray] = []
        outputs: list[Tensor] = []
        for step in plan_epoch(runs, data, config, steps=steps, number=number, stacked=learner.stacked):
            rate = _rate(config, number * steps + step.number, steps)
            rows, filled = step.rows, step.rows != NOBODY
            output, present = _forward(learner, step, data, config)
            if base is not None:
                output = _corrected(output, base.take_along_dim(rows.clamp(min=0).unsqueeze(-1), -2))
            batch_targets = targets.take_along_dim(rows.clamp(min=0).unsqueeze(-1), -2)
            losses = objective(kind, output.logits, output.unimodal, present, batch_targets, filled, prior, config)
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
            visited.append(step.on_host.reshape(len(runs), -1))
            outputs.append(output.logits.detach().float().view(len(runs), -1, len(data.target.names)))
        visited_rows, epoch_outputs = np.concatenate(visited, 1), torch.cat(outputs, 1).cpu()
        totals = sums.tolist()
        chosen = _choose(learner, runs, data)
        for index, run in enumerate(runs):
            loss, constraint = (total[index] / len(run.rows) for total in totals)
            if not isfinite(loss):
                raise RunError(f"The loss is {loss} in epoch {number + 1}: lower the learning rate.")
            if run.stopped:
                continue
            somebody = visited_rows[index] != NOBODY
            answers = _read(run.readout, epoch_outputs[index][torch.from_numpy(somebody)])
            row = {
                "epoch": number + 1,
                "loss": loss,
                "constraint": constraint,
                "learning_rate": _rate(config, (number + 1) * steps - 1, steps),
                f"train_{run.measure.primary}": run.score(data.values[visited_rows[index][somebody]], answers),
            }
            run.end_epoch(row, partial(learner.model, index), data, chosen[index])
        if all(run.stopped for run in runs):
            break
    return [run.end(learner.model(index), data) for index, run in enumerate(runs)]


def _corrected(output: Output, base: Tensor) -> Output:
    """Return an output as a correction of (…, B, K), and so what each modality says by itself."""
    return output._replace(logits=output.logits + base, unimodal=tuple(alone + base for alone in output.unimodal))


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
        return predict_stack(learner, [run.readout for run in runs], data, rows)
    readout = runs[0].readout
    return [_read(readout, _outputs(learner.model(0), data, rows[0], readout=readout))]


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
