"""Turns a trained run into something to hand on: a folder with a model card, or a repository of the hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gia_mic.explain import Explanation, explain
from gia_mic.export import EXPORT_FILES, export
from gia_mic.extract.errors import RunError
from gia_mic.fuse.runs.folder import find_run_dirs
from gia_mic.predictor import Input, Predictor
from gia_mic.repository import Repository, local_run, push_folder, refuse_without_token
from gia_mic.space import SPACE_FILES, write_space

__all__ = ["Model", "hand_on", "load_model"]


class Model(Predictor):
    """A trained run, to predict with and to hand on; `gia_mic.load` makes it."""

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
        """Upload it to the hub, and return the address of the commit.

        Args:
            repository: Id of the repository on the hub, `owner/name`, with `@branch` where it isn't to be main.
            options: Keyword arguments of `hand_on`: licence, onnx, int8, space, private, message and token.

        Raises:
            RunError: Nobody is logged in, the hub refuses or can't be reached, or the repository holds something else.
        """
        options = {"encoders": self.encoders.folders, "trust": self.trust, **options}
        _, address = hand_on(self.run_dirs, repository=repository, **options)
        assert address is not None
        return address


def hand_on(
    run_dirs: Sequence[Path],
    folder: Path | None = None,
    *,
    repository: str | None = None,
    space: bool = False,
    licence: str = "other",
    onnx: bool = False,
    int8: bool = False,
    encoders: Mapping[str, str | Path] | None = None,
    trust: bool = False,
    private: bool = False,
    message: str = "Upload a trained run",
    token: str | None = None,
) -> tuple[int, str | None]:
    """Write runs into a folder, upload them to the hub, or both.

    Args:
        run_dirs: Finished run folders of one configuration.
        folder: Folder to write into; without one, only the hub gets the files.
        repository: Repository of the hub, `owner/name` or `owner/name@branch`; None uploads nothing.
        space: Make a Space, with a page that answers by the model, and not a model alone.
        licence: Licence of the weights, by the hub's identifier.
        onnx: Also write fusion and encoders as ONNX, as `export` says, like the next two. A Space predicts by torch.
        int8: Have these encoders multiply in 8 bits.
        encoders: Folders of encoders by modality, for weights that have moved.
        trust: Run the code of a fusion or an encoder that isn't one of the package's, where that is needed.
        private: Make a new repository that only its owner sees.
        message: Message of the commit.
        token: The hub's token; by default HF_TOKEN, or that of `hf auth login`.

    Returns:
        Size of the files in bytes, and the address of the commit; None without a repository.

    Raises:
        RunError: ONNX is wanted of a Space; or as `export`, `write_space` and `push_folder`.
    """
    if space and onnx:
        raise RunError("A Space predicts by torch and has no use for ONNX: leave one of the two out.")
    target = None if repository is None else Repository.parse(repository)
    if target is not None:
        refuse_without_token(token)
    with TemporaryDirectory() as scratch:
        written = Path(scratch) / "export" if folder is None else folder
        options: dict[str, Any] = {"licence": licence, "trust": trust}
        if space:
            write_space(tuple(run_dirs), written, **options)
        else:
            if target is not None:
                options["address"] = str(target)
            export(tuple(run_dirs), written, onnx=onnx, int8=int8, encoders=encoders, **options)
        size = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
        if target is None:
            return size, None
        return size, push_folder(
            written,
            target,
            own_files=SPACE_FILES if space else EXPORT_FILES,
            kind="space" if space else "model",
            private=private,
            message=message,
            token=token,
        )


def load_model(path: str, **options: Any) -> Model:
    """Load a model as `gia_mic.load` says."""
    return Model(find_run_dirs(local_run(path, with_code=options.get("trust", False))), **options)
