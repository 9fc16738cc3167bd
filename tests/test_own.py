"""Ordinary modules are trained as fusions are: scaled frames, dropout by the seed, alone or in stacks."""

import numpy as np
import pytest
import torch
from torch import nn

from gia_mic.extract.errors import RunError
from gia_mic.extract.store import open_store
from gia_mic.fuse.config import PooledConfig, TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.models.layers import Scaler
from gia_mic.fuse.models.own import OwnFusion, SeededDropout, random_batch, seeded
from gia_mic.fuse.split import folds
from gia_mic.fuse.stack import why_unstackable
from gia_mic.fuse.train import RunSpec, fit, fit_together, predict
from gia_mic.fusion import Output, mean

DIMS = {"speech": 6, "text": 5, "visual": 4}
SMALL = PooledConfig(width=8)


class Votes(nn.Module):
    """Drops with one module in every modality, and says what each modality does by itself."""

    def __init__(self, dims, outputs, config: PooledConfig):
        super().__init__()
        self.seen, self.dims = [], dict(dims)
        self.encode = nn.ModuleDict({name: nn.Linear(dim, config.width) for name, dim in dims.items()})
        self.drop = nn.Dropout(config.dropout)
        self.decide = nn.Sequential(nn.Linear(config.width, outputs), nn.Dropout(0.0))

    def forward(self, batch):
        self.seen = [frames.values for frames in batch.values()]
        votes = [
            self.decide(self.drop(torch.relu(self.encode[name](mean(frames))))) * frames.present[:, None]
            for name, frames in batch.items()
        ]
        return Output(sum(votes), votes[0].square().mean(), {"votes": torch.stack(votes, 1)}, tuple(votes))


def votes(config=SMALL, layers=None, make=Votes):
    with seeded(0):
        return OwnFusion("votes", make, DIMS, 4, config, layers)


def test_frames_are_scaled_summed_over_layers_and_zero_at_padding():
    model, batch = votes(layers={"speech": 2}), random_batch(DIMS, 2, 3)
    assert model.fusion.dims == {"speech": 3, "text": 5, "visual": 4}
    model.scalers["speech"].fit(torch.full((6,), 2.0), torch.full((6,), 0.5))
    model.eval()({"speech": batch["speech"]})
    speech, text, visual = model.fusion.seen
    expected = ((batch["speech"].values - 2) * 2).unflatten(-1, (2, 3)).mean(-2)
    torch.testing.assert_close(speech[0], expected[0])
    assert (speech[1, 2] == 0).all()
    assert (tuple(text.shape), tuple(visual.shape)) == ((2, 1, 5), (2, 1, 4))
    assert all(isinstance(scaler, Scaler) for scaler in model.scalers.values())


def test_each_call_of_a_dropout_has_a_mask_of_its_own():
    model, batch = votes().train(), random_batch(DIMS, 2, 3)
    assert (model.dropouts, model.width, model.dropout) == (3, 8, 0.5)
    assert isinstance(model.fusion.drop, SeededDropout)
    keep = torch.ones(2, 3, 8)
    everything = model(batch, keep).unimodal
    keep[:, 1] = 0
    some = model(batch, keep).unimodal
    torch.testing.assert_close([some[0], some[2]], [everything[0], everything[2]])
    torch.testing.assert_close(some[1], model.fusion.decide(torch.zeros(2, 8)))
    assert model.eval()(batch, keep).unimodal == ()
    without = votes(PooledConfig(width=8, dropout=0.0))
    assert (without.dropouts, without.dropout) == (0, 0.0)


def test_details_are_given_when_they_are_asked_for():
    model, batch = votes().eval(), random_batch(DIMS, 2, 3)
    assert model(batch).details == {}
    assert model(batch, details=True).details["votes"].shape == (2, 3, 4)


class TwoRates(Votes):
    def __init__(self, dims, outputs, config: PooledConfig):
        super().__init__(dims, outputs, config)
        self.other = nn.Dropout(0.1)


class OfFrames(Votes):
    def forward(self, batch):
        text = batch["text"].values
        return self.decide(self.drop(text.transpose(1, 2)).sum((1, 2)).unsqueeze(1).expand(-1, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (TwoRates, r"votes drops with probabilities 0.1, 0.5: give all nn.Dropout the same"),
        (lambda dims, outputs, config: 1 / 0, r"votes can't be made for features: 6 of speech.*ZeroDivisionError"),
    ],
)
def test_what_cannot_be_made_is_refused(make, message):
    with pytest.raises(RunError, match=message):
        votes(make=make)


def test_a_dropout_over_frames_is_refused():
    model = votes(make=OfFrames).train()
    with pytest.raises(RunError, match=r"call 1 of an nn.Dropout got \(2, 5, 9\), and the first pass had 1 calls"):
        model(random_batch(DIMS, 2, 9), torch.ones(2, 1, 3))


def test_weights_are_those_of_the_class_and_follow_the_seed_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second = votes(), votes()
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


class Deciding(Votes):
    def forward(self, batch):
        some = {name: frames for name, frames in batch.items() if frames.mask.any()}
        return super().forward(some)


class Tied(Votes):
    def __init__(self, dims, outputs, config: PooledConfig):
        super().__init__(dims, outputs, config)
        self.again = self.decide


def test_a_run_in_a_stack_equals_the_one_alone(corpus, stores):
    data = read_data(corpus, {name: open_store(path) for name, path in stores.items()})
    config = TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3)
    specs = [RunSpec(folds(corpus)[0].train, seed) for seed in (0, 1)]

    def build():
        return OwnFusion("votes", Votes, data.dims, 4, SMALL, data.layers)

    everybody = np.arange(len(corpus))
    alone = [predict(fit(build, data, spec, config, steps=4), data, everybody) for spec in specs]
    again = predict(fit(build, data, specs[0], config, steps=4), data, everybody)
    np.testing.assert_array_equal(again, alone[0])
    stacked = fit_together(build, data, specs, config, steps=4)
    for result, expected in zip(stacked, alone, strict=True):
        np.testing.assert_allclose(predict(result, data, everybody), expected, atol=1e-4)
    assert abs(alone[0] - alone[1]).max() > 1e-3


def test_what_cannot_be_stacked_is_found_by_trying():
    assert why_unstackable(votes()) is None
    assert "vmap" in why_unstackable(votes(make=Deciding))
    assert why_unstackable(votes(make=Tied)) == "one parameter has several names"
