"""Holds a fusion to what every fusion must do, on small random batches, and says why where it doesn't."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gia_mic.extract import truths
from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.truths import Finding, findings
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, initialise
from gia_mic.fuse.models.own import OwnFusion, seeded
from gia_mic.fuse.models.plugins import FUSION
from gia_mic.fuse.models.registry import Entry
from gia_mic.fuse.stack import Stack, why_unstackable
from gia_mic.fuse.train import one_thread

__all__ = ["Finding", "broken_truths", "check_fusion", "refuse_broken"]

DIMS = {"speech": 6, "text": 5, "visual": 4}
OUTPUTS = (4, 1, 7)
TOLERANCE = 1e-4
"""Largest difference of two answers that are to be the same, as a part of the largest answer."""
STEPS = 5
"""Steps of training in which every parameter is to have a gradient once: some are 0 at first."""


@one_thread()
def check_fusion(
    entry: Entry, config: Any = None, modalities: Sequence[str] = tuple(MODALITIES.values())
) -> list[Finding]:
    """Return what becomes of each truth.

    Args:
        entry: The fusion.
        config: Its settings; None takes the defaults.
        modalities: Names of the modalities that it is to fuse.
    """
    subject = _Subject(entry, entry.config() if config is None else config, {name: DIMS[name] for name in modalities})
    return findings(TRUTHS, subject, entry.name)


def broken_truths(entry: Entry, config: Any, modalities: Sequence[str]) -> list[str]:
    """Return a sentence for each truth that a fusion breaks."""
    return [
        f"of {entry.name} it doesn't hold that {finding.truth} ({finding.problem}; try `mer fusions --check`)"
        for finding in check_fusion(entry, config, modalities)
        if finding.problem is not None
    ]


def refuse_broken(results: Sequence[Finding]) -> None:
    """Refuse a fusion that breaks a truth.

    Raises:
        RunError: It does.
    """
    truths.refuse_broken(results, FUSION)


@dataclass(frozen=True)
class _Subject:
    """A fusion under test.

    Attributes:
        entry: The fusion.
        config: Its settings.
        dims: Features by modality.
    """

    entry: Entry
    config: Any
    dims: Mapping[str, int]

    def model(self, *, outputs: int = OUTPUTS[0], seed: int = 0, names: Sequence[str] = ()) -> Any:
        """Return an untrained model in evaluation mode, for some of the modalities."""
        dims = {name: dim for name, dim in self.dims.items() if not names or name in names}
        with seeded(seed):
            model = self.entry.make(dims, outputs, self.config, None)
        if not isinstance(model, OwnFusion):
            initialise(model, torch.Generator().manual_seed(seed))
        return model.eval()

    def batch(self, lengths: Sequence[int] = (7, 3, 5), *, seed: int = 0) -> dict[str, PaddedFrames]:
        """Return frames of utterances; those of the second modality are shorter, and of the third shorter still."""
        generator, frames = torch.Generator().manual_seed(seed), {}
        for number, (name, dim) in enumerate(self.dims.items()):
            counts = torch.tensor([max(length - number, min(length, 1)) for length in lengths])
            mask = torch.arange(max(int(counts.max()), 1)) < counts.unsqueeze(1)
            values = torch.randn(*mask.shape, dim, generator=generator)
            frames[name] = PaddedFrames(values * mask.unsqueeze(-1), mask)
        return frames

    def keep(self, model: Any, utterances: int, seed: int = 0) -> Tensor | None:
        """Return dropout masks."""
        if not model.dropout:
            return None
        generator = torch.Generator().manual_seed(seed)
        masks = torch.rand(utterances, model.dropouts, model.width, generator=generator) >= model.dropout
        return masks / (1 - model.dropout)


def _answers_all(subject: _Subject) -> None:
    for count in range(len(subject.dims), 0, -1):
        for names in combinations(subject.dims, count):
            for outputs in OUTPUTS if count == len(subject.dims) else OUTPUTS[:1]:
                model = subject.model(outputs=outputs, names=names)
                batch = {name: subject.batch()[name] for name in names}
                output: Output = model(batch)
                _same_shape(output.logits, (3, outputs), one_line(names))
                _finite(output.logits, f"answers to {one_line(names)}")
                output = model.train()(batch, subject.keep(model, 3))
                _finite(output.constraint, "the constraint")
                _same_shape(output.constraint, (), "the constraint")
                for logits in output.unimodal:
                    _same_shape(logits, (3, outputs), "a unimodal answer")


def _ignores_padding(subject: _Subject) -> None:
    model, batch = subject.model(), subject.batch()
    longer = {
        name: PaddedFrames(F.pad(values, (0, 0, 0, 6), value=9.0), F.pad(mask, (0, 6)))
        for name, (values, mask) in batch.items()
    }
    _same(model(longer).logits, model(batch).logits, "six frames of padding more, and the answers change")


def _ignores_company(subject: _Subject) -> None:
    model, batch = subject.model(), subject.batch()
    single = [model(_rows(batch, slice(row, row + 1))).logits for row in range(3)]
    _same(torch.cat(single), model(batch).logits, "in a batch with others, an utterance is answered otherwise")


def _bears_missing_modalities(subject: _Subject) -> None:
    model, batch = subject.model(), subject.batch()
    for name in subject.dims if len(subject.dims) > 1 else ():
        left_out = {other: frames for other, frames in batch.items() if other != name}
        hidden = {**batch, name: PaddedFrames(batch[name].values, torch.zeros_like(batch[name].mask))}
        without = model(left_out).logits
        _finite(without, f"answers without {name}")
        _same(model(hidden).logits, without, f"where {name} is missing, its frames still count")
        some = {
            **batch,
            name: PaddedFrames(batch[name].values, batch[name].mask & torch.tensor([[True], [False], [True]])),
        }
        expected = torch.stack([model(batch).logits[0], without[1], model(batch).logits[2]])
        _same(model(some).logits, expected, f"where one utterance of a batch lacks {name}, answers change")


def _uses_every_modality(subject: _Subject) -> None:
    model, batch, other = subject.model(), subject.batch(), subject.batch(seed=1)
    for name in subject.dims:
        if torch.equal(model({**batch, name: other[name]}).logits, model(batch).logits):
            raise RunError(f"other frames of {name}, and the answers are the same")


def _bears_nothing(subject: _Subject) -> None:
    model, batch = subject.model().train(), subject.batch((0, 4, 0))
    output = model(batch, subject.keep(model, 3))
    _finite(output.logits, "answers to an utterance without a frame")
    _loss(output).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            _finite(parameter.grad, f"the gradient of {name}, with an utterance without a frame,")


def _teaches_every_parameter(subject: _Subject) -> None:
    model = subject.model().train()
    optimiser, untaught = torch.optim.SGD(model.parameters(), lr=0.1), {name for name, _ in model.named_parameters()}
    for step in range(STEPS):
        optimiser.zero_grad()
        _loss(model(subject.batch((7, 3, 5, 6, 4, 8), seed=step), subject.keep(model, 6, step))).backward()
        untaught -= {name for name, each in model.named_parameters() if each.grad is not None and each.grad.any()}
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    if untaught:
        raise RunError(f"no gradient reaches {one_line(sorted(untaught))}")


def _draws_by_the_seed(subject: _Subject) -> None:
    states = [subject.model(seed=seed).state_dict() for seed in (0, 0, 1)]
    if not all(torch.equal(value, states[1][name]) for name, value in states[0].items()):
        raise RunError("two models of one seed have different weights")
    if all(torch.equal(value, states[2][name]) for name, value in states[0].items()):
        raise RunError("models of two seeds have the same weights")


def _draws_nothing_else(subject: _Subject) -> None:
    model, batch = subject.model().train(), subject.batch()
    keep, answers = subject.keep(model, 3), []
    for seed in (0, 1):
        with seeded(seed):
            answers.append(model(batch, keep).logits)
    first, second = answers
    _same(first, second, "in training it draws at random by itself (use nn.Dropout, not F.dropout), and answers change")


def _can_be_stacked(subject: _Subject) -> str | None:
    models = [subject.model(seed=seed) for seed in (0, 1)]
    if (why := why_unstackable(models[0])) is not None:
        return f"it can't be stacked ({why}), so its runs are trained one by one"
    batches = [subject.batch(seed=seed) for seed in (2, 3)]
    singles = torch.stack([model(batch).logits for model, batch in zip(models, batches, strict=True)])
    together = {
        name: PaddedFrames(*(torch.stack(parts) for parts in zip(*(batch[name] for batch in batches), strict=True)))
        for name in subject.dims
    }
    stack = Stack([copy.deepcopy(model) for model in models])
    stack.eval()
    _same(stack(together, None, {}).logits, singles, "in a stack a model answers otherwise")
    return None


TRUTHS: dict[str, Callable[[_Subject], str | None]] = {
    "every subset of modalities and every number of outputs is answered": _answers_all,
    "padding changes nothing": _ignores_padding,
    "an utterance alone is answered as in a batch": _ignores_company,
    "a missing modality is left out, and changes nobody else's answer": _bears_missing_modalities,
    "every modality counts": _uses_every_modality,
    "an utterance without a frame is answered": _bears_nothing,
    "every parameter has a gradient": _teaches_every_parameter,
    "the seed decides the weights": _draws_by_the_seed,
    "nothing else is drawn at random": _draws_nothing_else,
    "a stack of models answers as they do by themselves": _can_be_stacked,
}


def _rows(batch: Batch, rows: slice) -> dict[str, PaddedFrames]:
    return {name: PaddedFrames(values[rows], mask[rows]) for name, (values, mask) in batch.items()}


def _loss(output: Output) -> Tensor:
    logits = torch.stack([output.logits, *output.unimodal])
    return (logits - torch.arange(logits.shape[-1])).square().mean() + output.constraint


def _same_shape(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tensor.shape != shape:
        raise RunError(f"{what}: the shape is {tuple(tensor.shape)}, not {shape}")


def _finite(tensor: Tensor, what: str) -> None:
    if not tensor.isfinite().all():
        raise RunError(f"{what} has NaN or infinity")


def _same(one: Tensor, other: Tensor, otherwise: str) -> None:
    difference = (one - other).detach().abs().max().item()
    if not difference <= TOLERANCE * max(other.detach().abs().max().item(), 1.0):
        raise RunError(f"{otherwise} by {difference:.2g}")
