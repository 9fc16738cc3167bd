"""`mer serve`: a trained run as a page in a browser."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from gia_mic.commands.model_options import RUN, model_options


@click.command()
@click.argument("run", type=RUN)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all of them.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="Port to listen on; 0 is a free one."
)
@click.option(
    "--transcribe",
    is_flag=False,
    flag_value="recorded",
    metavar="[MODEL|FOLDER]",
    help="Recognise the text from the sound if none is typed. Without a value, the recogniser recorded in the run is "
    "used.",
)
@model_options
def serve(
    run: Path | str,
    host: str,
    port: int,
    transcribe: str | None,
    encoders: Mapping[str, str],
    trust: bool,
    device: str | None,
    precision: str | None,
) -> None:
    """Show a trained run as a page in a browser, on this machine only.

    RUN is the folder of a run or of one fold, or hf://OWNER/NAME. The page takes sound, video and text, recorded or as
    files, and can listen to the microphone. It shows the answer, what each modality changes, and where the attention
    lies. What it is given stays on this machine. It needs pip install 'gia-mic[serve]'.
    """
    from gia_mic.extract.errors import MerError

    if find_spec("gradio") is None:
        raise MerError("The page needs Gradio, which isn't installed: run `pip install 'gia-mic[serve]'`.")
    from gia_mic.model import load_model
    from gia_mic.serve.server import serve as serve_page

    model = load_model(
        str(run), encoders=encoders, transcribe=transcribe, device=device, precision=precision, trust=trust
    )
    serve_page(model, host, port)


COMMANDS = (serve,)
