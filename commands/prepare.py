"""`mer prepare`, `mer import` and `mer corpora`: other people's files become a corpus and its features."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import gia_mic
from gia_mic.commands.options import FINITE, FOLDER, features_option, missing_option, range_option


def parse_cues(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, float] | None:
    """Read one probability for all modalities, or one for each by comma, by the modalities' letters."""
    from gia_mic.extract.corpus import MODALITIES

    if value is None:
        return None
    try:
        probabilities = [float(part) for part in value.split(",")]
    except ValueError:
        probabilities = []
    if not all(map(math.isfinite, probabilities)):
        raise click.BadParameter(f"{value!r} is no finite number.")
    if len(probabilities) == 1:
        probabilities *= len(MODALITIES)
    if len(probabilities) != len(MODALITIES):
        raise click.BadParameter(f"{value!r} is neither one number nor {len(MODALITIES)} by comma.")
    return dict(zip(MODALITIES, probabilities, strict=True))


LABELS = click.option(
    "--labels",
    help="Use these classes, in this order, such as angry,happy,neutral,sad.  [default: those that occur, sorted]",
)


@click.group()
def prepare() -> None:
    """Read a corpus into a manifest, the list of its utterances.

    The manifest is written to features/CORPUS/utterances.jsonl. Each of the commands below reads one kind of corpus.
    """


@prepare.command("demo")
@click.option("--name", default="demo", show_default=True, help="Name of the new corpus.")
@click.option("--seed", type=int, default=4, show_default=True, help="Seed of everything random in the corpus.")
@click.option("--utterances", type=int, default=1000, show_default=True, help="Number of utterances to make.")
@click.option(
    "--cue",
    "cues",
    metavar="P[,P,P]",
    callback=parse_cues,
    help="Probability that a modality shows the true emotion: one number for all, or three for speech, text and "
    "face, such as 0.65,0.62,0.66.  [default: 0.8,0.78,0.8]",
)
@features_option
def prepare_demo(name: str, seed: int, utterances: int, cues: dict[str, float] | None, features: Path) -> None:
    """Make a synthetic corpus with known best possible scores.

    Another --seed draws another corpus, and a lower --cue makes a harder one.

    Its utterances have an emotion and a score, their intensity from 1 to 5. The best possible accuracy, error and
    correlation stand in features/NAME/corpus.json.
    """
    options: dict[str, Any] = {} if cues is None else {"cues": cues}
    click.echo(gia_mic.prepare("demo", name=name, features=features, seed=seed, utterances=utterances, **options))


@prepare.command("manifest")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, help="Name of the new corpus.")
@click.option(
    "--root", type=FOLDER, help="Folder that the paths in the table start from.  [default: the table's folder]"
)
@LABELS
@range_option
@click.option("--follow-links", is_flag=True, help="Accept symbolic links that lead out of the root folder.")
@missing_option
@features_option
def prepare_manifest(
    path: Path,
    name: str,
    labels: str | None,
    features: Path,
    **options: Any,
) -> None:
    """Read your own corpus from a CSV, JSONL or Parquet table.

    Columns: id and label; speaker, session, dialog, scenario, split and text where you have them; audio and video
    as paths. An utterance that is part of a file has audio_start_s, audio_end_s, video_start_s and video_end_s too.

    Instead of label, or beside it: labels, several with | between; scores, such as score_valence and score_arousal;
    annotators' votes, such as votes_angry and votes_sad.
    """
    classes = None if labels is None else labels.split(",")
    click.echo(gia_mic.prepare("manifest", path, name=name, features=features, labels=classes, **options))


@prepare.command("iemocap")
@click.argument("path", type=FOLDER)
@click.option("--name", default="iemocap", show_default=True, help="Name of the new corpus.")
@click.option(
    "--labels",
    type=click.Choice(["4", "5", "6"]),
    default="4",
    show_default=True,
    help="Number of classes. 4 are angry, happy with excited, neutral and sad; 5 adds frustrated; 6 separates "
    "excited from happy.",
)
@click.option("--improvised-only", is_flag=True, help="Leave out the scripted dialogs.")
@click.option(
    "--all-turns",
    is_flag=True,
    help="Also keep turns without one of these labels, as papers on valence, arousal and dominance do.",
)
@click.option("--keep-tags", is_flag=True, help="Keep tags such as [LAUGHTER] in the text.")
@features_option
def prepare_iemocap(path: Path, name: str, features: Path, labels: str, **options: bool) -> None:
    """Read IEMOCAP.

    PATH is the folder IEMOCAP_full_release.
    """
    from gia_mic.extract.corpora import release

    corpus = gia_mic.prepare("iemocap", path, name=name, features=features, labels=int(labels), **options)
    click.echo(f"{corpus}\n{release.counts(corpus)}")


@prepare.command("hf")
@click.argument("source", metavar="NAME|FOLDER")
@click.option("--name", required=True, help="Name of the new corpus.")
@click.option("--subset", help="Configuration of the data set, if it has several.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="Name the data set's column for id, label, labels, text, speaker, session, dialog or scenario. An empty "
    "name means that it has none. May be repeated.  [default: the usual names]",
)
@LABELS
@range_option
@missing_option
@features_option
def prepare_hf(
    source: str, name: str, features: Path, columns: tuple[str, ...], labels: str | None, **options: Any
) -> None:
    """Read an audio data set of the Hugging Face hub or a folder.

    A column with several classes an utterance becomes labels. Columns such as score_valence and votes_angry become
    scores and votes.
    """
    column_names = dict(column.partition("=")[::2] for column in columns)
    classes = None if labels is None else labels.split(",")
    options |= {"columns": column_names, "labels": classes}
    click.echo(gia_mic.prepare("hf", source, name=name, features=features, **options))


@prepare.command("emobox")
@click.argument("path", type=FOLDER)
@click.option("--dataset", help="Corpus of EmoBox to read, such as cafe.  [default: the only one there is]")
@click.option(
    "--root",
    type=FOLDER,
    help="Folder that holds the recordings, with or without EmoBox's folder downloads.  [default: PATH]",
)
@click.option(
    "--fold", type=click.IntRange(min=1), help="Take the training and test part of this fold.  [default: all folds]"
)
@click.option("--name", help="Name of the new corpus.  [default: that of the dataset]")
@features_option
def prepare_emobox(path: Path, name: str | None, features: Path, **options: Any) -> None:
    """Read a corpus that EmoBox describes.

    PATH is a clone of https://github.com/emo-box/EmoBox. The sound comes from the corpus itself: below --root, where
    EmoBox expects it or without the first folders.
    """
    from gia_mic.extract.corpora import release

    corpus = gia_mic.prepare("emobox", path, name=name, features=features, **options)
    click.echo(f"{corpus}\n{release.counts(corpus)}")


_test_option = click.option(
    "--test",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="Test on Test1, Test2 or Test3; the other two are left out.",
)


def _add_release(release_name: str, what: str, *options: Callable[..., Any]) -> None:
    """Add `mer prepare RELEASE PATH`, with options that the release's reader takes.

    Args:
        release_name: Name of the command, of the reader's module and, by default, of the corpus.
        what: The corpus and what its path has to be, such as "EmoDB from PATH, the folder with wav".
        options: Further options.
    """
    title, _, path_text = what.partition(" from PATH, ")

    @prepare.command(release_name, help=f"Read {title}.\n\nPATH is {path_text}.")
    @click.argument("path", type=FOLDER)
    @click.option("--name", default=release_name, show_default=True, help="Name of the new corpus.")
    @features_option
    def prepare_release(path: Path, name: str, features: Path, **options: Any) -> None:
        from gia_mic.extract.corpora import release

        corpus = gia_mic.prepare(release_name, path, name=name, features=features, **options)
        click.echo(f"{corpus}\n{release.counts(corpus)}")

    for option in options:
        option(prepare_release)


_add_release("msppodcast", "MSP-Podcast from PATH, the folder with Labels and Audios", _test_option)
_add_release("merchallenge", "MER2023 to MER2026 from PATH, the folder of one of them or of MERTools", _test_option)
_add_release("meld", "MELD from PATH, the folder MELD.Raw with its archives unpacked")
_add_release("cremad", "CREMA-D from PATH, the folder with AudioWAV and VideoFlash")
_add_release("ravdess", "RAVDESS from PATH, the folder with Actor_01 to Actor_24 at any depth")
_add_release("emodb", "EmoDB from PATH, the folder with wav")


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--modality", type=click.Choice(["speech", "text", "visual"]), required=True, help="Modality of the features."
)
@click.option(
    "--corpus",
    "name",
    metavar="NAME",
    required=True,
    help="Corpus that the features belong to; it is made if it isn't prepared yet.",
)
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Make the corpus from this table of id, label (or labels, scores, votes) and, if known, split, speaker and "
    "session. A label sequence (.csd) cuts whole videos into its segments.  [default: the labels in the files]",
)
@click.option(
    "--splits",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the splits of a label sequence from this table of video (or id) and split.",
)
@click.option(
    "--classes",
    type=click.Choice(["sign", "two", "nonnegative", "seven", "emotion"]),
    help="Make classes of a sentiment from -3 to 3: its sign, two without 0, nonnegative with 0, or seven by "
    "rounding. The class emotion is the strongest emotion.  [default: the files' own words, else sign]",
)
@range_option
@click.option("--encoder", metavar="NAME", help="Short name of the features.  [default: the first file's name]")
@click.option("--frame-rate", "frame_rate_hz", type=FINITE, help="Frames per second, if they are evenly spaced.")
@click.option(
    "--nonfinite",
    type=click.Choice(["fail", "skip", "zero"]),
    default="fail",
    show_default=True,
    help="Record an utterance with NaN or infinite values as failed and exit with 1 (fail), only record it (skip), "
    "or put zeros (zero).",
)
@missing_option
@features_option
def import_(files: tuple[Path, ...], modality: str, name: str, features: Path, **options: Any) -> None:
    """Import features that others made.

    FILE is a pickle of MMSA or MulT, a .csd, an .npz, or a folder of ID.npy. The result is a feature file like any
    other, for `mer fuse-train` and `mer report`.
    """
    from gia_mic.extract.imports.features import import_features

    click.echo(import_features(files, modality, features, name, **options))


@click.command("corpora")
@features_option
def list_corpora(features: Path) -> None:
    """List the corpora that mer can read, and the prepared ones."""
    from gia_mic.extract.corpora import release

    click.echo(release.overview(features))


COMMANDS = (prepare, import_, list_corpora)
