import made_families
import pytest
import transformers
from made_families import judge, model_types, recorded

RECORDED = recorded()
SAMPLE = (
    "wav2vec2 sew unispeech wav2vec2-bert speecht5 moonshine "
    "bert roberta deberta-v2 mpnet longformer xlnet t5 bart qwen2 llama canine funnel clip "
    "beit swin ijepa vit_mae videomae aimv2_vision_model hiera resnet siglip2_vision_model pixtral"
).split()


@pytest.fixture(autouse=True)
def _quiet():
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize("model_type", SAMPLE)
def test_a_family_works_or_is_refused_as_the_list_says(model_type, tmp_path):
    assert judge(model_type, tmp_path) == RECORDED[model_type]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(set(RECORDED) - set(SAMPLE)))
def test_every_family_works_or_is_refused_as_the_list_says(model_type, tmp_path):
    if model_type not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} doesn't know it")
    assert judge(model_type, tmp_path) == RECORDED[model_type]


@pytest.mark.slow
def test_the_list_has_every_type_that_looks_like_an_encoder():
    assert transformers.__version__ != "5.24.0" or set(model_types()) == set(RECORDED)
    assert {entry.modality for entry in RECORDED.values()} == set(made_families.INPUTS)
