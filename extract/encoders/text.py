"""Turns transcripts into one frame per token with RoBERTa or any encoder that has a tokenizer."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from gia_mic.extract.encoders import tiny
from gia_mic.extract.encoders.architecture import TEXT_INPUTS, check_inputs, find_network, outline, places
from gia_mic.extract.encoders.batch import Batch
from gia_mic.extract.encoders.contract import EncodeJob, EncoderSpec, Window, check_layers, pick_layers, piece_windows
from gia_mic.extract.encoders.pretrained import Pretrained
from gia_mic.extract.encoders.proof import check_repeatable, exact_together
from gia_mic.extract.encoders.weights import Weights
from gia_mic.extract.errors import EncoderError, MediaError, first_line, one_line
from gia_mic.extract.store import Header

__all__ = ["TextEncoder"]

CONTEXT_TOKENS = 64
UNLIMITED = 10**9
"""Window in tokens of a model that says nothing of its limit."""

WANTED = "a text model such as RoBERTa"

PROBES = (
    "No.",
    "I can't believe you did that!",
    "Why would anyone say so?",
    "Why would anyone say such a thing to me, today of all days?",
)
"""Texts of different lengths that a network is tried on."""

UNUSUAL = " Ça va? naïve\u2014\u201cquoted\u201d, 3.5 % \u4f60\u597d \U0001f642\n<s> so\ttabbed  twice "
"""What tokenizers differ in: accents, signs, other scripts, names of tokens and white space."""

_ADVICE = "save the tokenizer in the same folder with save_pretrained"


class TextEncoder(Pretrained):
    """RoBERTa, another encoder or a decoder of text, frozen (Liu et al., 2019, arXiv:1907.11692).

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
        config = self._config if hasattr(self._config, "vocab_size") else self._config.get_text_config()
        self._name = f"{self._named['model']} (a {self._config.model_type} model)"
        network = find_network(self._config)
        check_inputs(network, TEXT_INPUTS, self._name, WANTED)
        numbers: list[Any] = [
            getattr(config, field, None) for field in ("vocab_size", "hidden_size", "num_hidden_layers")
        ]
        if not all(isinstance(number, int) for number in numbers):
            raise EncoderError(
                f"{self._name} doesn't say how many tokens, features and layers it has: choose {WANTED}."
            )
        vocabulary, self._hidden_size, layer_count = numbers
        if len(self._tokenizer) > vocabulary:
            raise EncoderError(
                f"The tokenizer of {self._named['model']} has {len(self._tokenizer)} tokens and the model "
                f"{vocabulary}: take both from one model."
            )
        paddings = (self._tokenizer.pad_token_id, getattr(config, "pad_token_id", None))
        self._padding = next((token for token in paddings if isinstance(token, int) and token >= 0), 0)  # under a mask
        limits = [
            self._tokenizer.model_max_length,
            getattr(config, "max_position_embeddings", None),
            self._noted(["places"], lambda: places(outline(network, self._config, self._name, WANTED))),
        ]
        limit = min([number for number in limits if isinstance(number, int) and number > 0] + [UNLIMITED])
        self.spec = EncoderSpec(
            modality="text",
            **self._named,
            window_tokens=limit,
            context_tokens=min(CONTEXT_TOKENS, limit // 8),
            **options,
        )
        check_layers(self.spec.layers, layer_count, self._named["model"])

    @property
    def header(self) -> Header:
        """What all frames have in common."""
        return self.spec.header(self._hidden_size, weights=self._weights)

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
        """Load the weights onto a device.

        Raises:
            EncoderError: They can't be loaded, or make no frames of text alone, or others each time.
        """
        if self._load(
            device, self.spec.precision, part=lambda m: m.get_encoder() if self._config.is_encoder_decoder else m
        ):
            self._exact_together = self._tried(self._try)
        return self

    def _rows(self, pieces: Sequence[Window]) -> torch.Tensor:
        batch = Batch(pieces, next(self.model.parameters()).device, self._padding)
        return batch.kept(self.compute(batch.values, batch.mask().long()))

    def compute(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return frames (B, T, D) of token ids (B, T)."""
        outputs = self.model(input_ids=values, attention_mask=mask, output_hidden_states=self.spec.layers != (-1,))
        return pick_layers(outputs, self.spec.layers)

    def recipe(self) -> dict[str, Any]:
        """Return how a transcript becomes windows, as `gia_mic.runtime.text` reads it."""
        return {"window": self.spec.window_tokens, "context": self.spec.context_tokens}

    def tokenizer_json(self) -> str:
        """Return the tokenizer as the tokenizers library reads it.

        Raises:
            EncoderError: It is of a kind that this library doesn't have, or gives other tokens there.
        """
        if not self._tokenizer.is_fast:
            raise EncoderError(f"The tokenizer of {self.spec.name} isn't one of the tokenizers library.")
        alone = Tokenizer.from_str(self._tokenizer.backend_tokenizer.to_str())
        alone.no_truncation()
        alone.no_padding()
        for text in (*PROBES, UNUSUAL):
            if alone.encode(text).ids != self._tokens(EncodeJob("", "", text=text)):
                raise EncoderError(f"The tokenizer of {self.spec.name} gives other tokens outside of transformers.")
        return alone.to_str()

    def _try(self) -> bool:
        """Encode short texts, to see that they become frames, and return whether batches leave those as they are.

        Raises:
            EncoderError: They don't.
        """
        pieces = [next(self.pieces(EncodeJob("", "", text=text))) for text in PROBES]
        expected = [(piece.keep.stop - piece.keep.start, self.header.dim) for piece in pieces]
        try:
            shapes = [self._together([piece])[0].shape for piece in pieces]
        except Exception as error:  # whatever a model does that wants something else
            raise EncoderError(
                f"{self._name} makes no frames of text alone ({first_line(error)}): choose {WANTED}."
            ) from error
        if shapes != expected:
            raise EncoderError(
                f"{self._name} makes frames of shape {one_line(shapes)} of texts that should give "
                f"{one_line(expected)}: choose {WANTED}."
            )
        check_repeatable(self._together, pieces[-1], self.spec.precision, self._name)
        return exact_together(self._together, pieces, self.spec.precision)

    def spans(self, job: EncodeJob) -> list[tuple[int, int] | None]:
        """Return where in the transcript each token begins and ends; None for one that only marks.

        Raises:
            EncoderError: The tokenizer doesn't know.
        """
        if not self._tokenizer.is_fast:
            raise EncoderError(f"The tokenizer of {self.spec.name} can't say where in a text its tokens stand.")
        encoding = self._tokenizer(
            job.text,
            add_special_tokens=True,
            verbose=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        both = zip(encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True)
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
