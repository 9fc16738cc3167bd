"""Turns the choices of a training run into frozen values; every default of the fusion stage stands here, once.

Nothing here imports torch, so the command line reads its defaults from these classes without loading it.
"""

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from gia_mic.extract.settings import out_of_range, setting

if TYPE_CHECKING:
    from gia_mic.extract.targets import Target

__all__ = [
    "ABLATIONS",
    "CONSTRAINTS",
    "OF_ONE_FOLD",
    "PRECISIONS",
    "PROTOCOLS",
    "RENAMED",
    "SCORE_LOSSES",
    "SELECTIONS",
    "SPACE",
    "TRIALS",
    "GiaMicConfig",
    "LmfConfig",
    "MisaConfig",
    "MultConfig",
    "PooledConfig",
    "TfnConfig",
    "TrainingConfig",
    "fusion_name",
]

PRECISIONS = ("float32", "bfloat16")
FEATURE_DROPOUT, FEATURE_DROPOUT_OF_SCORES = 0.2, 0.5
"""Scores have no soft target, which keeps classes from being learnt by heart, so they need more (docs/defaults.md)."""

SCORE_LOSSES = ("ccc", "l1", "l2")
PROTOCOLS = {"session": "speaker", "speaker": "speaker", "split": "speaker", "scenario": "scenario"}
"""Protocol, which is also its column, and the column whose values must not occur on both sides."""

SELECTIONS = ("last", "dev", "test")
"""Rules that choose a run's epoch: the last one, the best on a part of the training, the best on the test fold."""

OF_ONE_FOLD = ("fold", "fold_value", "seed", "provenance", "trials")
"""Entries of a run's `config.json` that don't tell one configuration from another."""

RENAMED = {
    "alone": "unimodal_weight",
    "clip": "clip_norm",
    "drop_features": "feature_dropout",
    "drop_modality": "modality_dropout",
    "evidence": "soft_target",
    "warm_up": "warmup",
    "weight": "constraint_weight",
}
"""Present name of each renamed setting, by its old name: old runs are read in these, old options are refused."""

ABLATIONS = ("gate", "interaction", "generator")
CONSTRAINTS = ("similarity", "cosine", "cmd", "adversarial", "none")

SPACE: dict[str, tuple[float, ...]] = {
    "learning_rate": (5e-4, 1e-3, 3e-3, 6e-3),
    "weight_decay": (0.01, 0.1, 0.3),
    "epochs": (10, 20, 30),
    "dropout": (0.1, 0.3, 0.5),
    "width": (32, 64, 128),
}
"""What `mer tune` searches, and where: settings of training, and of the fusion."""

TRIALS = 8
"""Settings that each fusion tries in a search, its own defaults among them."""


KINDS_OF = {
    "label_smoothing": ("label", "labels", "votes"),
    "class_weights": ("label", "votes"),
    "score_loss": ("scores",),
    "ridge_base": ("scores",),
    "soft_target": ("label", "labels", "votes"),
}
"""Kinds of targets of the settings of training that some have no use for."""


def fusion_name(fusion: str) -> str:
    """Return what a fusion is called in runs and tables: of one that is named by MODULE:CLASS, its class.

    >>> fusion_name("concat"), fusion_name("my_module:LowRankMean"), fusion_name("fusions/mine.py:MyTFN")
    ('concat', 'low-rank-mean', 'my-tfn')
    """
    _, colon, class_name = fusion.rpartition(":")
    words = re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", class_name)
    return words.replace("_", "-").lower() if colon else fusion


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about training that can be chosen."""

    epochs: int = setting(30, "Number of passes over the training part.", at_least=1)
    batch_size: int = setting(32, "Largest number of utterances in a batch.", at_least=1)
    learning_rate: float = setting(
        6e-3,
        "Highest learning rate of AdamW. The rate rises to it during the warm-up, then falls to 0 along a cosine.",
        above=0,
    )
    weight_decay: float = setting(
        0.3,
        "Weight decay of AdamW. It applies to matrices alone, not to biases, norms and the weights of layers.",
        at_least=0,
    )
    warmup: float = setting(
        0.1, "Fraction of all steps during which the learning rate rises from 0.", at_least=0, below=1
    )
    clip_norm: float = setting(
        1.0, "Scale gradients down to this Euclidean norm if they are longer; 0 never does.", at_least=0
    )
    label_smoothing: float = setting(
        0.0,
        "Fraction of the target that is spread over all classes, for all targets but scores.",
        at_least=0,
        below=1,
    )
    class_weights: bool = setting(
        False,
        "Weight classes by the inverse of their frequency in the training part, for the targets label and votes.",
    )
    score_loss: str = setting(
        "ccc",
        "Loss for scores: 1 - CCC over the batch (ccc), mean absolute error (l1) or mean squared error (l2).",
        choices=SCORE_LOSSES,
    )
    ridge_base: bool = setting(
        True,
        "Begin with a ridge regression on the mean frames, which the fusion corrects; for scores.",
    )
    unimodal_weight: float = setting(
        1.0,
        "Weight α of the loss of each modality by itself, in fusions that answer from each (gia-mic, late). With 0 "
        "there is none, and soft_target must be 0 too.",
        at_least=0,
    )
    soft_target: float = setting(
        0.7,
        "Fraction ε of the target that is not the label but the product of the modalities' own probabilities. It "
        "needs a unimodal_weight above 0, and has no meaning for scores.",
        at_least=0,
        below=1,
    )
    modality_dropout: float = setting(
        0.0,
        "Probability that a modality of an utterance is hidden in a training step; one always stays.",
        at_least=0,
        below=1,
    )
    feature_dropout: float | None = setting(
        FEATURE_DROPOUT,
        "Probability that a feature of a modality is hidden in all frames of a training step.",
        at_least=0,
        below=1,
        elsewhere=f"{FEATURE_DROPOUT_OF_SCORES} for scores",
        deferred=True,
    )
    patience: int = setting(
        10,
        "With --select dev, stop after this many epochs without a better score (UA, macro F1 or CCC); 0 never stops "
        "early.",
        at_least=0,
    )
    precision: str = setting(
        "float32", "Number type of the matrix products in training; weights and tests use float32.", choices=PRECISIONS
    )
    speech_rate_hz: float = setting(
        12.0,
        "Average neighbouring frames of speech to about this many per second when they are read; 0 averages none.",
        at_least=0,
    )
    layer_weights: bool = setting(
        True,
        "Learn a weighted sum of the encoder's layers, if features keep several; otherwise layers are side by side "
        "in one long frame.",
    )

    def of(self, target: "Target") -> "TrainingConfig":
        """Return the same with what is by default for a target where nothing is chosen."""
        if self.feature_dropout is not None:
            return self
        default = FEATURE_DROPOUT_OF_SCORES if target.kind == "scores" else FEATURE_DROPOUT
        return replace(self, feature_dropout=default)

    def problems(self, target: "Target | None" = None) -> list[str]:
        """Return what is wrong with these values, one sentence each.

        Args:
            target: What is to be predicted, where it is known.
        """
        problems = out_of_range(self)
        if target is not None:
            problems += [
                f"{field.name} has no meaning for {target.name}, only for {' and '.join(KINDS_OF[field.name])}"
                for field in fields(self)
                if target.kind not in KINDS_OF.get(field.name, (target.kind,))
                and getattr(self, field.name) not in (field.default, 0)
            ]
        if self.soft_target > 0 and self.unimodal_weight == 0:
            problems.append(
                f"soft_target is {self.soft_target}, and comes from modalities by themselves: unimodal_weight must be "
                "above 0, or soft_target 0"
            )
        return problems


@dataclass(frozen=True)
class GiaMicConfig:
    """Everything about GIA-MIC that can be chosen."""

    width: int = setting(32, "Number of features inside the model, d; a multiple of heads.", at_least=1)
    heads: int = setting(4, "Number of attention heads.", at_least=1)
    latents: int = setting(2, "Number of latent tokens of the generator, K.", at_least=1)
    layers: int = setting(1, "Number of times that the generator refines its latent tokens, L.", at_least=1)
    dropout: float = setting(
        0.5,
        "Probability that a feature of a projected frame or of the head's hidden layer is dropped in training.",
        at_least=0,
        below=1,
    )
    unimodal_width: int = setting(
        64,
        "Hidden features of each modality's own head. The interactions correct the mean of these heads; 0 leaves "
        "them out.",
        at_least=0,
    )
    constraint: str = setting("similarity", "Constraint that aligns the modalities, L_MIC.", choices=CONSTRAINTS)
    constraint_weight: float = setting(0.1, "Weight λ of the constraint in the loss.", at_least=0)
    without: tuple[str, ...] = setting((), "Leave out this part of the model.", choices=ABLATIONS)

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        return [*out_of_range(self), *_not_divided(self.width, self.heads)]


@dataclass(frozen=True)
class PooledConfig:
    """Choices of the fusions of utterance vectors: concat, late and attention."""

    width: int = setting(64, "Number of features of hidden layers, d.", at_least=1)
    dropout: float = setting(
        0.5, "Probability that a feature of a hidden layer is dropped in training.", at_least=0, below=1
    )

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        return out_of_range(self)


@dataclass(frozen=True)
class TfnConfig(PooledConfig):
    """Choices of TFN."""

    factor: int = setting(
        12,
        "Number of features of each modality in the outer product, which has (factor + 1)^M cells; at most width.",
        at_least=1,
        at_most=32,
    )

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        problems = super().problems()
        if not problems and self.factor > self.width:
            problems.append(f"factor is {self.factor}, and must be at most width, {self.width}")
        return problems


@dataclass(frozen=True)
class LmfConfig(PooledConfig):
    """Choices of LMF."""

    rank: int = setting(4, "Number of rank-1 tensors whose sum stands for the fusion tensor.", at_least=1)


@dataclass(frozen=True)
class MultConfig(PooledConfig):
    """Choices of MulT."""

    width: int = setting(32, "Number of features of a frame, d; even, and a multiple of heads.", at_least=1)
    heads: int = setting(4, "Number of attention heads.", at_least=1)
    layers: int = setting(
        2, "Number of layers of each crossmodal transformer, and of each transformer over their outputs.", at_least=1
    )

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        odd = [f"width is {self.width}, and must be even"] if self.width % 2 else []
        return [*super().problems(), *_not_divided(self.width, self.heads), *odd]


@dataclass(frozen=True)
class MisaConfig(PooledConfig):
    """Choices of MISA; the weights are those of the authors' code."""

    heads: int = setting(2, "Number of attention heads of the fusion transformer; a divisor of width.", at_least=1)
    similarity: float = setting(1.0, "Weight of the similarity loss (CMD between shared vectors).", at_least=0)
    difference: float = setting(
        0.3, "Weight of the difference loss (orthogonality of shared and private vectors).", at_least=0
    )
    reconstruction: float = setting(1.0, "Weight of the reconstruction loss.", at_least=0)

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        return [*super().problems(), *_not_divided(self.width, self.heads)]


def _not_divided(width: int, heads: int) -> list[str]:
    """Return what is wrong where each head can't have the same number of features."""
    return [f"width is {width}, and must be a multiple of heads, {heads}"] if heads > 0 and width % heads else []
