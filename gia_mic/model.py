"""Turns a trained run into something to hand on: a folder with a model card, or a repository of the hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from gia_mic.explain import Explanation, explain
from gia_mic.export import CARD, export
from gia_mic.extract.errors import RunError, first_line
from gia_mic.fuse.runs.folder import SOURCE, find_run_dirs
from gia_mic.predictor import Input, Predictor

__all__ = ["HUB", "Model", "load_model"]

HUB = "hf://"
CODE = f"fold-*/{SOURCE}/*.py"


class Model(Predictor, ModelHubMixin):
    """A trained run, to predict with and to hand on; `gia_mic.load` makes it."""

    def __init__(self, run_dirs: Sequence[Path], **options: Any) -> None:
        super().__init__(run_dirs, **options)
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

    def save(self, folder: str | Path, *, licence: str = "other", onnx: bool = False, int8: bool = False) -> Path:
        """Write all that is needed to use it elsewhere, without the encoders' weights unless as ONNX; see `export`."""
        encoders = self.encoders.folders
        return export(
            self.run_dirs, Path(folder), licence=licence, onnx=onnx, int8=int8, encoders=encoders, trust=self.trust
        )

    def push(self, repository: str, **options: Any) -> str:
        """Upload it to the hub as `owner/name`, and return the address of the commit.

        Args:
            repository: Id of the repository on the hub, `owner/name`.
            options: Keyword arguments of `ModelHubMixin.push_to_hub`, such as private, token and commit_message.
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
                allow_patterns=["*.json", "*.safetensors", CARD, *([CODE] if options.get("trust") else [])],
            )
        return cls(find_run_dirs(Path(folder)), **options)


def load_model(path: str, **options: Any) -> Model:
    """Load a model as `gia_mic.load` says."""
    if not path.startswith(HUB):
        return Model(find_run_dirs(Path(path)), **options)
    try:
        return Model.from_pretrained(path.removeprefix(HUB), **options)
    except (OSError, ValueError) as error:
        why = first_line(error)
        raise RunError(f"The hub gave no model for {path} ({why}): check the name and the network.") from error
