"""Turns a run into what the hub reads of its model card: task, encoders, licence, tags and results."""

import math
from typing import TYPE_CHECKING, Any

from gia_mic.extract.targets import Target
from gia_mic.fuse.runs.runs import Run
from gia_mic.rebuild import from_hub
from gia_mic.report.summary import summarise

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

__all__ = ["base_models", "card_data", "subject_of"]

_TASKS = {"visual": "video-classification", "speech": "audio-classification", "text": "text-classification"}
"""The hub's task for inputs with a modality; the first that a run takes counts, since a video has sound as well."""

_METRICS: dict[str, tuple[str, dict[str, Any]]] = {
    "WA": ("accuracy", {}),
    "UA": ("recall", {"average": "macro"}),
    "F1": ("f1", {"average": "weighted"}),
    "macro_F1": ("f1", {"average": "macro"}),
    "micro_F1": ("f1", {"average": "micro"}),
    "MAE": ("mae", {}),
    "Pearson": ("pearsonr", {}),
}
"""The hub's metric and its arguments, by the name of ours, or by what stands in it before the name of a score."""


def card_data(run: Run, *, licence: str) -> "ModelCardData":
    """Return the metadata of a run's model card.

    Args:
        run: A run with its scores.
        licence: Licence of the weights, by the hub's identifier.
    """
    from huggingface_hub import ModelCardData

    several = ["multimodal"] if len(run.modalities) > 1 else []
    measured = [metric for name in run.measure.headline if (metric := _metric(name)[0]) in _hub_metrics()]
    return ModelCardData(
        license=licence,
        library_name="gia-mic",
        pipeline_tag=_task(run),
        tags=["emotion-recognition", *several, *run.modalities],
        base_model=base_models(run.config) or None,
        metrics=list(dict.fromkeys(measured)),
        model_name=run.name,
        eval_results=_results(run),
    )


def base_models(config: Any) -> list[str]:
    """Return the hub's ids of the encoders that a configuration recorded; folders and the demo's encoders have none."""
    specs = [config["features"][modality].get("spec", {}) for modality in config["modalities"]]
    return list(dict.fromkeys(str(spec["model"]) for spec in specs if from_hub(spec)))


def subject_of(target: Target) -> str:
    """Return what is predicted, in words."""
    return ", ".join(target.names) if target.kind == "scores" else "emotions"


def _task(run: Run) -> str:
    return next(task for modality, task in _TASKS.items() if modality in run.modalities)


def _metric(name: str) -> tuple[str, dict[str, Any]]:
    """Return the hub's metric for one of ours and its arguments; one that the hub hasn't keeps its name."""
    base = name.partition("_")[0]
    if base.startswith("Acc-"):
        return "accuracy", {}
    return _METRICS.get(name) or _METRICS.get(base) or (base.lower(), {})


def _hub_metrics() -> set[str]:
    return {"accuracy", *(metric for metric, _ in _METRICS.values())}


def _results(run: Run) -> "list[EvalResult]":
    """Return the headline scores, each the mean over the folds, and how they were come by."""
    from huggingface_hub import EvalResult

    summary = summarise(run)
    protocol: dict[str, Any] = {
        "folds by": run.protocol,
        "folds": f"{len(run.numbers)} of {run.expected}",
        "seeds": run.seeds,
        "epoch chosen by": run.select,
        "tested": "each model on the fold that it was not trained on",
    }
    if run.config.get("allow_shared"):
        protocol["training and test share"] = "speakers or scenarios"
    over = f"mean over {len(run.numbers)} folds" if len(run.numbers) > 1 else f"fold {run.numbers[0]}"
    optimistic = ", epoch chosen on the test fold" if run.select == "test" else ""
    results = []
    for name, score in summary.over_folds.items():
        if math.isnan(score.mean):
            continue
        metric, arguments = _metric(name)
        spread = {} if score.std is None else {"standard deviation over folds": round(score.std, 4)}
        results.append(
            EvalResult(
                task_type=_task(run),
                task_name=f"{subject_of(run.target)} from {', '.join(run.modalities)}",
                dataset_type=run.corpus,
                dataset_name=run.corpus,
                dataset_split="test",
                dataset_args=protocol,
                metric_type=metric,
                metric_name=f"{name} ({over}{optimistic})",
                metric_value=round(score.mean, 4),
                metric_args={**arguments, **spread} or None,
            )
        )
    return results
