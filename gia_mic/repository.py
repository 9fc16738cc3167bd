"""Turns a run on the hub into a folder of its local cache, and an exported folder into a repository of the hub."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from gia_mic.extract.encoders.hub_errors import UnreachableError, ask_hub, send_to_hub
from gia_mic.extract.encoders.quiet import with_bars_on_terminals
from gia_mic.extract.encoders.snapshot import COMMIT, MAIN, Snapshot, offline, recall, remember
from gia_mic.extract.errors import RunError, one_line
from gia_mic.fuse.runs.folder import CONFIG, ENCODERS, METRICS, READOUT, SOURCE, WEIGHTS

__all__ = ["HUB", "Repository", "local_run", "push_folder", "refuse_without_token"]

logger = logging.getLogger(__name__)

HUB = "hf://"
"""Begins the address of a run on the hub."""

CARD = "README.md"
REPOSITORY = re.compile(
    r"(?:hf://)?(?P<name>(?![^@]*(?:--|\.\.))\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII
)
"""What the hub allows as a name, `hf://` before it and `@revision` behind."""


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, at one of its revisions.

    Attributes:
        name: `owner/name`.
        revision: Branch, tag or commit.
    """

    name: str
    revision: str = MAIN

    @classmethod
    def parse(cls, text: str) -> "Repository":
        """Read `owner/name`, with `hf://` before it or `@revision` behind it.

        >>> Repository.parse("hf://somebody/feelings@v1")
        Repository(name='somebody/feelings', revision='v1')

        Raises:
            RunError: The text is no such address.
        """
        match = REPOSITORY.fullmatch(text)
        if match is None:
            raise RunError(
                f"{text!r} is no repository of the hub: give owner/name, in letters, digits, - _ and ., and if need be "
                "@ and a revision."
            )
        return cls(match["name"], match["revision"] or MAIN)

    def __str__(self) -> str:
        return f"{HUB}{self.name}" + ("" if self.revision == MAIN else f"@{self.revision}")


def local_run(run: str | Path, *, with_code: bool = False) -> Path:
    """Return the folder of a run, which is downloaded if it lies on the hub.

    Args:
        run: A folder, which is returned as it is, or `hf://owner/name` with or without `@revision`.
        with_code: Whether the code of the run's own fusion and encoders is wanted as well; it isn't run.

    Raises:
        RunError: There is no run in that repository, or it isn't in the local cache and there is no network.
        EncoderError: The hub doesn't give it.
    """
    if not str(run).startswith(HUB):
        return Path(run)
    repository = Repository.parse(str(run))
    snapshot = _resolve(repository)
    names = _files_of_run(snapshot.sizes, with_code)
    if not any(name.rpartition("/")[2] == METRICS for name in names):
        raise RunError(
            f"{repository} holds no run that mer exported (but {one_line(snapshot.sizes) or 'nothing'}): check the "
            "name."
        )
    if offline() and snapshot.missing(names):
        raise RunError(_not_here(repository))
    return snapshot.fetch(names)


def push_folder(
    folder: Path,
    repository: Repository,
    *,
    own_files: Iterable[str],
    kind: str = "model",
    private: bool = False,
    message: str = "Upload a trained run",
    token: str | None = None,
) -> str:
    """Upload an exported folder in one commit, and return the commit's address.

    The repository is made if there is none. Files of an earlier export that aren't in the folder are removed from it.

    Args:
        folder: Folder to upload, whole.
        repository: Where to; a branch that isn't there is made.
        own_files: Patterns of the files that exports write; a repository with others is refused.
        kind: model or space.
        private: Make a new repository that only its owner sees.
        message: The commit's message.
        token: The hub's token; by default HF_TOKEN, or that of `hf auth login`.

    Raises:
        RunError: There is no token, the hub refuses or can't be reached, or the repository holds something else.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    refuse_without_token(token)
    api, name = HfApi(token=token), repository.name
    patterns = tuple(own_files)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def send() -> str:
        sdk = "gradio" if kind == "space" else None
        # no visibility stands for what the owner's new repositories are by default
        api.create_repo(name, repo_type=kind, private=private or None, space_sdk=sdk, exist_ok=True)
        if repository.revision != MAIN:
            api.create_branch(name, repo_type=kind, branch=repository.revision, exist_ok=True)
        info = api.repo_info(name, repo_type=kind, revision=repository.revision)
        if private and not info.private:
            raise RunError(f"{name} is there and public: make it private in its settings, or choose another name.")
        present = api.list_repo_files(name, repo_type=kind, revision=info.sha)
        if others := [file for file in present if not any(fnmatch(file, pattern) for pattern in patterns)]:
            raise RunError(f"{name} holds {one_line(others)}, and an export would mix with it: name another.")
        outdated = [file for file in present if file not in files and file != ".gitattributes"]
        commit = api.create_commit(
            name,
            [
                *(CommitOperationDelete(path_in_repo=file) for file in outdated),
                *(CommitOperationAdd(path_in_repo=file, path_or_fileobj=path) for file, path in files.items()),
            ],
            commit_message=message,
            repo_type=kind,
            revision=repository.revision,
            parent_commit=info.sha,
        )
        return str(commit.commit_url)

    with with_bars_on_terminals():
        return send_to_hub(name, send)


def refuse_without_token(token: str | None = None) -> None:
    """Refuse an upload that can't go well, before there is any work.

    Raises:
        RunError: HF_HUB_OFFLINE is set, or nobody is logged in.
    """
    from huggingface_hub import get_token

    if offline():
        raise RunError("HF_HUB_OFFLINE is set, so nothing can be uploaded to the hub: unset it.")
    if not (token or get_token()):
        raise RunError(
            "Nobody is logged in to the hub: run `hf auth login`, or set HF_TOKEN to a token that may write."
        )


def _files_of_run(names: Iterable[str], with_code: bool) -> tuple[str, ...]:
    """Return those of a repository's files that a run is loaded from."""
    run_files, code = {CONFIG, METRICS, WEIGHTS, READOUT}, (f"*{SOURCE}/*.py", f"*{ENCODERS}/*/*.py")
    return tuple(
        name
        for name in names
        if name == CARD
        or name.rpartition("/")[2] in run_files
        or (with_code and any(fnmatch(name, each) for each in code))
    )


def _resolve(repository: Repository) -> Snapshot:
    """Return what lies in the commit that a revision is; without a network, what it was when it was fetched."""
    name, revision = repository.name, repository.revision
    key = f"run-{revision}"
    recalled = recall(name, key)
    if recalled is not None and (COMMIT.fullmatch(revision) or offline()):  # what a commit holds never changes
        return recalled
    if offline():
        raise RunError(_not_here(repository))
    try:
        snapshot = ask_hub(name, revision, lambda: _look(name, revision))
    except UnreachableError as error:
        if recalled is None:
            raise
        logger.info(f"{repository} is taken as it was fetched before, {recalled.commit[:12]}. {error}")
        return recalled
    for note in {key, f"run-{snapshot.commit}"}:
        remember(snapshot, note)
    return snapshot


def _look(name: str, revision: str) -> Snapshot:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    commit = str(api.model_info(name, revision=revision).sha)
    entries = api.list_repo_tree(name, revision=commit, recursive=True)
    return Snapshot(name, commit, {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)})


def _not_here(repository: Repository) -> str:
    return (
        f"{repository} isn't whole in the hub's local cache, and HF_HUB_OFFLINE is set: run `mer fetch {repository}` "
        "where there is a network."
    )
