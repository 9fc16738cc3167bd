"""`mer fuse-train`, `mer tune`, `mer ablate` and `mer fusions`: frames become trained models."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gia_mic.commands.options import (
    Finite,
    corpus_option,
    device_option,
    engine_options,
    features_option,
    pairs,
    runs_option,
    target_option,
    typed,
)
from gia_mic.commands.settings import setting_options, typed_settings
from gia_mic.fuse.config import PROTOCOLS, RENAMED, SELECTIONS, SPACE, TRIALS, GiaMicConfig, TrainingConfig, fusion_name

if TYPE_CHECKING:
    from gia_mic.extract.corpus import Corpus

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


def parse_settings(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE texts as a dictionary of a config's fields.

    Raises:
        click.BadParameter: One lacks its name or value, or has the old name of a renamed setting.
    """
    named = {name.strip().replace("-", "_"): value for name, value in pairs(texts, "NAME=VALUE").items()}
    for name in named.keys() & RENAMED.keys():
        raise click.BadParameter(f"{name} is now {RENAMED[name]}.")
    return named


def frames_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say whose frames, and which of them: --corpus, --modalities and --encoder."""
    which = click.option(
        "--modalities", metavar="s,t,v", help="Some of s (speech), t (text), v (visual).  [default: all extracted]"
    )
    several = "Which features, where there are several."
    encoder = click.option("--encoder", "encoders", multiple=True, metavar="NAME", help=several)
    return corpus_option(which(encoder(command)))


def ready_corpus(features: Path, name: str | None) -> "Corpus":
    """Return the corpus to train on; one that mer makes itself is made and extracted first where it isn't yet."""
    from gia_mic.extract.corpora import find_or_demo
    from gia_mic.extract.run import extract_generated

    corpus = find_or_demo(features, name)
    extract_generated(corpus)
    return corpus


def choose_engine(engine: str, address: str | None) -> Callable[..., list[Path]] | None:
    """Return what trains models on a Ray cluster; None for this machine."""
    if engine == "local":
        return None
    from gia_mic.fuse.on_ray import train_on_ray

    return partial(train_on_ray, address=address)


def protocol_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --protocol."""
    return click.option(
        "--protocol",
        type=click.Choice(list(PROTOCOLS)),
        default="session",
        show_default=True,
        help="Column that makes the folds.",
    )(command)


def select_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --select."""
    return click.option(
        "--select",
        type=click.Choice(SELECTIONS),
        default="last",
        show_default=True,
        help="Epoch to test: last, dev (best on a held-out part of the training) or test (best on the test fold: "
        "optimistic).",
    )(command)


def allow_shared_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --allow-shared."""
    text = "Accept folds that share speakers (or scenarios) between training and test."
    return click.option("--allow-shared", is_flag=True, help=text)(command)


def set_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --set, as `others`: values by setting."""
    return click.option(
        "--set",
        "others",
        multiple=True,
        metavar="NAME=VALUE",
        callback=parse_settings,
        help="Any setting of the fusion, as `mer fusions` lists them.",
    )(command)


def computing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of how to compute: --memory, --device and --jobs."""
    memory = click.option(
        "--memory",
        "memory_gib",
        type=Finite(0),
        metavar="GIB",
        help="Most memory for frames.  [default: all that is needed]",
    )
    jobs = click.option(
        "--jobs", type=click.IntRange(1), help="Runs trained side by side on this CPU.  [default: one for each core]"
    )
    return memory(device_option(jobs(command)))


def chosen_training(options: dict[str, Any], engine: str) -> TrainingConfig:
    """Take how to train out of a command's options, and say so where that is slow on this machine."""
    from gia_mic.extract.device import slow

    training = TrainingConfig(**typed_settings(TrainingConfig, options))
    if engine == "local" and (line := slow(training.precision, options.get("device", "cpu"))):
        logger.warning(line)
    return training


def local_device(device: str | None, engine: str) -> str:
    """Return the device of this machine that a command names; what a cluster has isn't known here."""
    return device if device and engine == "local" else "cpu"


@click.command("fuse-train")
@click.option(
    "--fold",
    default="all",
    callback=parse_fold,
    show_default=True,
    metavar="K|all",
    help="Fold to test on, from 1, or all.",
)
@frames_options
@click.option(
    "--fusion", default="gia-mic", show_default=True, help="Model; `mer fusions` lists them. Or your own, MODULE:CLASS."
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of weights, order and dropout; with --seeds, the first.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of runs for each fold.")
@click.option(
    "--name", help="Name of the run.  [default: the fusion's, with its target and the letters of its modalities]"
)
@target_option
@protocol_option
@select_option
@allow_shared_option
@setting_options(TrainingConfig)
@setting_options(GiaMicConfig)
@set_option
@click.option("--tensorboard", is_flag=True, help="Also write the histories for TensorBoard.")
@click.option(
    "--evaluate-subsets", is_flag=True, help="Also test without some modalities, under noise and with frames lost."
)
@computing_options
@engine_options
@features_option
@runs_option
def fuse_train(
    fold: int | None,
    corpus: str | None,
    modalities: str | None,
    encoders: tuple[str, ...],
    fusion: str,
    seed: int,
    seeds: int,
    others: dict[str, str],
    evaluate_subsets: bool,
    engine: str,
    address: str | None,
    features: Path,
    runs: Path,
    **options: Any,
) -> None:
    """Train a fusion on cached features; test it on held-out folds.

    Finished folds are kept unless their settings have changed.
    """
    from gia_mic.fuse.data import find_stores
    from gia_mic.fuse.experiment import Execution, Experiment
    from gia_mic.fuse.models.registry import configure
    from gia_mic.fuse.run import refuse_problems, train_here
    from gia_mic.report.render import render_headline

    model = configure(fusion, typed_settings(GiaMicConfig, options) | others)
    experiment = Experiment(
        fusion=fusion,
        model=model,
        training=chosen_training(options, engine),
        fold=fold,
        seeds=range(seed, seed + seeds),
        **typed_settings(Experiment, options),
    )
    refuse_problems(experiment, Execution(device=local_device(options["device"], engine)))
    prepared = ready_corpus(features, corpus)
    stores = find_stores(prepared, modalities, encoders)
    for modality, path in stores.items():
        logger.info(f"{modality}: {path}")
    train = choose_engine(engine, address) or train_here
    execution = Execution(command=typed(), **typed_settings(Execution, options))
    folders = train(prepared, stores, [experiment], execution, runs=runs)
    if evaluate_subsets:
        from gia_mic.fuse.robustness import evaluate

        shared, memory_gib = experiment.allow_shared, execution.memory_gib
        evaluate(prepared, stores, folders, allow_shared=shared, memory_gib=memory_gib)
    click.echo(render_headline(runs, prepared.name, {folders[0].parent.parent.name}))


@click.command()
@click.option(
    "--fold",
    default="all",
    callback=parse_fold,
    show_default=True,
    metavar="K|all",
    help="Fold to search for and test on, from 1, or all.",
)
@frames_options
@click.option(
    "--fusion",
    "fusions",
    multiple=True,
    default=("gia-mic",),
    show_default=True,
    metavar="NAME|all",
    help="Model; `mer fusions` lists them. Or your own, MODULE:CLASS. May be repeated.",
)
@click.option(
    "--trials",
    type=int,
    default=TRIALS,
    show_default=True,
    help="Settings that each model tries, its own defaults first.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the search and its trainings; with --seeds, the first.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of runs with the settings chosen."
)
@click.option(
    "--name", help="Name of the runs, before that of each of several models.  [default: as usual, and -tuned]"
)
@target_option
@protocol_option
@allow_shared_option
@setting_options(TrainingConfig)
@set_option
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
    """Search settings inside each fold's training part, then train and test with them.

    All models try the same settings, drawn at random. They are scored on a part of the training part; the fold's test
    part is looked at only in the end. A setting that is given is not searched.
    """
    from gia_mic.fuse.data import find_stores
    from gia_mic.fuse.experiment import Execution, Experiment
    from gia_mic.fuse.models.registry import FUSIONS, configure
    from gia_mic.fuse.run import refuse_problems, train_here
    from gia_mic.fuse.tune import refuse_search, tune
    from gia_mic.report.render import render_headline

    space = {setting: values for setting, values in SPACE.items() if options.get(setting) is None}
    space = {setting: values for setting, values in space.items() if setting not in others}
    training, shared = chosen_training(options, engine), typed_settings(Experiment, options)
    wanted = tuple(FUSIONS) if "all" in fusions else tuple(dict.fromkeys(fusions))
    experiments = [
        Experiment(
            fusion=fusion,
            model=configure(fusion, others),
            training=training,
            seeds=range(seed, seed + seeds),
            name=name and (name if len(wanted) == 1 else f"{name}-{fusion_name(fusion)}"),
            **shared,
        )
        for fusion in wanted
    ]
    for experiment in experiments:
        refuse_problems(experiment, Execution(device=local_device(options["device"], engine)))
        refuse_search(experiment, trials, space)
    prepared = ready_corpus(features, corpus)
    stores = find_stores(prepared, modalities, encoders)
    train = choose_engine(engine, address) or train_here
    execution = Execution(command=typed(), **typed_settings(Execution, options))
    folders = [
        folder
        for experiment in experiments
        for folder in tune(prepared, stores, experiment, execution, runs=runs, trials=trials, space=space, train=train)
    ]
    click.echo(render_headline(runs, prepared.name, {folder.parent.parent.name for folder in folders}))


@click.command()
@frames_options
@click.option("--fusion", default="gia-mic", show_default=True, help="Model: gia-mic, or your own, MODULE:CLASS.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of runs for each fold.")
@click.option("--baselines", is_flag=True, help="Train the other fusions too, with their own default settings.")
@click.option("--name", help="Name of the whole model's run, with which the others' begin.  [default: the fusion's]")
@target_option
@protocol_option
@select_option
@setting_options(TrainingConfig)
@setting_options(GiaMicConfig, without=("without",))
@set_option
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
    """Train GIA-MIC, or your own fusion, without each of its parts: what each costs.

    GIA-MIC is trained whole, without each part, with each constraint, and without learning each modality by itself, on
    the same folds and seeds. The parts of your own are the settings that it declares with an off value.
    """
    from gia_mic.fuse.ablate import train_ablations
    from gia_mic.fuse.data import find_stores
    from gia_mic.fuse.experiment import Execution, Experiment
    from gia_mic.fuse.models.registry import FUSIONS, configure
    from gia_mic.fuse.run import refuse_problems, train_here
    from gia_mic.report.render import render

    experiment = Experiment(
        fusion=fusion,
        model=configure(fusion, typed_settings(GiaMicConfig, options) | others),
        training=chosen_training(options, engine),
        seeds=range(seeds),
        **typed_settings(Experiment, options),
    )
    refuse_problems(experiment, Execution(device=local_device(options["device"], engine)))
    prepared = ready_corpus(features, corpus)
    folders = train_ablations(
        prepared,
        find_stores(prepared, modalities, encoders),
        experiment,
        Execution(command=typed(), **typed_settings(Execution, options)),
        runs=runs,
        baselines=tuple(FUSIONS) if baselines else (),
        train=choose_engine(engine, address) or train_here,
    )
    names = [folder.parent.parent.name for folder in folders]
    click.echo(render(runs / prepared.name, "terminal", names[0], names))


@click.command()
@click.option("--fusion", "names", multiple=True, metavar="NAME", help="Only this one. May be repeated.")
@click.option("--check", metavar="NAME", help="Try whether this one does what every fusion must do.")
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
