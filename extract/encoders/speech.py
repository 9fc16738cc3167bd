"""Turns sound into frames with wav2vec 2.0 and its relatives, with w2v-BERT 2.0, or with Whisper's encoder."""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gia_mic.extract import media
from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.encoders import fast, tiny
from gia_mic.extract.encoders.architecture import SPEECH_INPUTS, check_inputs, find_network, outline
from gia_mic.extract.encoders.batch import Batch
from gia_mic.extract.encoders.contract import EncodeJob, EncoderSpec, Window, check_layers, pick_layers, piece_windows
from gia_mic.extract.encoders.first_layer import FirstLayer, take_first_layer
from gia_mic.extract.encoders.log_mel import KIND, LogMel
from gia_mic.extract.encoders.pretrained import Pretrained
from gia_mic.extract.encoders.proof import check_repeatable, exact_together
from gia_mic.extract.encoders.weights import load_settings
from gia_mic.extract.errors import EncoderError, MediaError, first_line, one_line
from gia_mic.extract.store import Header
from gia_mic.runtime.speech import LOG_MEL, SAMPLES
from gia_mic.runtime.stream import SoundStatistics, SoundWindow

__all__ = ["SpeechEncoder"]

CONTEXT_S = 2.0
WHISPER_WINDOW_S = 30.0
WANTED = "a wav2vec2-like one or Whisper"

SAMPLING_RATES_HZ = range(1000, 10**6)

DEFAULT_LAYERS = "mean"
"""Of pretrained models. Their last layer is made for what they were trained on and tells emotions worse than the mean
over all (SUPERB, arXiv:2105.01051; Pepino et al., arXiv:2104.03502; Li et al., arXiv:2210.02595)."""

PROBE_FRAMES = (3, 17, 40)
"""Lengths of the noises that a network is tried on."""


class SpeechEncoder(Pretrained):
    """wav2vec 2.0, HuBERT, WavLM and their relatives, w2v-BERT 2.0 or Whisper's encoder, frozen.

    A recording of n samples gives T = floor((n - receptive field) / hop) + 1 frames; for wav2vec 2.0 the receptive
    field is 400 samples and the hop 320, so 50 frames a second (Baevski et al., NeurIPS 2020, arXiv:2006.11477); an
    adapter behind the last layer takes longer steps. w2v-BERT 2.0 sees log-mel frames at the same rate.
    Whisper's encoder always sees 30 s, as it was trained; of these the ceil(n / 320) frames of the recording are kept
    (Radford et al., ICML 2023, arXiv:2212.04356).

    Args:
        model: Hub id, local folder, or "tiny".
        revision: Hub revision; the main one by default.
        window_s: As in `EncoderConfig`, like the options: pool, precision and dtype.
        layers: As in `EncoderConfig`; by default the mean of all, of "tiny" the last.

    Raises:
        EncoderError: The model can't be found, or is none for speech.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        window_s: float = EncoderConfig.window_s,
        layers: tuple[int, ...] | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, revision, tiny.speech)
        if layers is None:
            layers = (-1,) if self._weights is None else DEFAULT_LAYERS
        settings = {} if self._weights is None else load_settings(self._weights, "feature_extractor")
        rate = settings.get("sampling_rate", 16000)
        if not isinstance(rate, int) or rate not in SAMPLING_RATES_HZ:
            raise EncoderError(
                f"{self._named['model']} wants a sampling rate of {rate!r} Hz, and a whole number from "
                f"{SAMPLING_RATES_HZ.start} is needed: check its preprocessor_config.json, or choose {WANTED}."
            )
        self._whisper = self._config.model_type == "whisper"
        self._log_mel: LogMel | None = None
        self._first: FirstLayer | None = None  # where it was taken out of the model
        self._step = 1  # positions that the model computes for each frame
        name = f"{self._named['model']} (a {self._config.model_type} model)"
        network = find_network(self._config)
        takes = check_inputs(network, SPEECH_INPUTS, name, WANTED)
        if self._whisper:
            from transformers import WhisperFeatureExtractor

            self._spectrogram = WhisperFeatureExtractor(
                feature_size=self._config.num_mel_bins, **{key: settings[key] for key in ("dither",) if key in settings}
            )
            self._hop = self._receptive_field = 2 * self._spectrogram.hop_length
            window_s = WHISPER_WINDOW_S
            self.layer_count, self._hidden_size = self._config.encoder_layers, self._config.hidden_size
        else:
            if takes == "input_features":
                if settings.get("feature_extractor_type") != KIND:
                    raise EncoderError(
                        f"{name} takes spectra, of a kind that is unknown here "
                        f"({settings.get('feature_extractor_type', 'its settings name none')}): choose "
                        f"{WANTED}."
                    )
                self._log_mel = LogMel(settings)
                self._receptive_field, self._hop = self._log_mel.receptive_field, self._log_mel.hop
            elif hasattr(self._config, "conv_stride") and hasattr(self._config, "conv_kernel"):
                kernels, strides = list(self._config.conv_kernel), list(self._config.conv_stride)
                self._receptive_field, self._hop = fast.receptive_field(kernels, strides)
            else:
                raise EncoderError(f"{name} doesn't say how samples become its frames: choose {WANTED}.")
            self._look(network, layers, name)
        self.spec = EncoderSpec(
            modality="speech",
            **self._named,
            layers=layers,
            sampling_rate_hz=rate,
            window_s=window_s,
            context_s=CONTEXT_S,
            normalise=not self._whisper and settings.get("do_normalize", True),
            **options,
        )
        check_layers(layers, self.layer_count, self.spec.name)

    @property
    def header(self) -> Header:
        """What all frames have in common."""
        return self.spec.header(self._hidden_size, self._rate / self._hop, self._weights)

    def size(self, job: EncodeJob) -> int:
        """Return about how many frames the model has to compute for an utterance."""
        frames = max(round(job.duration_s * self._rate) // self._hop, 1)
        if self._whisper:
            return math.ceil(frames / self._window) * self._window
        return frames * self._step

    def pieces(self, job: EncodeJob) -> Iterator[Window]:
        """Decode an utterance into windows of samples.

        Raises:
            MediaError: It can't be decoded, or is shorter than one frame.
        """
        notes: list[str] = []
        if self._log_mel is not None:
            yield from self._log_mel_pieces(job, notes)
            return
        stream = SoundStatistics(self._stream(job, notes), keep=self._samples(self._window))
        if stream.count < (1 if self._whisper else self._receptive_field):
            raise self._too_short(job, stream.count)
        note = "; ".join(notes)
        if not self._whisper:
            frames = (stream.count - self._receptive_field) // self._hop + 1
        else:
            frames = math.ceil(stream.count / self._hop)
        mean, scale = (stream.mean, 1 / math.sqrt(stream.variance + 1e-7)) if self.spec.normalise else (0.0, 1.0)
        samples = stream.kept if stream.kept is not None else SoundWindow(self._stream(job))
        for begin, end, keep in piece_windows(frames, self._window, self._context):
            values = samples[
                begin * self._hop : stream.count if end == frames else begin * self._hop + self._samples(end - begin)
            ]
            if self._whisper:
                spectrum = self._spectrogram(values, sampling_rate=self._rate, return_tensors="np").input_features[0]
                yield Window(spectrum, keep, self._window, note)
            else:
                yield Window(((values - mean) * scale).astype(np.float32), keep, (end - begin) * self._step, note)

    def to(self, device: str) -> "SpeechEncoder":
        """Load the weights onto a device.

        Raises:
            EncoderError: They can't be loaded, or give other frames each time.
        """
        if self._load(device, self.spec.precision, self._model_class(), self._encoder_of):
            if not fast.suits(device):
                self._first = take_first_layer(self._model)
                # WavLM's own code mixes boolean and float masks, in batches of recordings of different lengths
                warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
            self._exact_together = self._tried(self._try)
        return self

    def _rows(self, pieces: Sequence[Window]) -> torch.Tensor:
        parameter = next(self.model.parameters())
        batch = Batch(pieces, parameter.device)
        inputs = batch.values.to(parameter.dtype)
        if self._first is not None:
            inputs = self._first(inputs, batch.lengths)
        return batch.kept(self.compute(inputs, batch.mask() if batch.ragged else None))

    def compute(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return frames (B, T, D) of samples (B, n) or spectra (B, ...)."""
        outputs = self.model(values, attention_mask=mask, output_hidden_states=self.spec.layers != (-1,))
        return pick_layers(outputs, self.spec.layers)

    def recipe(self) -> dict[str, Any]:
        """Return how a recording becomes windows, as `gia_mic.runtime.speech` reads it.

        Raises:
            EncoderError: The model takes spectra of a kind that the runtime doesn't make.
        """
        if self._log_mel is not None:
            raise EncoderError(f"{self.spec.name} takes log-mel spectra of {KIND}, which the runtime doesn't make.")
        if self._whisper and getattr(self._spectrogram, "dither", 0.0):
            raise EncoderError(f"{self.spec.name} adds noise to its sound, which the runtime doesn't.")
        return {
            "input": LOG_MEL if self._whisper else SAMPLES,
            **({"mels": self._config.num_mel_bins} if self._whisper else {}),
            "sampling_rate_hz": self._rate,
            "normalise": bool(self.spec.normalise),
            "hop": self._hop,
            "receptive_field": self._receptive_field,
            "window": self._window,
            "context": self._context,
        }

    def _try(self) -> bool:
        """Encode noises, to see whether they become the same frames again, and return whether also in a batch.

        Whisper's inputs all have one length, and its 30 s are too long to try; a CPU takes one recording at a time.

        Raises:
            EncoderError: They become others.
        """
        if self._whisper:
            return not fast.suits(self._device)
        noise = np.random.default_rng(0).normal(0, 0.1, self._samples(PROBE_FRAMES[-1])).astype(np.float32)
        sounds = [noise[: self._samples(frames)] for frames in PROBE_FRAMES]
        pieces = [next(self.pieces(EncodeJob("", "", sound=(sound, self._rate)))) for sound in sounds]
        check_repeatable(self._together, pieces[-1], self.spec.precision, self.spec.name)
        if fast.suits(self._device):
            return False
        return exact_together(self._together, pieces, self.spec.precision)

    def _look(self, network: Any, layers: tuple[int, ...] | str, name: str) -> None:
        """Find out how many layers and features the model has, and how long its frames are.

        Several of the frames that the settings promise may become one: SEW pools them between its first and its last
        layer, an adapter takes steps behind the last.

        Raises:
            EncoderError: It makes no frames of sound alone, or none that are so many settings' frames long.
        """
        self.layer_count, self._hidden_size, counts = self._noted(
            ["frames", layers], lambda: self._outlined(network, layers, name)
        )
        frames = PROBE_FRAMES[-1]
        step = max(frames // max(counts[0], 1), 1)
        if counts == [frames // step, (frames + 1) // step]:
            self._receptive_field += (step - 1) * self._hop
        elif counts != [math.ceil(frames / step), math.ceil((frames + 1) / step)]:
            raise EncoderError(
                f"{name} makes {one_line(counts)} frames where its settings promise {frames} and {frames + 1}: choose "
                f"{WANTED}."
            )
        self._hop, self._step = self._hop * step, step

    def _outlined(self, network: Any, layers: tuple[int, ...] | str, name: str) -> tuple[int, int, list[int]]:
        """Return how many layers and features the model has, and how many frames it makes of two lengths of sound.

        Raises:
            EncoderError: It makes no frames of sound alone.
        """
        frames = PROBE_FRAMES[-1]
        shapes: list[tuple[int, ...]] = [(self._samples(count),) for count in (frames, frames + 1)]
        if self._log_mel is not None:
            shapes = [(count, self._log_mel.dim) for count in (frames, frames + 1)]
        model = outline(network, self._config, name, WANTED)
        try:
            with torch.inference_mode(), torch.device("meta"):
                outputs = [model(torch.zeros(1, *shape), output_hidden_states=True) for shape in shapes]
            layer_count = len(outputs[0].hidden_states) - 1
            check_layers(layers, layer_count, self._named["model"])
            layer_states = [pick_layers(output, layers) for output in outputs]
            hidden_size = layer_states[0].shape[-1] // (1 if isinstance(layers, str) else len(layers))
            return layer_count, hidden_size, [state.shape[1] for state in layer_states]
        except EncoderError:
            raise
        except Exception as error:  # whatever a model does that wants something else
            raise EncoderError(
                f"{name} makes no frames of sound alone ({first_line(error)}): choose {WANTED}."
            ) from error

    def _log_mel_pieces(self, job: EncodeJob, notes: list[str]) -> Iterator[Window]:
        assert self._log_mel is not None
        frames = self._log_mel(self._stream(job, notes))
        if not len(frames):
            raise self._too_short(job, sum(len(block) for block in self._stream(job)))
        for begin, end, keep in piece_windows(len(frames), self._window, self._context):
            yield Window(frames[begin:end], keep, (end - begin) * self._step, "; ".join(notes))

    def _too_short(self, job: EncodeJob, samples: int) -> MediaError:
        return MediaError(
            f"{job.path or job.id} has {1000 * samples / self._rate:.4g} ms of sound, {samples} samples at "
            f"{self._rate} Hz; {self.spec.name} needs at least {self._receptive_field}: leave the utterance out."
        )

    def _model_class(self) -> Any:
        """Return the class of transformers to load; None for what the configuration says."""
        return None

    def _encoder_of(self, whole: Any) -> Any:
        """Return what of a loaded model makes frames."""
        return whole.get_encoder() if self._whisper else whole

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self._hop

    @property
    def receptive_field(self) -> int:
        """Samples that the convolutions of one frame see."""
        return self._receptive_field

    @property
    def _rate(self) -> int:
        assert self.spec.sampling_rate_hz is not None
        return self.spec.sampling_rate_hz

    @property
    def _window(self) -> int:
        """Most frames in a window."""
        assert self.spec.window_s is not None
        return round(self.spec.window_s * self._rate) // self._hop

    @property
    def _context(self) -> int:
        assert self.spec.context_s is not None
        return round(self.spec.context_s * self._rate) // self._hop

    def _samples(self, frames: int) -> int:
        """Return how many samples so many frames see."""
        return (frames - 1) * self._hop + self._receptive_field

    def _stream(self, job: EncodeJob, notes: list[str] | None = None) -> Iterator[np.ndarray]:
        if job.sound is not None:
            return media.stream_samples(*job.sound, self._rate, notes)
        assert job.path is not None
        start_s, end_s = (job.clip.start_s, job.clip.end_s) if job.clip else (None, None)
        return media.stream_audio(job.path, self._rate, start_s, end_s, notes)
