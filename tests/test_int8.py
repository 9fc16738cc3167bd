"""A layer of 8-bit integers against one of float32, and encoders made of such layers."""

import numpy as np
import pytest
import torch
from made_models import SPEECH, TEXT, VISUAL, save, save_text

from gia_mic.extract import device
from gia_mic.extract.encoders import int8
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.int8 import Int8Linear
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import EncoderError
from gia_mic.predictor import load_predictor
from gia_mic.rebuild import rebuild

TEXTS = ("No way!", "I am so angry that I could shout at all of you, today of all days.")


@pytest.fixture(params=[True, False], ids=["integers", "float32"])
def layer(request, monkeypatch):
    """A linear layer and its rounded twin, on a processor with and without instructions for integers."""
    if request.param and not device.has_products("int8"):
        pytest.skip("this processor has no instructions for int8")
    monkeypatch.setattr(int8, "has_products", lambda precision: request.param)
    torch.manual_seed(0)
    linear = torch.nn.Linear(48, 32)
    return linear.requires_grad_(False), Int8Linear(linear.weight, linear.bias)


def test_it_is_as_close_as_eight_bits_are(layer):
    linear, rounded = layer
    for shape in ((1, 48), (2, 5, 48), (int8.BLOCK_ROWS + 3, 48)):
        inputs = torch.randn(shape)
        expected, actual = linear(inputs), rounded(inputs)
        assert actual.shape == expected.shape
        assert 0 < float((actual - expected).norm() / expected.norm()) < 0.02
    assert float((rounded.weight - linear.weight).abs().max()) <= float(linear.weight.abs().max()) / 254 * 1.001


def test_a_row_is_rounded_by_itself_alone(layer):
    _, rounded = layer
    inputs = torch.randn(int8.BLOCK_ROWS + 40, 48)
    beside = inputs.clone()
    beside[1::2] *= 1000
    assert torch.equal(rounded(inputs)[::2], rounded(beside)[::2])
    torch.testing.assert_close(rounded(inputs * 1000), (rounded(inputs) - rounded.bias) * 1000 + rounded.bias)


def test_zeros_give_the_bias_and_what_is_no_number_stays_none(layer):
    _, rounded = layer
    inputs = torch.zeros(3, 48)
    inputs[1, 4], inputs[2, 7] = float("nan"), float("inf")
    outputs = rounded(inputs)
    torch.testing.assert_close(outputs[0], rounded.bias)
    assert not outputs[1:].isfinite().any()


@pytest.mark.skipif(not device.has_products("int8"), reason="this processor has no instructions for int8")
def test_both_ways_give_the_same(monkeypatch):
    linear, inputs = torch.nn.Linear(3072, 16), torch.randn(20, 3072)
    in_integers = Int8Linear(linear.weight, linear.bias)
    monkeypatch.setattr(int8, "has_products", lambda precision: False)
    torch.testing.assert_close(in_integers(inputs), Int8Linear(linear.weight, linear.bias)(inputs))


@pytest.mark.parametrize("kind", ["wav2vec2-base", "wavlm", "whisper", "roberta", "vit"])
def test_an_encoder_is_close_to_float32_and_a_batch_changes_nothing(tmp_path, kind):
    modality, models = next(
        (name, some) for name, some in (("speech", SPEECH), ("text", TEXT), ("visual", VISUAL)) if kind in some
    )
    if modality == "text":
        save_text(tmp_path / kind, *models[kind])
    else:
        save(tmp_path / kind, *models[kind])
    plain, rounded = (
        make_encoder(modality, str(tmp_path / kind), dtype="float32", precision=precision).to("cpu")
        for precision in ("float32", "int8")
    )
    assert any(isinstance(module, Int8Linear) for module in rounded.model.modules())
    pieces = _pieces(rounded, modality)
    frames = rounded.encode(pieces)
    for piece, own in zip(pieces, frames, strict=True):
        np.testing.assert_array_equal(rounded.encode([piece])[0], own)
    expected = np.concatenate(plain.encode(pieces))
    spread = np.linalg.norm(expected - expected.mean(0))
    assert 0 < np.linalg.norm(np.concatenate(frames) - expected) / spread < 0.1


def _pieces(encoder, modality):
    if modality == "text":
        return [next(encoder.pieces(EncodeJob("", "", text=text))) for text in TEXTS]
    random = np.random.default_rng(0)
    if modality == "visual":
        height, width = encoder._framing.size
        pictures = random.integers(0, 255, (5, height, width, 3), np.uint8)
        return [encoder.piece(list(some)) for some in (pictures[:2], pictures[2:])]
    sounds = [random.normal(0, 0.1, count).astype(np.float32) for count in (16_000, 5_000)]
    return [next(encoder.pieces(EncodeJob("", "", sound=(sound, 16_000)))) for sound in sounds]


def test_int8_is_for_cpus():
    device.check_precision("int8", "cpu")
    with pytest.raises(EncoderError, match="int8 is for CPUs, and cuda:1 is none: choose --device cpu, or"):
        device.check_precision("int8", "cuda:1")
    with pytest.raises(EncoderError, match="int8 is for CPUs, and cuda is none"):
        make_encoder("text", "tiny", precision="int8").to("cuda")


def test_a_processor_without_instructions_is_told_of(monkeypatch):
    monkeypatch.setattr(device, "has_products", lambda precision: False)
    line = "This processor has no instructions for int8: here it takes longer than float32."
    assert device.slow("int8", "cpu") == line


def test_a_run_may_be_asked_in_another_precision_than_it_was_trained_in(demo, mer):
    run = demo[1] / "gia-mic-st" / "fold-1" / "seed-0"
    text = "I am so angry."
    answer = mer("predict", run, "--text", text, "--precision", "int8", "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    assert "text: frames in int8 differ a little from those in float32 that the run was trained on." in answer.stderr
    as_trained, in_int8 = (
        load_predictor(run, device="cpu", precision=precision).predict(text=text) for precision in (None, "int8")
    )
    np.testing.assert_allclose(list(in_int8.values.values()), list(as_trained.values.values()), atol=0.05)
    assert in_int8.values != as_trained.values
    with pytest.raises(EncoderError, match="cpu has no tf32"):
        load_predictor(run, device="cpu", precision="tf32")


def test_an_encoder_is_rebuilt_in_the_precision_that_was_recorded():
    spec = make_encoder("text", "tiny", precision="int8").spec.canonical()
    assert rebuild(spec).spec.precision == "int8"
    assert rebuild(spec, precision="float32").spec.canonical() == {**spec, "precision": "float32"}
