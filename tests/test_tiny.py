import numpy as np
import pytest
import torch

from gia_mic.extract.corpora.demo_text import WORDS
from gia_mic.extract.encoders import tiny

BUILDERS = {"speech": tiny.speech, "text": lambda: tiny.text()[0], "visual": tiny.visual}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_weights_are_the_same_every_time_and_leave_other_random_numbers_alone(build):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = build()
    assert torch.equal(torch.rand(3), expected)
    second = build()
    assert not first.training
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.isfinite(weight).all() for weight in first.parameters())


def test_speech_gives_fifty_frames_a_second_with_group_norm_as_base():
    model = tiny.speech()
    assert model.config.feat_extract_norm == "group"
    with torch.inference_mode():
        frames = model(torch.randn(1, 16_000)).last_hidden_state
    assert frames.shape == (1, 49, 64)


def test_pictures_of_different_shapes_give_different_frames():
    model = tiny.visual()
    rows, columns = np.mgrid[:64, :64]
    pictures = [np.sign(np.sin(axis / 5)) for axis in (rows, columns)]
    pixels = torch.tensor(np.stack(pictures), dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        one, other = model(pixels).last_hidden_state[:, 0]
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) < 0.9


def test_a_colour_everywhere_means_nothing_to_the_visual_encoder():
    model = tiny.visual()
    with torch.inference_mode():
        dark, light = model(torch.stack([torch.full((3, 64, 64), value) for value in (-0.5, 0.8)])).last_hidden_state
    assert torch.allclose(dark, light, atol=1e-3)


def test_demo_words_are_single_tokens_and_anything_else_comes_back_from_bytes():
    _, tokenizer = tiny.text()
    for word in WORDS:
        assert len(tokenizer.tokenize(f" {word}")) == 1
    text = "zażółć gęślą jaźń 🙂 qxz"
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).strip() == text
    assert tokenizer.unk_token_id not in tokenizer(text).input_ids
    ids = tokenizer("so").input_ids
    assert (ids[0], ids[-1], tokenizer.pad_token_id) == (0, 2, 1)


def test_text_padding_changes_nothing():
    model, tokenizer = tiny.text()
    with torch.inference_mode():
        alone = model(**tokenizer(["so sad"], return_tensors="pt")).last_hidden_state[0]
        batch = tokenizer(["so sad", "i think that it is lovely on the train"], padding=True, return_tensors="pt")
        padded = model(**batch).last_hidden_state[0, : len(alone)]
    np.testing.assert_allclose(padded, alone, atol=1e-5)
