"""Options made of the fields of frozen configs, which alone know the defaults."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import click

from gia_mic.fuse.config import ABLATIONS, CONSTRAINTS, PRECISIONS, RENAMED, GiaMicConfig, TrainingConfig

__all__ = ["gia_mic_settings", "given", "name_the_new", "option_name", "training_settings"]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def training_settings(*, without: tuple[str, ...] = ()) -> Decorator:
    """Add an option for each field of `TrainingConfig`, but for some."""
    return _settings(
        TrainingConfig,
        without,
        epochs={"help": "Passes over the training part."},
        batch_size={"help": "Most utterances in a batch."},
        learning_rate={"help": "Highest learning rate."},
        weight_decay={"help": "AdamW's weight decay."},
        warmup={"help": "Part of all steps in which the rate rises, 0 to 1."},
        clip_norm={"help": "Longest gradient; 0 doesn't clip."},
        label_smoothing={"help": "Part of the target spread over all classes, 0 to 1."},
        class_weights={"help": "Weight classes by their inverse frequency."},
        unimodal_weight={"help": "Weight of the cross-entropy of each modality by itself; 0 needs --soft-target 0."},
        soft_target={
            "help": "Part of the target that is what modalities say by themselves, 0 to 1; needs --unimodal-weight."
        },
        modality_dropout={"help": "Probability that a modality is hidden from an utterance in a step."},
        feature_dropout={"help": "Probability that a feature of the frames is hidden in a step; helps small corpora."},
        patience={
            "help": "Epochs without a better UA on held-out dialogs, if there are any, before stopping; 0 never stops."
        },
        precision={"help": "Of the matrix products in training.", "type": click.Choice(PRECISIONS)},
        speech_stride={"help": "Use every n-th frame of speech."},
        layer_weights={
            "help": "Take several layers of an encoder as one long frame, instead of learning a weighted sum of them."
        },
    )


def gia_mic_settings(*, without: tuple[str, ...] = ()) -> Decorator:
    """Add an option for each field of `GiaMicConfig`, but for some."""
    return _settings(
        GiaMicConfig,
        without,
        width={"help": "Features inside the model."},
        heads={"help": "Attention heads."},
        latents={"help": "Latent tokens of GIA-MIC's generator."},
        layers={"help": "Layers of GIA-MIC's generator."},
        dropout={"help": "Probability that a feature is dropped, 0 to 1."},
        constraint={"help": "GIA-MIC's modality-invariant constraint.", "type": click.Choice(CONSTRAINTS)},
        constraint_weight={"help": "Weight of the fusion's own loss beside cross-entropy."},
        without={"help": "Part of GIA-MIC to leave out; may be repeated.", "type": click.Choice(ABLATIONS)},
    )


def given(config: type[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Take a config's fields out of a command's options, and return those that were typed."""
    taken = {field.name: options.pop(field.name, None) for field in fields(config)}
    return {name: value for name, value in taken.items() if value not in (None, ())}


def option_name(name: str) -> str:
    """Return the option of a field.

    >>> option_name("soft_target")
    '--soft-target'
    """
    return f"--{name.replace('_', '-')}"


def name_the_new(error: click.NoSuchOption) -> click.UsageError:
    """Return what to say of an option that a command doesn't have; of one of before, what it is called now."""
    new = option_name(RENAMED.get(error.option_name.lstrip("-").replace("-", "_"), ""))
    if error.ctx is not None and any(new in parameter.opts for parameter in error.ctx.command.params):
        return click.UsageError(f"{error.option_name} is now {new}.", error.ctx)
    return error


def _settings(config: type[Any], omitted: tuple[str, ...], /, **about: Mapping[str, Any]) -> Decorator:
    """Add an option for each field of a config but for some, in the order of `about`, which has their help."""
    defaults = {field.name: field.default for field in fields(config)}

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed([name for name in about if name not in omitted]):
            command = _setting(name, defaults[name], **about[name])(command)
        return command

    return add


def _setting(name: str, default: Any, help: str, **options: Any) -> Decorator:
    """Make the option of a field: a flag turns a truth value over, a tuple may be given piece by piece."""
    flag = f"--{name.replace('_', '-')}"
    if default is True:
        return click.option(f"--no{flag[1:]}", name, flag_value=False, default=None, help=help)
    shown = "off" if default is False else "none" if default == () else default
    if default is False:
        options["is_flag"] = True
    elif default == ():
        options["multiple"] = True
    else:
        options.setdefault("type", type(default))
    return click.option(flag, name, default=None, help=f"{help}  [default: {shown}]", **options)
