"""Turns one commit of a hub's model into its files in the local cache, checked against what the hub lists.

What a commit holds is written down beside the files, so that later commands, also without a network, know the same
commit and whether the cache has all of it.
"""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import quote

from gia_mic.extract.encoders.hub_errors import ask_hub
from gia_mic.extract.errors import EncoderError, StoreError, one_line
from gia_mic.extract.files import size_text, write_json

__all__ = [
    "COMMIT",
    "MAIN",
    "SETTINGS",
    "Snapshot",
    "cached",
    "fetch_command",
    "model_cache",
    "offline",
    "pick_weights",
    "recall",
    "remember",
]

MAIN = "main"

SETTINGS = ("*.json", "*.txt", "*.model", "*.codes", "*.bpe", "*.tiktoken", "*.spm", "*.vocab")
"""Files that say what a model is and how its input is prepared."""

FORMATS = (("model", "safetensors"), ("pytorch_model", "bin"))
"""Files of weights that can be read, the better first."""

COMMIT = re.compile(r"[0-9a-f]{40}")


def pick_weights(names: Mapping[str, object] | set[str]) -> tuple[str, ...]:
    """Return the files of weights among a folder's: safetensors before a .bin, the whole before its parts.

    >>> pick_weights({"config.json", "pytorch_model.bin", "model.safetensors", "tf_model.h5"})
    ('model.safetensors',)
    >>> pick_weights({"pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"})
    ('pytorch_model.bin.index.json', 'pytorch_model-00001-of-00001.bin')
    """
    for stem, suffix in FORMATS:
        whole, index = f"{stem}.{suffix}", f"{stem}.{suffix}.index.json"
        if whole in names:
            return (whole,)
        if index in names:
            return index, *sorted(name for name in names if fnmatch(name, f"{stem}-*-of-*.{suffix}"))
    return ()


@dataclass(frozen=True)
class Snapshot:
    """One commit of a hub's model.

    Attributes:
        model: Hub id.
        commit: Its 40 hexadecimal digits.
        sizes: Of the files that lie in it, not in folders of it, in bytes by name.
        listed: Whether these are all, as the hub says; else what the cache happens to have.
    """

    model: str
    commit: str
    sizes: Mapping[str, int] = field(repr=False)
    listed: bool = True

    @property
    def folder(self) -> Path:
        """Where its files lie, or will."""
        return model_cache(self.model) / "snapshots" / self.commit

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of its files of weights; the first is the one to load."""
        return pick_weights(self.sizes)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the files that say what the model is and how its input is prepared."""
        return tuple(
            name
            for name in self.sizes
            if not name.endswith(".index.json") and any(fnmatch(name, pattern) for pattern in SETTINGS)
        )

    @property
    def safe(self) -> bool:
        """Whether its weights are safetensors."""
        return any(name.endswith(".safetensors") for name in self.weights[-1:])

    def missing(self, names: tuple[str, ...]) -> dict[str, int]:
        """Return those of its files that the cache lacks or has in part, in bytes by name."""
        return {name: self.sizes[name] for name in names if _size(self.folder / name) != self.sizes[name]}

    def lacks(self, name: str) -> bool:
        """Whether it is known that the commit has no such file, not only that the cache hasn't."""
        return self.listed or (model_cache(self.model) / ".no_exist" / self.commit / name).is_file()

    def fetch(self, names: tuple[str, ...]) -> Path:
        """Download files that the cache lacks, check them against the hub's listing, and return their folder.

        Raises:
            EncoderError: They can't be had; the message says why.
        """
        missing = self.missing(names)
        if not missing:
            return self.folder
        cache = model_cache(self.model).parent
        if offline():
            raise EncoderError(
                f"The local cache {cache} has only a part of {self.model} (it lacks {one_line(missing, 3)}), and "
                f"HF_HUB_OFFLINE is set: run `{fetch_command(self.model, self.commit)}` where there is a network."
            )
        self._check_room(missing)

        from huggingface_hub import hf_hub_download

        def download() -> None:
            for name in missing:  # one after the other in this thread, which Ctrl-C ends at once
                damaged = _size(self.folder / name) is not None
                hf_hub_download(self.model, name, revision=self.commit, force_download=damaged)

        ask_hub(self.model, self.commit, download, ())  # the library itself asks again
        if left := self.missing(names):
            raise EncoderError(
                f"{one_line(left, 3)} of {self.model} came in another size than the hub lists: remove {self.folder} "
                "and run this again."
            )
        return self.folder

    def _check_room(self, missing: Mapping[str, int]) -> None:
        """Refuse to begin a download that the disk can't hold.

        Raises:
            EncoderError: There is too little room.
        """
        cache = model_cache(self.model)
        room = next(parent for parent in (cache, *cache.parents) if parent.is_dir())
        needed, free = sum(missing.values()), shutil.disk_usage(room).free
        if needed > free:
            raise EncoderError(
                f"The disk of the hub's cache {cache.parent} has {size_text(free)} free, and {self.model} needs "
                f"{size_text(needed)}: free some, or set HF_HOME to a folder on another disk."
            )


def model_cache(model: str) -> Path:
    """Return the folder that the hub's library keeps a model in."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model")


def offline() -> bool:
    """Whether the hub is not to be asked, as HF_HUB_OFFLINE says."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def fetch_command(model: str, revision: str) -> str:
    """Return what to run where there is a network."""
    return f"mer fetch {model}" + ("" if revision == MAIN else f" --revision {revision}")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _note(model: str, key: str) -> Path:
    return model_cache(model) / "mer" / f"{quote(key, safe='')}.json"


def remember(snapshot: Snapshot, key: str) -> None:
    """Write down what a revision was found to be; in a cache that can't be written, it is asked for again."""
    with suppress(StoreError):
        write_json(_note(snapshot.model, key), {"commit": snapshot.commit, "sizes": snapshot.sizes})


def recall(model: str, key: str) -> Snapshot | None:
    """Return what a revision was found to be the last time."""
    try:
        noted = json.loads(_note(model, key).read_text(encoding="utf-8"))
        return Snapshot(model, str(noted["commit"]), {str(name): int(size) for name, size in noted["sizes"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def cached(model: str, revision: str) -> Snapshot | None:
    """Return a commit that other programs put into the cache, if it has a configuration and weights."""
    commit = revision
    if not COMMIT.fullmatch(revision):
        try:
            commit = (model_cache(model) / "refs" / revision).read_text(encoding="utf-8").strip()
        except OSError:
            return None
    if (noted := recall(model, commit)) is not None:
        return noted
    folder = model_cache(model) / "snapshots" / commit
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*")) if path.is_file()}
    snapshot = Snapshot(model, commit, sizes, listed=False)
    return snapshot if snapshot.weights and "config.json" in sizes else None
