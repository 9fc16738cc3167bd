"""Turns the configurations of runs into the lines that say what made a table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gia_mic.extract.errors import one_line
from gia_mic.fuse.runs.runs import Run

__all__ = ["facts", "provenance"]

SHORT = 12
"""Places of a digest that are shown; JSON has all."""


def facts(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what made the runs, each once: corpora, recognised texts, features, others' fusions, commits and so on."""
    provenances = [fold.config["provenance"] for run in runs for fold in run.folds]
    features = [
        {"modality": modality, **{key: _text(entry.get(key)) for key in ("encoder", "fingerprint")}}
        for run in runs
        for modality, entry in run.config["features"].items()
    ]
    recognised = [
        {"recogniser": str(name), "utterances": entry.get("utterances"), "of": run.config["corpus"].get("utterances")}
        for run in runs
        if "text" in run.config["modalities"]
        for name, entry in dict(run.config["corpus"].get("recognisers") or {}).items()
    ]
    versions: dict[str, list[str]] = {}
    for entry in provenances:
        for name, version in dict(entry.get("versions") or {}).items():
            if str(version) not in versions.setdefault(str(name), []):
                versions[str(name)].append(str(version))
    return {
        "corpus_digests": _once(_text(run.config["corpus"].get("digest")) for run in runs),
        "recognised": [dict(entry) for entry in _once(tuple(entry.items()) for entry in recognised)],
        "features": [dict(entry) for entry in _once(tuple(feature.items()) for feature in features)],
        "fusions": [dict(entry) for entry in _once(tuple(_fusion(run.config).items()) for run in runs) if entry],
        "commits": _once(_text(entry.get("commit")) for entry in provenances),
        "versions": versions,
        "devices": _once(_text(entry.get("device")) for entry in provenances),
        "commands": _once(_text(entry.get("command")) for entry in provenances),
        "created": [min(dates), max(dates)]
        if (dates := sorted(str(entry["created"]) for entry in provenances if entry.get("created")))
        else [],
    }


def provenance(runs: Sequence[Run]) -> list[str]:
    """Return what made the runs as sentences, digests cut short."""
    recorded = facts(runs)
    features = [
        f"{entry['modality']} {entry['encoder']} {str(entry['fingerprint'])[:SHORT]}" for entry in recorded["features"]
    ]
    versions = [f"{name} {one_line(several, 3)}" for name, several in recorded["versions"].items()]
    texts = [
        f"heard by {entry['recogniser']} in {entry['utterances']} of {entry['of']} utterances"
        for entry in recorded["recognised"]
    ]
    sentences = {
        "Text": texts,
        "Corpus": [str(digest)[:SHORT] for digest in recorded["corpus_digests"]],
        "Features": features,
        "Fusion": [
            f"{entry['class']} of {entry['of']} {str(entry['digest'])[:SHORT]}" for entry in recorded["fusions"]
        ],
        "Commit": [str(commit)[:SHORT] for commit in recorded["commits"]],
        "Versions": versions,
        "Command": recorded["commands"],
    }
    return [f"{name}: {one_line(values, 9)}." for name, values in sentences.items() if values]


def _fusion(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a fusion that others wrote comes from; empty for one of ours."""
    record = config.get("fusion")
    if not isinstance(record, dict):
        return {}
    of = record.get("distribution") or record.get("file")
    return {"class": _text(record.get("class_name")), "of": _text(of), "digest": _text(record.get("digest"))}


def _once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(value for value in values if value is not None))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
