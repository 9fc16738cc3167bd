"""Turns the settings of all configs into a page: `python -m gia_mic.commands.settings_page > docs/settings.md`."""

import sys
from collections.abc import Callable, Iterator

from gia_mic.commands.settings import option_name
from gia_mic.config import ListenConfig
from gia_mic.extract.config import DEFAULT_MODELS, EncoderConfig
from gia_mic.extract.settings import settings_of
from gia_mic.fuse.config import RENAMED, SPACE, TrainingConfig
from gia_mic.fuse.models.registry import FUSIONS

__all__ = ["settings_page"]

HEAD = """\
# Settings

Every setting that shapes frames, a training or an answer, with its default. This page is made from their declarations
in `extract/config.py`, `fuse/config.py` and `gia_mic/config.py`:

    python -m gia_mic.commands.settings_page > docs/settings.md
"""

ENCODERS = """\
The model is that of `--encoder`; by default {models}. A feature file's name has a fingerprint, a hash of the model and
of all these settings.
"""

TRAINING = """\
For every fusion alike; a run's `config.json` has them under `training`, with underscores. UA is the mean of the
classes' recalls, and CCC the concordance correlation coefficient ([all metrics](targets.md#train-and-report)).
"""

RENAMINGS = """\
Older runs are read under the new names. They count as finished if they have the same settings. The old options are
refused.
"""


def settings_page() -> str:
    """Return the page, in Markdown."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield HEAD
    yield "## Encoders: `mer extract`\n"
    yield ENCODERS.format(models=", ".join(f"`{model}` for {name}" for name, model in DEFAULT_MODELS.items()))
    yield _table(EncoderConfig, option_name)
    yield "## Training: `mer fuse-train`, `mer tune` and `mer ablate`\n"
    yield TRAINING
    yield _table(TrainingConfig, option_name)
    for entry in FUSIONS.values():
        yield f"## Fusion `{entry.name}`\n"
        typed, named = ("as options", option_name) if entry.name == "gia-mic" else ("with `--set NAME=VALUE`", str)
        yield f"{entry.about.capitalize()} ({entry.source}); typed {typed}.\n"
        yield _table(entry.config, named)
    yield "## Listening: `mer listen`\n"
    yield _table(ListenConfig, option_name)
    yield "## What `mer tune` searches\n"
    yield "| setting | values |\n|---|---|"
    yield from (f"| `{name}` | {', '.join(f'{value:g}' for value in values)} |" for name, values in SPACE.items())
    yield "\n## Renamed settings\n"
    yield RENAMINGS
    yield "| old | new |\n|---|---|"
    yield from (f"| `{option_name(before)}` | `{option_name(now)}` |" for before, now in RENAMED.items())
    yield ""


def _table(config: type, named: Callable[[str], str]) -> str:
    """Return a table with a row for each setting of a config."""
    rows = [
        f"| `{named(name)}` | {setting.shown} | {setting.range} | {setting.help} |\n"
        for name, setting in settings_of(config).items()
    ]
    return f"| setting | default | range | what it is |\n|---|---|---|---|\n{''.join(rows)}"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
