"""Turns recordings and transcripts into answers by trained runs, each modality through the encoder its run recorded.

Neither the corpus nor its feature files are needed; `inputs.py` has the encoders.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gia_mic.answer import Answer
from gia_mic.extract.corpus import Clip
from gia_mic.extract.device import check_precision, find_devices, slow
from gia_mic.extract.errors import MediaError, RunError, one_line
from gia_mic.fuse import train
from gia_mic.fuse.data import Data
from gia_mic.fuse.packed import PackedFrames, average
from gia_mic.fuse.runs import folder as run_folder
from gia_mic.fuse.runs.record import recorded_speech_group
from gia_mic.fuse.runs.weights import TrainedFusion, load_fusion
from gia_mic.inputs import Encoders, Input, InputFrames
from gia_mic.rebuild import from_folder
from gia_mic.repository import local_run

__all__ = ["RECORDED", "Input", "Prediction", "Predictor", "load_predictor"]

logger = logging.getLogger(__name__)

TOGETHER = 64
"""Inputs that are encoded together; their frames are held in memory."""

RECORDED = "recorded"
"""Stands for the recogniser that heard the texts a run was trained on."""


@dataclass(frozen=True)
class Prediction(Answer):
    """What a run says of one input: an `Answer`, and what it rests on.

    Attributes:
        id: Name of the input.
        modalities: Names of the modalities that it rests on.
        text: Transcript that was used, the user's or the recogniser's; None without.
        notes: Remarks on what couldn't be used or was left out, one sentence each.
    """

    id: str
    modalities: tuple[str, ...]
    text: str | None = None
    notes: tuple[str, ...] = ()


class Predictor:
    """One or several trained runs of one configuration, with the encoders of their features.

    Args:
        run_dirs: Finished run folders.
        encoders: Folders of encoders by modality, for weights that have moved.
        transcribe: Recogniser that hears the text where none is given: hub id, local folder, or `RECORDED`.
        device: cpu, cuda or cuda:N; by default cuda where there is one.
        precision: What the encoders compute in, as in `EncoderConfig`; by default as recorded.
        trust: Run the code of a fusion or an encoder that isn't one of the package's.

    Attributes:
        run_dirs: The run folders, as absolute paths.
        trained: The fusion of each run folder, with how its outputs are read.
        config: The common configuration; fold, seed and provenance are the first one's.
        target: What the runs predict.
        modalities: Names of the modalities that the runs take.
        speech_group: Neighbouring frames of speech that the runs average to one, at least 1.
        encoders: The encoders of these, each loaded when an input first needs it.

    Raises:
        RunError: The folders don't hold finished runs of one configuration, or don't say how frames were made.
        EncoderError: There is no such device, it doesn't compute in the precision, or there is no such recogniser.
    """

    def __init__(
        self,
        run_dirs: Sequence[Path],
        *,
        encoders: Mapping[str, str | Path] | None = None,
        transcribe: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        trust: bool = False,
    ) -> None:
        self.run_dirs = tuple(Path(run_dir).absolute() for run_dir in run_dirs)
        self.device, self.trust = find_devices(device)[0], trust
        if precision is not None:
            check_precision(precision, self.device)
            if line := slow(precision, self.device):
                logger.warning(line)
        trained, groups = zip(*(_load(run_dir, self.device, trust) for run_dir in self.run_dirs), strict=True)
        self.trained: tuple[TrainedFusion, ...] = trained
        configs = [one.config for one in self.trained]
        self.config: dict[str, Any] = configs[0]
        self.speech_group: int = groups[0]
        if len({json.dumps(run_folder.shared(config), sort_keys=True) for config in configs}) > 1:
            raise RunError(
                f"The folds in {self.run_dirs[0].parents[1]} are of several configurations, which can't be averaged: "
                "name one fold-<k>/seed-<n> folder."
            )
        self.target = self.trained[0].readout.target
        self.modalities = tuple(self.config["modalities"])
        if unknown := [name for name in encoders or {} if name not in self.modalities]:
            raise RunError(f"The run has no encoder for {one_line(unknown)}: it takes {one_line(self.modalities)}.")
        features = self.config["features"]
        if unrecorded := [name for name in self.modalities if "spec" not in features[name]]:
            raise RunError(
                f"The run in {self.run_dirs[0]} doesn't say how its {one_line(unrecorded)} frames were made, "
                "as runs of this version do: train it again with `mer fuse-train`."
            )
        recorded = [config["provenance"].get("weights", {}) for config in reversed(configs)]
        folders = {name: str(folder) for locations in (*recorded, encoders or {}) for name, folder in locations.items()}
        specs = {name: features[name]["spec"] for name in self.modalities}
        self.encoders = Encoders(specs, folders, self.device, self.run_dirs[0], precision=precision, trust=trust)
        logger.info(f"{self.config['model']['name']}, models: {len(trained)}, of {one_line(self.run_dirs, 3)}")
        if transcribe == RECORDED:
            self.encoders.listen_with(*self._recogniser())
        elif transcribe is not None:
            self.encoders.listen_with(transcribe)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of probabilities; empty for scores."""
        return () if self.target.kind == "scores" else self.target.names

    def data(self, frames: Sequence[Mapping[str, np.ndarray]]) -> Data:
        """Return frames (T, D) by modality, of several inputs, as the fusions take them."""
        packed = {}
        for modality in self.modalities:
            dim = self.config["features"][modality]["dim"]
            parts = [input_frames.get(modality, np.empty((0, dim), np.float16)) for input_frames in frames]
            lengths = np.array([len(part) for part in parts])
            if not lengths.any():
                continue
            group = self.speech_group if modality == "speech" else 1
            values, lengths = average(torch.from_numpy(np.concatenate(parts)), lengths, group)
            starts = np.cumsum(lengths) - lengths
            packed[modality] = PackedFrames(values, torch.from_numpy(starts), torch.from_numpy(lengths))
        unknown = np.full((len(frames), len(self.target.names)), np.nan)
        return Data(packed, unknown, self.target).to(torch.device(self.device))

    def fuse(self, frames: Sequence[Mapping[str, np.ndarray]], hidden: Sequence[str] = ()) -> np.ndarray:
        """Return the answers to inputs by each model, (models, B, K) float32, as `Readout.answers` gives them.

        Args:
            frames: (T, D) by modality of each input; at least one modality of each isn't hidden.
            hidden: Modalities to go without.
        """
        data, rows = self.data(frames), np.arange(len(frames))
        return np.stack(train.predict_together(self.trained, data, [rows] * len(self.trained), hidden=hidden))

    def predict(
        self,
        audio: str | Path | Clip | np.ndarray | None = None,
        text: str | None = None,
        video: str | Path | Clip | None = None,
        *,
        sampling_rate_hz: int | None = None,
        allow_failures: bool = False,
    ) -> Prediction:
        """Return what the runs say of one utterance, from any of the modalities that they take.

        Args:
            audio: Sound or video file, or samples, (n,) or (n, channels), floats of full scale ±1 or integers.
            text: Transcript.
            video: Video file.
            sampling_rate_hz: Sampling rate of samples, in Hz; they may have any rate.
            allow_failures: Answer from the other modalities where one can't be read.

        Raises:
            MediaError: Something given can't be read, or nothing is given that the runs take.
            EncoderError: An encoder can't be found or has changed.
        """
        [answer] = self.predict_many([Input(audio, text, video, sampling_rate_hz)], allow_failures=allow_failures)
        assert isinstance(answer, Prediction)
        return answer

    def predict_many(
        self,
        inputs: Iterable[Input | Mapping[str, Any]],
        *,
        keep_failures: bool = False,
        allow_failures: bool = False,
    ) -> Iterator[Prediction | MediaError]:
        """Give what the runs say of many utterances, in their order; memory is bounded, whatever their number.

        Args:
            inputs: Utterances, as `Input` or as mappings with its attributes.
            keep_failures: Give the error in the place of an answer, rather than raise it.
            allow_failures: Answer from the other modalities where one can't be read.

        Raises:
            MediaError: As `predict`, unless failures are kept.
            EncoderError: As `predict`.
        """
        remaining = (utterance if isinstance(utterance, Input) else Input(**utterance) for utterance in inputs)
        while chunk := list(islice(remaining, TOGETHER)):
            for answer in self.answers(*self.encode(chunk), allow_failures=allow_failures):
                if isinstance(answer, MediaError) and not keep_failures:
                    raise answer
                yield answer

    def encode(self, inputs: Sequence[Input]) -> tuple[list[Input], list[InputFrames]]:
        """Return inputs with the text that is heard in them, if that is wanted, and their frames."""
        with_text, failed = self.encoders.transcribed(inputs)
        encoded = self.encoders.encode(with_text)
        for number, why in failed.items():
            encoded[number].notes["text"] = why
        return with_text, encoded

    def answers(
        self, inputs: Sequence[Input], encoded: Sequence[InputFrames], *, allow_failures: bool = False
    ) -> list[Prediction | MediaError]:
        """Return what the runs say of inputs whose frames are there, or why they say nothing."""
        refusals = [self._refusal(*pair, allow_failures) for pair in zip(inputs, encoded, strict=True)]
        good = [each.frames for each, refusal in zip(encoded, refusals, strict=True) if refusal is None]
        rows = iter(self.fuse(good).mean(0) if good else ())
        return [
            self._prediction(utterance, input_frames, next(rows)) if refusal is None else refusal
            for utterance, input_frames, refusal in zip(inputs, encoded, refusals, strict=True)
        ]

    def _refusal(self, utterance: Input, encoded: InputFrames, allow_failures: bool) -> MediaError | None:
        """Return why an input has no answer, or None where it has."""
        if encoded.failed and not (allow_failures and encoded.frames):
            return MediaError("; ".join(f"{name}: {why.rstrip('.')}" for name, why in encoded.failed.items()) + ".")
        if not encoded.frames:
            has = one_line(utterance.by_modality()) or "nothing"
            has += "".join(f" ({name}: {note.rstrip('.')})" for name, note in encoded.notes.items())
            return MediaError(
                f"The run takes {one_line(self.modalities)}, and of {utterance.id} there is {has}: give some."
            )
        return None

    def named(self, answers: np.ndarray) -> dict[str, float]:
        """Return answers (K,) by the names of the target."""
        return dict(zip(self.target.names, map(float, answers), strict=True))

    def _prediction(self, utterance: Input, encoded: InputFrames, answers: np.ndarray) -> Prediction:
        notes = [f"{name} left out: {why}" for name, why in encoded.failed.items()]
        notes += [f"{name}: {note}" for name, note in encoded.notes.items()]
        used = {*self.modalities, *(["speech"] if self.encoders.recogniser is not None else [])}
        unused = [name for name in utterance.by_modality() if name not in used]
        notes += [f"{name} isn't used, the run takes none" for name in unused]
        return Prediction(
            target=self.target,
            values=self.named(answers),
            id=utterance.id,
            modalities=tuple(encoded.frames),
            text=utterance.text if "text" in encoded.frames else None,
            notes=tuple(notes),
        )

    def _recogniser(self) -> tuple[str, str | None, str | None]:
        """Return model, commit and language of the recogniser that heard the texts the runs were trained on."""
        recognisers = self.config["corpus"].get("recognisers") or {}
        if len(recognisers) != 1:
            whose = f"were heard by {one_line(recognisers)}" if recognisers else "are the corpus's own"
            raise RunError(
                f"The texts that the run was trained on {whose}: name a recogniser, with --transcribe MODEL."
            )
        [(model, about)] = recognisers.items()
        if from_folder(about["weights"]):
            raise RunError(f"The run's recogniser, {model}, lies in a folder: say where, with --transcribe FOLDER.")
        return model, about["weights"], about.get("language")


def load_predictor(path: str | Path, **options: Any) -> Predictor:
    """Load a run, one fold of it, an exported folder, or what was pushed to the hub.

    Args:
        path: `runs/<corpus>/<name>` takes the mean over all its folds and seeds, `…/fold-<k>/seed-<n>` that one;
            `hf://owner/name` a repository of the hub.
        options: Keyword arguments of `Predictor`.

    Raises:
        RunError: There is no finished run, or it is of another version.
        EncoderError: The hub doesn't give it.
    """
    folder = local_run(path, with_code=options.get("trust", False))
    return Predictor(run_folder.find_run_dirs(folder), **options)


def _load(run_dir: Path, device: str, trust: bool) -> tuple[TrainedFusion, int]:
    """Return a run's fusion and its group of speech frames; the folder may come from a stranger.

    Raises:
        RunError: It is no finished run, or its configuration makes no sense.
    """
    try:
        trained = load_fusion(run_dir, device, trust=trust)
        config = trained.config
        config = {**config, "provenance": dict(config["provenance"]), "training": dict(config["training"])}
        return replace(trained, config=config), recorded_speech_group(config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{run_dir / run_folder.CONFIG} is damaged ({error!r}): copy or train the run again.") from error
