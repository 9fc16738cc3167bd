"""Turns the choices of a training run into frozen values; every default of the fusion stage stands here, once.

Nothing here imports torch, so the command line reads its defaults from these classes without loading it.
"""

from dataclasses import dataclass

__all__ = [
    "ABLATIONS",
    "CONSTRAINTS",
    "OF_ONE_FOLD",
    "PRECISIONS",
    "PROTOCOLS",
    "RENAMED",
    "SELECTIONS",
    "SPACE",
    "GiaMicConfig",
    "LmfConfig",
    "MisaConfig",
    "MultConfig",
    "PooledConfig",
    "TfnConfig",
    "TrainingConfig",
]

PRECISIONS = ("float32", "bfloat16")
PROTOCOLS = {"session": "speaker", "speaker": "speaker", "split": "speaker", "scenario": "scenario"}
"""Protocol, which is also its column, and the column whose values must not occur on both sides."""

SELECTIONS = ("last", "dev", "test")
"""How a run's epoch is chosen: the schedule's last, the best on a part of the training, the best on the test fold."""

OF_ONE_FOLD = ("fold", "fold_value", "seed", "provenance")
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
"""Settings of before by their present names: runs of before are read in these, options of before are refused."""

ABLATIONS = ("gate", "interaction", "generator")
CONSTRAINTS = ("similarity", "cosine", "cmd", "adversarial", "none")

SPACE: dict[str, tuple[float, ...]] = {
    "learning_rate": (1e-3, 3e-3, 6e-3),
    "weight_decay": (0.01, 0.1, 0.3),
    "modality_dropout": (0.0, 0.2, 0.4),
    "feature_dropout": (0.0, 0.2, 0.4),
    "dropout": (0.1, 0.3, 0.5),
}
"""What `mer tune` searches, and where: settings of training, and the dropout of the fusion."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about training that can be chosen.

    Attributes:
        epochs: Passes over the training part.
        batch_size: Most utterances in a batch, B.
        learning_rate: Highest rate of AdamW, reached after the warm-up; it then falls to 0 along a cosine.
        weight_decay: AdamW's, of matrices; biases, norms and weights of layers don't decay.
        warmup: Part of all steps in which the rate rises from 0, in [0, 1).
        clip_norm: Longest gradient (Euclidean); 0 doesn't clip.
        label_smoothing: ε: part of the target that is spread over all classes, in [0, 1).
        class_weights: Whether a class counts by the inverse of its frequency in the training part.
        unimodal_weight: Weight of the cross-entropy of each modality by itself, beside that of all; 0 goes without.
        soft_target: Part of the target, in [0, 1), that is not the label but what the modalities say by themselves,
            their probabilities multiplied; needs `unimodal_weight`.
        modality_dropout: Probability that a modality is hidden from an utterance for one step; one always stays.
        feature_dropout: Probability that a feature of a modality's frames is hidden from a whole step, in [0, 1).
        patience: With selection by `dev`, epochs without a better UA until training stops; 0 never stops early.
        precision: Of the matrix products in training: float32 or bfloat16. Weights and tests are in float32.
        speech_stride: Use every n-th frame of speech, the longest modality.
        layer_weights: Where features keep several layers of their encoder, learn a weighted sum of them; otherwise they
            are one long frame.
    """

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 6e-3
    weight_decay: float = 0.3
    warmup: float = 0.1
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    class_weights: bool = False
    unimodal_weight: float = 1.0
    soft_target: float = 0.7
    modality_dropout: float = 0.0
    feature_dropout: float = 0.0
    patience: int = 10
    precision: str = "float32"
    speech_stride: int = 1
    layer_weights: bool = True

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        found = [
            f"{name} is {value}, and must be at least 1"
            for name, value in (
                ("epochs", self.epochs),
                ("batch_size", self.batch_size),
                ("speech_stride", self.speech_stride),
            )
            if value < 1
        ]
        found += [
            f"{name} is {value}, and must be in [0, 1)"
            for name, value in (
                ("warmup", self.warmup),
                ("label_smoothing", self.label_smoothing),
                ("soft_target", self.soft_target),
                ("modality_dropout", self.modality_dropout),
                ("feature_dropout", self.feature_dropout),
            )
            if not 0 <= value < 1
        ]
        found += [
            f"{name} is {value}, and can't be negative"
            for name, value in (
                ("weight_decay", self.weight_decay),
                ("clip_norm", self.clip_norm),
                ("unimodal_weight", self.unimodal_weight),
                ("patience", self.patience),
            )
            if value < 0
        ]
        if self.soft_target > 0 and self.unimodal_weight == 0:
            found.append(
                f"soft_target is {self.soft_target}, and comes from modalities by themselves: unimodal_weight must be "
                "above 0, or soft_target 0"
            )
        if self.precision not in PRECISIONS:
            found.append(f"precision is {self.precision!r}, and must be {' or '.join(PRECISIONS)}")
        if self.learning_rate <= 0:
            found.append(f"learning_rate is {self.learning_rate}, and must be above 0")
        return found


@dataclass(frozen=True)
class GiaMicConfig:
    """Everything about GIA-MIC that can be chosen.

    Attributes:
        width: d, features inside the model; a multiple of `heads`.
        heads: Attention heads.
        latents: K, latent tokens of the generator.
        layers: L, refinements of the latent tokens.
        dropout: Probability that a feature of H_m or of the head's hidden layer is dropped in training.
        constraint: L_MIC by name, one of `CONSTRAINTS`.
        constraint_weight: λ of loss = cross-entropy + λ L_MIC.
        without: Parts left out, of `ABLATIONS`.
    """

    width: int = 32
    heads: int = 4
    latents: int = 2
    layers: int = 1
    dropout: float = 0.5
    constraint: str = "similarity"
    constraint_weight: float = 0.1
    without: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        found = []
        if min(self.width, self.heads, self.latents, self.layers) < 1:
            found.append("width, heads, latents and layers must be at least 1")
        elif self.width % self.heads:
            found.append(f"the width {self.width} is no multiple of the {self.heads} heads")
        if not 0 <= self.dropout < 1:
            found.append(f"the dropout {self.dropout} is not in [0, 1)")
        if self.constraint_weight < 0:
            found.append(f"constraint_weight is {self.constraint_weight}, and can't be negative")
        if self.constraint not in CONSTRAINTS:
            found.append(f"the constraint {self.constraint!r} is none of {', '.join(CONSTRAINTS)}")
        found += [
            f"{part!r} can't be left out, only {', '.join(ABLATIONS)}" for part in self.without if part not in ABLATIONS
        ]
        return found


@dataclass(frozen=True)
class PooledConfig:
    """Choices of the fusions of utterance vectors: concat, late and attention.

    Attributes:
        width: d, features of hidden layers.
        dropout: Probability that a feature of a hidden layer is dropped in training.
    """

    width: int = 64
    dropout: float = 0.5

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        found = [f"the width {self.width} is below 1"] if self.width < 1 else []
        return found if 0 <= self.dropout < 1 else [*found, f"the dropout {self.dropout} is not in [0, 1)"]


@dataclass(frozen=True)
class TfnConfig(PooledConfig):
    """Choices of TFN.

    Attributes:
        factor: Features of each modality in the outer product, which has (factor + 1)^M cells.
    """

    factor: int = 12

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        found = super().problems()
        if not 1 <= self.factor <= min(self.width, 32):
            found.append(f"the factor {self.factor} is not in 1 to {min(self.width, 32)}, the width or 32")
        return found


@dataclass(frozen=True)
class LmfConfig(PooledConfig):
    """Choices of LMF.

    Attributes:
        rank: Number of rank-1 tensors whose sum stands for the fusion tensor.
    """

    rank: int = 4

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        return [*super().problems(), *([f"the rank {self.rank} is below 1"] if self.rank < 1 else [])]


@dataclass(frozen=True)
class MultConfig(PooledConfig):
    """Choices of MulT.

    Attributes:
        width: d, features of a frame; a multiple of `heads`.
        heads: Attention heads.
        layers: Layers of each crossmodal transformer, and of each transformer over their outputs.
    """

    width: int = 32
    heads: int = 4
    layers: int = 2

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        found = super().problems()
        if self.heads < 1 or self.layers < 1:
            found.append("heads and layers must be at least 1")
        elif self.width % self.heads or self.width % 2:
            found.append(f"the width {self.width} is no even multiple of the {self.heads} heads")
        return found


@dataclass(frozen=True)
class MisaConfig(PooledConfig):
    """Choices of MISA; the weights are those of the authors' code.

    Attributes:
        heads: Attention heads of the fusion transformer; divides `width`.
        similarity: Weight of the similarity loss (CMD between shared vectors).
        difference: Weight of the difference loss (orthogonality of shared and private vectors).
        reconstruction: Weight of the reconstruction loss.
    """

    heads: int = 2
    similarity: float = 1.0
    difference: float = 0.3
    reconstruction: float = 1.0

    def problems(self) -> list[str]:
        """Return what is wrong with these values, one sentence each."""
        found = super().problems()
        if self.heads < 1 or self.width % self.heads:
            found.append(f"the width {self.width} is no multiple of the {self.heads} heads")
        if min(self.similarity, self.difference, self.reconstruction) < 0:
            found.append("the weights of MISA's losses can't be negative")
        return found
