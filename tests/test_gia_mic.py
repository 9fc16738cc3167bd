"""GIA-MIC equals its formulas, written a second time with loops, and nothing leaks through a mask."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gia_mic.fuse.config import ABLATIONS, CONSTRAINTS, GiaMicConfig
from gia_mic.fuse.models import constraint
from gia_mic.fuse.models.attention import CrossAttention, _scores, attend
from gia_mic.fuse.models.gia_mic import GatedInteractiveAttention, GiaMic, Refinement
from gia_mic.fuse.models.layers import PaddedFrames, Scaler, drop, initialise, mean, project

DIMS = {"speech": 6, "text": 5, "visual": 4}
CONFIG = GiaMicConfig(width=8, heads=2, latents=3, layers=2)


def fill_with_noise(module, seed=0):
    """Fill all parameters with noise, so that no bias and no norm is left at its neutral value."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module


def frames(lengths, dim, seed=0, longest=None):
    """Frames of these lengths with large noise at padding."""
    generator = torch.Generator().manual_seed(seed)
    longest = longest or max(*lengths, 1)
    values = torch.randn(len(lengths), longest, dim, generator=generator)
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    return PaddedFrames(torch.where(mask.unsqueeze(-1), values, 1e3 * values), mask)


def batch(lengths=None):
    lengths = lengths or {"speech": [9, 4, 7, 2], "text": [3, 2, 1, 4], "visual": [2, 5, 3, 1]}
    return {name: frames(lengths[name], dim, seed) for seed, (name, dim) in enumerate(DIMS.items())}


def model(config=CONFIG, dims=DIMS, classes=4):
    return fill_with_noise(GiaMic(dims, classes, config)).eval()


@torch.no_grad()
def naive_attention(to, of, module):
    """softmax(H_i W_Q (H_j W_K)ᵀ / sqrt(d_h)) H_j W_V for one utterance without padding, position by position."""
    heads, (T, d) = module.heads, to.shape
    size = d // heads
    query, key, value = (
        torch.stack([linear.weight @ row for row in rows])
        for linear, rows in ((module.query, to), (module.key, of), (module.value, of))
    )
    context = torch.zeros(T, d)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for position in range(T):
            scores = [float(query[position, part] @ key[other, part]) / math.sqrt(size) for other in range(len(of))]
            total = sum(math.exp(score) for score in scores)
            for other, score in enumerate(scores):
                context[position, part] += math.exp(score) / total * value[other, part]
    return context


@pytest.mark.parametrize(("receiver", "source"), [(9, 3), (3, 9), (4, 4), (60, 50)])
def test_attention_equals_its_formula_whichever_side_is_short(receiver, source):
    module = fill_with_noise(CrossAttention(8, 2))
    to, of = frames([receiver, receiver], 8, 1), frames([source, max(source - 2, 1)], 8, 2)
    context, shares = module(to.values, of)
    assert shares.shape == (2, 2, receiver, source)
    for row in range(2):
        expected = naive_attention(to.values[row], of.values[row][of.mask[row]], module)
        torch.testing.assert_close(context[row], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 2, receiver))
    assert shares[1, ..., source - 2 :].abs().sum() == 0 or source <= 2


def test_scores_have_the_gradients_of_their_product_laid_out_as_the_frames_are():
    rows, columns = torch.randn(3, 5, 8, requires_grad=True), torch.randn(3, 7, 8, requires_grad=True)
    bias = torch.randn(3, 1, 7)
    scores = _scores(rows, columns, bias)
    expected = bias + rows @ columns.transpose(1, 2)
    torch.testing.assert_close(scores, expected)
    weight = torch.randn(3, 5, 7)
    gradients = torch.autograd.grad((scores * weight).sum(), (rows, columns))
    for one, other in zip(gradients, torch.autograd.grad((expected * weight).sum(), (rows, columns)), strict=True):
        torch.testing.assert_close(one, other)
        assert one.is_contiguous()


def test_gated_interactive_attention_equals_its_formula():
    module = fill_with_noise(GatedInteractiveAttention(8, 2))
    to, of = frames([5], 8, 1), frames([3], 8, 2)
    own = frames([5], 8, 3).values
    output, _, gate = module(to.values, of, own)
    context = naive_attention(to.values[0], of.values[0], module.attention)
    for position in range(5):
        c = context[position]
        normal = (c - c.mean()) / torch.sqrt(c.var(unbiased=False) + 1e-5) * module.norm.weight + module.norm.bias
        g = 1 / (1 + torch.exp(-(module.gate.weight @ normal + module.gate.bias)))
        torch.testing.assert_close(gate[0, position], g)
        torch.testing.assert_close(output[0, position], g * c + (1 - g) * own[0, position], atol=1e-5, rtol=1e-5)


def test_without_gate_everything_comes_from_the_other_modality():
    module = fill_with_noise(GatedInteractiveAttention(8, 2, gate=False))
    to, of = frames([5], 8, 1), frames([3], 8, 2)
    output, _, gate = module(to.values, of, None)
    assert gate is None
    torch.testing.assert_close(output[0], naive_attention(to.values[0], of.values[0], module.attention))


@torch.no_grad()
def naive_refinement(layer, x, h):
    """U_m for tokens x (K, d) and one modality's frames h (T, d), token by token."""
    changes = []
    for token in x:
        scores = [math.exp(float(token @ frame) / math.sqrt(len(token))) for frame in h]
        mean = sum(score / sum(scores) * frame for score, frame in zip(scores, h, strict=True))
        r = layer.read.weight @ mean + layer.read.bias
        r = torch.where(r > 0, r, layer.bend.weight * r)
        gate = torch.sigmoid(layer.gate.weight @ torch.cat([r, token]) + layer.gate.bias)
        changes.append(layer.change.weight @ (r * gate) + layer.change.bias)
    return torch.stack(changes)


def test_the_generator_equals_its_formula_together_and_alone():
    generator = model().generator
    parts = [frames([4, 6], 8, 1), frames([2, 0], 8, 2), frames([3, 1], 8, 3)]
    together, alone = generator(parts, unimodal=True)
    assert generator(parts, unimodal=False)[1] is None
    for row in range(2):
        present = [part.values[row][part.mask[row]] for part in parts if part.mask[row].any()]
        cases = [(present, together[row])]
        cases += [
            ([part.values[row][part.mask[row]]], alone[row, m]) for m, part in enumerate(parts) if part.mask[row].any()
        ]
        for sources, tokens in cases:
            x = generator.start
            for layer in generator.layers:
                assert isinstance(layer, Refinement)
                x = layer.norm(x + sum(naive_refinement(layer, x, h) for h in sources))
            torch.testing.assert_close(tokens, x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(generator(parts, unimodal=False)[0], together)


def test_tokens_read_the_frames_that_are_there():
    values, mask = torch.randn(1, 5, 8), torch.tensor([[True, True, True, False, False]])
    x = torch.randn(1, 4, 8)
    output = attend(x, PaddedFrames(values, mask))
    for token in range(4):
        shares = (values[0, :3] @ x[0, token] / math.sqrt(8)).softmax(-1)
        torch.testing.assert_close(output[0, token], shares @ values[0, :3])


@pytest.mark.parametrize("unimodal_width", [0, 6])
def test_the_whole_model_equals_its_formula(unimodal_width):
    whole = model(replace(CONFIG, unimodal_width=unimodal_width))
    inputs = batch({name: [4] for name in DIMS})
    logits = whole(inputs).logits[0]
    h = {name: whole.norm[name](whole.project[name](inputs[name].values[0].float())) for name in DIMS}
    pooled = []
    for name in DIMS:
        parts = []
        for other in DIMS:
            if other != name:
                pair = whole.pairs[f"{name}_{other}"]
                c = naive_attention(h[name], h[other], pair.attention)
                g = torch.sigmoid(pair.gate(pair.norm(c)))
                parts.append(g * c + (1 - g) * whole.own[name](h[name]))
        s = whole.specific[name](h[name] + whole.join[name](torch.cat(parts, -1)))
        pooled.append(sum(s) / len(s))
    x = whole.generator.start
    for layer in whole.generator.layers:
        x = layer.norm(x + sum(naive_refinement(layer, x, h[name]) for name in DIMS))
    pooled.append(sum(x) / len(x))
    expected = whole.head[1](torch.relu(whole.head[0](torch.cat(pooled))))
    if unimodal_width:
        heads = zip(DIMS, whole.unimodal.encode, whole.unimodal.decide, strict=True)
        expected += sum(second(torch.relu(first(inputs[name].values[0].mean(0)))) for name, first, second in heads) / 3
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


VARIANTS = [
    CONFIG,
    *(replace(CONFIG, constraint=name) for name in CONSTRAINTS[1:]),
    *(replace(CONFIG, without=(part,)) for part in ABLATIONS),
    replace(CONFIG, without=ABLATIONS),
    replace(CONFIG, unimodal_width=0),
]


def describe(config):
    return "-".join([config.constraint, *config.without, str(config.unimodal_width)])


@pytest.mark.parametrize("config", VARIANTS, ids=describe)
@pytest.mark.parametrize("names", [("speech",), ("text", "visual"), tuple(DIMS)], ids="-".join)
def test_padding_missing_modalities_and_gradients(config, names):
    dims = {name: DIMS[name] for name in names}
    whole = model(config, dims)
    inputs = {name: value for name, value in batch().items() if name in names}
    once = whole(inputs).logits
    assert once.shape == (4, 4)
    longer = {
        name: PaddedFrames(F.pad(values, (0, 0, 0, 7), value=50.0), F.pad(mask, (0, 7)))
        for name, (values, mask) in inputs.items()
    }
    torch.testing.assert_close(whole(longer).logits, once, atol=1e-4, rtol=1e-4)
    alone = torch.cat(
        [whole({n: PaddedFrames(v[b : b + 1], m[b : b + 1]) for n, (v, m) in inputs.items()}).logits for b in range(4)]
    )
    torch.testing.assert_close(alone, once, atol=1e-4, rtol=1e-4)
    # one utterance lacks its first modality, one has its first only, one has nothing
    lengths = {name: [3, 3, 3, 0] for name in names}
    lengths[names[0]][0] = 0
    for other in names[1:]:
        lengths[other][1] = 0
    ragged = {name: frames(lengths[name], DIMS[name], 5) for name in names}
    whole.train()
    output = whole(ragged)
    (output.logits.square().sum() + output.constraint).backward()
    for name, parameter in whole.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    whole.eval()
    rest = {name: PaddedFrames(v[:1], m[:1]) for name, (v, m) in ragged.items() if name != names[0]}
    if rest:
        torch.testing.assert_close(whole(rest).logits, whole(ragged).logits[:1], atol=1e-4, rtol=1e-4)


def test_a_present_modality_matters_and_a_missing_one_does_not():
    whole, inputs = model(), batch()
    nothing = {**inputs, "text": PaddedFrames(inputs["text"].values, torch.zeros_like(inputs["text"].mask))}
    other = {**inputs, "text": PaddedFrames(inputs["text"].values + 9, torch.zeros_like(inputs["text"].mask))}
    torch.testing.assert_close(whole(nothing).logits, whole(other).logits)
    assert (whole(nothing).logits - whole(inputs).logits).abs().max() > 1e-2


@pytest.mark.parametrize("unimodal_width", [0, 6])
@pytest.mark.parametrize("without", [(), ("interaction",), ("gate", "generator")])
def test_training_also_gives_what_each_modality_says_by_itself(without, unimodal_width):
    whole = model(replace(CONFIG, without=without, unimodal_width=unimodal_width)).train()
    inputs = batch({"speech": [9, 4, 7, 0], "text": [3, 0, 1, 4], "visual": [2, 5, 3, 1]})
    keep = (torch.rand(4, whole.dropouts, whole.width, generator=torch.Generator().manual_seed(0)) < 0.5) * 2.0
    alone = whole(inputs, keep).unimodal
    assert len(alone) == len(inputs) == 3
    for logits, (name, one) in zip(alone, inputs.items(), strict=True):
        there = one.present
        torch.testing.assert_close(logits[there], whole({name: one}, keep).logits[there])
        assert whole({name: one}, keep).unimodal == ()
    assert whole.eval()(inputs).unimodal == ()


def test_a_modality_that_is_missing_from_a_whole_batch_has_no_gradient():
    whole = model().train()
    inputs = batch()
    del inputs["visual"]
    output = whole(inputs)
    (output.logits.square().sum() + output.constraint).backward()
    assert whole.project["visual"].weight.grad is None
    assert whole.project["text"].weight.grad.abs().max() > 0


def similarity(z, there):
    total = []
    for m, n in (("a", "b"), ("a", "c"), ("b", "c")):
        both = [row for row in range(len(there["a"])) if there[m][row] and there[n][row]]
        cells = [
            (F.cosine_similarity(z[m][a], z[m][b], dim=0) - F.cosine_similarity(z[n][a], z[n][b], dim=0)) ** 2
            for a in both
            for b in both
        ]
        total.append(sum(cells) / len(cells))
    return sum(total) / 3


def cosine(z, there):
    total = []
    for m, n in (("a", "b"), ("a", "c"), ("b", "c")):
        cells = [1 - F.cosine_similarity(z[m][b], z[n][b], dim=0) for b in range(6) if there[m][b] and there[n][b]]
        total.append(sum(cells) / len(cells))
    return sum(total) / 3


def cmd(z, there):
    total = 0.0
    for m, n in (("a", "b"), ("a", "c"), ("b", "c")):
        both = [row for row in range(6) if there[m][row] and there[n][row]]
        u, v = (1 / (1 + np.exp(-z[name][both].double().numpy())) for name in (m, n))
        total += np.sqrt(((u.mean(0) - v.mean(0)) ** 2).sum())
        for order in (2, 3, 4, 5):
            moments = [((w - w.mean(0)) ** order).mean(0) for w in (u, v)]
            total += np.sqrt(((moments[0] - moments[1]) ** 2).sum())
    return torch.tensor(total / 3, dtype=torch.float32)


@pytest.mark.parametrize("naive", [similarity, cosine, cmd])
def test_constraints_equal_their_formulas(naive):
    z = {name: torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)) for seed, name in enumerate("abc")}
    there = {name: torch.ones(6, dtype=torch.bool) for name in z}
    there["b"][2] = False
    z["b"][2] = 1e4
    loss = getattr(constraint, naive.__name__)(z, there)
    torch.testing.assert_close(loss, naive(z, there), atol=1e-4, rtol=1e-4)
    same = dict.fromkeys("abc", z["a"])
    assert getattr(constraint, naive.__name__)(same, dict.fromkeys("abc", there["a"])) < 1e-4
    nobody = {name: torch.zeros(6, dtype=torch.bool) for name in z}
    assert getattr(constraint, naive.__name__)(z, nobody) < 1e-4


def test_the_adversary_learns_while_its_gradient_is_reversed():
    adversary = fill_with_noise(constraint.Adversary(5, 3))
    z = {name: torch.randn(6, 5, requires_grad=True) for name in "abc"}
    there = dict.fromkeys("abc", torch.ones(6, dtype=torch.bool))
    loss = adversary(z, there)
    scores = [F.cross_entropy(adversary.layers(z[name]), torch.full((6,), m)) for m, name in enumerate("abc")]
    torch.testing.assert_close(loss, sum(scores) / 3)
    reversed_ = torch.autograd.grad(loss, [*z.values()], retain_graph=True)
    plain = torch.autograd.grad(sum(scores) / 3, [*z.values()])
    for one, other in zip(reversed_, plain, strict=True):
        torch.testing.assert_close(one, -other)


def test_details_name_every_gate_and_attention():
    details = model()(batch(), details=True).details
    assert len([name for name in details if name.startswith("gate/")]) == 6
    assert details["attention/speech_text"].shape == (4, 2, 9, 4)
    assert details["gate/text_speech"].shape == (4, 4, 8)
    assert details["invariant"].shape == (4, 3, 8)


def test_mean_skips_padding_and_is_zero_for_nobody():
    padded = frames([3, 0], 4, longest=5)
    torch.testing.assert_close(mean(padded)[0], padded.values[0, :3].mean(0))
    assert mean(padded)[1].abs().max() == 0


def test_dropout_takes_the_same_features_from_all_frames():
    keep = torch.tensor([[[0.0, 2.0]], [[2.0, 0.0]]])
    values = torch.ones(2, 3, 2)
    assert drop(values, keep, 0)[0].tolist() == [[0, 2]] * 3
    assert drop(values[:, 0], keep, 0).tolist() == [[0, 2], [2, 0]]
    assert drop(values, None, 0) is values


def test_a_scaler_leaves_a_constant_feature_finite():
    scaler = Scaler(2)
    scaler.fit(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 0.0]))
    assert scaler(torch.tensor([[3.0, 5.0]], dtype=torch.float16)).tolist() == [[1.0, 0.0]]


def test_projecting_scaled_frames_is_the_same_as_scaling_and_projecting():
    scaler, linear = Scaler(6), torch.nn.Linear(6, 4, bias=False)
    scaler.fit(torch.randn(6) * 100, torch.rand(6) + 0.1)
    values = (torch.randn(3, 5, 6) + 50).half()
    torch.testing.assert_close(project(values, scaler, linear), linear(scaler(values)), atol=1e-3, rtol=1e-4)


def test_the_same_generator_gives_the_same_model():
    one, other = (GiaMic(DIMS, 4, CONFIG) for _ in range(2))
    for each in (one, other):
        initialise(each, torch.Generator().manual_seed(3))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_wrong_config_names_every_problem():
    wrong = GiaMicConfig(width=10, heads=4, dropout=1.0, constraint="love", constraint_weight=-1, without=("head",))
    assert len(wrong.problems()) == 5
    assert GiaMicConfig().problems() == []
