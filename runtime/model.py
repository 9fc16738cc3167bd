"""Turns recordings, transcripts and films into answers by the graphs of an exported run."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .answer import Answer
from .errors import PredictionError
from .listen import EVERY_S, WINDOW_S, StreamAnswer, listen
from .pictures import picture_batches
from .settings import FUSION, graph_of, read_settings
from .sound import stream_sound
from .speech import speech_windows
from .text import load_tokenizer, text_windows
from .windows import pool

__all__ = ["Model"]


class Model:
    """An exported run: the mean over its folds and seeds, with their encoders. `load` makes it.

    Args:
        folder: What `mer export RUN FOLDER --onnx` wrote.
        threads: As in `load`, like the next.
        session_options: An `onnxruntime.SessionOptions`, or None.

    Attributes:
        settings: What `runtime.json` says.
        target: What the run predicts.
        modalities: Names of the modalities that it takes.

    Raises:
        PredictionError: It is no such folder, or ONNX Runtime isn't installed.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, session_options: Any = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise PredictionError("ONNX Runtime isn't installed: run `pip install onnxruntime`.") from None
        self.settings = read_settings(folder)
        self.target, self.modalities = self.settings.target, tuple(self.settings.encoders)
        self._onnxruntime = onnxruntime
        if session_options is None:
            session_options = onnxruntime.SessionOptions()
            session_options.intra_op_num_threads = threads or 0
        self._options = session_options
        self._graphs: dict[str, Any] = {}

    def predict(
        self,
        audio: str | Path | np.ndarray | None = None,
        text: str | None = None,
        video: str | Path | np.ndarray | None = None,
        *,
        sampling_rate_hz: int | None = None,
    ) -> Answer:
        """Return what the run says of one utterance, from any of the modalities that it takes.

        Args:
            audio: Sound file or film, or samples (n,) or (n, channels), floats of full scale ±1 or integers.
            text: Transcript.
            video: Film or picture, or RGB pictures (n, height, width, 3) uint8 at the run's rate.
            sampling_rate_hz: Sampling rate of samples, in Hz; they may have any rate.

        Raises:
            PredictionError: Something can't be read, or there is nothing that the run takes.
        """
        inputs = {"speech": audio, "text": text, "visual": video}
        frames = {
            name: self.frames(name, value, sampling_rate_hz)
            for name, value in inputs.items()
            if value is not None and name in self.modalities
        }
        if not frames:
            names = [name for name, value in inputs.items() if value is not None]
            raise PredictionError(
                f"The run takes {', '.join(self.modalities)}, and there is {', '.join(names) or 'nothing'}: give some."
            )
        return Answer(self.target, self.fuse(frames))

    def frames(self, modality: str, source: Any, sampling_rate_hz: int | None = None) -> np.ndarray:
        """Return the frames (T, D) of one modality's encoder, in the type that the run was trained on.

        Args:
            modality: speech, text or visual.
            source: As `predict` takes it.
            sampling_rate_hz: As in `predict`.

        Raises:
            PredictionError: It can't be read.
        """
        settings = self.settings.encoders[modality]
        if modality == "visual":
            parts = [self._run(modality, pictures) for pictures in picture_batches(settings, source)]
        else:
            windows = self._windows(modality, settings, source, sampling_rate_hz)
            parts = [self._run(modality, values)[0, keep] for values, keep in windows]
        values = np.concatenate(parts)
        if settings["pool"] == "none":  # what is pooled is rounded afterwards
            return values.astype(settings["dtype"])
        return pool(values, settings["pool"]).astype(settings["dtype"])

    def fuse(self, frames: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return the answers by the target's names, from the frames (T, D) of at least one modality."""
        fed: dict[str, np.ndarray] = {}
        for name, settings in self.settings.encoders.items():
            values = frames.get(name)
            count = 1 if values is None else len(values)
            fed[name] = np.zeros((1, count, settings["dim"]), np.float32)
            if values is not None:
                if values.shape[1:] != (settings["dim"],):
                    raise PredictionError(
                        f"The frames of {name} have the shape {values.shape}, and not (T, {settings['dim']}) as "
                        f"{self.settings.folder} says: export the run again."
                    )
                fed[name][0] = values
            fed[f"{name}_mask"] = np.full((1, count), values is not None)
        [[answers]] = self._graph(FUSION).run(None, fed)
        if len(answers) != len(self.target.names):
            raise PredictionError(
                f"{self.settings.folder} gives {len(answers)} answers for {len(self.target.names)} names: export the "
                "run again."
            )
        return dict(zip(self.target.names, map(float, answers), strict=True))

    def listen(
        self, blocks: Iterable[np.ndarray], *, every_s: float = EVERY_S, window_s: float = WINDOW_S
    ) -> Iterator[StreamAnswer]:
        """Give an answer every so often from the latest seconds of sound that goes on; see `listen.listen`."""
        return listen(self, blocks, every_s=every_s, window_s=window_s)

    def load_encoders(self, modalities: Iterable[str] | None = None) -> None:
        """Load the graphs of the fusion and of encoders now, which the first answer otherwise waits for.

        Raises:
            PredictionError: One of them can't be loaded.
        """
        self._graph(FUSION)
        for modality in self.modalities if modalities is None else modalities:
            self._graph(graph_of(modality))

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.settings.folder)

    def _windows(
        self, modality: str, settings: Mapping[str, Any], source: Any, rate: int | None
    ) -> Iterator[tuple[np.ndarray, slice]]:
        if modality == "text":
            return text_windows(settings, self._tokenizer, source)
        name = "the sound" if isinstance(source, np.ndarray) else str(source)
        model_rate = settings["sampling_rate_hz"]
        return speech_windows(settings, lambda: stream_sound(source, rate, model_rate), name)

    def _run(self, modality: str, values: np.ndarray) -> np.ndarray:
        graph = self._graph(graph_of(modality))
        [output] = graph.run(None, {graph.get_inputs()[0].name: values})
        return output

    def _graph(self, file: str) -> Any:
        """Return a graph, loaded.

        Raises:
            PredictionError: It is missing or broken.
        """
        if file not in self._graphs:
            path = self.settings.folder / file
            if not path.is_file():
                raise PredictionError(f"{path} is missing: export the run again.")
            try:
                session = self._onnxruntime.InferenceSession(path, self._options, providers=["CPUExecutionProvider"])
            except Exception as error:  # ONNX Runtime raises a kind of its own for each status
                why = str(error).strip().splitlines()[0]
                raise PredictionError(f"{path} can't be loaded ({why}): export the run again.") from error
            self._graphs[file] = session
        return self._graphs[file]
