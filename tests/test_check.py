"""Every truth that a fusion is held to is broken once, and that is said in one sentence."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gia_mic.extract.errors import RunError
from gia_mic.fuse.check import TRUTHS, broken_truths, check_fusion, refuse_broken
from gia_mic.fuse.config import PooledConfig
from gia_mic.fuse.models.own import OwnFusion
from gia_mic.fuse.models.registry import Entry, find_fusion
from gia_mic.fusion import Output, mean


class Sum(nn.Module):
    """A fusion that keeps all truths; those below break one each."""

    def __init__(self, dims, outputs, config: PooledConfig):
        super().__init__()
        self.encode = nn.ModuleDict({name: nn.Linear(dim, config.width) for name, dim in dims.items()})
        self.decide = nn.Linear(config.width, outputs)

    def pool(self, frames):
        return mean(frames)

    def forward(self, batch):
        parts = [
            F.relu(self.encode[name](self.pool(frames))) * frames.present[:, None] for name, frames in batch.items()
        ]
        return self.decide(sum(parts))


class LongerIsDeeper(Sum):
    def pool(self, frames):
        return frames.values.mean(1)


class Average(Sum):
    def forward(self, batch):
        logits = super().forward(batch)
        return logits - logits.mean(0)


class Transposed(Sum):
    def forward(self, batch):
        return super().forward(batch).T


class OnlyThree(Sum):
    def forward(self, batch):
        return super().forward({name: batch[name] for name in ("speech", "text", "visual")})


class NotANumber(Sum):
    def pool(self, frames):
        return frames.values.sum(1) / frames.mask.sum(1, keepdim=True)


class Deaf(Sum):
    def forward(self, batch):
        return super().forward({name: frames for name, frames in batch.items() if name != "speech" or len(batch) == 1})


class BiasOfTheMissing(Sum):
    def forward(self, batch):
        missing = 1 - torch.stack([frames.present.float().mean() for frames in batch.values()]).mean()
        return super().forward(batch) + missing


class Idle(Sum):
    def __init__(self, dims, outputs, config: PooledConfig):
        super().__init__(dims, outputs, config)
        self.idle = nn.Linear(2, 2)


class AlwaysTheSame(Sum):
    def __init__(self, dims, outputs, config: PooledConfig):
        super().__init__(dims, outputs, config)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)


class Gambler(Sum):
    def forward(self, batch):
        return F.dropout(super().forward(batch), 0.5, self.training)


class TwoConstraints(Sum):
    def forward(self, batch):
        return Output(super().forward(batch), torch.zeros(2))


def entry(make, config=PooledConfig):
    return Entry("broken", "", "", config, lambda *arguments: OwnFusion("broken", make, *arguments), code=object())


BROKEN = {
    LongerIsDeeper: (1, "six frames of padding more, and the answers change by"),
    Average: (2, "in a batch with others, an utterance is answered otherwise by"),
    Transposed: (0, r"broken answers \(4, 3\) to 3 utterances with 4 outputs: return a tensor of shape \(3, 4\)"),
    OnlyThree: (0, r"broken fails on speech .*\(KeyError: 'visual', line \d+\)"),
    NotANumber: (3, "answers without speech has NaN or infinity"),
    Deaf: (4, "other frames of speech, and the answers are the same"),
    BiasOfTheMissing: (3, "where one utterance of a batch lacks speech, answers change by"),
    Idle: (6, "no gradient reaches fusion.idle.bias, fusion.idle.weight"),
    AlwaysTheSame: (7, "models of two seeds have the same weights"),
    Gambler: (8, "in training it draws at random by itself"),
    TwoConstraints: (0, r"the constraint: the shape is \(2,\), not \(\)"),
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_truth_is_named(make):
    number, why = BROKEN[make]
    findings = check_fusion(entry(make))
    problems = {finding.truth: finding.problem for finding in findings if finding.problem}
    assert re.search(why, problems[list(TRUTHS)[number]])
    with pytest.raises(RunError, match=f"{len(problems)} of what every fusion must do it doesn't"):
        refuse_broken(findings)
    assert len(broken_truths(entry(make), PooledConfig(), ["speech", "text", "visual"])) == len(problems)


@pytest.mark.parametrize("name", [Sum, "concat", "gia-mic"])
def test_a_fusion_that_keeps_all_truths_passes(name):
    findings = check_fusion(find_fusion(name) if isinstance(name, str) else entry(name))
    assert [finding.line() for finding in findings] == [f"holds  {truth}" for truth in TRUTHS]
    refuse_broken(findings)


class Recurrent(Sum):
    """Values decide what it does, so that it can't be stacked."""

    def forward(self, batch):
        logits = super().forward(batch)
        return logits if logits.isfinite().all() else logits * 0


def test_a_fusion_that_cannot_be_stacked_is_no_broken_one():
    findings = check_fusion(entry(Recurrent))
    assert [finding.problem for finding in findings] == [None] * len(TRUTHS)
    assert "it can't be stacked (" in findings[-1].line()
