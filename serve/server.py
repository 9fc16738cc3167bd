"""Serves the page of a trained run to browsers, by default those of this machine alone, until somebody ends it."""

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from gia_mic.extract.errors import MerError, words_of
from gia_mic.model import Model
from gia_mic.serve.page import build_app

__all__ = ["serve", "serving"]

logger = logging.getLogger(__name__)

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine that it alone knows it by."""

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""What a browser lets the page do: nothing that reaches another machine."""


def serve(model: Model, host: str, port: int) -> None:
    """Serve the page of a model until Ctrl-C or SIGTERM.

    Args:
        model: The model.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Raises:
        MerError: Nobody can listen there.
        EncoderError: An encoder can't be found or has changed.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with serving(model, host, port) as address:
            logger.info(f"Open {address} in a browser. Ctrl-C ends it.")
            while not stop.wait(0.2):  # without a time limit, Windows would not see Ctrl-C
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    logger.info("Stopped.")


@contextmanager
def serving(model: Model, host: str, port: int) -> Iterator[str]:
    """Serve the page of a model for as long as the context lasts; the arguments and errors are those of `serve`.

    What is uploaded lies in a folder that other users of the machine can't read, and goes in the end.

    Yields:
        The address to open in a browser.
    """
    name = f"[{host}]" if ":" in host else host
    port = _free_port(host, port)
    local = name in LOCAL_NAMES
    if not local:
        logger.warning(f"Everybody who can reach {host} can use the page: it asks for no password.")
    with tempfile.TemporaryDirectory(prefix="mer-serve-", ignore_cleanup_errors=True) as folder, _environment(folder):
        page = build_app(model)
        try:
            _, address, _ = page.launch(
                server_name=name,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                inline=False,
                enable_monitoring=False,
                app_kwargs={"middleware": [Middleware(_Guard, names=LOCAL_NAMES if local else None)]},
            )
        except OSError as error:
            raise MerError(_no_port(host, port, error)) from error
        try:
            yield address
        finally:
            page.close(verbose=False)


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Let Gradio keep uploaded files in a folder, and reach its own server without a proxy."""
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    values = {"GRADIO_TEMP_DIR": folder, "no_proxy": ",".join(filter(None, [no_proxy, "localhost", "127.0.0.1"]))}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Guard:
    """Refuses requests to other names than its own, and tells browsers the policy.

    A page of a stranger may give its own name this machine's address, and would then be taken for ours.
    """

    def __init__(self, app: Any, names: tuple[str, ...] | None) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, as ASGI has it."""

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        if scope["type"] in ("http", "websocket") and self.names:
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if host.rpartition(":")[0] not in self.names and host not in self.names:
                await PlainTextResponse("This page has another address.", 400)(scope, receive, send)
                return
        await self.app(scope, receive, send_with_policy)


def _free_port(host: str, port: int) -> int:
    """Return the port if it is free, or any that is where 0 is asked for."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as listener:
            return int(listener.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise MerError(_no_port(host, port, error)) from error


def _no_port(host: str, port: int, error: BaseException) -> str:
    return f"Nobody can listen on port {port} of {host} ({words_of(error)}): give another --port or --host."
