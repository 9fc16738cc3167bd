"""Turns what the hub's libraries raise into one sentence with the cause and the cure."""

import errno
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar
from urllib.parse import urlparse

from gia_mic.extract.encoders.quiet import quietly
from gia_mic.extract.errors import EncoderError, MerError, RunError, first_line

__all__ = ["WAITS_S", "UnreachableError", "ask_hub", "send_to_hub", "status_of"]

WAITS_S = (1, 2, 4, 8)
"""How long to wait before asking again, where the hub may answer the next time."""

PASSING = (429, 500, 502, 503, 504)
"""Answers of a hub that may be well again a little later."""

Answer = TypeVar("Answer")


class UnreachableError(EncoderError):
    """The hub can't be asked, or has no answer now; what the cache has will do."""


def ask_hub(model: str, revision: str, ask: Callable[[], Answer], waits_s: tuple[int, ...] = WAITS_S) -> Answer:
    """Ask the hub, and again where it may answer the next time.

    Raises:
        EncoderError: It doesn't answer, or refuses; the message says why, and what to do.
    """
    return _try(ask, partial(_refusal, model, revision), waits_s)


def send_to_hub(repository: str, send: Callable[[], Answer], waits_s: tuple[int, ...] = WAITS_S) -> Answer:
    """Send something to the hub, and again where it may take it the next time; what is sent twice must do no harm.

    Raises:
        RunError: It doesn't answer, or refuses; the message says why, and what to do.
    """
    return _try(send, partial(_upload_refusal, repository), waits_s)


def _try(
    ask: Callable[[], Answer], refusal: Callable[[tuple[BaseException, ...]], MerError], waits_s: tuple[int, ...]
) -> Answer:
    from huggingface_hub.utils import logging

    for wait_s in (*waits_s, None):
        try:
            with quietly(logging):
                return ask()
        except MerError:
            raise
        except Exception as error:  # the hub's libraries raise many kinds
            causes = tuple(_causes(error))
            if wait_s is None or not _may_pass(causes):
                raise refusal(causes) from error
            time.sleep(wait_s)
    raise AssertionError("the last round returns or raises")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error is about."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _kinds(error: BaseException) -> set[str]:
    """Return the names of an error's classes; those of the HTTP library come from one of several packages."""
    return {kind.__name__ for kind in type(error).__mro__}


def _may_pass(causes: tuple[BaseException, ...]) -> bool:
    broken = {"ReadError", "WriteError", "RemoteProtocolError", "ReadTimeout", "ChunkedEncodingError"}
    return any(status_of(error) in PASSING or _kinds(error) & broken for error in causes)


def _unreachable(causes: tuple[BaseException, ...]) -> bool:
    return any(_kinds(error) & {"ConnectError", "ConnectTimeout"} for error in causes)


def _broke_off(causes: tuple[BaseException, ...]) -> bool:
    return _may_pass(causes) or any("TransportError" in _kinds(error) for error in causes)


def _refusal(model: str, revision: str, causes: tuple[BaseException, ...]) -> EncoderError:
    """Turn what the hub's libraries raise into one sentence with the cause and the cure."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevision

    page, cache = f"{constants.ENDPOINT}/{model}", constants.HF_HUB_CACHE
    statuses = {status: error for error in causes if (status := status_of(error)) is not None}

    def has(*kinds: type) -> bool:
        return any(isinstance(error, kinds) for error in causes)

    for error in causes:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return EncoderError(
                f"The disk of the hub's cache {cache} is full, and {model} can't be stored: free some room, or set "
                "HF_HOME to a folder on another disk."
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
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
        return UnreachableError(
            f"The hub got too many requests to give {model} (429): wait some minutes, or log in with `hf auth login`, "
            "which raises the limit."
        )
    if refused := statuses.keys() & {401, 403}:
        return EncoderError(
            f"The hub refuses to give {model} ({min(refused)}): log in anew with `hf auth login`, or check HF_TOKEN, "
            f"and whether its account may read {page}."
        )
    if ill := [status for status in statuses if status >= 500]:
        return UnreachableError(
            f"The hub can't give {_file(statuses[ill[0]])}{model} now (it answers {ill[0]}): run this again later."
        )
    if has(OfflineModeIsEnabled):
        return UnreachableError(
            f"{model} isn't in the hub's local cache {cache}, and HF_HUB_OFFLINE is set: run `mer fetch {model}` where "
            "there is a network."
        )
    if _unreachable(causes):
        return UnreachableError(
            f"The hub {constants.ENDPOINT} can't be reached to get {model} ({first_line(causes[-1])}): check the "
            "network, or run `mer fetch` where there is one, or give a local folder."
        )
    if _broke_off(causes):
        return UnreachableError(
            f"The connection to the hub broke off while it gave {_file(causes[0])}{model} ({first_line(causes[-1])}): "
            "check the network and run this again; files that came whole are kept."
        )
    return EncoderError(f"The hub gave no {model} ({first_line(causes[0])}): check the name and the network.")


def _upload_refusal(repository: str, causes: tuple[BaseException, ...]) -> RunError:
    """Turn what the hub's libraries raise while they upload into one sentence with the cause and the cure."""
    from huggingface_hub import constants

    owner = repository.partition("/")[0]
    statuses = {status for error in causes if (status := status_of(error)) is not None}
    cause = next((error for error in causes if type(error) is not RuntimeError), causes[0])
    words = str(cause).partition("For more information")[0].split()
    why = " ".join(words)[:400].rstrip(".") or first_line(cause)
    if 401 in statuses:
        return RunError("The hub doesn't accept the token: log in anew with `hf auth login`, or check HF_TOKEN.")
    if 403 in statuses:
        return RunError(
            f"The hub doesn't let this token write to {repository}: choose a repository of yours, or a token that may "
            f"write, of an account with rights in {owner}."
        )
    if 404 in statuses:
        return RunError(f"The hub knows nobody called {owner}, or doesn't take {repository} (404): check the name.")
    if statuses & {409, 412}:
        return RunError(f"{repository} was changed by somebody else meanwhile: run this again.")
    if 429 in statuses:
        return RunError(f"The hub got too many requests to take {repository} (429): wait some minutes.")
    if ill := [status for status in statuses if status >= 500]:
        return RunError(f"The hub can't take {repository} now (it answers {ill[0]}): run this again later.")
    if _unreachable(causes):
        return RunError(
            f"The hub {constants.ENDPOINT} can't be reached to upload {repository} ({first_line(causes[-1])}): check "
            "the network and run this again."
        )
    if _broke_off(causes):
        return RunError(
            f"The connection to the hub broke off while it took {repository} ({first_line(causes[-1])}): check the "
            "network and run this again; nothing was changed there."
        )
    return RunError(f"The hub doesn't take {repository} ({why}): correct that and run this again.")


def _file(error: BaseException) -> str:
    """Return the file that a request was about, for a message; empty where it was about none."""
    try:
        path = urlparse(str(error.request.url)).path  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return ""
    return f"{path.rpartition('/')[2]} of " if "/resolve/" in path else ""
