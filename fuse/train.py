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
from torch.func import functional_call

from gia_mic.extract.device import keep_freed, keep_products
from gia_mic.extract.errors import RunError
from gia_mic.fuse import measure
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, epoch, sorted_batches
from gia_mic.fuse.models.layers import Batch, PaddedFrames, Scaler, initialise

__all__ = [
    "Trained",
    "decays",
    "dropout_masks",
    "feature_masks",
    "fit",
    "fit_scalers",
    "hide",
    "mixed",
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

COMPILED_PRODUCTS = 4096
"""Matrix products that are kept compiled; an epoch of IEMOCAP's size needs 1,400 in bfloat16."""


@dataclass(frozen=True)
class Trained:
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
        runs: How many are trained side by side, a thread each.
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
    build: Callable[[], nn.Module],
    data: Data,
    rows: np.ndarray,
    config: TrainingConfig,
    *,
    seed: int,
    steps: int,
    choose: np.ndarray | None = None,
    choose_by: str = "dev",
    report: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> Trained:
    """Train a model on one training part.

    Args:
        build: Makes the fusion, untrained.
        data: Frames and labels.
        rows: Rows to train on; those without any frame are left out.
        config: How.
        seed: Of all that is random.
        steps: Batches in an epoch, see `steps_per_epoch`.
        choose: Rows on which the best epoch is chosen by UA; None takes the last epoch.
        choose_by: What the history calls them: dev or test.
        report: Called with each row of the history.

    Raises:
        RunError: No training utterance has a frame, or the loss is not a finite number.
    """
    costs = data.costs
    usable = rows[costs[rows] > 0]
    if not len(usable):
        raise RunError("No utterance of the training part has features in any of the chosen modalities: extract them.")
    generator = torch.Generator().manual_seed(seed)
    device = data.labels.device
    model = build()
    initialise(model, generator)
    fit_scalers(model, data, usable)
    model.to(device)
    table = targets(data, usable, config, device)
    for_bfloat16 = rounds_frames(config, device)
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in parameters if decays(parameter)]},
        {"params": [parameter for parameter in parameters if not decays(parameter)], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    history: list[dict[str, Any]] = []
    best, best_state, best_epoch = -1.0, None, config.epochs
    for number in range(config.epochs):
        model.train()
        order = visits(steps, number)
        losses, apart = torch.zeros((), device=device), torch.zeros((), device=device)
        true, predicted = [], []
        for step, members in enumerate(epoch(usable, costs, steps, generator, order)):
            rate = config.learning_rate * schedule(number * steps + step, config.epochs * steps, config.warmup)
            if not len(members):
                continue
            picked = torch.from_numpy(members).to(device)
            batch = hide(data.batch(picked, for_bfloat16=for_bfloat16), config.modality_dropout, generator)
            labels = data.labels[picked]
            seen = {
                name: model.get_buffer(name) * mask
                for name, mask in feature_masks(model, config.feature_dropout, generator, device).items()
            }
            with mixed(config, device):
                keep = dropout_masks(model, len(members), generator, device)
                output = functional_call(model, seen, (batch, keep))
                singles = output.alone or [
                    functional_call(model, seen, (one, dropout_masks(model, len(members), generator, device))).logits
                    for one in views(batch, config)
                ]
            present = torch.stack([frames.present for frames in batch.values()])
            loss = objective(output.logits, singles, present, table[labels], config) + output.constraint
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if config.clip_norm:
                torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            losses += loss.detach() * len(members)
            apart += output.constraint.detach() * len(members)
            true.append(labels)
            predicted.append(output.logits.detach().argmax(-1))
        row: dict[str, Any] = {
            "epoch": number + 1,
            "loss": float(losses) / len(usable),
            "constraint": float(apart) / len(usable),
            "learning_rate": rate,
            "train_UA": measure.ua(torch.cat(true).cpu(), torch.cat(predicted).cpu(), len(data.classes)),
        }
        if not isfinite(row["loss"]):
            raise RunError(f"The loss is {row['loss']} in epoch {number + 1}: lower the learning rate.")
        if choose is not None:
            found = predict(model, data, choose)
            row[f"{choose_by}_UA"] = measure.ua(
                data.labels.cpu()[torch.from_numpy(choose)], found.argmax(-1), len(data.classes)
            )
            if row[f"{choose_by}_UA"] > best:
                best, best_epoch, best_state = row[f"{choose_by}_UA"], number + 1, copy.deepcopy(model.state_dict())
        history.append(row)
        report(row)
        if choose_by == "dev" and choose is not None and config.patience and number + 1 - best_epoch >= config.patience:
            break
    if best_state is not None:
        model.load_state_dict(best_state)
    return Trained(model.eval(), history, best_epoch, len(rows) - len(usable))


def decays(parameter: Tensor) -> bool:
    """Whether weight decay acts on a parameter: on matrices, not on biases, norms and weights of layers."""
    return parameter.dim() >= 2


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
    logits: Tensor, singles: Sequence[Tensor], present: Tensor, wanted: Tensor, config: TrainingConfig
) -> Tensor:
    """Return the loss of a step but for the fusion's own constraint.

        q ∝ Π_m p_m                                  over the modalities m that an utterance has
        target = (1 − ε) label + ε q
        loss = CE(p, target) + α mean over m of CE(p_m, label)

    p is what the model says of all modalities together and p_m of m alone, α = `unimodal_weight` and ε = `soft_target`.
    Models of several modalities lean on the one that is learnt fastest, and then learn by heart what it gets wrong; by
    itself each modality is learnt as well as it can be (Du et al. 2023, arXiv:2305.01233). And where an utterance's
    modalities contradict its label, a part of the target follows them (bootstrapping: Reed et al. 2015,
    arXiv:1412.6596), so that there is less to learn by heart. No gradient flows through q.

    Args:
        logits: (…, B, C).
        singles: (…, B, C) of each modality alone; empty where there is only one.
        present: (M, …, B) bool, who has which.
        wanted: Target of each utterance, (…, B, C), times its class's weight; all 0 for nobody.
        config: α and ε.

    Returns:
        (…), the leading axes that stand for models of a stack.
    """
    total = wanted.sum((-2, -1))
    target = wanted
    alone = torch.zeros_like(total)
    if singles and config.unimodal_weight:
        said = torch.stack([single.float().log_softmax(-1) for single in singles]) * present.unsqueeze(-1)
        counts = (wanted.sum(-1) * present).sum(-1)
        alone = (-(said * wanted).sum((-2, -1)) / torch.where(counts > 0, counts, 1)).mean(0)
        product = said.detach().sum(0).softmax(-1) * wanted.sum(-1, keepdim=True)
        target = torch.lerp(wanted, product, config.soft_target)
    return -(logits.float().log_softmax(-1) * target).sum((-2, -1)) / total + config.unimodal_weight * alone


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
        data: Frames.
        rows: Utterances.
        hidden: Modalities to go without.
        change: What to do to each batch first, such as adding noise.
        batch_size: Most utterances at once.
    """
    model.eval()
    device = data.labels.device
    found = np.empty((len(rows), len(data.classes)), dtype=np.float32)
    costs = data.costs[rows]
    with torch.inference_mode():
        for places in sorted_batches(np.arange(len(rows)), costs, batch_size):
            batch = data.batch(torch.from_numpy(rows[places]).to(device))
            seen = {name: frames for name, frames in batch.items() if name not in hidden}
            seen = change(seen) if change is not None else seen
            found[places] = model(seen).logits.float().softmax(-1).cpu().numpy()
    return found


def dropout_masks(model: Any, count: int, generator: torch.Generator, device: torch.device) -> Tensor | None:
    """Draw the dropout masks of one step, (B, P, d), for `frames.drop`."""
    if not model.dropout:
        return None
    kept = torch.rand(count, model.dropouts, model.width, generator=generator) >= model.dropout
    return (kept.float() / (1 - model.dropout)).to(device)


def feature_masks(
    model: Any, probability: float, generator: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    """Draw which features of the frames one step sees, for all its utterances (Ho 1998, the random subspace method).

    What a step doesn't see can't be learnt by heart, so that weights spread over features that say the same: a model
    of few speakers then leans less on what tells their voices and faces apart. As the deviations are worked into the
    first weights (`frames.project`), masks for them cost no pass over the frames.

    Returns:
        (D_m,) for the buffer `scalers.m.scale` of each modality m, 0 or 1 / (1 − p); nothing where p is 0.
    """
    if not probability:
        return {}
    masks = {}
    for name, scaler in model.scalers.items():
        kept = torch.rand(scaler.scale.shape, generator=generator) >= probability
        masks[f"scalers.{name}.scale"] = (kept.float() / (1 - probability)).to(device)
    return masks


def hide(batch: Mapping[str, PaddedFrames], probability: float, generator: torch.Generator) -> dict[str, PaddedFrames]:
    """Hide each modality of each utterance with a probability; an utterance that would lose all keeps all."""
    if not probability:
        return dict(batch)
    present = torch.stack([frames.present for frames in batch.values()], 1)
    hit = torch.rand(present.shape, generator=generator).to(present.device) < probability
    left = present & ~hit
    left = torch.where(left.any(1, keepdim=True), left, present)
    return {
        name: PaddedFrames(frames.values, frames.mask & left[:, number, None])
        for number, (name, frames) in enumerate(batch.items())
    }


def visits(steps: int, number: int) -> list[int]:
    """Return the order in which the batches of an epoch, from short utterances to long, are visited.

    It depends on the epoch alone, so that all runs meet short and long utterances at the same step.
    """
    return torch.randperm(steps, generator=torch.Generator().manual_seed(number)).tolist()


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Return the rate of a step as a part of the highest: linear warm-up, then half a cosine down to 0."""
    rising = warm_up * steps
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
