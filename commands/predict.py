"""`mer predict`: a trained run on recordings and texts of one's own."""

import csv
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from gia_mic.commands.model_options import FILE, RUN, model_options
from gia_mic.commands.options import missing_option

if TYPE_CHECKING:
    from gia_mic.predictor import Prediction, Predictor

logger = logging.getLogger(__name__)


@click.command()
@click.argument("run", type=RUN)
@click.option("--audio", type=FILE, help="Sound file, or a video whose sound is used.")
@click.option("--text", help="What is said, as text.")
@click.option("--video", type=FILE, help="Video file whose pictures are used.")
@click.option(
    "--transcribe",
    is_flag=False,
    flag_value="recorded",
    metavar="[MODEL|FOLDER]",
    help="Recognise the text from the sound if none is given. Without a value, the recogniser recorded in the run is "
    "used.",
)
@click.option(
    "--batch",
    type=FILE,
    help="Answer every row of a CSV, TSV, JSONL or Parquet table with any of the columns audio, text, video and id. "
    "Columns such as audio_start_s and audio_end_s name a part of a file. Other columns are kept.",
)
@missing_option
@click.option("--allow-failures", is_flag=True, help="Answer from the other modalities if one can't be read.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option(
    "--explain", is_flag=True, help="Also print why: the gates, the attention, and what each modality changes."
)
@click.option("--picture", type=FILE, help="Draw the input and its attention weights into this PNG.")
@model_options
def predict(
    run: Path | str,
    audio: Path | None,
    text: str | None,
    video: Path | None,
    transcribe: str | None,
    batch: Path | None,
    missing: tuple[str, ...],
    allow_failures: bool,
    as_json: bool,
    explain: bool,
    picture: Path | None,
    encoders: Mapping[str, str],
    trust: bool,
    device: str | None,
    precision: str | None,
) -> None:
    """Predict the emotion in recordings with a trained run.

    RUN is the folder of a run, which answers with the mean of its folds, or of one fold. It may also be
    hf://OWNER/NAME, a run on the Hugging Face hub. The answer is what the run was trained on: a class with
    probabilities, the classes that apply, or scores in their own unit. Give any of --audio, --text and --video that the
    run was trained with.
    """
    single = [value for value in (audio, text, video) if value is not None]
    if bool(single) == bool(batch):
        raise click.UsageError("Give --audio, --text or --video for one input, or --batch for many.")
    if batch and (explain or picture):
        raise click.UsageError("--explain and --picture are for one input.")

    from gia_mic.extract.encoders.deferred import import_transformers
    from gia_mic.predictor import Input, load_predictor

    import_transformers()

    predictor = load_predictor(
        run, encoders=encoders, transcribe=transcribe, device=device, precision=precision, trust=trust
    )
    if batch:
        _predict_table(predictor, batch, missing=missing, as_json=as_json, allow_failures=allow_failures)
        return
    explanation = None
    if explain or picture:
        from gia_mic.explain import explain as why

        explanation = why(predictor, Input(audio, text, video), allow_failures=allow_failures)
    answer = (
        explanation.prediction if explanation else predictor.predict(audio, text, video, allow_failures=allow_failures)
    )
    if transcribe is not None and text is None:
        logger.info(f"heard: {answer.text}")
    for note in answer.notes:
        logger.warning(note)
    if as_json:
        why_in_numbers = {"explanation": explanation.numbers()} if explanation else {}
        click.echo(json.dumps(answer.entries() | _beside(answer) | why_in_numbers))
    else:
        click.echo(answer.lines() + (f"\n\n{explanation.text()}" if explanation else ""))
    if explanation and picture:
        from gia_mic.explanation_figure import draw

        draw(explanation, picture)
        logger.info(f"Wrote {picture}.")


def _beside(answer: "Prediction") -> dict[str, Any]:
    """Return what stands beside an answer, as JSON values."""
    return {
        "modalities": list(answer.modalities),
        **({"text": answer.text} if answer.text is not None else {}),
        **({"notes": list(answer.notes)} if answer.notes else {}),
    }


def _predict_table(
    predictor: "Predictor", path: Path, *, missing: tuple[str, ...], as_json: bool, allow_failures: bool
) -> None:
    """Answer each row of a table, in the table's own format unless JSON is asked for."""
    from gia_mic.batch import answer_cells, answer_columns, free_names, plain, read_batch
    from gia_mic.extract.errors import MediaError, one_line
    from gia_mic.extract.progress import progress
    from gia_mic.predictor import Input

    json_lines = as_json or path.suffix.lower() not in (".csv", ".tsv")
    failed: list[tuple[str, str]] = []
    with TemporaryDirectory() as scratch:
        batch = read_batch(path, Path(scratch), missing)
        names_beside = ["modalities", *(["text"] if json_lines else []), "notes", "error"]
        # a score may be called like something beside it
        names = answer_columns(predictor.target, nested=json_lines)
        columns = free_names(names, [*batch.columns, *names_beside])
        columns_beside = free_names(names_beside, [*batch.columns, *columns.values()])

        def answered() -> Iterator[dict[str, Any]]:
            # rows that appear on the terminal show by themselves how far it is
            with progress(len(batch.rows), path.name, "input", quiet=sys.stdout.isatty()) as bar:
                answers = batch.answers(predictor, allow_failures=allow_failures)
                for name, row, utterance, answer in zip(batch.names, batch.rows, batch.inputs, answers, strict=True):
                    cells: dict[str, Any] = {}
                    if isinstance(answer, MediaError):
                        failed.append((name, str(answer)))
                        beside: dict[str, Any] = {"error": str(answer)}
                    else:
                        cells, beside = answer.entries(), _beside(answer)
                        if isinstance(utterance, Input) and utterance.text is not None:
                            beside.pop("text", None)  # the table has it
                        if not json_lines:
                            cells, beside = answer_cells(answer), _joined(beside)
                    yield {
                        **row,
                        **{columns[key]: value for key, value in cells.items()},
                        **{columns_beside[key]: value for key, value in beside.items()},
                    }
                    bar.update()

        if json_lines:
            for line in answered():
                click.echo(json.dumps(plain(line), ensure_ascii=False))
        else:
            header = [*batch.columns, *columns.values(), *columns_beside.values()]
            _write_csv(header, answered(), "\t" if path.suffix.lower() == ".tsv" else ",")
    if failed and not allow_failures:
        listed = one_line(f"{name} ({why.rstrip('.')})" for name, why in failed)
        raise MediaError(f"{len(failed)} of {len(batch.rows)} inputs have no answer: {listed}.")


def _joined(beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands beside an answer as cells of a table."""
    return {"modalities": "+".join(beside["modalities"]), "notes": "; ".join(beside.get("notes", ()))}


def _write_csv(columns: list[str], rows: Iterable[Mapping[str, Any]], delimiter: str) -> None:
    table = csv.DictWriter(sys.stdout, columns, delimiter=delimiter, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow(row)


COMMANDS = (predict,)
