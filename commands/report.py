"""`mer report` and `mer audit`: runs become tables and pages."""

import logging
from pathlib import Path

import click

import gia_mic
from gia_mic.commands.options import FOLDER, corpus_option, features_option, target_option

logger = logging.getLogger(__name__)


@click.command()
@click.argument("runs", type=FOLDER, default=Path("runs"))
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "md", "csv", "json", "latex", "html"]),
    default="terminal",
    show_default=True,
    help="Print in this format. html is a page of one file; csv and json are for other programs.",
)
@click.option("--reference", metavar="RUN", help="Compare the other runs with this one in the table of ablations.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead of printing.")
@click.option(
    "--figures",
    type=FOLDER,
    metavar="FOLDER",
    help="Also write figures for papers to this folder, as PDF and SVG; needs pip install 'gia-mic[figures]'.",
)
@click.option(
    "--write-experiment",
    "experiment",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a file for `mer run` that makes these runs again.",
)
def report(
    runs: Path, form: str, reference: str | None, out: Path | None, figures: Path | None, experiment: Path | None
) -> None:
    """Print the scores of all finished runs.

    RUNS is the folder that holds them, by default runs/.
    """
    from gia_mic.extract.files import write_text

    result = gia_mic.read_report(runs, reference=reference)
    if figures is not None:
        logger.info(f"Wrote {len(result.figures(figures))} files to {figures}.")
    text = result.render(form)
    if out is None:
        click.echo(text)
    else:
        write_text(out, text + "\n")
        logger.info(f"Wrote {out}.")
    if experiment is not None:
        from gia_mic.commands.recorded import experiment_of
        from gia_mic.fuse.runs.runs import read_runs

        write_text(experiment, experiment_of(read_runs(runs), runs))
        logger.info(f"Wrote {experiment}.")


@click.command()
@corpus_option
@features_option
@target_option
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(["session", "speaker", "split", "scenario"]),
    multiple=True,
    help="Look only at the folds from this column. May be repeated.  [default: all]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "md", "latex"]),
    default="terminal",
    show_default=True,
    help="Print in this format.",
)
def audit(corpus: str | None, features: Path, target: str | None, protocols: tuple[str, ...], form: str) -> None:
    """Show what training and test share, and what controls score.

    For each fold these are the shared speakers, sessions, dialogs, scenarios and sentences. Controls are predictions
    that see no feature, such as the most frequent class.
    """
    from gia_mic.extract.corpora import find_or_demo
    from gia_mic.fuse.split import PROTOCOLS
    from gia_mic.report.audit import render_audit

    prepared = find_or_demo(features, corpus)
    click.echo(render_audit(prepared, protocols or tuple(PROTOCOLS), form, target))


@click.command()
@click.option("--check", metavar="MODULE:CLASS", help="Test whether this metric does what every metric must do.")
def metrics(check: str | None) -> None:
    """List the metrics of each kind of target.

    Those of installed packages are among them.
    """
    from gia_mic.extract import plugins
    from gia_mic.extract.targets import KINDS, Target
    from gia_mic.fuse.measure import measure_of
    from gia_mic.fuse.measure.own import METRIC, check_metric

    if check is not None:
        metric = check_metric(plugins.short_name(check), plugins.load(METRIC, check))
        click.echo(f"{check} judges {', '.join(metric.judge.targets)}, whatever the order of utterances.")
        return
    for kind in KINDS:
        measure = measure_of(Target(kind, ("NAME",), ((0.0, 1.0),) if kind == "scores" else ()))
        click.echo("\n".join([kind, *(f"  {name:20}{about}" for name, about in measure.about.items())]))


COMMANDS = (report, audit, metrics)
