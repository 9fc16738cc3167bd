"""Turns sound into the tokens of its words, with a CTC model of the wav2vec 2.0 family or with Whisper.

A recogniser is an encoder whose frames are token ids, (T, 1), so that it runs through the same pipeline: for CTC one id
for each frame, for Whisper one for each token that it says.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gia_mic.extract.device import use_tf32
from gia_mic.extract.encoders.batch import Pending
from gia_mic.extract.encoders.contract import EncodeJob, Window
from gia_mic.extract.encoders.quiet import quietly
from gia_mic.extract.encoders.speech import WHISPER_WINDOW_S, SpeechEncoder
from gia_mic.extract.encoders.weights import load_model
from gia_mic.extract.errors import EncoderError, MediaError, first_line

__all__ = ["Recogniser", "make_recogniser"]

SEARCH_S = 5.0
"""A long recording is cut at the quietest moment of the last so many seconds before a window is full."""

QUIET_S = 0.1
"""How long that moment is."""

MOST_TOKENS = 224
"""Tokens that Whisper may say of one window; it was trained on no more."""


class Recogniser(SpeechEncoder):
    """A recogniser of words.

    Args:
        model: Hub id or local folder.
        revision: Hub revision; the main one by default.
        language: For a Whisper model of many languages, which one is spoken; by default it listens for that itself.

    Raises:
        EncoderError: The model can't be found, or recognises no words.
    """

    def __init__(self, model: str, revision: str | None = None, language: str | None = None) -> None:
        super().__init__(model, revision, layers=(-1,), dtype="float32")
        self.language = language

    @property
    def kinds(self) -> list[str]:
        """What the checkpoint says that it is, such as Wav2Vec2ForCTC."""
        return [str(name) for name in self._config.architectures or ()]

    def text(self, tokens: np.ndarray) -> str:
        """Return the words of token ids (T, 1), the spaces at their ends left out.

        A model that knows capitals only gives small letters: to a text encoder capitals mean shouting.
        """
        words = str(self._tokenizer.decode(tokens[:, 0].astype(int).tolist(), skip_special_tokens=True))
        return " ".join((words.lower() if words.isupper() else words).split())

    def _load_tokenizer(self) -> None:
        from transformers import AutoTokenizer

        assert self._weights is not None
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                self._weights.location, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # the library raises many kinds
            raise EncoderError(
                f"{self.spec.name} has no tokenizer that can be loaded ({first_line(error)}): choose another."
            ) from error


class _Ctc(Recogniser):
    """The most probable token of each frame, which the tokenizer collapses (Graves et al., ICML 2006)."""

    def to(self, device: str) -> "Recogniser":
        """Load the weights onto a device."""
        self._load_tokenizer()
        super().to(device)
        self._head.to(device)
        return self

    def _model_class(self) -> Any:
        from transformers import AutoModelForCTC

        return AutoModelForCTC

    def _encoder_of(self, whole: Any) -> Any:
        self._head: nn.Module = whole.lm_head
        return whole.base_model

    def _outcome(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the token ids (N, 1) of frames (N, D)."""
        return self._head(rows).argmax(-1, keepdim=True)


class _Whisper(Recogniser):
    """What Whisper says of windows of up to 30 s that end where it is quiet, greedily, without times."""

    def pieces(self, job: EncodeJob) -> Iterator[Window]:
        """Decode an utterance into windows that don't overlap."""
        count = 0
        for samples in quiet_windows(self._stream(job), self._rate, WHISPER_WINDOW_S):
            count += len(samples)
            spectrum = self._spectrogram(samples, sampling_rate=self._rate, return_tensors="np").input_features[0]
            yield Window(spectrum, slice(None), self._window)
        if not count:
            raise MediaError(f"{job.path} has no sound: leave the utterance out.")

    def to(self, device: str) -> "Recogniser":
        """Load the weights onto a device."""
        from transformers import WhisperForConditionalGeneration

        assert self._weights is not None
        self._load_tokenizer()
        model = load_model(WhisperForConditionalGeneration, self._weights, self.spec.precision)
        if self.language is not None and not model.generation_config.is_multilingual:
            raise EncoderError(f"{self.spec.name} knows one language only: leave --language out.")
        self._model = model.to(device)
        return self

    @torch.inference_mode()
    def begin(self, pieces: Sequence[Window], dtype: str = "float32") -> Pending:
        """Have the token ids (T, 1) of each piece computed."""
        from transformers.utils import logging

        use_tf32(False)
        model: Any = self._model
        spectra = torch.from_numpy(np.stack([piece.values for piece in pieces])).to(model.device, model.dtype)
        options = {} if self.language is None else {"language": self.language}
        with quietly(logging):  # it remarks on its own way of suppressing tokens, at every call
            tokens = model.generate(spectra, do_sample=False, num_beams=1, max_new_tokens=MOST_TOKENS, **options)
        return Pending(tokens.reshape(-1, 1), [tokens.shape[1]] * len(pieces), dtype)


def make_recogniser(model: str, revision: str | None = None, language: str | None = None) -> Recogniser:
    """Return the recogniser that a model is; its weights are loaded by `to`.

    Raises:
        EncoderError: The model can't be found, or recognises no words.
    """
    recogniser = Recogniser(model, revision, language)
    kinds, revision = recogniser.kinds, recogniser.revision
    if any(kind == "WhisperForConditionalGeneration" for kind in kinds):
        return _Whisper(model, revision, language)
    if not any(kind.endswith("ForCTC") for kind in kinds):
        raise EncoderError(
            f"{model} recognises no words (it is {kinds[0] if kinds else 'of no known kind'}): choose a model for CTC, "
            "such as facebook/wav2vec2-base-960h, or Whisper."
        )
    if language is not None:
        raise EncoderError(f"{model} is a CTC model and takes no language: leave --language out.")
    return _Ctc(model, revision)


def quiet_windows(blocks: Iterator[np.ndarray], rate: int, longest_s: float) -> Iterator[np.ndarray]:
    """Cut a stream of samples into windows of at most `longest_s` seconds, at the quietest moments.

    Args:
        blocks: Samples (n,) float32.
        rate: Samples per second.
        longest_s: Longest window; one that has to be cut is up to `SEARCH_S` shorter.

    Yields:
        Windows (n,) float32 that together are the stream.
    """
    longest, search, quiet = (round(length_s * rate) for length_s in (longest_s, SEARCH_S, QUIET_S))
    buffer = np.empty(0, np.float32)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) > longest:
            last = buffer[longest - search : longest]
            energy = np.convolve(last**2, np.ones(quiet), "valid")
            cut = longest - search + int(energy.argmin()) + quiet // 2
            yield buffer[:cut]
            buffer = buffer[cut:]
    if len(buffer):
        yield buffer
