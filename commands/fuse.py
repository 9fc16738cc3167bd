"""`mer fuse-train`, `mer tune`, `mer ablate` and `mer fusions`: frames become trained models."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import gia_mic
from gia_mic.commands.options import (
    Finite,
    corpus_option,
    device_option,
    end_check,
    engine_options,
    features_option,
    pairs,
    runs_option,
    target_option,
    typed,
)
from gia_mic.commands.recorded import CommandLikeRun
from gia_mic.commands.settings import setting_options, typed_settings
from gia_mic.fuse.config import PROTOCOLS, RENAMED, SELECTIONS, SPACE, TRIALS, GiaMicConfig, TrainingConfig, fusion_name
from gia_mic.fuse.runs.logs import LOGS

logger = logging.getLogger(__name__)


def parse_fold(_: click.Context, __: click.Parameter, text: str) -> int | None:
    """Return a fold's number, or None for all.

    Raises:
        click.BadParameter: It is neither.
    """
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor all.") from None


def parse_settings(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE texts as a dictionary of a config's fields.

    Raises:
        click.BadParameter: One lacks its name or value, or has the old name of a renamed setting.
    """
    texts = (*(context.default_map or {}).get(str(parameter.name), ()), *texts)  # those of --like come first
    named = {name.strip().replace("-", "_"): value for name, value in pairs(texts, "NAME=VALUE").items()}
    for name in named.keys() & RENAMED.keys():
        raise click.BadParameter(f"{name} is now {RENAMED[name]}.")
    return named


def frames_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say whose frames, and which of them: --corpus, --modalities and --encoder."""
    which = click.option(
        "--modalities",
        metavar="s,t,v",
        help="Use only these modalities: s is speech, t text, v visual.  [default: all that are extracted]",
    )
    several = "Use the features of this encoder, if a modality has several."
    encoder = click.option("--encoder", "encoders", multiple=True, metavar="NAME", help=several)
    return corpus_option(which(encoder(command)))


def protocol_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --protocol."""
    return click.option(
        "--protocol",
        type=click.Choice(list(PROTOCOLS)),
        default="session",
        show_default=True,
        help="Make the folds from this column of the manifest.",
    )(command)


def select_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --select."""
    return click.option(
        "--select",
        type=click.Choice(SELECTIONS),
        default="last",
        show_default=True,
        help="Test the last epoch, the best on a held-out part of the training (dev), or the best on the test fold "
        "(test). The last of these is optimistic.",
    )(command)


def allow_shared_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --allow-shared."""
    text = "Accept folds whose training and test part share speakers or scenarios."
    return click.option("--allow-shared", is_flag=True, help=text)(command)


def seeds_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --seeds."""
    text = "Train this many runs of each fold, each with its own seed."
    return click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help=text)(command)


def set_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --set, as `others`: values by setting."""
    return click.option(
        "--set",
        "others",
        multiple=True,
        metavar="NAME=VALUE",
        callback=parse_settings,
        help="Change a setting of the fusion; `mer fusions` lists them. May be repeated.",
    )(command)


def computing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of how to compute: --memory, --device and --jobs."""
    memory = click.option(
        "--memory",
        "memory_gib",
        type=Finite(0),
        metavar="GIB",
        help="Read features batch by batch if they need more memory than this; 0 always does.  [default: never]",
    )
    jobs = click.option(
        "--jobs",
        type=click.IntRange(1),
        help="Train this many runs side by side on the CPU.  [default: one for each core]",
    )
    return memory(device_option(jobs(command)))


def chosen_training(options: dict[str, Any], engine: str) -> TrainingConfig:
    """Take how to train out of a command's options, and say so where that is slow on this machine."""
    from gia_mic.training import warn_if_slow

    training = TrainingConfig(**typed_settings(TrainingConfig, options))
    warn_if_slow(training, engine, options["device"])
    return training


def log_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --log, as `logs`."""
    return click.option(
        "--log",
        "logs",
        multiple=True,
        type=click.Choice(list(LOGS)),
        help="Also show trained runs in this program; needs pip install 'gia-mic[NAME]'. wandb stays offline unless "
        "WANDB_MODE says otherwise. May be repeated.",
    )(command)


@click.command("fuse-train", cls=CommandLikeRun)
@click.option(
    "--like",
    metavar="RUN",
    help="Take the settings of this run, but not its folds and seeds. Options given beside it win.",
)
@click.option(
    "--fold",
    default="all",
    callback=parse_fold,
    show_default=True,
    metavar="K|all",
    help="Test on this fold, counted from 1, or on each in turn (all).",
)
@frames_options
@click.option(
    "--fusion",
    default="gia-mic",
    show_default=True,
    help="Train this fusion; `mer fusions` lists them. Your own is MODULE:CLASS.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of everything random; with --seeds, the first of them.",
)
@seeds_option
@click.option("--name", help="Name of the run.  [default: that of the fusion, its target and its modalities]")
@target_option
@protocol_option
@select_option
@allow_shared_option
@setting_options(TrainingConfig)
@setting_options(GiaMicConfig)
@set_option
@log_option
@click.option(
    "--evaluate-subsets", is_flag=True, help="Also test without some modalities, with noise, and with lost frames."
)
@computing_options
@engine_options
@features_option
@runs_option
def fuse_train(like: str | None, others: dict[str, str], **options: Any) -> None:
    """Train a fusion on cached features, and test it.

    Each fold is tested on utterances that its model never saw in training. A finished fold is not trained again unless
    its settings have changed.
    """
    settings = {name: value for name, value in options.items() if value not in (None, ())}
    click.echo(gia_mic.train(**settings, fusion_settings=others, on_checked=end_check, command=typed()))


@click.command()
@click.option(
    "--fold",
    default="all",
    callback=parse_fold,
    show_default=True,
    metavar="K|all",
    help="Search for and test on this fold, counted from 1, or each in turn (all).",
)
@frames_options
@click.option(
    "--fusion",
    "fusions",
    multiple=True,
    default=("gia-mic",),
    show_default=True,
    metavar="NAME|all",
    help="Search for this fusion, or for all; `mer fusions` lists them. Your own is MODULE:CLASS. May be repeated.",
)
@click.option(
    "--trials",
    type=int,
    default=TRIALS,
    show_default=True,
    help="Try this many settings of each fusion, its defaults first.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the search and its trainings; with --seeds, the first of them.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Train this many runs with the chosen settings.",
)
@click.option(
    "--name",
    help="Name of the run; of several fusions, the beginning of each name.  [default: the usual name and -tuned]",
)
@target_option
@protocol_option
@allow_shared_option
@setting_options(TrainingConfig)
@set_option
@log_option
@computing_options
@engine_options
@features_option
@runs_option
def tune(
    corpus: str | None,
    modalities: str | None,
    encoders: tuple[str, ...],
    fusions: tuple[str, ...],
    trials: int,
    seed: int,
    seeds: int,
    name: str | None,
    others: dict[str, str],
    engine: str,
    address: str | None,
    features: Path,
    runs: Path,
    **options: Any,
) -> None:
    """Search settings for each fold, then train and test.

    All fusions try the same settings, drawn at random. They are scored inside the fold's training part; its test part
    is used only in the end. A setting that you give is not searched.
    """
    from gia_mic.fuse.data import find_stores
    from gia_mic.fuse.experiment import Execution, Experiment
    from gia_mic.fuse.models.registry import FUSIONS, configure
    from gia_mic.fuse.run import refuse_problems
    from gia_mic.fuse.tune import refuse_search, tune
    from gia_mic.report.render import render_headline
    from gia_mic.training import choose_engine, local_device, ready_corpus

    space = {setting: values for setting, values in SPACE.items() if options.get(setting) is None}
    space = {setting: values for setting, values in space.items() if setting not in others}
    training, shared = chosen_training(options, engine), typed_settings(Experiment, options)
    names = tuple(FUSIONS) if "all" in fusions else tuple(dict.fromkeys(fusions))
    experiments = [
        Experiment(
            fusion=fusion,
            model=configure(fusion, others),
            training=training,
            seeds=range(seed, seed + seeds),
            name=name and (name if len(names) == 1 else f"{name}-{fusion_name(fusion)}"),
            **shared,
        )
        for fusion in names
    ]
    for experiment in experiments:
        refuse_problems(experiment, Execution(device=local_device(options["device"], engine)))
        refuse_search(experiment, trials, space)
    end_check()
    prepared = ready_corpus(features, corpus)
    stores = find_stores(prepared, modalities, encoders)
    train = choose_engine(engine, address)
    execution = Execution(command=typed(), **typed_settings(Execution, options))
    folders = [
        folder
        for experiment in experiments
        for folder in tune(prepared, stores, experiment, execution, runs=runs, trials=trials, space=space, train=train)
    ]
    click.echo(render_headline(runs / prepared.name, folders))


@click.command()
@frames_options
@click.option(
    "--fusion",
    default="gia-mic",
    show_default=True,
    help="Fusion whose parts to measure: gia-mic, or your own, MODULE:CLASS.",
)
@seeds_option
@click.option("--baselines", is_flag=True, help="Also train the other fusions, with their default settings.")
@click.option("--name", help="Name of the whole model's run; the other names begin with it.  [default: the fusion's]")
@target_option
@protocol_option
@select_option
@setting_options(TrainingConfig)
@setting_options(GiaMicConfig, without=("without",))
@set_option
@log_option
@computing_options
@engine_options
@features_option
@runs_option
def ablate(
    corpus: str | None,
    modalities: str | None,
    encoders: tuple[str, ...],
    fusion: str,
    seeds: int,
    baselines: bool,
    others: dict[str, str],
    engine: str,
    address: str | None,
    features: Path,
    runs: Path,
    **options: Any,
) -> None:
    """Measure what each part of a fusion brings.

    GIA-MIC is trained whole, without each part, with each constraint, and without learning each modality by itself, on
    the same folds and seeds. The parts of your own fusion are the settings that it declares with an off value.
    """
    from gia_mic.fuse.ablate import train_ablations
    from gia_mic.fuse.data import find_stores
    from gia_mic.fuse.experiment import Execution, Experiment
    from gia_mic.fuse.models.registry import FUSIONS, configure
    from gia_mic.fuse.run import refuse_problems
    from gia_mic.report.render import render
    from gia_mic.training import choose_engine, local_device, ready_corpus

    experiment = Experiment(
        fusion=fusion,
        model=configure(fusion, typed_settings(GiaMicConfig, options) | others),
        training=chosen_training(options, engine),
        seeds=range(seeds),
        **typed_settings(Experiment, options),
    )
    refuse_problems(experiment, Execution(device=local_device(options["device"], engine)))
    end_check()
    prepared = ready_corpus(features, corpus)
    folders = train_ablations(
        prepared,
        find_stores(prepared, modalities, encoders),
        experiment,
        Execution(command=typed(), **typed_settings(Execution, options)),
        runs=runs,
        baselines=tuple(FUSIONS) if baselines else (),
        train=choose_engine(engine, address),
    )
    click.echo(render(runs / prepared.name, "terminal", folders[0].parent.parent.name, folders))


@click.command()
@click.option("--fusion", "names", multiple=True, metavar="NAME", help="List only this fusion. May be repeated.")
@click.option("--check", metavar="NAME", help="Test whether this fusion does what every fusion must do.")
def fusions(names: tuple[str, ...], check: str | None) -> None:
    """List the fusion models with their size, source and settings.

    The size is that for three modalities of 768 features and four classes. NAME is one of them, or MODULE:CLASS of your
    own: my_fusion:MyFusion for my_fusion.py in the current folder, path/to/my_fusion.py:MyFusion, or that of an
    installed module.
    """
    if check is None:
        from gia_mic.fuse.models.registry import listing

        click.echo(listing(names))
        return
    from gia_mic.fuse.check import check_fusion, refuse_broken
    from gia_mic.fuse.models.registry import find_fusion

    findings = check_fusion(find_fusion(check))
    click.echo("\n".join(finding.line() for finding in findings))
    refuse_broken(findings)


COMMANDS = (fuse_train, tune, ablate, fusions)
