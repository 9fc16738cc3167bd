"""Turns a hub model's name into the one commit that its weights are taken from.

Many models have no safetensors on their main branch; a conversion bot's pull request does. Configuration, tokenizer and
weights are all taken from one commit, which the features record.
"""

from collections.abc import Callable
from typing import TypeVar

from gia_mic.extract.encoders.hub_errors import UnreachableError, ask_hub, status_of
from gia_mic.extract.encoders.snapshot import (
    COMMIT,
    MAIN,
    Snapshot,
    cached,
    fetch_command,
    model_cache,
    offline,
    recall,
    remember,
)
from gia_mic.extract.errors import EncoderError, one_line

__all__ = ["resolve", "resolve_recorded"]

BOT = "SFconvertbot"
"""The hub's account that opens pull requests with safetensors of a model's own weights."""

Answer = TypeVar("Answer")


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
    if (noted := recall(model, commit)) is not None and noted.safe:
        return noted
    return _resolve(model, commit, conversions=True, key=f"recorded-{commit}")


def _resolve(model: str, revision: str, *, conversions: bool, key: str) -> Snapshot:
    recalled = recall(model, key)
    if recalled is not None and (COMMIT.fullmatch(revision) or offline()):  # what a commit holds never changes
        return recalled
    if offline():
        if (local := cached(model, revision)) is None:
            raise EncoderError(
                f"{model!r} is neither a local folder nor a model whose weights and configuration are in the hub's "
                f"local cache {model_cache(model).parent} at revision {revision!r}, and HF_HUB_OFFLINE is set: run "
                f"`{fetch_command(model, revision)}` where there is a network."
            )
        return local
    try:
        snapshot = _look(model, revision, conversions=conversions, only_equal=key != revision)
    except UnreachableError:
        if (local := recalled or cached(model, revision)) is None:
            raise
        return local
    if not snapshot.weights:
        raise EncoderError(
            f"{model} holds neither model.safetensors nor pytorch_model.bin at revision {revision!r} (but "
            f"{one_line(snapshot.sizes)}): choose another encoder."
        )
    for name in {key, snapshot.commit}:
        remember(snapshot, name)
    return snapshot


def _look(model: str, revision: str, *, conversions: bool, only_equal: bool) -> Snapshot:
    """Ask the hub which commit holds a revision's weights."""
    hub = _Hub(model, revision)
    own = hub.snapshot(hub.commit())
    if own.safe or not conversions:
        return own
    pulls = []
    for number in hub.pull_requests():
        commit, *before = hub.history(f"refs/pr/{number}")
        if before[:1] == [own.commit] and (pull := hub.snapshot(commit)).safe:
            pulls.append(pull)
    contents = {tuple(hub.digests[pull.commit, name] for name in pull.weights) for pull in pulls}
    if only_equal and len(contents) > 1:
        raise EncoderError(
            f"{model} has {len(pulls)} conversions of commit {own.commit[:12]} with different weights, and the record "
            "doesn't say which it means: run `mer extract` and `mer fuse-train` again."
        )
    return pulls[0] if pulls else own


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
                if status_of(error) in (403, 404, 410):  # switched off, or unknown to a mirror of the hub
                    return []
                raise
            return sorted(pull.num for pull in opened if pull.is_pull_request and pull.author == BOT)

        return self._ask(ask)

    def history(self, reference: str) -> list[str]:
        """Return a reference's commits, the newest first."""
        commits = self._ask(lambda: list(self._api.list_repo_commits(self._model, revision=reference)))
        return [commit.commit_id for commit in commits]

    def _ask(self, ask: Callable[[], Answer]) -> Answer:
        return ask_hub(self._model, self._revision, ask)
