"""The functions of the Python API do what the commands do, and give objects that can be looked at."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_media import tone

import gia_mic
from gia_mic.cli import main
from gia_mic.extract.errors import CorpusError, EncoderError, MediaError, MerError, RunError
from gia_mic.report.table import Column, Table

ROOT = Path(__file__).parent.parent


def tiny(**inputs):
    return gia_mic.encode(**inputs, encoder="tiny", device="cpu")


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert results.attempted == 23
    assert results.failed == 0


def test_importing_the_package_loads_nothing_heavy():
    program = """
import sys, gia_mic
heavy = {"torch", "transformers", "datasets", "numpy", "pandas", "tqdm"}
print(sorted(heavy & set(sys.modules)), all(callable(getattr(gia_mic, name)) for name in gia_mic.__all__[1:]))
"""
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[] True"


def test_no_function_hides_a_module_of_the_package():
    modules = {path.stem for path in (ROOT / "gia_mic").iterdir()}
    assert len(modules) > 15
    assert not modules & set(gia_mic.__all__)


@pytest.mark.parametrize(
    ("command", "function"),
    [("extract", gia_mic.extract_features), ("fuse-train", gia_mic.train)],
)
def test_keywords_are_named_as_the_options(command, function):
    keywords = set(inspect.signature(function).parameters)
    options = {parameter.name for parameter in main.commands[command].params}
    assert keywords - options <= {"settings", "on_result", "on_checked", "fusion_settings"}


def test_a_training_of_the_command_is_kept_by_the_function(tmp_path, mer):
    common = ("--fold", 1, "--epochs", 2, "--batch-size", 8, "--width", 16, "--heads", 2, "--device", "cpu")
    corpus = gia_mic.prepare("demo", utterances=40, features=tmp_path)
    gia_mic.extract_features(corpus, device="cpu")
    answer = mer("fuse-train", *common, "--features", tmp_path, "--runs", tmp_path / "runs")
    assert answer.exit_code == 0, answer.output
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/demo/gia-mic/*/*/model.safetensors")}
    assert len(written) == 1
    settings = {"epochs": 2, "batch_size": 8, "width": 16, "heads": 2}
    run = gia_mic.train(corpus, fold=1, device="cpu", runs=tmp_path / "runs", **settings)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert f"{run}\n" == answer.stdout
    assert run.run_dirs == (tmp_path / "runs" / "demo" / "gia-mic" / "fold-1" / "seed-0",)


@pytest.mark.parametrize("per", ["run", "fold"])
def test_a_report_has_the_numbers_of_the_runs(demo, per):
    report = gia_mic.read_report(demo[1])
    rows = report.rows(per)
    assert {row["run"] for row in rows} == {"gia-mic", "gia-mic-st", "gia-mic-t", "late"}
    table = report.to_pandas(per)
    assert len(table) == len(rows) == (4 if per == "run" else 5)
    assert table["UA"].between(0, 1).all()
    first = report.groups[0].rows[0]
    expected = first.primary.mean if per == "run" else first.folds[0].scores["UA"]
    assert rows[0]["UA"] == table["UA"][0] == expected


def test_a_report_of_any_target_has_rows(targets):
    runs = targets[1]
    table = gia_mic.read_report(next(iter(runs.values())).parent).to_pandas().set_index("target")
    assert set(table.index) == set(runs)
    assert table["CCC"].notna().sum() == sum("valence" in target or "arousal" in target for target in runs)


def test_a_notebook_shows_what_a_terminal_does(demo):
    report = gia_mic.read_report(demo[1])
    html = report._repr_html_()
    assert html.count("<table>") == len(report.tables) == 1
    for row in report.tables[0].rows:
        assert all(cell.strip() in html and cell.strip() in str(report) for cell in row)


def test_a_notebook_obeys_no_text_of_a_report():
    text = "<script>"
    html = Table(text, [Column(text)], [[text]], [text])._repr_html_()
    assert html.count("&lt;script&gt;") == 4
    assert text not in html


def test_a_missing_pandas_is_one_sentence(demo, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RunError, match="pip install 'gia-mic\\[pandas\\]'"):
        gia_mic.read_report(demo[1]).to_pandas()


def test_what_is_encoded_together_equals_what_is_encoded_alone(tmp_path):
    files = [tone(tmp_path / f"{seconds}.wav", seconds) for seconds in (0.3, 1.7, 0.9)]
    together = tiny(audio=files)
    assert together.shape == (3, 64)
    assert together.dtype == np.float32
    for vector, path in zip(together, files, strict=True):
        np.testing.assert_allclose(vector, tiny(audio=path), rtol=1e-4, atol=1e-5)
        frames = gia_mic.encode(audio=path, encoder="tiny", device="cpu", pool="none")
        np.testing.assert_allclose(vector, frames.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_samples_and_arrays_of_texts_are_told_apart():
    samples = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    assert tiny(audio=samples, sampling_rate_hz=16000).shape == (64,)
    assert tiny(audio=[samples, samples], sampling_rate_hz=16000).shape == (2, 64)
    assert tiny(text=np.array(["no way", "so sad"])).shape == (2, 128)
    assert tiny(text=[]).shape == (0, 128)


@pytest.mark.parametrize(
    ("call", "error", "what"),
    [
        (lambda: gia_mic.prepare("iemocup", "x"), CorpusError, "no source 'iemocup'"),
        (lambda: gia_mic.prepare("manifest", name="mine"), CorpusError, "takes a path"),
        (lambda: gia_mic.prepare("demo", "x"), CorpusError, "takes no path"),
        (lambda: gia_mic.prepare("manifest", "table.csv"), CorpusError, "has no name"),
        (lambda: gia_mic.extract_features(modality="sound"), EncoderError, "no modality 'sound'"),
        (lambda: gia_mic.extract_features(engine="spark"), EncoderError, "no engine 'spark'"),
        (lambda: gia_mic.train(epochs=0), RunError, "epochs is 0"),
        (lambda: gia_mic.train(epoch=1), RunError, "no setting epoch"),
        (lambda: gia_mic.train(engine="spark"), RunError, "no engine 'spark'"),
        (lambda: gia_mic.train(seeds=0), RunError, "seeds"),
        (lambda: gia_mic.read_report(), RunError, "runs"),
        (lambda: tiny(), EncoderError, "one of audio, text and video, not none"),
        (lambda: gia_mic.encode(text="a", encoder="tiny", crop="face"), EncoderError, "crop is no option of text"),
        (lambda: gia_mic.encode(text="a", encoder="tiny", depth=3), EncoderError, "no option depth"),
        (lambda: tiny(audio=["gone.wav", "away.wav"]), MediaError, "2 of 2 inputs can't be encoded: input 1 \\("),
        (lambda: tiny(text=["so", None, "no"]), MediaError, "1 of 3 inputs are no text: input 2"),
        (lambda: tiny(audio=np.zeros(9, np.float32)), MediaError, "sampling_rate_hz"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_made(call, error, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=what) as raised:
        call()
    assert isinstance(raised.value, MerError)
    assert not list(tmp_path.iterdir())
