"""Turns the name of a fusion into a model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import RunError
from gia_mic.extract.plugin_settings import configured, settings_lines, settings_of_own
from gia_mic.extract.plugins import Source, installed
from gia_mic.extract.settings import Setting, out_of_range
from gia_mic.fuse.config import GiaMicConfig, LmfConfig, MisaConfig, MultConfig, PooledConfig, TfnConfig, fusion_name
from gia_mic.fuse.models.gia_mic import GiaMic
from gia_mic.fuse.models.misa import Misa
from gia_mic.fuse.models.mult import Mult
from gia_mic.fuse.models.own import OwnFusion
from gia_mic.fuse.models.plugins import FUSION, OwnClass, load_class, load_installed
from gia_mic.fuse.models.pooled import Attention, Concat, Late, Lmf, Tfn

__all__ = ["FUSIONS", "Entry", "build_fusion", "configure", "find_fusion", "listing", "names", "own_entry", "size"]


@dataclass(frozen=True)
class Entry:
    """A fusion that can be trained.

    Attributes:
        name: Name on the command line.
        about: Description in one line.
        source: Paper or custom that it comes from.
        config: Frozen dataclass of the settings; it may have a method `problems()`.
        make: Makes the model of dims by modality, the number of outputs, a config and layers by modality (or none).
        code: Where it comes from, if others wrote it; None for ours.
    """

    name: str
    about: str
    source: str
    config: type[Any]
    make: Callable[..., nn.Module]
    code: Source | None = None

    @property
    def settings(self) -> dict[str, Setting]:
        """Its settings by name, in their order."""
        return settings_of_own(self.config)

    def problems(self, config: Any) -> list[str]:
        """Return what is wrong with a config, one sentence each."""
        return config.problems() if hasattr(config, "problems") else out_of_range(config)


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


def names() -> list[str]:
    """Return the names of our fusions and of those that installed packages have.

    Raises:
        RunError: Two packages have one name.
    """
    return list(dict.fromkeys([*FUSIONS, *installed(FUSION)]))


def find_fusion(name: str) -> Entry:
    """Return a fusion.

    Args:
        name: One of ours, one that an installed package names by an entry point, or MODULE:CLASS, as
            `plugins.load_class` takes it.

    Raises:
        RunError: There is none of that name, or it can't be loaded.
    """
    if name in FUSIONS:
        return FUSIONS[name]
    if ":" in name:
        return own_entry(fusion_name(name), load_class(name))
    points = installed(FUSION)
    if name not in points:
        raise RunError(
            f"There is no fusion {name!r}: choose one of {', '.join(names())}, or name your own by MODULE:CLASS."
        )
    return own_entry(name, load_installed(points[name].module, points[name].attr))


def own_entry(name: str, own: OwnClass) -> Entry:
    """Return the entry of a fusion that others wrote.

    Raises:
        RunError: It has the name of one of ours.
    """
    if name in FUSIONS:
        raise RunError(
            f"{own.source.class_name} in {own.source.file} would be called {name}, as one of ours: rename it."
        )
    return Entry(name, own.about, own.source.origin, own.config, partial(OwnFusion, name, own.make), own.source)


def size(entry: Entry, dims: Mapping[str, int], outputs: int) -> int:
    """Return how many parameters a fusion has at its default settings."""
    return sum(parameter.numel() for parameter in entry.make(dims, outputs, entry.config()).parameters())


def listing(fusions: Sequence[str] = ()) -> str:
    """Return a line for each fusion, with its size for three modalities of 768 features and four classes.

    Under it stands one for each of its settings, with the default.

    Args:
        fusions: Names; by default ours and those of installed packages, of which one that fails has its error instead.

    Raises:
        RunError: As `find_fusion`.
    """
    lines = []
    for name in fusions or FUSIONS:
        lines += _lines(find_fusion(name))
    for name, point in installed(FUSION).items() if not fusions else ():
        try:
            lines += _lines(own_entry(name, load_installed(point.module, point.attr)))
        except RunError as error:
            lines.append(f"{name:10}{'—':>10}  {error}")
    return "\n".join(lines)


def _lines(entry: Entry) -> list[str]:
    dims = dict.fromkeys(MODALITIES.values(), 768)
    line = f"{entry.name:10}{size(entry, dims, 4):>10,}  {entry.about} ({entry.source})"
    return [line, *settings_lines(entry.settings)]


def configure(name: str, settings: Mapping[str, Any]) -> Any:
    """Return a fusion's config with these settings, as values or as text, and the others at their defaults.

    Raises:
        RunError: The fusion is unknown, has no such setting, or a text is not of the setting's type.
    """
    return configured(find_fusion(name).config, settings, f"The fusion {name}", RunError)


def build_fusion(
    entry: Entry,
    dims: Mapping[str, int],
    outputs: int,
    settings: Mapping[str, Any],
    layers: Mapping[str, int] | None = None,
) -> nn.Module:
    """Make a model from the settings that a run folder's `config.json` holds under `model`.

    Raises:
        RunError: One of the settings is unknown to this version.
    """
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items() if key != "name"
    }
    try:
        config = entry.config(**values)
    except TypeError as error:
        raise RunError(
            f"The settings of {entry.name} are not those of this version ({error}): train the run again."
        ) from error
    return entry.make(dims, outputs, config, layers)
