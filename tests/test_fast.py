import copy
import os

import numpy as np
import pytest
import torch
import transformers
from made_media import tone
from made_models import SPEECH, TEXT, VISUAL, save

from gia_mic.extract.encoders import fast
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.make import make_encoder

HOP, SEEN = 320, 400


def relative_difference(actual, expected):
    return float((actual - expected).abs().max() / expected.abs().max())


def build_model(folder, architecture, settings, precision=torch.float32):
    save(folder, architecture, settings)
    return getattr(transformers, f"{architecture}Model").from_pretrained(folder).eval().to(precision)


def swapped(model):
    model = copy.deepcopy(model)
    fast.accelerate(model)
    return model


def kinds(model):
    return {type(module).__name__ for module in model.modules()} & {*fast.__all__}


@pytest.mark.parametrize("name", [name for name in SPEECH if name != "whisper"])
@torch.inference_mode()
def test_speech_models_give_what_they_gave(tmp_path, name):
    model = build_model(tmp_path, *SPEECH[name])
    quick = swapped(model)
    positions = set() if name == "data2vec" else {"PositionConvolution"}  # data2vec has five narrow ones in a row
    assert kinds(quick) == {"Convolutions", "PackedLinear"} | positions
    for frames in (1, 2, fast.BLOCK_FRAMES, fast.BLOCK_FRAMES + 1, 2 * fast.BLOCK_FRAMES + 37):
        sound = torch.randn(1, (frames - 1) * HOP + SEEN + 319) * 0.3 + 0.05
        expected, actual = (each(sound, output_hidden_states=True).hidden_states for each in (model, quick))
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert one.shape == other.shape == (1, frames, 32)
            assert relative_difference(one, other) < 2e-5


@pytest.mark.parametrize("name", ["wav2vec2-base", "wav2vec2-large", "hubert"])
@torch.inference_mode()
def test_in_bfloat16_they_are_as_close_to_float32_as_before(tmp_path, name):
    model = build_model(tmp_path, *SPEECH[name])
    half = copy.deepcopy(model).to(torch.bfloat16)
    quick = swapped(half)
    errors = []
    for frames in 4 * (20, 150, 400):  # of three alone, rounding decides the ratio
        sound = torch.randn(1, (frames - 1) * HOP + SEEN)
        expected = model(sound).last_hidden_state
        errors.append(
            [
                float((each(sound.bfloat16()).last_hidden_state.float() - expected).norm() / expected.norm())
                for each in (half, quick)
            ]
        )
    before, now = np.mean(errors, axis=0)
    assert now < 1.1 * before
    assert now < 0.05


@pytest.mark.parametrize("name", TEXT)
@torch.inference_mode()
def test_text_models_give_what_they_gave(tmp_path, name):
    model = build_model(tmp_path, *TEXT[name])
    tokens = torch.randint(4, 300, (3, 20))
    mask = torch.arange(20)[None] < torch.tensor([20, 5, 11])[:, None]
    quick = swapped(model)
    assert kinds(quick) == {"PackedLinear"}
    expected, actual = (each(input_ids=tokens, attention_mask=mask).last_hidden_state[mask] for each in (model, quick))
    assert relative_difference(actual, expected) < 2e-5


@pytest.mark.parametrize("name", VISUAL)
@torch.inference_mode()
def test_vision_models_give_what_they_gave(tmp_path, name):
    model = build_model(tmp_path, *VISUAL[name])
    pictures = torch.randn(3, 3, 32, 32)
    expected, actual = (each(pixel_values=pictures).last_hidden_state for each in (model, swapped(model)))
    assert relative_difference(actual, expected) < 2e-5


@torch.inference_mode()
def test_whisper_gives_what_it_gave(tmp_path):
    model = build_model(tmp_path, *SPEECH["whisper"]).get_encoder()
    spectrum = torch.randn(1, 80, 3000)
    expected, actual = (each(spectrum).last_hidden_state for each in (model, swapped(model)))
    assert relative_difference(actual, expected) < 2e-5


@pytest.mark.parametrize("name", ["wav2vec2-base", "wavlm"])
def test_long_recordings_in_windows_are_those_of_the_plain_model(tmp_path, monkeypatch, name):
    folder = str(save(tmp_path / name, *SPEECH[name]))
    job = EncodeJob("u", "", path=tone(tmp_path / "a.wav", 13.0), duration_s=13.0)
    quick = make_encoder("speech", folder, window_s=6.0).to("cpu")
    monkeypatch.setattr(fast, "suits", lambda device: False)
    plain = make_encoder("speech", folder, window_s=6.0).to("cpu")
    assert kinds(quick.model)
    assert not kinds(plain.model)
    pieces = list(quick.pieces(job))
    assert len(pieces) == 5
    for piece in pieces:
        actual, expected = (torch.from_numpy(each.encode([piece])[0]) for each in (quick, plain))
        assert relative_difference(actual, expected) < 2e-5


@torch.inference_mode()
def test_without_the_operators_plain_layers_give_the_same(tmp_path, monkeypatch):
    model = build_model(tmp_path, *SPEECH["wav2vec2-base"])
    monkeypatch.setattr(fast.PackedLinear, "supports", lambda dtype: False)
    quick = swapped(model)
    assert kinds(quick) == {"Convolutions", "PositionConvolution"}
    sound = torch.randn(1, 30000)
    assert relative_difference(quick(sound).last_hidden_state, model(sound).last_hidden_state) < 2e-5


def test_a_packed_weight_can_be_had_back():
    linear = torch.nn.Linear(48, 32)
    assert fast.PackedLinear.supports(torch.float32)
    assert not fast.PackedLinear.supports(torch.float64)
    packed = fast.PackedLinear(linear.weight, linear.bias)
    assert torch.equal(packed.weight, linear.weight.detach())
    assert torch.equal(packed.bias, linear.bias)
    torch.testing.assert_close(packed(torch.ones(2, 3, 48)), linear(torch.ones(2, 3, 48)).detach())


def test_only_the_cpu_wants_it():
    assert fast.suits("cpu")
    assert not fast.suits("cuda:0")


def test_few_compiled_products_are_kept_unless_the_user_says_how_many(monkeypatch):
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "")  # so that it is put back
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    fast.accelerate(torch.nn.Sequential(torch.nn.Linear(8, 8)))
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == fast.PRODUCTS_A_WORKER * torch.get_num_threads()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
