"""Turns what is typed into one call and prints the answer."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from extract.errors import Interrupted, MerError
from fuse.config import ABLATIONS, CONSTRAINTS, PRECISIONS, PROTOCOLS, SELECTIONS, GiaMicConfig, TrainingConfig

FOLDER = click.Path(file_okay=False, path_type=Path)
TRAINING = [field.name for field in fields(TrainingConfig)]
MODEL = [field.name for field in fields(GiaMicConfig)]


class _Commands(click.Group):
    """Commands whose expected errors end in one sentence: exit code 1, or 130 after Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MerError as error:
            click.echo(f"Error: {error}", err=True)
            raise click.exceptions.Exit(130 if isinstance(error, Interrupted) else 1) from error


def say(line: str) -> None:
    """Print a line about what is happening, apart from the results."""
    click.echo(line, err=True)


def features_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --features."""
    text = "Folder of prepared corpora and their features."
    return click.option("--features", type=FOLDER, default=Path("features"), show_default=True, help=text)(command)


def corpus_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --corpus."""
    text = "Prepared corpus; may be left out where there is only one. With none at all, the demo corpus is made."
    return click.option("--corpus", metavar="NAME", help=text)(command)


def runs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --runs."""
    text = "Folder of trained models and their scores."
    return click.option("--runs", type=FOLDER, default=Path("runs"), show_default=True, help=text)(command)


def typed() -> str:
    """Return the command as it was typed, for the record."""
    return shlex.join(["mer", *sys.argv[1:]])


def parse_fold(_: click.Context, __: click.Parameter, text: str) -> int | None:
    """Return a fold's number, or None for all.

    Raises:
        click.BadParameter: It is neither.
    """
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor all.") from None


def parse_layers(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | str | None:
    """Return layer numbers, or "mean".

    Raises:
        click.BadParameter: It is neither.
    """
    if text is None or text == "mean":
        return text
    try:
        return tuple(int(layer) for layer in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither numbers such as 6,9,12 nor mean.") from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gia-mic", prog_name="mer")
def main() -> None:
    """Train and compare fusion models for emotion recognition from speech, text and face video.

    Extraction runs frozen encoders once over a corpus and writes their frames to HDF5; training reads only those.
    """


@main.command()
@click.option(
    "--out", type=FOLDER, default=Path(), help="Folder for features/ and runs/.  [default: the current folder]"
)
@click.option("--device", help="Where to compute: cpu or cuda.  [default: cuda where there is one]")
def demo(out: Path, device: str | None) -> None:
    """Make the demo corpus, extract its features, train and compare models: the whole job in one go."""
    from gia_mic.demo import run_demo

    click.echo(run_demo(out, device=device, say=say))


@main.group()
def prepare() -> None:
    """Turn a corpus into a manifest, features/CORPUS/utterances.jsonl."""


@prepare.command("demo")
@click.option("--name", default="demo", show_default=True, help="Name of the new corpus.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random in it.")
@click.option("--utterances", type=int, default=600, show_default=True, help="How many.")
@click.option("--cue", type=float, help="Probability that a modality shows the true emotion.  [default: each its own]")
@features_option
def prepare_demo(name: str, seed: int, utterances: int, cue: float | None, features: Path) -> None:
    """Make a demo corpus: another draw (--seed), or a harder one (a lower --cue)."""
    from extract.corpora import demo
    from extract.corpus import MODALITIES

    cues = demo.CUES if cue is None else dict.fromkeys(MODALITIES, cue)
    chosen = demo.Demo(seed=seed, utterances=utterances, cues=cues)
    click.echo(demo.prepare(features, name=name, demo=chosen, say=say).describe())


@prepare.command("manifest")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, help="Name of the new corpus.")
@click.option("--root", type=FOLDER, help="Folder that the paths start from.  [default: the manifest's folder]")
@click.option(
    "--labels", help="Classes in their order, such as angry,happy,neutral,sad.  [default: those that occur, sorted]"
)
@features_option
def prepare_manifest(path: Path, name: str, root: Path | None, labels: str | None, features: Path) -> None:
    """Read your own corpus from a CSV, JSONL or Parquet table.

    Columns: id and label; speaker, session, dialog, scenario, split and text where you have them; audio and video
    as paths, with audio_start_s, audio_end_s, video_start_s, video_end_s where an utterance is part of a file.
    """
    from extract.corpora import manifest

    classes = None if labels is None else labels.split(",")
    corpus = manifest.prepare(path, features, name, root=root, labels=classes, say=say)
    click.echo(corpus.describe())


@prepare.command("iemocap")
@click.argument("path", type=FOLDER)
@click.option("--name", default="iemocap", show_default=True, help="Name of the new corpus.")
@click.option(
    "--labels",
    type=click.Choice(["4", "5", "6"]),
    default="4",
    show_default=True,
    help="4: angry, happy with excited, neutral, sad; 5: and frustrated; 6: excited apart from happy.",
)
@click.option("--improvised-only", is_flag=True, help="Leave the scripted dialogs out.")
@click.option("--keep-tags", is_flag=True, help="Keep tags such as [LAUGHTER] in the text.")
@features_option
def prepare_iemocap(path: Path, name: str, features: Path, labels: str, **options: bool) -> None:
    """Read IEMOCAP from PATH, the folder IEMOCAP_full_release."""
    from extract.corpora import release

    corpus = release.prepare("iemocap", path, features, name=name, say=say, labels=int(labels), **options)
    click.echo(f"{corpus.describe()}\n{release.counts(corpus)}")


@prepare.command("hf")
@click.argument("source", metavar="NAME|FOLDER")
@click.option("--name", required=True, help="Name of the new corpus.")
@click.option("--subset", help="Configuration, where the set has several.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="What the set calls id, label, text, speaker, session, dialog or scenario; may be given several times.  "
    "[default: the usual names]",
)
@features_option
def prepare_hf(source: str, name: str, subset: str | None, columns: tuple[str, ...], features: Path) -> None:
    """Read an audio classification set of the datasets library: a local folder of it, or a hub id."""
    from extract.corpora import hf

    given = dict(column.partition("=")[::2] for column in columns)
    corpus = hf.prepare(source, features, name, subset=subset, columns=given, say=say)
    click.echo(corpus.describe())


def _add_release(release_name: str, what: str) -> None:
    """Add `mer prepare RELEASE PATH`."""

    @prepare.command(release_name, help=f"Read {what}.")
    @click.argument("path", type=FOLDER)
    @click.option("--name", default=release_name, show_default=True, help="Name of the new corpus.")
    @features_option
    def prepare_release(path: Path, name: str, features: Path) -> None:
        from extract.corpora import release

        corpus = release.prepare(release_name, path, features, name=name, say=say)
        click.echo(f"{corpus.describe()}\n{release.counts(corpus)}")


_add_release("meld", "MELD from PATH, the folder MELD.Raw with its archives unpacked")
_add_release("cremad", "CREMA-D from PATH, the folder with AudioWAV and VideoFlash")
_add_release("ravdess", "RAVDESS from PATH, the folder with Actor_01 to Actor_24 at any depth")
_add_release("emodb", "EmoDB from PATH, the folder with wav")


@main.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--modality", type=click.Choice(["speech", "text", "visual"]), required=True, help="What the features are of."
)
@click.option(
    "--corpus", "name", metavar="NAME", required=True, help="Corpus they belong to; made if it isn't prepared."
)
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of id, label and, where known, split, speaker, session, to make the corpus from; or a label sequence "
    "(.csd), whose segments whole videos are cut to.  [default: the labels in the files]",
)
@click.option("--encoder", metavar="NAME", help="Short name for the features.  [default: the first file's name]")
@click.option("--frame-rate", "frame_rate_hz", type=float, help="Frames per second, where they are evenly spaced.")
@click.option(
    "--nonfinite",
    type=click.Choice(["fail", "skip", "zero"]),
    default="fail",
    show_default=True,
    help="An utterance with NaN or infinite values: record it as failed and exit with 1, only record it, or put zeros.",
)
@features_option
def import_(files: tuple[Path, ...], modality: str, name: str, features: Path, **options: Any) -> None:
    """Take over features that others made: MMSA or MulT pickles, .csd, .npz, or a folder of ID.npy.

    The result is a feature file like any other, for `fuse-train` and `report`.
    """
    from extract.imported import import_features

    click.echo(import_features(files, modality, features, name, say=say, **options))


@main.command("corpora")
@features_option
def list_corpora(features: Path) -> None:
    """List the published corpora that `mer prepare` reads, and those that are prepared."""
    from extract.corpora import release

    click.echo(release.overview(features))


@main.command()
@click.option(
    "--modality",
    type=click.Choice(["speech", "text", "visual", "all"]),
    required=True,
    help="What to extract; all is whatever the corpus has.",
)
@corpus_option
@click.option(
    "--encoder",
    metavar="ID|FOLDER|tiny",
    help="Pretrained model: hub id, local folder, or tiny (random weights, for the demo).  "
    "[default: wav2vec2-base, roberta-base, clip-vit-base-patch32; tiny for the demo corpus]",
)
@click.option("--revision", help="Commit, tag or branch of the hub's model.  [default: main]")
@click.option("--device", help="cpu, cuda, or several such as cuda:0,cuda:1.  [default: cuda where there is one]")
@click.option(
    "--layers",
    callback=parse_layers,
    help="Hidden layers to keep side by side, such as -1 (the last) or 6,9,12; or mean, of all.  [default: -1]",
)
@click.option("--pool", help="Frames to average: none, a number of neighbours, or utterance.  [default: none]")
@click.option("--precision", help="What the model computes in: float32, bfloat16 or float16.  [default: float32]")
@click.option("--dtype", help="What is stored: float16 or float32.  [default: float16]")
@click.option("--window", "window_s", type=float, help="Longest sound seen at once, in seconds.  [default: 20]")
@click.option("--frame-rate", "frame_rate_hz", type=float, help="Pictures per second of video.  [default: 4]")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do, how much room and how long it takes.")
@click.option("--allow-failures", is_flag=True, help="Exit with 0 even if some utterances can't be read.")
@features_option
def extract(corpus: str | None, features: Path, modality: str, encoder: str | None, **options: Any) -> None:
    """Run frozen encoders over a corpus and cache their frames.

    Stopped at any moment, the same command goes on from there; run again, it does only what is new.
    """
    from extract.corpora import find_or_demo
    from extract.run import run

    chosen = {name: value for name, value in options.items() if value is not None}
    for outcome in run(find_or_demo(features, corpus, say=say), modality, encoder, say=say, **chosen):
        click.echo(outcome)


def parse_settings(texts: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE texts as a dictionary.

    Raises:
        click.BadParameter: One has no name or no value.
    """
    pairs = [text.partition("=") for text in texts]
    if not all(name and equals and value for name, equals, value in pairs):
        raise click.BadParameter(f"{texts} are not all NAME=VALUE.", param_hint="--set")
    return {name.strip().replace("-", "_"): value for name, _, value in pairs}


def setting(config: type[Any], name: str, help: str, **options: Any) -> Callable[..., Any]:
    """Make an option of a field of a frozen config, which alone knows the default."""
    default = next(field.default for field in fields(config) if field.name == name)
    shown = "off" if default is False else "none" if default == () else default
    if not isinstance(default, bool | tuple):
        options.setdefault("type", type(default))
    return click.option(f"--{name.replace('_', '-')}", default=None, help=f"{help}  [default: {shown}]", **options)


@main.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@corpus_option
@features_option
def inspect(files: tuple[Path, ...], corpus: str | None, features: Path) -> None:
    """Print what feature FILES hold (by default all of the corpus): spec, counts, sizes, what is missing or failed."""
    from extract.corpus import find
    from extract.inspection import feature_files
    from extract.inspection import inspect as inspect_file

    for path in files or feature_files(find(features, corpus).folder):
        click.echo(inspect_file(path) + "\n")


@main.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@corpus_option
@features_option
def verify(files: tuple[Path, ...], corpus: str | None, features: Path) -> None:
    """Read every byte of feature FILES (by default all of the corpus) and name each utterance that is damaged."""
    from extract.corpus import find
    from extract.inspection import feature_files, verify_all

    for line in verify_all(files or feature_files(find(features, corpus).folder)):
        click.echo(line)


@main.command("fuse-train")
@click.option(
    "--fold",
    default="all",
    callback=parse_fold,
    show_default=True,
    metavar="K|all",
    help="Fold to test on, from 1, or all.",
)
@corpus_option
@click.option(
    "--modalities", metavar="s,t,v", help="Some of s (speech), t (text), v (visual).  [default: all extracted]"
)
@click.option("--encoder", "encoders", multiple=True, metavar="NAME", help="Which features, where there are several.")
@click.option("--fusion", default="gia-mic", show_default=True, help="Model; `mer fusions` lists them.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of all that is random; with --seeds, the first."
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of runs for each fold.")
@click.option("--name", help="Name of the run.  [default: the fusion's, with the letters of its modalities]")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    default="session",
    show_default=True,
    help="Column that makes the folds.",
)
@click.option(
    "--select",
    type=click.Choice(SELECTIONS),
    default="last",
    show_default=True,
    help="Epoch to test: last, dev (best on held-out training dialogs) or test (best on the test fold: optimistic).",
)
@click.option(
    "--allow-shared", is_flag=True, help="Accept folds that share speakers (or scenarios) between training and test."
)
@setting(TrainingConfig, "epochs", "Passes over the training part.")
@setting(TrainingConfig, "batch_size", "Most utterances in a batch.")
@setting(TrainingConfig, "learning_rate", "Highest learning rate.")
@setting(TrainingConfig, "weight_decay", "AdamW's weight decay.")
@setting(TrainingConfig, "warm_up", "Part of all steps in which the rate rises, 0 to 1.")
@setting(TrainingConfig, "clip", "Longest gradient; 0 doesn't clip.")
@setting(TrainingConfig, "label_smoothing", "Part of the target spread over all classes, 0 to 1.")
@setting(TrainingConfig, "class_weights", "Weight classes by their inverse frequency.", is_flag=True)
@setting(TrainingConfig, "drop_modality", "Probability that a modality is hidden from an utterance in a step.")
@setting(TrainingConfig, "patience", "Epochs without a better UA before stopping, with --select dev; 0 never stops.")
@setting(TrainingConfig, "precision", "Of the matrix products in training.", type=click.Choice(PRECISIONS))
@setting(TrainingConfig, "speech_stride", "Use every n-th frame of speech.")
@setting(GiaMicConfig, "width", "Features inside the model.")
@setting(GiaMicConfig, "heads", "Attention heads.")
@setting(GiaMicConfig, "latents", "Latent tokens of GIA-MIC's generator.")
@setting(GiaMicConfig, "layers", "Layers of GIA-MIC's generator.")
@setting(GiaMicConfig, "dropout", "Probability that a feature is dropped, 0 to 1.")
@setting(GiaMicConfig, "constraint", "GIA-MIC's modality-invariant constraint.", type=click.Choice(CONSTRAINTS))
@setting(GiaMicConfig, "weight", "Weight of the fusion's own loss beside cross-entropy.")
@setting(
    GiaMicConfig,
    "without",
    "Part of GIA-MIC to leave out; may be repeated.",
    type=click.Choice(ABLATIONS),
    multiple=True,
)
@click.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any setting of the fusion, as `mer fusions` lists them.",
)
@click.option("--tensorboard", is_flag=True, help="Also write the histories for TensorBoard.")
@click.option(
    "--memory", "memory_gib", type=float, metavar="GIB", help="Most memory for frames.  [default: all that is needed]"
)
@click.option(
    "--evaluate-subsets", is_flag=True, help="Also test without some modalities, under noise and with frames lost."
)
@click.option("--device", help="cpu, cuda or cuda:N.  [default: cuda where there is one]")
@click.option(
    "--jobs", type=click.IntRange(1), help="Runs trained side by side on the CPU.  [default: one for each core]"
)
@features_option
@runs_option
def fuse_train(
    fold: int | None,
    corpus: str | None,
    modalities: str | None,
    encoders: tuple[str, ...],
    fusion: str,
    seed: int,
    seeds: int,
    others: tuple[str, ...],
    evaluate_subsets: bool,
    features: Path,
    runs: Path,
    **options: Any,
) -> None:
    """Train a fusion on cached features and test it on the fold that was left out.

    Finished folds are kept unless their settings have changed.
    """
    from extract.corpora import find_or_demo
    from extract.run import extract_generated
    from fuse.data import find_stores
    from fuse.fusions import configure
    from fuse.run import train_folds
    from report.render import render_headline

    prepared = find_or_demo(features, corpus, say=say)
    extract_generated(prepared, say=say)
    stores = find_stores(prepared, modalities, encoders)
    for modality, path in stores.items():
        say(f"{modality}: {path}")
    given = {name: options.pop(name) for name in [*TRAINING, *MODEL]}
    given = {name: value for name, value in given.items() if value not in (None, ())}
    chosen = {name: value for name, value in given.items() if name in MODEL} | parse_settings(others)
    folders = train_folds(
        prepared,
        stores,
        runs=runs,
        fusion=fusion,
        model=configure(fusion, chosen),
        training=TrainingConfig(**{name: value for name, value in given.items() if name in TRAINING}),
        fold=fold,
        seeds=range(seed, seed + seeds),
        command=typed(),
        say=say,
        **options,
    )
    click.echo(render_headline(runs, prepared.name, {folders[0].parent.parent.name}))
    if evaluate_subsets:
        from fuse.robust import evaluate, table

        evaluate(prepared, stores, folders, allow_shared=options["allow_shared"], say=say)
        click.echo(table(folders))


@main.command()
@click.option("--fold", type=int, default=1, show_default=True, help="Fold whose training part is used, from 1.")
@corpus_option
@click.option(
    "--modalities", metavar="s,t,v", help="Some of s (speech), t (text), v (visual).  [default: all extracted]"
)
@click.option("--encoder", "encoders", multiple=True, metavar="NAME", help="Which features, where there are several.")
@click.option("--fusion", default="gia-mic", show_default=True, help="Model; `mer fusions` lists them.")
@click.option("--trials", type=int, default=20, show_default=True, help="Number of settings tried.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the search and of every training.")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    default="session",
    show_default=True,
    help="Column that makes the folds.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON file for all trials.")
@features_option
def tune(corpus: str | None, modalities: str | None, encoders: tuple[str, ...], features: Path, **options: Any) -> None:
    """Search settings on the training part of one fold; its test part is never looked at.

    Needs Optuna: pip install 'gia-mic[tune]'.
    """
    from extract.corpora import find_or_demo
    from extract.run import extract_generated
    from fuse.data import find_stores
    from fuse.tune import tune

    prepared = find_or_demo(features, corpus, say=say)
    extract_generated(prepared, say=say)
    found = tune(prepared, find_stores(prepared, modalities, encoders), say=say, **options)
    click.echo(f"UA {found.ua:.3f} on the part set apart, at epoch {found.epoch}: {found.options()}")


@main.command()
@corpus_option
@click.option(
    "--modalities", metavar="s,t,v", help="Some of s (speech), t (text), v (visual).  [default: all extracted]"
)
@click.option("--encoder", "encoders", multiple=True, metavar="NAME", help="Which features, where there are several.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of runs for each fold.")
@click.option("--baselines", is_flag=True, help="Train the other fusions too, at their defaults.")
@setting(TrainingConfig, "epochs", "Passes over the training part.")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    default="session",
    show_default=True,
    help="Column that makes the folds.",
)
@click.option("--device", help="cpu, cuda or cuda:N.  [default: cuda where there is one]")
@features_option
@runs_option
def ablate(
    corpus: str | None,
    modalities: str | None,
    encoders: tuple[str, ...],
    seeds: int,
    baselines: bool,
    epochs: int | None,
    features: Path,
    runs: Path,
    **options: Any,
) -> None:
    """Train GIA-MIC whole, without each of its parts and with each constraint, and print what each part is worth."""
    from extract.corpora import find_or_demo
    from extract.run import extract_generated
    from fuse.ablate import REFERENCE, train_ablations
    from fuse.data import find_stores
    from fuse.fusions import FUSIONS
    from report.render import render

    prepared = find_or_demo(features, corpus, say=say)
    extract_generated(prepared, say=say)
    train_ablations(
        prepared,
        find_stores(prepared, modalities, encoders),
        runs=runs,
        baselines=tuple(FUSIONS) if baselines else (),
        seeds=range(seeds),
        training=TrainingConfig() if epochs is None else TrainingConfig(epochs=epochs),
        command=typed(),
        say=say,
        **options,
    )
    click.echo(render(runs / prepared.name, "terminal", REFERENCE))


@main.command()
def fusions() -> None:
    """List the fusion models: parameters for three modalities of 768 features and four classes, source, settings."""
    from fuse.fusions import listing

    click.echo(listing())


@main.command()
@click.argument("runs", type=FOLDER, default=Path("runs"))
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "md", "csv", "json", "latex", "html"]),
    default="terminal",
    show_default=True,
    help="html is a page that needs nothing else; csv and json are for other programs.",
)
@click.option("--reference", metavar="RUN", help="Run that an ablation table compares the others with.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write instead of printing.")
def report(runs: Path, form: str, reference: str | None, out: Path | None) -> None:
    """Print the scores of all finished runs in RUNS (by default runs/)."""
    from extract.files import write_text
    from report.render import render

    text = render(runs, form, reference)
    if out is None:
        click.echo(text)
    else:
        write_text(out, text + "\n")
        say(f"Wrote {out}.")


@main.command()
@corpus_option
@features_option
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(["session", "speaker", "split", "scenario"]),
    multiple=True,
    help="Look only at these folds; may be given several times.  [default: all]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "md", "latex"]),
    default="terminal",
    show_default=True,
    help="How to print it.",
)
def audit(corpus: str | None, features: Path, protocols: tuple[str, ...], form: str) -> None:
    """Show what test and training share in each fold, and what controls score without any feature."""
    from extract.corpora import find_or_demo
    from report.audit import render_audit

    prepared = find_or_demo(features, corpus, say=say)
    click.echo(render_audit(prepared, protocols, form) if protocols else render_audit(prepared, format=form))
