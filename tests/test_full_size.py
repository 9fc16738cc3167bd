"""The real architectures at full size, with random weights: four utterances of the demo corpus through each."""

import numpy as np
import pytest
import torch
import transformers
from made_models import preprocessor, save_tokenizer

from gia_mic.extract.corpora import demo
from gia_mic.extract.run import run
from gia_mic.extract.store import open_store


def save(folder, model):
    """Save in half precision, which is quicker and is loaded as float32 all the same."""
    model.to(torch.float16).save_pretrained(folder)
    return folder


def wav2vec2(folder):
    save(folder, transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()))
    return preprocessor(folder, do_normalize=True, sampling_rate=16000)


def roberta(folder):
    config = transformers.RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1
    )
    return save_tokenizer(save(folder, transformers.RobertaModel(config, add_pooling_layer=False)))


def clip(folder):
    save(folder, transformers.CLIPVisionModel(transformers.CLIPVisionConfig(patch_size=32)))
    size = {"height": 224, "width": 224}
    return preprocessor(folder, size={"shortest_edge": 224}, crop_size=size, do_center_crop=True, resample=3)


@pytest.mark.parametrize(
    ("modality", "make", "parameters"), [("speech", wav2vec2, 94e6), ("text", roberta, 124e6), ("visual", clip, 87e6)]
)
def test_a_base_size_model_in_a_local_folder_extracts_four_utterances(tmp_path, modality, make, parameters):
    corpus = demo.prepare_demo(tmp_path / "features", demo=demo.Demo(utterances=4))
    folder = make(tmp_path / "base")
    assert (folder / "model.safetensors").stat().st_size > 2 * parameters
    (result,) = run(corpus, modality, str(folder), device="cpu")
    assert result.extracted == 4
    store = open_store(result.path)
    assert store.dim == 768
    assert store.encoder == "base"
    assert np.isfinite(store.values).all()
    assert np.std(store.values, axis=0).min() > 0
    assert list(store.damaged()) == []
