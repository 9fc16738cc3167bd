"""`mer export`: a trained run as a folder to hand on."""

from collections.abc import Mapping
from pathlib import Path

import click

from gia_mic.commands.model_options import RUN, encoder_option, trust_option
from gia_mic.commands.options import FOLDER


@click.command()
@click.argument("run", type=RUN)
@click.argument("folder", type=FOLDER)
@click.option(
    "--licence", default="other", show_default=True, help="Licence of the weights, by its name on the Hugging Face hub."
)
@click.option(
    "--onnx",
    is_flag=True,
    help="Also write the fusion and its encoders as ONNX, to predict without torch; needs pip install 'gia-mic[onnx]'.",
)
@click.option("--int8", is_flag=True, help="Have these encoders multiply in 8 bits; needs --onnx.")
@encoder_option
@trust_option
def export(
    run: Path, folder: Path, licence: str, onnx: bool, int8: bool, encoders: Mapping[str, str], trust: bool
) -> None:
    """Write a trained run into a folder, to share it.

    RUN is the folder of a run or of one fold. FOLDER gets its weights, its configuration and a model card. It loads
    without the corpus and its features. It holds no transcripts and no paths of this machine. The encoders' weights are
    not in it, but the names and versions by which they can be downloaded. With --onnx it holds the encoders too, and
    gia-mic-runtime predicts from it without torch.
    """
    if int8 and not onnx:
        raise click.UsageError("--int8 is about encoders as ONNX: add --onnx.")
    if encoders and not onnx:
        raise click.UsageError("--encoder is about encoders as ONNX: add --onnx.")
    from gia_mic.export import export as write
    from gia_mic.fuse.runs.folder import find_run_dirs

    run_dirs = tuple(run_dir.absolute() for run_dir in find_run_dirs(run))
    exported = write(run_dirs, folder, licence=licence, onnx=onnx, int8=int8, encoders=encoders, trust=trust)
    size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
    click.echo(f"{exported}: models: {len(run_dirs)}, {size / 2**20:.1f} MiB")


COMMANDS = (export,)
