"""Turns run folders into a folder that runs as a Space of the Hugging Face hub: a page that answers by the model."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from gia_mic.card_data import base_models, subject_of
from gia_mic.export import export, refuse_others
from gia_mic.extract.encoders.contract import TINY
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import write_text
from gia_mic.fuse.runs import folder as run_folder
from gia_mic.rebuild import from_hub
from gia_mic.repository import CARD

__all__ = ["SPACE_FILES", "write_space"]

APP, REQUIREMENTS, MODEL = "app.py", "requirements.txt", "model"
SPACE_FILES = (CARD, APP, REQUIREMENTS, MODEL, f"{MODEL}/*", ".gitattributes")
"""Patterns of what may lie in the folder of a Space."""

_APP = '''"""Shows the page of the trained run in the folder {model}/."""

import gia_mic
from gia_mic.serve.page import build_app

build_app(gia_mic.load("{model}"{trust})).launch()
'''

_README = """---
{data}
---

# {title}

A page that answers by a model trained with `mer`. The [model card]({model}/README.md) has its scores and limits. To run
the page on your own machine:

    pip install -r requirements.txt
    python app.py
"""


def write_space(run_dirs: tuple[Path, ...], folder: Path, *, licence: str = "other", trust: bool = False) -> Path:
    """Write runs into a folder that runs as a Space: a README with its settings, the program, and the exported runs.

    Args:
        run_dirs: Finished run folders of one configuration.
        folder: Folder to write into; new, empty, or an earlier Space.
        licence: Licence of the weights, by the hub's identifier.
        trust: Let the page run the code of a fusion or an encoder that isn't one of the package's.

    Raises:
        RunError: The page couldn't load the run, Gradio isn't installed, or the folder holds something else.
    """
    config = run_folder.read_config(run_dirs[0])
    gradio = _version("gradio")
    if gradio is None:
        raise RunError("gradio isn't installed, whose version a Space names: run `pip install 'gia-mic[serve]'`.")
    own = _own_parts(config)
    if own and not trust:
        raise RunError(
            f"The run's {one_line(own)} is code of its author, which the page would run: read it, and say --trust (in "
            "Python, trust=True)."
        )
    if local := [modality for modality in config["modalities"] if not _can_be_fetched(config["features"][modality])]:
        raise RunError(
            f"A Space can't fetch the run's encoders of {one_line(local)}, which were read from folders of this "
            "machine: train a run with encoders of the hub."
        )
    refuse_others(folder, SPACE_FILES)
    export(run_dirs, folder / MODEL, licence=licence, trust=trust, address=MODEL)
    packages = [_requirement("gia-mic", "[serve]"), *map(_own_requirement, own.values())]
    write_text(folder / REQUIREMENTS, "".join(f"{package}\n" for package in dict.fromkeys(packages) if package))
    write_text(folder / APP, _APP.format(model=MODEL, trust=", trust=True" if own else ""))
    write_text(folder / CARD, _readme(config, licence, gradio))
    return folder


def _readme(config: dict[str, Any], licence: str, gradio: str) -> str:
    from huggingface_hub import SpaceCardData

    title = f"{subject_of(run_folder.recorded_target(config)).capitalize()} from {', '.join(config['modalities'])}"
    data = SpaceCardData(
        title=title,
        emoji="🎭",
        colorFrom="blue",
        colorTo="gray",
        sdk="gradio",
        sdk_version=gradio,
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file=APP,
        license=licence,
        models=base_models(config) or None,
    )
    return _README.format(data=data.to_yaml(), title=title, model=MODEL)


def _own_parts(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return where each part of a run that isn't one of the package's comes from, by what the part is."""
    records = {
        f"encoder of {name}": config["features"][name].get("spec", {}).get("code") for name in config["modalities"]
    }
    records[f"fusion {config['model']['name']}"] = config.get("fusion")
    return {part: record for part, record in records.items() if record}


def _can_be_fetched(features: dict[str, Any]) -> bool:
    """Whether an encoder needs nothing but the package, the hub and the code that lies with the run."""
    spec = features.get("spec", {})
    if code := spec.get("code"):
        return not code["settings"].get("weights")
    return spec.get("model") == TINY or from_hub(spec)


def _requirement(distribution: str, extras: str = "") -> str:
    version = _version(distribution)
    return f"{distribution}{extras}" + ("" if version is None else f"=={version}")


def _own_requirement(record: dict[str, Any]) -> str:
    """Return the package that code of others is in; nothing for a file."""
    name, _, version = str(record.get("distribution") or "").partition(" ")
    return f"{name}=={version}" if version else name


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
