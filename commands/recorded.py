"""Turns the configuration that a run recorded back into the options that train it again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gia_mic.commands.experiment_file import experiment_text, key_of
from gia_mic.commands.settings import option_name
from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.settings import settings_of
from gia_mic.fuse.config import SPACE, TRIALS, GiaMicConfig, TrainingConfig

if TYPE_CHECKING:
    from gia_mic.fuse.runs.runs import Run

__all__ = ["CommandLikeRun", "experiment_of", "recorded_options"]

HARMLESS = set(
    "like name corpus fold seed seeds runs features device jobs memory_gib logs evaluate_subsets engine address"
    " verbose quiet".split()
)
"""Parameters beside --like that make no other model, or put it elsewhere: the run needn't be given another name."""


class CommandLikeRun(click.Command):
    """A command whose option --like gives the others the values that a run recorded; those that are typed win."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Take the run's values as defaults before the other options are read.

        Raises:
            click.UsageError: The run would be replaced by another one.
            RunError: There is no such run.
        """
        typed, _, _ = self.make_parser(context).parse_args(list(args))
        if "like" in typed:
            from gia_mic.fuse.runs.folder import find_run_dirs, read_config

            run_dir = find_run_dirs(Path(typed["like"]))[0]
            config = read_config(run_dir)
            others = sorted(key_of(parameter) for parameter in self.params if parameter.name in typed.keys() - HARMLESS)
            distilled = "distilled_from" in config
            if "name" not in typed and (others or distilled or config.pop("search", None)):
                why = "settings that were searched for one fold"
                why = f"other {one_line(others)}" if others else "labels and no teachers" if distilled else why
                raise click.UsageError(f"With {why}, give a --name, or it would replace {typed['like']}.", context)
            options = recorded_options(config, run_dir.parents[1].name, typed.get("fusion"))
            names = {key_of(parameter): str(parameter.name) for parameter in self.params}
            context.default_map = {names[key]: _as_typed(value) for key, value in options.items()}
        return super().parse_args(context, args)


def recorded_options(config: Mapping[str, Any], name: str, fusion: str | None = None) -> dict[str, Any]:
    """Return the options of `mer fuse-train`, or of `mer tune`, that train a run again, but for folds and seeds.

    Args:
        config: The run's configuration.
        name: The run's name.
        fusion: Another fusion to train; the settings of the run's own are left out then.

    Returns:
        Values by option, without the hyphens before it; only where they differ from the defaults.

    Raises:
        RunError: The run has settings that this version doesn't have.
    """
    from gia_mic.fuse.experiment import default_name
    from gia_mic.fuse.runs.folder import recorded_target
    from gia_mic.fuse.runs.source import named_fusion

    target, search = recorded_target(config), config.get("search")
    model = {key: value for key, value in config["model"].items() if key != "name"}
    own = named_fusion(config)
    usual = default_name(config["model"]["name"], config["modalities"])
    options: dict[str, Any] = {"corpus": config["corpus"]["name"]}
    if own != "gia-mic":
        options["fusion"] = own
    options["modalities"] = "".join(letter for letter, each in MODALITIES.items() if each in config["modalities"])
    files = [Path(config["features"][modality]["file"]).stem for modality in config["modalities"]]
    options["encoder"] = list(dict.fromkeys(files))
    if target.kind != "label":
        options["target"] = target.name
    if "target" in config or name != (usual if search is None else f"{usual}-tuned"):
        options["name"] = name
    if config["protocol"] != "session":
        options["protocol"] = config["protocol"]
    if config["select"] != "last":
        options["select"] = config["select"]
    if config.get("allow_shared"):
        options["allow-shared"] = True
    defaults = asdict(TrainingConfig().of(target))
    options |= _named(_others(config["training"], defaults, search))
    if fusion in (None, own):
        settings = _others(model, _defaults(config), search)
        if own == "gia-mic" and search is None:
            options |= _named(settings)
        elif settings:
            options["set"] = settings
    return options


def experiment_of(runs: Sequence["Run"], source: Path) -> str:
    """Return the file of an experiment that makes runs again, from their extraction to their report.

    Args:
        runs: The runs.
        source: Folder that they were read from.

    Raises:
        RunError: All of them are distilled from others.
    """
    distilled = [run.name for run in runs if "distilled_from" in run.config]
    runs = [run for run in runs if run.name not in distilled]
    if not runs:
        raise RunError(f"{source} has only distilled runs, which `mer distill` makes: give the runs they learn from.")
    tables = [(name, table) for run in runs for name, table in _trainings(run)]
    first, *others = (table for _, table in tables)
    shared = {key: value for key, value in first.items() if all(table.get(key) == value for table in others)}
    if not others:
        shared = {"corpus": first["corpus"]}
    extractions = [("extract", table) for table in _extractions(runs)]
    tables = [(name, _without(table, shared)) for name, table in (*extractions, *tables)]
    corpora = dict.fromkeys(f"{run.corpus} (digest {str(run.config['corpus'].get('digest'))[:12]})" for run in runs)
    head = [
        f"# What makes the runs in {source} again: mer run FILE",
        f"# Prepare first, with `mer prepare` or a table here, the same as then: {', '.join(corpora)}.",
        *_imported(runs),
        *([f"# Distil again, with `mer distill`: {one_line(distilled)}."] if distilled else []),
    ]
    return "\n".join([*head, "", experiment_text(shared, [*tables, ("report", {})])])


def _without(table: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in shared or value != shared[key]}


def _trainings(run: "Run") -> Iterable[tuple[str, dict[str, Any]]]:
    """Give the commands that train a run: one for all folds that have the same seeds."""
    search = run.config.get("search")
    options = recorded_options(run.config, run.name)
    if search is None and any(fold.robustness for fold in run.folds):
        options["evaluate-subsets"] = True
    if search is not None and search["trials"] != TRIALS:
        options["trials"] = search["trials"]
    numbers_by_seeds: dict[tuple[int, ...], list[int]] = {}
    for number in run.numbers:
        seeds = tuple(sorted(fold.seed for fold in run.folds if fold.number == number))
        numbers_by_seeds.setdefault(seeds, []).append(number)
    for seeds, numbers in numbers_by_seeds.items():
        table = {**options, **_seeds(seeds)}
        if len(numbers) < run.expected:
            table["fold"] = numbers[0] if len(numbers) == 1 else numbers
        yield "fuse-train" if search is None else "tune", table


def _seeds(seeds: Sequence[int]) -> dict[str, Any]:
    """Return the options for seeds: a first one and how many, or where they don't follow each other a list."""
    if list(seeds) != list(range(seeds[0], seeds[0] + len(seeds))):
        return {"seed": list(seeds)}
    return ({"seed": seeds[0]} if seeds[0] else {}) | ({"seeds": len(seeds)} if len(seeds) > 1 else {})


def _extractions(runs: Iterable["Run"]) -> list[dict[str, Any]]:
    """Return the options of `mer extract` that make the features of runs, each once."""
    tables: list[dict[str, Any]] = []
    for run in runs:
        weights = run.folds[0].config["provenance"].get("weights") or {}
        for modality, features in run.config["features"].items():
            spec = features.get("spec") or {}
            table = {"corpus": run.corpus, "modality": modality, **_encoder(spec, weights.get(modality))}
            if "version" in spec and table not in tables:
                tables.append(table)
    return tables


def _encoder(spec: Mapping[str, Any], folder: str | None) -> dict[str, Any]:
    """Return the options of `mer extract` that make an encoder; `folder` is where its weights were."""
    from gia_mic.extract.encoders.contract import TINY
    from gia_mic.extract.encoders.weights import recorded_revision
    from gia_mic.rebuild import from_folder

    options: dict[str, Any] = {"encoder": spec.get("model")}
    if isinstance(code := spec.get("code"), Mapping):
        options["encoder"] = f"{code['module']}:{code['class_name']}"
    elif spec.get("model") != TINY and "weights" in spec:
        options |= {"encoder": folder or spec["model"]} if from_folder(spec["weights"]) else {}
        options |= {} if from_folder(spec["weights"]) else {"revision": recorded_revision(spec)}
    for name, setting in settings_of(EncoderConfig).items():
        value = spec.get(name)
        value = tuple(value) if isinstance(value, list) else value
        if value is not None and (value != setting.default or setting.elsewhere):
            options[_key(name)] = ",".join(map(str, value)) if isinstance(value, tuple) else value
    if isinstance(code, Mapping):
        for name in ("layers", "precision"):
            options.pop(name, None)
        if settings := {**code["settings"], **({"weights": folder} if folder else {})}:
            options["set"] = settings
    return options


def _imported(runs: Iterable["Run"]) -> list[str]:
    """Return a line on features that others made, which no extraction makes."""
    files = {
        f"{run.corpus}/{features['file']}": None
        for run in runs
        for features in run.config["features"].values()
        if "version" not in (features.get("spec") or {})
    }
    return [f"# Import again, with `mer import`: {one_line(files)}."] if files else []


def _defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default settings of a run's fusion; none where others wrote it, whose code isn't run for this."""
    name = config["model"]["name"]
    if config.get("fusion") is not None:
        return {}
    if name == "gia-mic":
        return asdict(GiaMicConfig())
    from gia_mic.fuse.models.registry import FUSIONS

    if name not in FUSIONS:  # not looked for: a name that a stranger recorded may lead to code
        raise RunError(f"There is no fusion {name!r} in this version: leave the run out.")
    return asdict(FUSIONS[name].config())


def _others(values: Mapping[str, Any], defaults: Mapping[str, Any], search: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings that differ from the defaults, and those that a search was told to leave alone.

    Raises:
        RunError: This version doesn't have one of them.
    """
    if defaults and (unknown := values.keys() - defaults.keys()):
        raise RunError(f"This version has no setting {one_line(sorted(unknown))}: train the run with its own version.")
    searched = search["space"] if search else {}
    entries = {}
    for name, value in values.items():
        value = tuple(value) if isinstance(value, list) else value
        left_alone = search is not None and name in SPACE
        if (
            name not in searched
            and value is not None
            and (left_alone or name not in defaults or value != defaults[name])
        ):
            entries[name] = list(value) if isinstance(value, tuple) else value
    return entries


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their options."""
    return {_key(name): value for name, value in settings.items()}


def _key(name: str) -> str:
    return option_name(name).removeprefix("--")


def _as_typed(value: Any) -> Any:
    """Return a value as click takes it for a default: settings as NAME=VALUE, in the manner of --set."""
    if not isinstance(value, Mapping):
        return value
    return [f"{name}={','.join(map(str, one)) if isinstance(one, list) else one}" for name, one in value.items()]
