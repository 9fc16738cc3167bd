"""`mer distill`: the models of a run's folds become one."""

from pathlib import Path
from typing import Any

import click

from gia_mic.commands.fuse import computing_options, seeds_option
from gia_mic.commands.options import FOLDER, features_option, typed


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--name", help="Name of the new run, beside the old one.  [default: the old name and -distilled]")
@seeds_option
@computing_options
@features_option
def distill(run: Path, name: str | None, seeds: int, features: Path, **options: Any) -> None:
    """Train one model that answers as all folds of a run do together.

    RUN is the folder of a finished run, runs/<corpus>/<name>, with three folds or more. The new model learns the mean
    of their answers and no new labels. `mer predict`, `mer listen` and `mer export` use it when they are given the new
    run. Its scores are those of models that were made alike without each fold's test part.
    """
    from gia_mic.commands.settings import typed_settings
    from gia_mic.fuse.distill import distill as train
    from gia_mic.fuse.experiment import Execution
    from gia_mic.fuse.runs.folder import find_run_dirs
    from gia_mic.report.render import render_headline

    execution = Execution(command=typed(), **typed_settings(Execution, options))
    *students, whole = train(run, features, execution, name=name, seeds=seeds)
    click.echo(render_headline(whole.parents[2], [*students, *find_run_dirs(run)]))


COMMANDS = (distill,)
