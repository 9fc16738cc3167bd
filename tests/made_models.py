"""Tiny random models of many families, saved as transformers saves real ones."""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SPEECH_SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 8,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TEXT_SIZE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "pad_token_id": 1,
}
PICTURE_SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
WHISPER_SIZE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}

SPEECH = {
    "wav2vec2-base": ("Wav2Vec2", SPEECH_SIZE),
    "wav2vec2-large": ("Wav2Vec2", {**SPEECH_SIZE, **STABLE}),
    "hubert": ("Hubert", SPEECH_SIZE),
    "wavlm": ("WavLM", SPEECH_SIZE),
    "wavlm-large": ("WavLM", {**SPEECH_SIZE, **STABLE}),
    "data2vec": ("Data2VecAudio", {**SPEECH_SIZE, "conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3}),
    "whisper": ("Whisper", WHISPER_SIZE),
}
TEXT = {
    "roberta": ("Roberta", TEXT_SIZE),
    "bert": ("Bert", TEXT_SIZE),
    "deberta": ("DebertaV2", TEXT_SIZE),
}
VISUAL = {
    "clip": ("CLIPVision", PICTURE_SIZE),
    "vit": ("ViT", PICTURE_SIZE),
    "dinov2": ("Dinov2", PICTURE_SIZE),
    "siglip": ("SiglipVision", PICTURE_SIZE),
}

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJ"]
"""What the recogniser of `save_ctc` hears."""


def save(folder: Path, architecture: str, settings: dict) -> Path:
    """Save a model with weights drawn from a fixed seed."""
    config = getattr(transformers, f"{architecture}Config")(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{architecture}Model")(config)
        for parameter in model.parameters():  # a fresh draw keeps most weights so small that nothing mixes
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)
    return folder


def save_text(folder: Path, architecture: str, settings: dict) -> Path:
    """Save a text model and a tokenizer for it."""
    return save_tokenizer(save(folder, architecture, settings))


def save_tokenizer(folder: Path) -> Path:
    """Save a tokenizer whose tokens are single bytes."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary.update({letter: 4 + n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))})
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def preprocessor(folder: Path, **settings: object) -> Path:
    """Save preprocessor settings beside a model."""
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def grown(architecture: type, config: transformers.PreTrainedConfig) -> torch.nn.Module:
    """Make a model whose weights, the same at every call, make different sounds different words."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = architecture(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
    return model


def save_ctc(folder: Path, architecture: str = "Wav2Vec2", **settings: object) -> Path:
    """Save a random recogniser of ten letters, as transformers saves real ones."""
    config = getattr(transformers, f"{architecture}Config")(
        **{**SPEECH_SIZE, "vocab_size": len(LETTERS), "pad_token_id": 0, **settings}
    )
    model = grown(getattr(transformers, f"{architecture}ForCTC"), config).eval()
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 16000)).astype(np.float32))
    with torch.inference_mode():  # no letter is likelier than others, so that all are heard
        model.lm_head.bias.sub_(model(noise).logits.mean(dim=(0, 1)))
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(LETTERS)}))
    transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    return preprocessor(folder, do_normalize=True, sampling_rate=16000)


def save_whisper(folder: Path) -> Path:
    """Save a random Whisper whose tokens are bytes."""
    config = transformers.WhisperConfig(
        **{**WHISPER_SIZE, "vocab_size": 260, "pad_token_id": 1, "bos_token_id": 0, "max_target_positions": 240}
    )
    model = grown(transformers.WhisperForConditionalGeneration, config)
    model.generation_config.is_multilingual = False
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return preprocessor(folder, sampling_rate=16000)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")
