"""An exported run answers without torch what it answers with it, and its package holds nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_media import film, tone, video

import gia_mic
from gia_mic.export import export
from gia_mic.extract.encoders.visual import VisualEncoder
from gia_mic.extract.errors import EncoderError, RunError
from gia_mic.fuse.runs.folder import find_run_dirs
from gia_mic.onnx_encoders import quantise
from gia_mic.runtime import PredictionError, load
from gia_mic.runtime.command import main
from gia_mic.runtime.framing import Framing
from gia_mic.runtime.log_mel import log_mel
from gia_mic.runtime.pictures import picture_batches
from gia_mic.runtime.settings import read_settings

pytest.importorskip("onnxruntime", reason="the extra onnx isn't installed")
pytest.importorskip("onnxscript", reason="the extra onnx isn't installed")

ROOM = Path(__file__).parent.parent / "runtime"

CLOSE = 1e-3
"""Most that a probability may differ from PyTorch's in float32."""

CLOSE_IN_INT8 = 0.05

INPUTS = [("audio",), ("long",), ("text",), ("video",), ("audio", "text", "video")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What there is to predict from, as keyword arguments of `predict`."""
    folder = tmp_path_factory.mktemp("inputs")
    noise = (np.random.default_rng(0).normal(0, 3000, (22 * 44_100, 2))).astype(np.int16)
    return {
        "audio": {"audio": tone(folder / "a.wav", 1.6)},
        "long": {"audio": noise, "sampling_rate_hz": 44_100},
        "text": {"text": "I am so angry. Ça va? \U0001f642"},
        "video": {"video": video(folder / "a.mp4", [40, 90, 200, 120] * 5)},
    }


@pytest.fixture(scope="module")
def exported(demo, tmp_path_factory):
    """An export of a run on labels; writing its three encoders takes as long as all else here."""
    folder = tmp_path_factory.mktemp("exports") / "late"
    return export(tuple(find_run_dirs(demo[1] / "late")), folder, onnx=True)


def select(inputs, names):
    return {key: value for name in names for key, value in inputs[name].items()}


def difference(one, other):
    """Greatest difference between the probabilities of two answers."""
    return max(abs(one.probabilities[name] - other.probabilities[name]) for name in one.probabilities)


def test_it_answers_what_the_run_answers(demo, exported, inputs):
    before, after = gia_mic.load(demo[1] / "late", device="cpu"), load(exported, threads=1)
    for names in INPUTS:
        expected, answer = before.predict(**select(inputs, names)), after.predict(**select(inputs, names))
        assert difference(expected, answer) < CLOSE, names
        assert (answer.label, answer.target) == (expected.label, expected.target)


def test_scores_and_several_labels_are_called_so(exported, tmp_path):
    values = load(exported).predict(text="no way").probabilities
    folder = shutil.copytree(exported, tmp_path / "other")
    entries = json.loads((folder / "runtime.json").read_text())
    for kind, ranges in (("scores", [[0, 1]] * 4), ("labels", [])):
        entries["target"] |= {"kind": kind, "ranges": ranges}
        (folder / "runtime.json").write_text(json.dumps(entries))
        answer = load(folder).predict(text="no way")
        assert answer.label is None
        assert answer.scores == (values if kind == "scores" else {})
        assert answer.labels == (() if kind == "scores" else tuple(name for name, p in values.items() if p > 0.5))


def test_in_int8_it_answers_almost_that(exported, inputs, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "int8")
    quantise(folder)
    assert sum(path.stat().st_size for path in folder.glob("*.data")) < 0.7 * sum(
        path.stat().st_size for path in exported.glob("*.data")
    )
    exact, rounded = load(exported), load(folder)
    assert {encoder["precision"] for encoder in rounded.settings.encoders.values()} == {"int8"}
    differences = [difference(exact.predict(**one), rounded.predict(**one)) for one in inputs.values()]
    assert 0 < max(differences) < CLOSE_IN_INT8


def test_an_export_tells_nothing_of_this_machine(demo, exported):
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        assert b"site-packages" not in content, path
        assert os.fsencode(ROOM.parent) not in content, path
        assert os.fsencode(demo[1]) not in content, path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The small distribution, built from a copy of its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOM, folder / "runtime", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, folder / "runtime"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PIP_NO_INPUT": "1"})
    [built] = folder.glob("*.whl")
    return built


def test_the_small_distribution_holds_its_folder_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    assert names == {f"gia_mic_runtime/{path.name}" for path in ROOM.glob("*.py")}
    assert "mer-runtime = gia_mic_runtime.command:main" in about
    projects = [tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in (ROOM, ROOM.parent)]
    assert projects[0]["version"] == projects[1]["version"]
    assert set(projects[0]["dependencies"]) <= {*projects[1]["dependencies"], *_extra(projects[1], "onnx")}


def _extra(project, name):
    return project["optional-dependencies"][name]


def test_it_predicts_where_there_is_no_torch(wheel, exported, inputs, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = """
import sys
for name in "torch transformers gia_mic h5py datasets click safetensors av PIL pandas scipy sklearn".split():
    sys.modules[name] = None
from gia_mic_runtime.command import main
sys.exit(main(sys.argv[1:]))
"""
    words = ["predict", exported, "--audio", inputs["audio"]["audio"], "--text", "no way", "--json"]
    answer = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    expected = load(exported).predict(audio=inputs["audio"]["audio"], text="no way")
    assert json.loads(answer.stdout)["label"] == expected.label


def test_importing_the_package_loads_nothing_heavy():
    program = "import sys, gia_mic, gia_mic.runtime.model; print([n for n in sys.argv[1:] if n in sys.modules])"
    heavy = "torch transformers datasets h5py av PIL onnxruntime tokenizers click scipy".split()
    answer = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_listening_answers_about_the_latest_seconds(exported, tmp_path, capsys):
    model, sound = load(exported), steps_of_noise(3.2)
    blocks = np.split(sound, [700, 9000, 30_000])
    answers = list(model.listen(blocks, every_s=0.5, window_s=1.0))
    assert [answer.time_s for answer in answers] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    # 1.0 s of frames, on the grid of 320 samples that begins with the stream
    end = (3 * 16_000 - 400) // 320 + 1
    alone = model.predict(audio=sound[(end - 50) * 320 : (end - 1) * 320 + 400], sampling_rate_hz=16_000)
    assert difference(answers[-1], alone) < 1e-5
    (tmp_path / "a.pcm").write_bytes((sound * 2**15).astype("<i2").tobytes())
    assert main(["listen", str(exported), str(tmp_path / "a.pcm"), "--every", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["time_s"] for line in printed.out.splitlines()] == [1.0, 2.0, 3.0]
    assert "real-time factor" in printed.err
    for every_s, window_s in ((0.5, 99), (float("nan"), 1)):
        with pytest.raises(PredictionError, match=rf"A window of {window_s} s every {every_s} s can't be"):
            list(model.listen(blocks, every_s=every_s, window_s=window_s))


def steps_of_noise(seconds):
    return np.random.default_rng(1).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)


@pytest.mark.parametrize("mels", [80, 128])
def test_the_spectrogram_is_whispers(mels):
    from transformers import WhisperFeatureExtractor

    sound = steps_of_noise(1.3)
    extract = WhisperFeatureExtractor(feature_size=mels)
    expected = extract(sound, sampling_rate=16_000, return_tensors="np").input_features[0]
    np.testing.assert_allclose(log_mel(sound, mels), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "The run takes speech, text, visual, and there is nothing"),
        ({"text": " "}, "The text is empty"),
        ({"audio": "gone.wav"}, "There is no file gone.wav"),
        ({"audio": np.zeros(100)}, "are no sound: give"),
        ({"audio": np.full(9000, np.nan), "sampling_rate_hz": 16_000}, "not finite numbers"),
        ({"audio": np.zeros(100), "sampling_rate_hz": 16_000}, "100 samples at 16000 Hz, and the encoder needs"),
        ({"audio": __file__}, "can't be decoded"),
        ({"video": "gone.mp4"}, "There is no file gone.mp4"),
        ({"video": np.zeros((3, 64, 64))}, r"can't be read: give RGB as"),
    ],
)
def test_what_is_wrong_is_one_sentence(exported, arguments, message):
    with pytest.raises(PredictionError, match=message):
        load(exported).predict(**arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [("dim", 0), ("dim", 3), ("dtype", "x"), ("pool", "0"), ("window", 0), ("context", 10**9), ("window", True)],
)
def test_settings_that_cannot_be_are_one_sentence(exported, tmp_path, name, value, capsys):
    folder = shutil.copytree(exported, tmp_path / "broken")
    entries = json.loads((folder / "runtime.json").read_text())
    entries["encoders"]["text"][name] = value
    (folder / "runtime.json").write_text(json.dumps(entries))
    assert main(["predict", str(folder), "--text", "no way"]) == 1
    assert re.fullmatch(r"Error: .*: export the run again\.\n", capsys.readouterr().err)


@pytest.mark.parametrize("times", [{"every_s": float("nan")}, {"window_s": float("inf")}, {"every_s": 0}])
def test_times_that_cannot_be_are_refused(exported, times):
    with pytest.raises(PredictionError, match="can't be: both are above 0"):
        list(load(exported).listen([], **times))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (None, r"has no runtime\.json: give a folder"),
        ("{", "can't be read as JSON"),
        ('{"format": 9}', "is of format 9, and this version reads 1"),
        ('{"format": 1, "name": "a", "models": 1, "target": {}}', "is damaged"),
    ],
)
def test_a_folder_that_is_no_export_is_one_sentence(tmp_path, broken, message, capsys):
    if broken is not None:
        (tmp_path / "runtime.json").write_text(broken)
    assert main(["predict", str(tmp_path), "--text", "no way"]) == 1
    error = capsys.readouterr().err
    assert message.replace("\\", "") in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("context", 30), ("hop", 0), ("window", True), ("mels", None), ("sampling_rate_hz", float("inf")),
        ("dtype", "O"), ("pool", "all"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(tmp_path, entry, value):
    speech = {"dim": 4, "dtype": "float16", "pool": "2", "input": "log-mel", "mels": 80, "sampling_rate_hz": 16_000}
    speech |= {"normalise": False, "hop": 320, "receptive_field": 400, "window": 50, "context": 5}
    settings = {"format": 1, "name": "a", "models": 1, "target": {"kind": "label", "names": ["a"], "ranges": []}}
    (tmp_path / "runtime.json").write_text(json.dumps(settings | {"encoders": {"speech": speech}}))
    assert read_settings(tmp_path).encoders["speech"] == speech
    (tmp_path / "runtime.json").write_text(json.dumps(settings | {"encoders": {"speech": speech | {entry: value}}}))
    with pytest.raises(PredictionError, match="is damaged"):
        read_settings(tmp_path)


def test_a_film_of_a_phone_is_turned_and_has_square_pixels(tmp_path):
    from gia_mic.extract.media import stream_pictures

    path = film(tmp_path / "a.mp4", [40, 120] * 4, turn=-90, shape=2)
    settings = {"size": [24, 16], "resample": 3, "frame_rate_hz": 4}
    framing = Framing((24, 16))
    expected = np.stack([framing.apply(picture) for picture in stream_pictures(path, 4)])
    np.testing.assert_array_equal(np.concatenate(list(picture_batches(settings, path))), expected)


def test_pictures_in_memory_are_those_of_a_film(exported, inputs):
    from gia_mic.extract.media import stream_pictures

    model = load(exported)
    pictures = np.stack([np.asarray(picture) for picture in stream_pictures(inputs["video"]["video"], 4)])
    assert difference(model.predict(video=pictures), model.predict(**inputs["video"])) < 1e-6


def test_what_cannot_be_exported_is_refused_and_the_fusion_stays(demo, tmp_path, monkeypatch, mer):
    with pytest.raises(EncoderError, match="sees faces, and the runtime can't look for them"):
        VisualEncoder("tiny", crop="face").recipe()
    monkeypatch.setattr("gia_mic.onnx_encoders.write_onnx", lambda _, path, **__: path.touch())
    monkeypatch.setattr(
        "gia_mic.onnx_encoders.rebuild", lambda *_: (_ for _ in ()).throw(EncoderError("It is your own."))
    )
    with pytest.raises(RunError, match=r"It is your own; .*model\.onnx, the fusion alone, is all there is"):
        export(tuple(find_run_dirs(demo[1] / "late")), tmp_path / "out", onnx=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "fold-1", "model.onnx"}
    assert mer("export", demo[1] / "late", tmp_path / "out", "--int8").exit_code == 2
