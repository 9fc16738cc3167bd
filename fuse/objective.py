"""Turns the outputs of a step into its loss, for each kind of target.

All kinds have the same parts. p is what the model says of all modalities together, p_m of m alone, y is the target:

    q = what the modalities that an utterance has say by themselves, joined
    target = (1 − ε) y + ε q
    loss = L(p, target) + α mean over m of L(p_m, y)

α is `unimodal_weight`, ε is `soft_target`. Models of several modalities lean on the one that is learnt fastest, and
then learn by heart what it gets wrong; by itself each modality is learnt as well as it can be (Du et al. 2023,
arXiv:2305.01233). And where an utterance's modalities contradict its label, a part of the target follows them
(bootstrapping: Reed et al. 2015, arXiv:1412.6596), so that there is less to learn by heart. No gradient flows through
q.

    label, votes    L is cross-entropy              q ∝ π Π_m (p_m / π)
    labels          L is binary cross-entropy       the same for each class's odds
    scores          L is 1 − CCC, L1 or L2          none: ε is 0

π is how frequent the classes are in the training part, which q counts once. For scores, the prediction of a ridge
regression is added to p and to each p_m (`ridge.py`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gia_mic.extract.targets import Target
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.readout import Readout

__all__ = ["log_prior", "objective", "step_targets"]


def step_targets(
    readout: Readout, values: NDArray[np.float64], rows: NDArray[np.int64], config: TrainingConfig
) -> Tensor:
    """Return what outputs are compared to, (U, K) float32: one row an utterance of the corpus.

    For `label` and `votes` a row is multiplied by the weight that its classes have.

    Args:
        readout: How outputs are read, fitted on the training part.
        values: The corpus's target, (U, K).
        rows: Rows of the training part.
        config: Settings of the training, of which label smoothing and class weights are used.
    """
    target = readout.target
    if target.kind == "scores":
        return torch.from_numpy(readout.scaled(values)).float()
    smoothing, K = config.label_smoothing, len(target.names)
    if target.kind == "labels":
        return torch.from_numpy(values).float() * (1 - smoothing) + smoothing / 2
    table = torch.eye(K) * (1 - smoothing) + smoothing / K
    if config.class_weights:
        counts = torch.from_numpy(values[rows].sum(0)).float()
        weights = torch.where(counts > 0, len(rows) / (K * counts.clamp(min=1e-6)), 0)
        table = table * weights.unsqueeze(1)
    return torch.from_numpy(values).float() @ table


def log_prior(target: Target, targets: Tensor) -> Tensor:
    """Return how frequent the classes are in a training part, as its loss weighs them, (K,).

    Args:
        target: What is predicted.
        targets: Rows (B, K) of `step_targets` of the training part.

    Returns:
        log π for `label` and `votes`, log odds for `labels`, 0 for `scores`.
    """
    if target.kind == "scores":
        return torch.zeros(len(target.names))
    if target.kind == "labels":
        return targets.mean(0).clamp(1e-6, 1 - 1e-6).logit()
    mass = targets.sum(0)
    return (mass / mass.sum()).clamp(min=1e-6).log()


def objective(
    kind: str,
    outputs: Tensor,
    unimodal: Sequence[Tensor],
    present: Tensor,
    targets: Tensor,
    filled: Tensor,
    prior: Tensor,
    config: TrainingConfig,
) -> Tensor:
    """Return the loss of a step but for the fusion's own constraint.

    Args:
        kind: Kind of the target.
        outputs: (…, B, K).
        unimodal: Outputs (…, B, K) of each modality by itself; empty where there is only one, or the fusion has none.
        present: (M, …, B) bool, True where the utterance has the modality.
        targets: Rows (…, B, K) of `step_targets`; whatever stands where nobody is isn't used.
        filled: (…, B) bool, False where nobody is.
        prior: (…, K), see `log_prior`.
        config: Settings of the training, of which α, ε and the loss of scores are used.

    Returns:
        (…), the leading axes that stand for models of a stack.
    """
    targets = torch.where(filled.unsqueeze(-1), targets, 0)
    if not config.unimodal_weight:
        unimodal = ()
    alone = torch.stack([outputs_m.float() for outputs_m in unimodal]) if unimodal else None
    if kind == "scores":
        return _of_scores(outputs.float(), alone, present, targets, filled, config)
    if kind == "labels":
        return _of_labels(outputs.float(), alone, present, targets, filled, prior, config)
    return _of_distribution(outputs.float(), alone, present, targets, prior, config)


def _of_distribution(
    outputs: Tensor, alone: Tensor | None, present: Tensor, targets: Tensor, prior: Tensor, config: TrainingConfig
) -> Tensor:
    total = targets.sum((-2, -1))
    target, unimodal_loss = targets, torch.zeros_like(total)
    if alone is not None:
        log_p = alone.log_softmax(-1) * present.unsqueeze(-1)
        counts = (targets.sum(-1) * present).sum(-1)
        unimodal_loss = (-(log_p * targets).sum((-2, -1)) / torch.where(counts > 0, counts, 1)).mean(0)
        likelihoods = log_p.detach() - prior.unsqueeze(-2) * present.unsqueeze(-1)
        product = (likelihoods.sum(0) + prior.unsqueeze(-2)).softmax(-1) * targets.sum(-1, keepdim=True)
        target = torch.lerp(targets, product, config.soft_target)
    return -(outputs.log_softmax(-1) * target).sum((-2, -1)) / total + config.unimodal_weight * unimodal_loss


def _of_labels(
    outputs: Tensor,
    alone: Tensor | None,
    present: Tensor,
    targets: Tensor,
    filled: Tensor,
    prior: Tensor,
    config: TrainingConfig,
) -> Tensor:
    def loss(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        entropies = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
        return _mean(entropies, counted)

    target = targets
    if alone is not None:
        evidence = ((alone.detach() - prior.unsqueeze(-2)) * present.unsqueeze(-1)).sum(0)
        target = torch.lerp(targets, (evidence + prior.unsqueeze(-2)).sigmoid(), config.soft_target)
    return loss(outputs, target, filled) + _of_modalities(loss, alone, present, targets, filled, config)


def _of_scores(
    outputs: Tensor, alone: Tensor | None, present: Tensor, targets: Tensor, filled: Tensor, config: TrainingConfig
) -> Tensor:
    loss = {"ccc": _ccc_loss, "l1": _l1_loss, "l2": _l2_loss}[config.score_loss]
    return loss(outputs, targets, filled) + _of_modalities(loss, alone, present, targets, filled, config)


def _of_modalities(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    alone: Tensor | None,
    present: Tensor,
    targets: Tensor,
    filled: Tensor,
    config: TrainingConfig,
) -> Tensor | float:
    """Return α times the mean loss of what each modality says by itself; 0 where none does."""
    if alone is None:
        return 0.0
    return config.unimodal_weight * loss(alone, targets.expand_as(alone), filled & present).mean(0)


def _l1_loss(outputs: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    return _mean((outputs - targets).abs().mean(-1), counted)


def _l2_loss(outputs: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    return _mean((outputs - targets).square().mean(-1), counted)


def _ccc_loss(outputs: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Return 1 − CCC over the batch, the mean over scores (Lin 1989; as a loss, Trigeorgis et al. 2016)."""
    share = (counted / counted.sum(-1, keepdim=True).clamp(min=1)).unsqueeze(-1)
    centres = [(values * share).sum(-2, keepdim=True) for values in (outputs, targets)]
    x, y = outputs - centres[0], targets - centres[1]
    covariance, variances = (x * y * share).sum(-2), ((x.square() + y.square()) * share).sum(-2)
    distance = (centres[0] - centres[1]).squeeze(-2).square()
    return (1 - 2 * covariance / (variances + distance + 1e-6)).mean(-1)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of losses (…, B) over the utterances that count; 0 without any."""
    return (losses * counted).sum(-1) / counted.sum(-1).clamp(min=1)
