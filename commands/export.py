"""`mer export`: a trained run as a folder to hand on."""

from pathlib import Path

import click

from gia_mic.commands.model_options import RUN, trust_option
from gia_mic.commands.options import FOLDER


@click.command()
@click.argument("run", type=RUN)
@click.argument("folder", type=FOLDER)
@click.option(
    "--licence", default="other", show_default=True, help="Licence of the weights, by its name on the Hugging Face hub."
)
@click.option("--onnx", is_flag=True, help="Also write the fusion as model.onnx; needs pip install 'gia-mic[onnx]'.")
@trust_option
def export(run: Path, folder: Path, licence: str, onnx: bool, trust: bool) -> None:
    """Write a trained run into a folder, to share it.

    RUN is the folder of a run or of one fold. FOLDER gets its weights, its configuration and a model card. It loads
    without the corpus and its features. It holds no transcripts and no paths of this machine. The encoders' weights are
    not in it, but the names and versions by which they can be downloaded.
    """
    from gia_mic.export import export as write
    from gia_mic.fuse.runs.folder import find_run_dirs

    run_dirs = find_run_dirs(run)
    exported = write(tuple(run_dir.absolute() for run_dir in run_dirs), folder, licence=licence, onnx=onnx, trust=trust)
    size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
    click.echo(f"{exported}: models: {len(run_dirs)}, {size / 2**20:.1f} MiB")


COMMANDS = (export,)
