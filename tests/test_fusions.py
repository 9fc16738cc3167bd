"""Every fusion is held to the same truths, and each baseline to its paper's formula written a second time."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import LmfConfig, MisaConfig, MultConfig, PooledConfig, TfnConfig
from gia_mic.fuse.models.layers import PaddedFrames, initialise
from gia_mic.fuse.models.misa import Misa
from gia_mic.fuse.models.mult import Mult, TransformerLayer
from gia_mic.fuse.models.pooled import Attention, Late, Lmf, Tfn
from gia_mic.fuse.models.registry import FUSIONS, build_fusion, configure, find_fusion, listing, size

DIMS = {"speech": 6, "text": 5, "visual": 4}


def batch(lengths, dims=DIMS):
    generator = torch.Generator().manual_seed(0)
    frames = {}
    for name, dim in dims.items():
        longest = max(*lengths[name], 1)
        mask = torch.arange(longest) < torch.tensor(lengths[name]).unsqueeze(1)
        values = torch.randn(len(lengths[name]), longest, dim, generator=generator)
        frames[name] = PaddedFrames(torch.where(mask.unsqueeze(-1), values, 100.0), mask)
    return frames


FULL = {"speech": [9, 4, 7], "text": [3, 2, 1], "visual": [2, 5, 3]}


def build_model(name, dims=DIMS, config=None):
    config = config or (configure(name, {"width": 8, "heads": 2}) if name == "gia-mic" else FUSIONS[name].config())
    model = FUSIONS[name].make(dims, 4, config)
    initialise(model, torch.Generator().manual_seed(1))
    return model.eval()


@pytest.mark.parametrize("names", [("text",), ("speech", "visual"), tuple(DIMS)], ids="-".join)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_company_and_missing_modalities_change_nothing(fusion, names):
    model = build_model(fusion, {name: DIMS[name] for name in names})
    frames = {name: padded for name, padded in batch(FULL).items() if name in names}
    once = model(frames).logits
    assert once.shape == (3, 4)
    longer = {
        name: PaddedFrames(F.pad(v, (0, 0, 0, 6), value=9.0), F.pad(m, (0, 6))) for name, (v, m) in frames.items()
    }
    torch.testing.assert_close(model(longer).logits, once, atol=1e-5, rtol=1e-4)
    parts = [{name: PaddedFrames(v[b : b + 1], m[b : b + 1]) for name, (v, m) in frames.items()} for b in range(3)]
    torch.testing.assert_close(torch.cat([model(part).logits for part in parts]), once, atol=1e-5, rtol=1e-4)
    if len(names) > 1:
        first = names[0]
        without = {name: padded for name, padded in frames.items() if name != first}
        hidden = {**frames, first: PaddedFrames(frames[first].values, torch.zeros_like(frames[first].mask))}
        torch.testing.assert_close(model(without).logits, model(hidden).logits)
        assert (model(without).logits - once).abs().max() > 1e-4


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_are_finite_whatever_is_missing(fusion):
    model = build_model(fusion).train()
    lengths = {"speech": [0, 3, 0, 2], "text": [2, 0, 0, 2], "visual": [0, 0, 0, 1]}
    keep = torch.full((4, model.dropouts, model.width), 1.25)
    output = model(batch(lengths), keep)
    (output.logits.square().sum() + output.constraint).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > len(gradients) / 2
    assert (model(batch(lengths), keep * 0).logits - output.logits).abs().max() > 1e-4


def vectors(model, frames):
    return [(padded.values * padded.mask.unsqueeze(-1)).sum(1) / padded.mask.sum(1, True) for padded in frames.values()]


def test_late_is_the_mean_of_the_votes_of_those_that_are_there():
    model, frames = Late(DIMS, 4, PooledConfig(width=8)).eval(), batch(FULL)
    frames["text"].mask[1] = False
    votes = [
        decide(torch.relu(encode(u)))
        for encode, decide, u in zip(model.heads.encode, model.heads.decide, vectors(model, frames), strict=True)
    ]
    logits = model(frames).logits
    torch.testing.assert_close(logits[0], (votes[0] + votes[1] + votes[2])[0] / 3)
    torch.testing.assert_close(logits[1], (votes[0] + votes[2])[1] / 2)


def test_late_also_gives_each_vote_in_training():
    model, frames = Late(DIMS, 4, PooledConfig(width=8, dropout=0.0)), batch(FULL)
    alone = model.train()(frames).unimodal
    for logits, (name, one) in zip(alone, frames.items(), strict=True):
        torch.testing.assert_close(logits, model({name: one}).logits)
        assert model({name: one}).unimodal == ()
    assert model.eval()(frames).unimodal == ()


def test_attention_weighs_those_that_are_there():
    model, frames = Attention(DIMS, 4, PooledConfig(width=8)).eval(), batch(FULL)
    frames["speech"].mask[2] = False
    shares = model(frames, details=True).details["weights"]
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    assert shares[2, 0] == 0
    assert (shares[:2] > 0).all()


def test_tfn_multiplies_every_feature_with_every_other():
    model, frames = Tfn(DIMS, 4, TfnConfig(width=8, factor=3)).eval(), batch(FULL)
    hidden = [torch.relu(encode(u))[0] for encode, u in zip(model.encode, vectors(model, frames), strict=True)]
    ones = [[1.0, *h.tolist()] for h in hidden]
    cells = torch.tensor([a * b * c for a, b, c in product(*ones)])
    expected = model.layers[1](torch.relu(model.layers[0](cells)))
    torch.testing.assert_close(model(frames).logits[0], expected)


def test_lmf_is_a_tensor_of_low_rank():
    model, frames = build_model("lmf", config=LmfConfig(width=3, rank=2)), batch(FULL)
    hidden = [torch.relu(encode(u))[1] for encode, u in zip(model.encode, vectors(model, frames), strict=True)]
    s, t, v = (torch.cat([torch.ones(1), h]) for h in hidden)
    tensor = torch.einsum("rad,rbd,rcd,r->abcd", *model.factors, model.mix)
    fused = torch.einsum("a,b,c,abcd->d", s, t, v, tensor) + model.bias
    torch.testing.assert_close(model(frames).logits[1], model.decide(torch.relu(fused)))
    assert isinstance(model, Lmf)


def test_a_transformer_layer_equals_torchs():
    layer = TransformerLayer(8, 2)
    other = torch.nn.TransformerEncoderLayer(8, 2, 32, 0.0, batch_first=True, norm_first=True)
    other.self_attn.in_proj_weight.data = torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]).detach()
    other.self_attn.in_proj_bias.data = torch.cat([layer.query.bias, layer.key.bias, layer.value.bias]).detach()
    for mine, reference in (
        (layer.out, other.self_attn.out_proj),
        (layer.widen, other.linear1),
        (layer.narrow, other.linear2),
    ):
        reference.load_state_dict(mine.state_dict())
    values, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    torch.testing.assert_close(layer(values, mask=mask)[mask], other(values, src_key_padding_mask=~mask)[mask])


def test_a_layer_gives_one_frame_as_it_gives_all():
    layer = TransformerLayer(8, 2)
    values, mask = torch.randn(3, 5, 8), torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [False] * 5])
    other = PaddedFrames(torch.randn(3, 2, 8), torch.ones(3, 2, dtype=torch.bool))
    position = torch.tensor([4, 2, 0])
    for options in ({"mask": mask}, {"of": other}, {}):
        every = layer(values, **options)
        torch.testing.assert_close(
            layer(values, **options, position=position), every[torch.arange(3), position].unsqueeze(1)
        )


def test_mult_takes_the_last_frame_and_knows_the_order_of_frames():
    model, frames = Mult(DIMS, 4, MultConfig(width=8, heads=2, layers=1)).eval(), batch({**FULL, "speech": [9, 9, 9]})
    turned = {**frames, "speech": PaddedFrames(frames["speech"].values.flip(1), frames["speech"].mask)}
    assert (model(turned).logits - model(frames).logits).abs().max() > 1e-3


def test_misa_losses_equal_their_formulas():
    model = Misa(DIMS, 4, MisaConfig(width=6, similarity=0.0, difference=2.0, reconstruction=3.0)).train()
    frames = batch(FULL)
    inner = [
        norm(torch.relu(encode(u)))
        for norm, encode, u in zip(model.norms, model.encode, vectors(model, frames), strict=True)
    ]
    private = [torch.sigmoid(layer(v)) for layer, v in zip(model.private, inner, strict=True)]
    shared = [torch.sigmoid(model.shared(v)) for v in inner]
    pairs = [
        *zip(shared, private, strict=True),
        (private[0], private[1]),
        (private[0], private[2]),
        (private[1], private[2]),
    ]
    difference = sum(
        (F.normalize(a - a.mean(0), dim=1).T @ F.normalize(b - b.mean(0), dim=1)).square().mean() for a, b in pairs
    )
    rebuilt = (
        sum(F.mse_loss(layer(p + c), v) for layer, p, c, v in zip(model.rebuild, private, shared, inner, strict=True))
        / 3
    )
    torch.testing.assert_close(model(frames).constraint, 2 * difference + 3 * rebuilt)
    same = Misa(DIMS, 4, MisaConfig(width=6, difference=0.0, reconstruction=0.0)).train()
    assert same(frames).constraint > 0
    assert same.eval()(frames).constraint == 0


def test_settings_are_checked_by_name():
    assert configure("gia-mic", {"width": 32}).width == 32
    assert configure("lmf", {"rank": "8", "dropout": "0.1"}) == LmfConfig(rank=8, dropout=0.1)
    assert configure("gia-mic", {"without": "gate,generator"}).without == ("gate", "generator")
    with pytest.raises(RunError, match="The setting rank=many is no int: give one such as 4"):
        configure("lmf", {"rank": "many"})
    lines = listing().splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(FUSIONS)
    assert "  rank                         4  Number of rank-1 tensors whose sum stands for the fusion tensor." in lines
    with pytest.raises(RunError, match="The fusion tfn has no setting constraint: it has width, dropout, factor"):
        configure("tfn", {"constraint": "cmd"})
    with pytest.raises(RunError, match="There is no fusion 'magic': choose one of gia-mic, concat"):
        find_fusion("magic")
    assert build_fusion(find_fusion("lmf"), DIMS, 4, {"name": "lmf", "width": 8, "dropout": 0.1, "rank": 2}).width == 8
    assert all(size(entry, DIMS, 4) > 0 for entry in FUSIONS.values())
    assert len(FUSIONS) == 8


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (PooledConfig(width=0, dropout=1), 2),
        (TfnConfig(factor=80), 1),
        (LmfConfig(rank=0), 1),
        (MultConfig(width=10, heads=4), 1),
        (MultConfig(layers=0), 1),
        (MisaConfig(width=9, similarity=-1), 2),
    ],
)
def test_wrong_settings_are_named(config, count):
    assert len(config.problems()) == count
    assert type(config)().problems() == []
