"""Turns the name of a fusion into a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.settings import Setting, settings_of
from gia_mic.fuse.config import GiaMicConfig, LmfConfig, MisaConfig, MultConfig, PooledConfig, TfnConfig
from gia_mic.fuse.models.gia_mic import GiaMic
from gia_mic.fuse.models.misa import Misa
from gia_mic.fuse.models.mult import Mult
from gia_mic.fuse.models.pooled import Attention, Concat, Late, Lmf, Tfn

__all__ = ["FUSIONS", "Entry", "build_fusion", "configure", "find_fusion", "listing", "size"]


@dataclass(frozen=True)
class Entry:
    """A fusion that can be trained.

    Attributes:
        name: Name on the command line.
        about: Description in one line.
        source: Paper or custom that it comes from.
        config: Frozen dataclass of the settings, with a method `problems()`.
        make: Makes the model of dims by modality, the number of outputs, a config and layers by modality (or none).
    """

    name: str
    about: str
    source: str
    config: type[Any]
    make: Callable[..., nn.Module]


FUSIONS: dict[str, Entry] = {
    entry.name: entry
    for entry in [
        Entry(
            "gia-mic",
            "gated interactive attention, modality-invariant generator and constraint",
            "He, Mi and Toda 2025, arXiv:2506.00865, our reading",
            GiaMicConfig,
            GiaMic,
        ),
        Entry("concat", "pooled vectors side by side, two layers", "the usual first try", PooledConfig, Concat),
        Entry("late", "mean of the logits of one model for each modality", "the usual second", PooledConfig, Late),
        Entry(
            "attention",
            "weights for the modalities by attention",
            "MERBench, arXiv:2401.03429",
            PooledConfig,
            Attention,
        ),
        Entry("tfn", "outer product of the modalities", "Zadeh et al. 2017, arXiv:1707.07250", TfnConfig, Tfn),
        Entry("lmf", "the same, with weights of low rank", "Liu et al. 2018, arXiv:1806.00064", LmfConfig, Lmf),
        Entry("mult", "crossmodal transformers", "Tsai et al. 2019, arXiv:1906.00295", MultConfig, Mult),
        Entry("misa", "shared and private spaces", "Hazarika et al. 2020, arXiv:2005.03545", MisaConfig, Misa),
    ]
}


def find_fusion(name: str) -> Entry:
    """Return a fusion by name.

    Raises:
        RunError: There is none of that name.
    """
    if name not in FUSIONS:
        raise RunError(f"There is no fusion {name!r}: choose one of {', '.join(FUSIONS)}.")
    return FUSIONS[name]


def size(entry: Entry, dims: Mapping[str, int], outputs: int) -> int:
    """Return how many parameters a fusion has at its default settings."""
    return sum(parameter.numel() for parameter in entry.make(dims, outputs, entry.config()).parameters())


def listing() -> str:
    """Return a line for each fusion, with its size for three modalities of 768 features and four classes.

    Under it stands one for each of its settings, with the default.
    """
    dims = dict.fromkeys(MODALITIES.values(), 768)
    lines = []
    for entry in FUSIONS.values():
        lines.append(f"{entry.name:10}{size(entry, dims, 4):>10,}  {entry.about} ({entry.source})")
        for name, setting in settings_of(entry.config).items():
            choices = f" ({setting.range})" if setting.choices else ""
            lines.append(f"  {name:18}{setting.shown:>12}  {setting.help.removesuffix('.')}{choices}.")
    return "\n".join(lines)


def configure(name: str, settings: Mapping[str, Any]) -> Any:
    """Return a fusion's config with these settings, as values or as text, and the others at their defaults.

    Raises:
        RunError: The fusion is unknown, has no such setting, or a text is not of the setting's type.
    """
    config = find_fusion(name).config
    known_settings = settings_of(config)
    unknown = [key for key in settings if key not in known_settings]
    if unknown:
        raise RunError(f"The fusion {name} has no setting {one_line(unknown)}: it has {one_line(known_settings, 20)}.")
    return config(**{key: _typed(key, value, known_settings[key]) for key, value in settings.items()})


def build_fusion(
    name: str,
    dims: Mapping[str, int],
    outputs: int,
    settings: Mapping[str, Any],
    layers: Mapping[str, int] | None = None,
) -> nn.Module:
    """Make a model from the settings that a run folder's `config.json` holds under `model`.

    Raises:
        RunError: The fusion or one of its settings is unknown to this version.
    """
    entry = find_fusion(name)
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items() if key != "name"
    }
    try:
        config = entry.config(**values)
    except TypeError as error:
        raise RunError(
            f"The settings of {name} are not those of this version ({error}): train the run again."
        ) from error
    return entry.make(dims, outputs, config, layers)


def _typed(name: str, value: Any, setting: Setting) -> Any:
    """Return a setting, which may be a text, as a value."""
    if not isinstance(value, str):
        return value
    try:
        return setting.value_of(value)
    except ValueError:
        raise RunError(
            f"The setting {name}={value} is no {type(setting.default).__name__}: give one such as {setting.shown}."
        ) from None
