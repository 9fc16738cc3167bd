"""A fusion of one's own: a mean of the modalities, each weighed by a gate that sees all of them.

    h_m = ReLU(W_m u_m + b_m),    g = softmax(V ReLU(U [h_s ; h_t ; h_v])) over the modalities that are there
    z = Σ_m g_m h_m,              logits = W z + b

u_m is the mean of a modality's frames. Without the gate, all that are there count alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from gia_mic.fusion import Batch, Output, mean, setting


@dataclass(frozen=True)
class Config:
    """Settings, each typed by --set NAME=VALUE."""

    width: int = setting(64, "Features of the hidden layers.", at_least=1)
    dropout: float = setting(0.5, "Probability that a feature of h_m is dropped in training.", at_least=0, below=1)
    gate: bool = setting(True, "Weigh the modalities.", off=False)


class GatedMean(nn.Module):
    """Mean of the modalities, each weighed by a gate that sees all of them."""

    def __init__(self, dims: Mapping[str, int], outputs: int, config: Config) -> None:
        super().__init__()
        self.encode = nn.ModuleDict({name: nn.Linear(dim, config.width) for name, dim in dims.items()})
        self.drop = nn.Dropout(config.dropout)
        self.weigh = None
        if config.gate and len(dims) > 1:
            width = len(dims) * config.width
            self.weigh = nn.Sequential(nn.Linear(width, config.width), nn.ReLU(), nn.Linear(config.width, len(dims)))
        self.decide = nn.Linear(config.width, outputs)

    def forward(self, batch: Batch) -> Output:
        """Return logits (B, outputs) for frames (B, T, D) of all modalities."""
        present = torch.stack([frames.present for frames in batch.values()], 1)  # (B, M)
        hidden = [self.drop(torch.relu(self.encode[name](mean(frames)))) for name, frames in batch.items()]
        scores = torch.zeros_like(present, dtype=hidden[0].dtype)
        if self.weigh is not None:
            seen = [vector * there.unsqueeze(1) for vector, there in zip(hidden, present.unbind(1), strict=True)]
            scores = self.weigh(torch.cat(seen, 1))
        shares = scores.masked_fill(~present, -1e30).softmax(1) * present
        fused = (torch.stack(hidden, 1) * shares.unsqueeze(2)).sum(1)
        return Output(self.decide(fused), details={"weights": shares})
