"""`mer export`: a trained run as a folder to hand on, or a repository of the hub."""

import logging
from collections.abc import Mapping
from pathlib import Path

import click

from gia_mic.commands.model_options import RUN, encoder_option, trust_option
from gia_mic.commands.options import FOLDER

logger = logging.getLogger(__name__)


@click.command()
@click.argument("run", type=RUN)
@click.argument("folder", type=FOLDER, required=False)
@click.option(
    "--licence", default="other", show_default=True, help="Licence of the weights, by its name on the Hugging Face hub."
)
@click.option(
    "--onnx",
    is_flag=True,
    help="Also write the fusion and its encoders as ONNX, to predict without torch; needs pip install 'gia-mic[onnx]'.",
)
@click.option("--int8", is_flag=True, help="Have these encoders multiply in 8 bits; needs --onnx.")
@click.option(
    "--space",
    is_flag=True,
    help="Write a folder that runs as a Hugging Face Space, a page that answers by the model; needs pip install "
    "'gia-mic[serve]'.",
)
@click.option(
    "--push",
    metavar="OWNER/NAME[@BRANCH]",
    help="Upload to this repository of the Hugging Face hub, as the user of HF_TOKEN or `hf auth login`.",
)
@click.option("--private", is_flag=True, help="Let only its owner see a repository that --push makes.")
@encoder_option
@trust_option
def export(
    run: Path | str,
    folder: Path | None,
    licence: str,
    onnx: bool,
    int8: bool,
    space: bool,
    push: str | None,
    private: bool,
    encoders: Mapping[str, str],
    trust: bool,
) -> None:
    """Write a trained run into a folder, or upload it, to share it.

    RUN is the folder of a run or of one fold, or hf://OWNER/NAME. FOLDER gets its weights, its configuration and a
    model card. It loads without the corpus and its features. It holds no transcripts and no paths of this machine. The
    encoders' weights are not in it, but the names and versions by which they can be downloaded.
    With --onnx they are in it too, and gia-mic-runtime predicts from it without torch.

    With --push, FOLDER may be left out. Others then use the run as hf://OWNER/NAME.
    """
    if folder is None and push is None:
        raise click.UsageError("Give a FOLDER to write to, or --push OWNER/NAME.")
    if private and push is None:
        raise click.UsageError("--private is of the repository that --push makes.")
    if int8 and not onnx:
        raise click.UsageError("--int8 is about encoders as ONNX: add --onnx.")
    if encoders and not onnx:
        raise click.UsageError("--encoder is about encoders as ONNX: add --onnx.")

    from gia_mic.fuse.runs.folder import find_run_dirs
    from gia_mic.model import hand_on
    from gia_mic.repository import Repository, local_run

    run_dirs = [run_dir.absolute() for run_dir in find_run_dirs(local_run(run, with_code=True))]
    size, address = hand_on(
        run_dirs,
        folder,
        repository=push,
        space=space,
        licence=licence,
        onnx=onnx,
        int8=int8,
        encoders=encoders,
        trust=trust,
        private=private,
    )
    click.echo(f"{address or folder}: models: {len(run_dirs)}, {size / 2**20:.1f} MiB")
    if push is not None and not space:
        logger.info(f"It is used as {Repository.parse(push)}, such as by `mer predict {Repository.parse(push)}`.")


COMMANDS = (export,)
