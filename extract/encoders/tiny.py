"""Turns a fixed seed into tiny encoders of the real architectures: no download, no training, the same every time.

Random weights keep most of what goes in (an echo-state network lives from that), provided that no layer flattens it:
so the weights here are scaled to keep the size of what they carry, where a checkpoint's first draw (standard deviation
0.02) relies on training to grow it. They serve the demo corpus and the tests; on real recordings use real encoders.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from gia_mic.extract.corpora.demo_text import WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, RobertaModel, ViTModel, Wav2Vec2Model

__all__ = ["IMAGE_MEAN", "IMAGE_SIZE", "IMAGE_STD", "VERSION", "speech", "text", "visual"]

VERSION = 3
"""Counts up whenever the weights change: part of an encoder's fingerprint."""

IMAGE_SIZE = 64
IMAGE_MEAN = (0.5, 0.5, 0.5)
IMAGE_STD = (0.5, 0.5, 0.5)

Model = TypeVar("Model", bound=nn.Module)

_SEED = 20_250_600
_LAYER_GAIN = 0.5
_MAX_TOKENS = 256
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # RoBERTa's ids 0 to 3, and its mask


def speech() -> "Wav2Vec2Model":
    """Return a wav2vec2 with base's seven convolutions (50 frames a second of 16 kHz) and two layers of D = 64."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(64,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="group",
        layerdrop=0.0,
        vocab_size=32,
    )
    return _built(lambda: Wav2Vec2Model(config))[0]


def text() -> "tuple[RobertaModel, PreTrainedTokenizerFast]":
    """Return a RoBERTa of two layers, D = 128, and its byte-level tokenizer; at most 256 tokens."""
    from transformers import RobertaConfig, RobertaModel

    tokenizer = _tokenizer()
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=_MAX_TOKENS + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    model, _ = _built(lambda: RobertaModel(config, add_pooling_layer=False))
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.mul_(0.2)  # which word says more than where
    return model, tokenizer


def visual() -> "ViTModel":
    """Return a ViT for 64 × 64 pictures in 16 × 16 patches, two layers of D = 128.

    Its patch filters are drawn at half the resolution, grey and without a mean: they see edges and shapes, not the
    colour of a wall or a skin.
    """
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        image_size=IMAGE_SIZE,
        patch_size=16,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=16,
        intermediate_size=256,
    )
    model, generator = _built(lambda: ViTModel(config, add_pooling_layer=False))
    filters = nn.functional.interpolate(torch.randn(128, 1, 8, 8, generator=generator), (16, 16), mode="bilinear")
    filters -= filters.mean(dim=(2, 3), keepdim=True)
    filters *= 2 / filters.norm(dim=(2, 3), keepdim=True) / 3**0.5
    with torch.no_grad():
        model.embeddings.patch_embeddings.projection.weight.copy_(filters)  # the same for red, green and blue
        model.embeddings.cls_token.mul_(0.1)  # almost empty, so that it ends up with what it gathers from the patches
        model.embeddings.position_embeddings[:, 0].mul_(0.1)
    return model


def _built(build: Callable[[], Model]) -> tuple[Model, torch.Generator]:
    """Build a model and draw every weight from a generator of its own; the global one is left as it was.

    A matrix or filter gets a standard deviation of gain / √fan-in, which keeps the variance of what passes by the
    factor gain². Transformer layers add to what they are given, so with a gain of a half they mix without drowning it.
    """
    with torch.random.fork_rng(devices=[]):
        model = build()
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(generator=generator)
            elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                gain = _LAYER_GAIN if isinstance(module, nn.Linear) else 1.0
                shape = module.weight.shape
                weight = torch.randn(shape, generator=generator) * gain / shape[1:].numel() ** 0.5
                if is_parametrized(module):  # wav2vec2's position convolution, as direction and length
                    module.weight = weight
                else:
                    module.weight.copy_(weight)
                if module.bias is not None:
                    module.bias.zero_()
            elif not isinstance(module, nn.LayerNorm | nn.GroupNorm | ParametrizationList):
                for vector in module.parameters(recurse=False):  # ViT's positions and class token, wav2vec2's mask
                    vector.normal_(generator=generator)
    return model.eval(), generator


def _tokenizer() -> "PreTrainedTokenizerFast":
    """Return a byte-level BPE that has each word of the demo's sentences as one token, and bytes for all others.

    A word grows letter by letter from its front (`Ġs` `Ġsa` `Ġsad`), so the merges need no corpus to be counted on.
    """
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(dict.fromkeys(("Ġ" + word[:end], word[end]) for word in WORDS for end in range(len(word))))
    vocabulary = [*_SPECIAL[:4], *letters, *("".join(pair) for pair in merges), _SPECIAL[4]]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(vocabulary)}, merges=merges, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=_MAX_TOKENS,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
