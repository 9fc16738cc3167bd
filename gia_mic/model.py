"""Turns a trained run into something to hand on: a folder with a model card, or a repository of the hub."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from gia_mic.extract.errors import RunError, first_line
from gia_mic.extract.files import write_text
from gia_mic.fuse import handed_on
from gia_mic.fuse.explain import Explanation, explain
from gia_mic.fuse.predict import Input, Predictor, find_runs
from gia_mic.report.card import card
from gia_mic.report.runs import read_runs

__all__ = ["CARD", "HUB", "Model", "export", "load_model"]

CARD = "README.md"
HUB = "hf://"


class Model(Predictor, ModelHubMixin):
    """A trained run, to predict with and to hand on; `gia_mic.load` makes it."""

    def __init__(self, places: Sequence[Path], **options: Any) -> None:
        super().__init__(places, **options)
        self._hub_mixin_config = None  # the mixin would write these arguments down, and with them this machine's paths

    def explain(
        self,
        audio: Any = None,
        text: str | None = None,
        video: Any = None,
        *,
        sampling_rate_hz: int | None = None,
    ) -> Explanation:
        """Predict as `predict` does, and return what the answer rests on."""
        return explain(self, Input(audio, text, video, sampling_rate_hz))

    def save(self, folder: str | Path, *, licence: str = "other", onnx: bool = False) -> Path:
        """Write all that is needed to use it elsewhere, but the encoders' weights; see `export`."""
        return export(self.places, Path(folder), licence=licence, onnx=onnx)

    def push(self, repository: str, **options: Any) -> str:
        """Upload it to the hub as `owner/name`, and return the address of the commit.

        Args:
            repository: The hub's id.
            options: Of `ModelHubMixin.push_to_hub`, such as private, token and commit_message.
        """
        return self.push_to_hub(repository, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **options: Any,
    ) -> "Model":
        folder = model_id
        if not Path(model_id).is_dir():
            folder = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=["*.json", "*.safetensors", CARD],
            )
        return cls(find_runs(Path(folder)), **options)


def load_model(path: str, **options: Any) -> Model:
    """Load a model as `gia_mic.load` says."""
    if not path.startswith(HUB):
        return Model(find_runs(Path(path)), **options)
    try:
        return Model.from_pretrained(path.removeprefix(HUB), **options)
    except (OSError, ValueError) as error:
        why = first_line(error)
        raise RunError(f"The hub gave no model for {path} ({why}): check the name and the network.") from error


def export(places: tuple[Path, ...], folder: Path, *, licence: str = "other", onnx: bool = False) -> Path:
    """Write runs into a folder that can be handed on: configuration, weights, scores, and a model card.

    The folder has the layout of a run, and is loaded like one. What the corpus's people said or where files lay on this
    machine isn't in it. Encoders' weights aren't either: the configuration says which they are.

    Args:
        places: Finished run folders of one configuration.
        folder: Where to write; new, empty, or an earlier export.
        licence: Of the weights, by the hub's identifier.
        onnx: Also write the fusion as `model.onnx`.

    Raises:
        RunError: The folder holds something else, or the scores can't be read.
    """
    handed_on.copy(places, folder)
    given = places[0].parents[1] / CARD
    if given.is_file() and not (places[0] / "predictions.parquet").exists():  # exported before: its scores are in there
        shutil.copyfile(given, folder / CARD)
    else:
        chosen = {place.resolve() for place in places}
        for run in read_runs(places[0].parents[1]):
            folds = tuple(fold for fold in run.folds if fold.folder.resolve() in chosen)
            if folds:
                write_text(folder / CARD, card(replace(run, folds=folds), licence=licence))
    if onnx:
        from gia_mic.fuse.onnx import write_onnx

        write_onnx(places, folder / "model.onnx")
    if not (folder / CARD).is_file():
        raise RunError(f"There are no scores in {places[0].parents[1]} to describe the model with: train it again.")
    return folder
