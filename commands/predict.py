"""`mer predict`, `mer listen` and `mer export`: a trained run on one's own files, live, and as a folder to hand on."""

import csv
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from gia_mic.commands.options import FOLDER, device_option, missing_option, pairs
from gia_mic.commands.settings import setting_options, typed_settings
from gia_mic.config import ListenConfig

if TYPE_CHECKING:
    from gia_mic.predictor import Prediction, Predictor

logger = logging.getLogger(__name__)

FILE = click.Path(dir_okay=False, path_type=Path)
RUN = click.Path(path_type=Path)


def parse_encoders(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Return MODALITY=FOLDER texts as a dictionary."""
    return pairs(texts, "MODALITY=FOLDER")


def trust_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --trust."""
    text = "Run the code of the run's own fusion, which is not part of mer. Read that code first."
    return click.option("--trust", is_flag=True, help=text)(command)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which model and encoders to load, and where."""
    encoder = click.option(
        "--encoder",
        "encoders",
        multiple=True,
        metavar="MODALITY=FOLDER",
        callback=parse_encoders,
        help="Load an encoder's weights from this folder, such as speech=~/whisper. May be repeated.  [default: as "
        "recorded]",
    )
    return encoder(trust_option(device_option(command)))


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
    run: Path,
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
) -> None:
    """Predict the emotion in recordings with a trained run.

    RUN is the folder of a run, which answers with the mean of its folds, or of one fold. The answer is what the run was
    trained on: a class with probabilities, the classes that apply, or scores in their own unit. Give any of --audio,
    --text and --video that the run was trained with.
    """
    single = [value for value in (audio, text, video) if value is not None]
    if bool(single) == bool(batch):
        raise click.UsageError("Give --audio, --text or --video for one input, or --batch for many.")
    if batch and (explain or picture):
        raise click.UsageError("--explain and --picture are for one input.")

    from gia_mic.predictor import Input, load_predictor

    predictor = load_predictor(run, encoders=encoders, transcribe=transcribe, device=device, trust=trust)
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


@click.command()
@click.argument("run", type=RUN)
@click.argument("file", metavar="FILE|-", type=click.Path(allow_dash=True, dir_okay=False))
@setting_options(ListenConfig)
@click.option("--json", "as_json", is_flag=True, help="Print each answer as a line of JSON.")
@model_options
def listen(
    run: Path,
    file: str,
    as_json: bool,
    encoders: Mapping[str, str],
    trust: bool,
    device: str | None,
    **options: Any,
) -> None:
    """Predict emotions in speech as it goes on, with a trained run.

    RUN is the folder of a run or of one fold. Speech comes from FILE, or from standard input if that is -. Each line
    has the time and the answer: a class, the classes that apply, or scores, as RUN was trained on.

    Standard input, and a file that ends in .pcm or .raw, is 16-bit little-endian mono PCM at 16 kHz, as
    `arecord -f S16_LE -r 16000 -c 1 -t raw` or `ffmpeg -f s16le -ar 16000 -ac 1` give it.
    """
    from contextlib import ExitStack

    from gia_mic.extract.errors import MediaError, words_of
    from gia_mic.extract.media import stream_audio
    from gia_mic.listen import listen as hear
    from gia_mic.listen import pcm
    from gia_mic.predictor import load_predictor

    config = ListenConfig(**typed_settings(ListenConfig, options))
    if file == "-" and sys.stdin is None:
        raise MediaError("Standard input is closed: pipe sound into it, or name a file.")
    predictor = load_predictor(run, encoders=encoders, device=device, trust=trust)
    computed_s = heard_s = 0.0
    with ExitStack() as opened:
        if file == "-":
            blocks = pcm(sys.stdin.buffer)
        elif Path(file).suffix.lower() in (".pcm", ".raw"):
            try:
                blocks = pcm(opened.enter_context(Path(file).open("rb")))
            except OSError as error:
                raise MediaError(f"There is no file {file} to read ({words_of(error)}): check the path.") from error
        else:
            blocks = stream_audio(Path(file), 16_000)
        for answer in hear(predictor, blocks, every_s=config.every_s, window_s=config.window_s):
            computed_s, heard_s = computed_s + answer.seconds, answer.time_s
            if as_json:
                click.echo(json.dumps({"time_s": answer.time_s, **answer.entries()}))
            else:
                percentages = "  ".join(f"{name} {100 * p:3.0f} %" for name, p in answer.probabilities.items())
                click.echo(f"{answer.time_s:7.1f} s  {answer.in_words():12} {percentages}".rstrip())
    if heard_s:
        logger.info(f"{heard_s:.1f} s of sound in {computed_s:.1f} s: real-time factor {computed_s / heard_s:.2f}.")
    else:
        logger.warning(f"There was less than {config.every_s:g} s of sound: no answer.")


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
            with progress(len(batch.rows), path.name, "input", quiet=sys.stdout.isatty()) as shown:
                answers = batch.answers(predictor, allow_failures=allow_failures)
                for name, row, given, answer in zip(batch.names, batch.rows, batch.inputs, answers, strict=True):
                    cells: dict[str, Any] = {}
                    if isinstance(answer, MediaError):
                        failed.append((name, str(answer)))
                        beside: dict[str, Any] = {"error": str(answer)}
                    else:
                        cells, beside = answer.entries(), _beside(answer)
                        if isinstance(given, Input) and given.text is not None:
                            beside.pop("text", None)  # the table has it
                        if not json_lines:
                            cells, beside = answer_cells(answer), _joined(beside)
                    yield {
                        **row,
                        **{columns[key]: value for key, value in cells.items()},
                        **{columns_beside[key]: value for key, value in beside.items()},
                    }
                    shown.update()

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


@click.command()
@click.argument("run", type=RUN)
@click.argument("folder", type=FOLDER)
@click.option(
    "--licence", default="other", show_default=True, help="Licence of the weights, by its name on the Hugging Face hub."
)
@click.option("--onnx", is_flag=True, help="Also write the fusion as model.onnx; needs pip install 'gia-mic[onnx]'.")
@trust_option
def export(run: Path, folder: Path, licence: str, onnx: bool, trust: bool) -> None:
    """Write a trained run into a folder, to share it.

    RUN is the folder of a run or of one fold. FOLDER gets its weights, its configuration and a model card. It loads
    without the corpus and its features. It holds no transcripts and no paths of this machine. The encoders' weights are
    not in it, but the names and versions by which they can be downloaded.
    """
    from gia_mic.export import export as write
    from gia_mic.fuse.runs.folder import find_run_dirs

    run_dirs = find_run_dirs(run)
    exported = write(tuple(run_dir.absolute() for run_dir in run_dirs), folder, licence=licence, onnx=onnx, trust=trust)
    size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
    click.echo(f"{exported}: models: {len(run_dirs)}, {size / 2**20:.1f} MiB")


COMMANDS = (predict, listen, export)
