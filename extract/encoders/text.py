"""Turns transcripts into one frame per token with RoBERTa or any encoder that has a tokenizer."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gia_mic.extract.encoders import tiny
from gia_mic.extract.encoders.contract import (
    EncodeJob,
    EncoderSpec,
    Window,
    check_layers,
    exact_together,
    pick_layers,
    piece_windows,
)
from gia_mic.extract.encoders.pretrained import Pretrained
from gia_mic.extract.encoders.weights import Weights
from gia_mic.extract.errors import EncoderError, MediaError
from gia_mic.extract.store import Header

__all__ = ["TextEncoder"]

CONTEXT_TOKENS = 64

_ADVICE = "save the tokenizer in the same folder with save_pretrained"


class TextEncoder(Pretrained):
    """RoBERTa or a relative, frozen (Liu et al., 2019, arXiv:1907.11692).

    A transcript gives one frame for each of its tokens, among them the ones that mark its beginning and end, which a
    model trains to stand for the whole. A transcript longer than the model's limit goes through it in windows.

    Args:
        model: Hub id, local folder, or "tiny".
        revision: Hub revision; the main one by default.
        options: Settings of `EncoderConfig`: layers, pool, precision and dtype.

    Raises:
        EncoderError: The model can't be found, is none for text, or comes without a tokenizer.
    """

    def __init__(self, model: str, revision: str | None = None, **options: Any) -> None:
        super().__init__(model, revision, lambda: tiny.text()[0])
        self._tokenizer = tiny.text()[1] if self._weights is None else _load_tokenizer(self._weights)
        name = self._named["model"]
        if not hasattr(self._config, "vocab_size") or self._tokenizer.pad_token_id is None:
            raise EncoderError(f"{name} is no text encoder with a padding token: choose a BERT-like model.")
        if len(self._tokenizer) > self._config.vocab_size:
            raise EncoderError(
                f"The tokenizer of {name} has {len(self._tokenizer)} tokens and the model {self._config.vocab_size}: "
                "they don't belong together."
            )
        # RoBERTa counts positions from its padding id on, so two of its 514 places hold no token
        limit = min(self._tokenizer.model_max_length, getattr(self._config, "max_position_embeddings", 10**9))
        if self._config.model_type in ("roberta", "xlm-roberta", "camembert"):
            limit = min(limit, self._config.max_position_embeddings - self._config.pad_token_id - 1)
        self.spec = EncoderSpec(
            modality="text",
            **self._named,
            window_tokens=limit,
            context_tokens=min(CONTEXT_TOKENS, limit // 8),
            **options,
        )
        check_layers(self.spec.layers, self._config.num_hidden_layers, name)
        self._exact_together = exact_together(self._config.model_type)

    @property
    def header(self) -> Header:
        """What all frames have in common."""
        return self.spec.header(self._config.hidden_size, weights=self._weights)

    def size(self, job: EncodeJob) -> int:
        """Return how many tokens an utterance has."""
        return len(self._tokens(job))

    def pieces(self, job: EncodeJob) -> Iterator[Window]:
        """Cut a transcript into tokens, and those into windows.

        Raises:
            MediaError: There is nothing in it.
        """
        if not job.text or not job.text.strip():
            raise MediaError(f"The transcript of {job.id} is empty: fill it in, or leave the text out of the manifest.")
        tokens = self._tokens(job)
        assert self.spec.window_tokens is not None
        assert self.spec.context_tokens is not None
        for begin, end, keep in piece_windows(len(tokens), self.spec.window_tokens, self.spec.context_tokens):
            yield Window(np.array(tokens[begin:end], dtype=np.int64), keep, end - begin)

    def to(self, device: str) -> "TextEncoder":
        """Load the weights onto a device."""
        self._load(
            device, self.spec.precision, part=lambda m: m.get_encoder() if self._config.is_encoder_decoder else m
        )
        return self

    @torch.inference_mode()
    def encode(self, pieces: Sequence[Window]) -> list[np.ndarray]:
        """Return each piece's kept frames (T, D) float32, the same in any batch."""
        if len(pieces) > 1 and not self._exact_together:
            return [self.encode([piece])[0] for piece in pieces]
        device = next(self.model.parameters()).device
        lengths = torch.tensor([len(piece.values) for piece in pieces])
        tokens = torch.full((len(pieces), int(lengths.max())), self._tokenizer.pad_token_id)
        for row, piece in zip(tokens, pieces, strict=True):
            row[: len(piece.values)] = torch.from_numpy(piece.values)
        mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]
        outputs = self.model(
            input_ids=tokens.to(device),
            attention_mask=mask.to(device),
            output_hidden_states=self.spec.layers != (-1,),
        )
        frames = pick_layers(outputs, self.spec.layers).float().cpu().numpy()
        return [frames[row, piece.keep] for row, piece in enumerate(pieces)]

    def spans(self, job: EncodeJob) -> list[tuple[int, int] | None]:
        """Return where in the transcript each token begins and ends; None for one that only marks.

        Raises:
            EncoderError: The tokenizer doesn't know.
        """
        if not self._tokenizer.is_fast:
            raise EncoderError(f"The tokenizer of {self.spec.name} can't say where in a text its tokens stand.")
        found = self._tokenizer(
            job.text,
            add_special_tokens=True,
            verbose=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        both = zip(found["offset_mapping"], found["special_tokens_mask"], strict=True)
        return [None if special else (int(span[0]), int(span[1])) for span, special in both]

    def _tokens(self, job: EncodeJob) -> list[int]:
        return self._tokenizer(job.text, add_special_tokens=True, verbose=False)["input_ids"]


def _load_tokenizer(weights: Weights) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.location, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EncoderError(f"{weights.name} has no tokenizer that transformers can load: {_ADVICE}.") from error
    # without its files, transformers gives an empty tokenizer that takes every word for unknown
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise EncoderError(f"{weights.name} comes without the files of its tokenizer: {_ADVICE}.")
    return tokenizer
