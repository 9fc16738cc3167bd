"""Turns a hub model's name into the one commit that holds its weights, and that commit's files into a local folder.

Many models have no safetensors on their main branch; a conversion bot's pull request does. Configuration, tokenizer and
weights are all taken from one commit, which the features record. What a commit holds is written down beside the hub's
cache, so that later commands, also without a network, know the same commit and whether the cache has all of it.
"""

import errno
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlparse

from gia_mic.extract.errors import EncoderError, StoreError, first_line, one_line
from gia_mic.extract.files import size_text, write_json

__all__ = ["SETTINGS", "Snapshot", "pick_weights", "resolve", "resolve_recorded"]

MAIN = "main"

BOT = "SFconvertbot"
"""The hub's account that opens pull requests with safetensors of a model's own weights."""

SETTINGS = ("*.json", "*.txt", "*.model", "*.codes", "*.bpe", "*.tiktoken", "*.spm", "*.vocab")
"""Files that say what a model is and how its input is prepared."""

FORMATS = (("model", "safetensors"), ("pytorch_model", "bin"))
"""Files of weights that can be read, the better first."""

COMMIT = re.compile(r"[0-9a-f]{40}")

WAITS_S = (1, 2, 4, 8)
"""How long to wait before asking again, where the hub may answer the next time."""

PASSING = (429, 500, 502, 503, 504)
"""Answers of a hub that may be well again a little later."""

Answer = TypeVar("Answer")


class _UnreachableError(EncoderError):
    """The hub can't be asked, or has no answer now; what the cache has will do."""


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
        return _cache(self.model) / "snapshots" / self.commit

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
        return self.listed or (_cache(self.model) / ".no_exist" / self.commit / name).is_file()

    def fetch(self, names: tuple[str, ...]) -> Path:
        """Download files that the cache lacks, check them against the hub's listing, and return their folder.

        Raises:
            EncoderError: They can't be had; the message says why.
        """
        missing = self.missing(names)
        if not missing:
            return self.folder
        cache = _cache(self.model).parent
        if _offline():
            raise EncoderError(
                f"The local cache {cache} has only a part of {self.model} (it lacks {one_line(missing, 3)}), and "
                f"HF_HUB_OFFLINE is set: run `{_fetch_command(self.model, self.commit)}` where there is a network."
            )
        self._check_room(missing)

        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

        class Bar(tqdm):  # one of the library's bars would show in files and pipes as well
            def __init__(self, *args: Any, **options: Any) -> None:
                options.setdefault("disable", None)
                super().__init__(*args, **options)

        def download() -> object:
            damaged = any(_size(self.folder / name) is not None for name in missing)
            return snapshot_download(
                self.model,
                revision=self.commit,
                allow_patterns=list(missing),
                force_download=damaged,
                tqdm_class=Bar,
            )

        _ask(self.model, self.commit, download, ())  # the library itself asks again
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
        cache = _cache(self.model)
        room = next(parent for parent in (cache, *cache.parents) if parent.is_dir())
        needed, free = sum(missing.values()), shutil.disk_usage(room).free
        if needed > free:
            raise EncoderError(
                f"The disk of the hub's cache {cache.parent} has {size_text(free)} free, and {self.model} needs "
                f"{size_text(needed)}: free some, or set HF_HOME to a folder on another disk."
            )


def resolve(model: str, revision: str | None = None) -> Snapshot:
    """Return the commit of a hub's model that its weights are taken from.

    That is the revision's own if it holds safetensors; for main, else the conversion bot's open pull request upon it,
    the one with the lowest number; else again the revision's own, with a .bin.

    Args:
        model: Hub id.
        revision: Commit, tag, branch or refs/pr/N; None is main.

    Raises:
        EncoderError: There is no such model, it can't be had, or it holds no weights that can be read.
    """
    return _resolve(model, revision or MAIN, conversions=revision in (None, MAIN), key=revision or MAIN)


def resolve_recorded(model: str, commit: str) -> Snapshot:
    """Return the commit that gives the weights which earlier versions recorded under `commit`.

    They recorded main's commit also where the weights came from the bot's pull request upon it.

    Raises:
        EncoderError: As `resolve`; or several such pull requests hold different weights.
    """
    if (noted := _recall(model, commit)) is not None and noted.safe:
        return noted
    return _resolve(model, commit, conversions=True, key=f"recorded-{commit}")


def _resolve(model: str, revision: str, *, conversions: bool, key: str) -> Snapshot:
    recalled = _recall(model, key)
    if recalled is not None and (COMMIT.fullmatch(revision) or _offline()):  # what a commit holds never changes
        return recalled
    if _offline():
        if (cached := _cached(model, revision)) is None:
            raise EncoderError(
                f"{model!r} is neither a local folder nor a model whose weights and configuration are in the hub's "
                f"local cache {_cache(model).parent} at revision {revision!r}, and HF_HUB_OFFLINE is set: run "
                f"`{_fetch_command(model, revision)}` where there is a network."
            )
        return cached
    try:
        snapshot = _look(model, revision, conversions=conversions, only_equal=key != revision)
    except _UnreachableError:
        if (known := recalled or _cached(model, revision)) is None:
            raise
        return known
    if not snapshot.weights:
        raise EncoderError(
            f"{model} holds neither model.safetensors nor pytorch_model.bin at revision {revision!r} (but "
            f"{one_line(snapshot.sizes)}): choose another encoder."
        )
    for name in {key, snapshot.commit}:
        _remember(snapshot, name)
    return snapshot


def _look(model: str, revision: str, *, conversions: bool, only_equal: bool) -> Snapshot:
    """Ask the hub which commit holds a revision's weights."""
    hub = _Hub(model, revision)
    own = hub.snapshot(hub.commit())
    if own.safe or not conversions:
        return own
    found = []
    for number in hub.pull_requests():
        commit, *before = hub.history(f"refs/pr/{number}")
        if before[:1] == [own.commit] and (pull := hub.snapshot(commit)).safe:
            found.append(pull)
    contents = {tuple(hub.digests[pull.commit, name] for name in pull.weights) for pull in found}
    if only_equal and len(contents) > 1:
        raise EncoderError(
            f"{model} has {len(found)} conversions of commit {own.commit[:12]} with different weights, and the record "
            "doesn't say which it means: run `mer extract` and `mer fuse-train` again."
        )
    return found[0] if found else own


class _Hub:
    """What the hub says of one model, each question asked again where it may be answered the next time.

    Args:
        model: Hub id.
        revision: What was asked for, for messages.

    Attributes:
        digests: Of the files of commits that were looked at, by commit and name.
    """

    def __init__(self, model: str, revision: str) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi()
        self._model, self._revision = model, revision
        self.digests: dict[tuple[str, str], str] = {}

    def commit(self) -> str:
        """Return the revision's commit."""
        return self._ask(lambda: str(self._api.model_info(self._model, revision=self._revision).sha))

    def snapshot(self, commit: str) -> Snapshot:
        """Return what lies in a commit."""
        from huggingface_hub.hf_api import RepoFile

        entries = self._ask(lambda: list(self._api.list_repo_tree(self._model, revision=commit)))
        files = [entry for entry in entries if isinstance(entry, RepoFile)]
        self.digests.update({(commit, file.path): file.blob_id for file in files})
        return Snapshot(self._model, commit, {file.path: file.size for file in files})

    def pull_requests(self) -> list[int]:
        """Return the numbers of the conversion bot's open pull requests, the first one first."""

        def ask() -> list[int]:
            try:
                opened = list(self._api.get_repo_discussions(self._model, author=BOT, discussion_status="open"))
            except Exception as error:
                if _status(error) in (403, 404, 410):  # switched off, or unknown to a mirror of the hub
                    return []
                raise
            return sorted(pull.num for pull in opened if pull.is_pull_request and pull.author == BOT)

        return self._ask(ask)

    def history(self, reference: str) -> list[str]:
        """Return a reference's commits, the newest first."""
        commits = self._ask(lambda: list(self._api.list_repo_commits(self._model, revision=reference)))
        return [commit.commit_id for commit in commits]

    def _ask(self, ask: Callable[[], Answer]) -> Answer:
        return _ask(self._model, self._revision, ask)


# the cache


def _cache(model: str) -> Path:
    """Return the folder that the hub's library keeps a model in."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model")


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _fetch_command(model: str, revision: str) -> str:
    return f"mer fetch {model}" + ("" if revision == MAIN else f" --revision {revision}")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _note(model: str, key: str) -> Path:
    return _cache(model) / "mer" / f"{quote(key, safe='')}.json"


def _remember(snapshot: Snapshot, key: str) -> None:
    """Write down what a revision was found to be; in a cache that can't be written, it is asked for again."""
    with suppress(StoreError):
        write_json(_note(snapshot.model, key), {"commit": snapshot.commit, "sizes": snapshot.sizes})


def _recall(model: str, key: str) -> Snapshot | None:
    """Return what a revision was found to be the last time."""
    try:
        noted = json.loads(_note(model, key).read_text(encoding="utf-8"))
        return Snapshot(model, str(noted["commit"]), {str(name): int(size) for name, size in noted["sizes"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _cached(model: str, revision: str) -> Snapshot | None:
    """Return a commit that other programs put into the cache, if it has a configuration and weights."""
    commit = revision
    if not COMMIT.fullmatch(revision):
        try:
            commit = (_cache(model) / "refs" / revision).read_text(encoding="utf-8").strip()
        except OSError:
            return None
    if (noted := _recall(model, commit)) is not None:
        return noted
    folder = _cache(model) / "snapshots" / commit
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*")) if path.is_file()}
    found = Snapshot(model, commit, sizes, listed=False)
    return found if found.weights and "config.json" in sizes else None


# what can go wrong


def _ask(model: str, revision: str, ask: Callable[[], Answer], waits_s: tuple[int, ...] = WAITS_S) -> Answer:
    """Ask the hub, and again where it may answer the next time.

    Raises:
        EncoderError: It doesn't answer, or refuses; the message says why, and what to do.
    """
    for wait_s in (*waits_s, None):
        try:
            with _quietly():
                return ask()
        except Exception as error:  # the hub's libraries raise many kinds
            causes = tuple(_causes(error))
            if wait_s is None or not _may_pass(causes):
                raise _refusal(model, revision, causes) from error
            time.sleep(wait_s)
    raise AssertionError("the last round returns or raises")


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the remarks of the hub's library, of which the errors say all that matters."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error is about."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _kinds(error: BaseException) -> set[str]:
    """Return the names of an error's classes; those of the HTTP library come from one of several packages."""
    return {kind.__name__ for kind in type(error).__mro__}


def _may_pass(causes: tuple[BaseException, ...]) -> bool:
    broken = {"ReadError", "WriteError", "RemoteProtocolError", "ReadTimeout", "ChunkedEncodingError"}
    return any(_status(error) in PASSING or _kinds(error) & broken for error in causes)


def _refusal(model: str, revision: str, causes: tuple[BaseException, ...]) -> EncoderError:
    """Turn what the hub's libraries raise into one sentence with the cause and the cure."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevision

    page, cache = f"{constants.ENDPOINT}/{model}", _cache(model).parent
    statuses = {status: error for error in causes if (status := _status(error)) is not None}

    def has(*kinds: type) -> bool:
        return any(isinstance(error, kinds) for error in causes)

    for error in causes:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return EncoderError(
                f"The disk of the hub's cache {cache} is full, and {model} can't be stored: free some room, or set "
                "HF_HOME to a folder on another disk."
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return EncoderError(
                f"The hub's cache {cache} can't be written to store {model}: set HF_HOME to a folder that can be."
            )
    if has(GatedRepoError):
        then = "with a token of that account" if get_token() else "with `hf auth login` or HF_TOKEN"
        return EncoderError(f"{model} is gated: ask for access at {page}, log in {then}, and run this again.")
    if has(RepositoryNotFoundError):
        return EncoderError(
            f"{model!r} is neither a local folder nor a model that the hub gave: check the name; if it is private, log "
            "in with `hf auth login`, or set HF_TOKEN, as somebody who may read it."
        )
    if has(NoRevision):
        return EncoderError(f"{model} has no revision {revision!r}: choose a commit, tag or branch that {page} shows.")
    if 429 in statuses:
        return _UnreachableError(
            f"The hub got too many requests to give {model} (429): wait some minutes, or log in with `hf auth login`, "
            "which raises the limit."
        )
    if refused := statuses.keys() & {401, 403}:
        return EncoderError(
            f"The hub refuses to give {model} ({min(refused)}): log in anew with `hf auth login`, or check HF_TOKEN, "
            f"and whether its account may read {page}."
        )
    if ill := [status for status in statuses if status >= 500]:
        return _UnreachableError(
            f"The hub can't give {_file(statuses[ill[0]])}{model} now (it answers {ill[0]}): run this again later."
        )
    if has(OfflineModeIsEnabled):
        return _UnreachableError(
            f"{model} isn't in the hub's local cache {cache}, and HF_HUB_OFFLINE is set: run `mer fetch {model}` where "
            "there is a network."
        )
    if any("ConnectError" in _kinds(error) or "ConnectTimeout" in _kinds(error) for error in causes):
        return _UnreachableError(
            f"The hub {constants.ENDPOINT} can't be reached to get {model} ({first_line(causes[-1])}): check the "
            "network, or run `mer fetch` where there is one, or give a local folder."
        )
    if _may_pass(causes) or any("TransportError" in _kinds(error) for error in causes):
        return _UnreachableError(
            f"The connection to the hub broke off while it gave {_file(causes[0])}{model} ({first_line(causes[-1])}): "
            "check the network and run this again; it goes on from there."
        )
    return EncoderError(f"The hub gave no {model} ({first_line(causes[0])}): check the name and the network.")


def _file(error: BaseException) -> str:
    """Return the file that a request was about, for a message; empty where it was about none."""
    try:
        path = urlparse(str(error.request.url)).path  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return ""
    return f"{path.rpartition('/')[2]} of " if "/resolve/" in path else ""
