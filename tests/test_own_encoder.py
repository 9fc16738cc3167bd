"""Encoders that others wrote: how they are named, refused, checked, cached, recorded with a run and trusted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_media import tone, video
from made_recordings import make_corpus

import gia_mic
from gia_mic.extract.corpora.demo import Demo, prepare_demo
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.listing import check_named
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import EncoderError, MerError
from gia_mic.extract.store import open_store
from gia_mic.inputs import Input
from gia_mic.onnx_encoders import _write_encoder
from gia_mic.predictor import load_predictor
from gia_mic.rebuild import rebuild

EXAMPLE = Path(__file__).parent.parent / "examples" / "my_encoder.py"
NAME = "my_encoder:MelBands"

HEAD = """
from dataclasses import dataclass
import numpy as np
from gia_mic.encoder import setting

@dataclass(frozen=True)
class Config:
    scale: float = setting(1.0, "Factor.", above=0)
    weights: str = ""

"""
BLOCKS = """
class Blocks:
    '''Means of 10 ms of sound.'''
    modality, sampling_rate_hz, frame_rate_hz = "speech", 16000, 100

    def __init__(self, config: Config):
        self.scale = config.scale

    def frames(self, sound):
        if len(sound) < 800:
            raise ValueError("too short for me")
        rows = sound[: len(sound) // 160 * 160].reshape(-1, 160)
        return self.scale * np.stack([rows.mean(1), rows.std(1)], 1)
"""
ROWS = "        rows = sound[: len(sound) // 160 * 160].reshape(-1, 160)\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mine(here):
    """A file with an encoder, in the current folder."""
    (here / "mine.py").write_text(HEAD + BLOCKS)
    return here / "mine.py"


def change(path, *changes):
    code = path.read_text()
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    path.write_text(code)


def test_the_example_is_short_and_keeps_every_truth(here, mer):
    assert len(EXAMPLE.read_text().splitlines()) < 60
    shutil.copy(EXAMPLE, here)
    answer = mer("encoders", "--check", NAME, "--set", "bands=12")
    assert answer.exit_code == 0, answer.output
    assert [line.split()[0] for line in answer.output.splitlines()] == ["holds"] * 7
    assert "24 features; 98, 198, 298 frames of inputs of 1, 2 and 3 s" in answer.output
    listed = mer("encoders", "--encoder", NAME).output.splitlines()
    assert listed[0].split(maxsplit=2)[:2] == ["mel-bands", "speech"]
    assert [line.split()[:2] for line in listed[1:]] == [["bands", "40"], ["change", "on"]]


def test_a_long_recording_has_the_same_frames_in_windows(mine):
    sound = np.random.default_rng(0).normal(0, 0.1, 163_000).astype(np.float32)
    job = EncodeJob("long", "", sound=(sound, 16_000))
    frames = []
    for window_s in (20.0, 5.0):
        encoder = make_encoder("speech", "mine:Blocks", window_s=window_s)
        pieces = list(encoder.pieces(job))
        frames.append(np.concatenate(encoder.encode(pieces)))
    assert len(pieces) > 2
    np.testing.assert_array_equal(*frames)
    assert frames[0].shape == (1018, 2)


WHOLE = "len(sound) // 160 * 160].reshape(-1, 160)"
LAST = "rows.std(1)], 1)"
CASES = {
    "modality": ([('"speech"', '"sound"')], "has the modality 'sound': write modality = 'speech'"),
    "another": ([('"speech"', '"text"')], "The encoder blocks is one of text, not of speech"),
    "method": ([("def frames", "def encode")], r"has no method frames: write frames\(self, sound\)"),
    "rate": ([("16000, 100", "None, 100")], "has the sampling_rate_hz None: write a whole number"),
    "frame rate": ([("16000, 100", "16000, -1")], "has the frame_rate_hz -1: write how many frames"),
    "making": ([("= config.scale", "= config.size")], r"can't be made \(AttributeError.*, line 17\): correct"),
    "import": ([("import numpy as", "import nump as")], r"mine.py can't be loaded \(ModuleNotFoundError"),
    "clash": ([("scale: float", "pool: float")], "pool in Config means something else here: rename"),
    "untyped": ([("config: Config", "config")], "says nothing of its settings: write __init__"),
    "shape": ([(LAST, f"{LAST}[0]")], r"gives an array of shape \(2,\) for a short input"),
    "empty": ([(LAST, f"{LAST}[:0]")], "gives no frame for a short input: give at least one"),
    "NaN": ([("self.scale *", "np.nan *")], "gives NaN or infinity for a short input"),
    "width": ([(WHOLE, "].reshape(4, -1)"), ("np.stack([rows.mean(1), " + LAST, "rows")], "one width.*gives frames of"),
    "random": (
        [("self.scale *", "np.random.rand() *")],
        r"the same input has the same frames \(the second time, frames",
    ),
    "memory": (
        [("        rows", "        self.scale += len(sound) == 16_000\n        rows")],
        "before it change nothing",
    ),
    "writing": ([(LAST, f"{LAST} + (sound.fill(0) or 0)")], "the input stays as it is|the same input has the same"),
    "step": ([("16000, 100", "16000, 50")], r"it states 50 frames a second, and gives 200 more for 2 s more"),
}
"""What is changed in the file, and what is said of it."""


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_an_encoder_is_refused_in_one_sentence(mine, case, mer):
    changes, message = CASES[case]
    change(mine, *changes)
    corpus = make_corpus(mine.parent, 4)
    with pytest.raises(EncoderError, match=message) as refusal:
        gia_mic.extract_features(corpus, "speech", encoder="mine:Blocks")
    assert len(str(refusal.value).splitlines()) == 1
    answer = mer("encoders", "--check", "mine:Blocks") if case != "another" else None
    assert answer is None or (answer.exit_code, answer.output.splitlines()[-1][:6]) == (1, "Error:")


def test_options_and_settings_that_it_does_not_have_are_refused(mine, mer):
    make_corpus(mine.parent, 4)
    words = ("extract", "--corpus", "made", "--modality", "speech", "--encoder")
    assert "layers is no option of Blocks in mine.py" in mer(*words, "mine:Blocks", "--layers", "mean").output
    assert "has no setting size: it has scale, weights" in mer(*words, "mine:Blocks", "--set", "size=3").output
    assert "scale is -1.0, and must be above 0" in mer(*words, "mine:Blocks", "--set", "scale=-1").output
    assert "mine.py has no Gone: its classes are Blocks" in mer(*words, "mine:Gone").output
    mine.write_text(mine.read_text() + "\n\nclass Tiny(Blocks):\n    pass\n")
    assert "Tiny in mine.py would be called tiny, as one of ours: rename it." in mer(*words, "mine:Tiny").output
    assert "tiny has no settings of its own" in mer(*words, "tiny", "--set", "scale=2").output
    assert "the path" in mer(*words, "mine:Blocks", "--set", "weights=nowhere").output


def test_one_made_anew_must_not_draw_other_weights(mine):
    change(mine, ("= config.scale", "= np.random.rand()"))
    [problem] = [finding.line() for finding in check_named("mine:Blocks") if finding.problem]
    assert problem.startswith("fails  made anew, it gives the same frames: made anew, it gives other frames (seed")
    assert [finding.note for finding in check_named("mine:Blocks")][1] == ""


def test_an_utterance_that_it_refuses_fails_alone_and_code_and_settings_make_other_files(mine):
    corpus = make_corpus(mine.parent, 5)
    tone(corpus.root / "u001.wav", 0.03)
    result = gia_mic.extract_features(corpus, "speech", encoder="mine:Blocks", allow_failures=True)["speech"]
    assert result.failed == {"u001": "blocks fails on u001 (ValueError: too short for me, line 21): correct it."}
    assert (result.extracted, result.missing) == (3, 1)
    store = open_store(result.path)
    assert (store.dim, store.frame_rate_hz, store.encoder) == (2, 100.0, "blocks")
    assert store.header.code == mine.read_bytes()
    assert store.spec["code"]["settings"] == {"scale": 1.0, "weights": ""}
    again = gia_mic.extract_features(corpus, "speech", encoder="mine:Blocks", allow_failures=True)["speech"]
    assert (again.path, again.reused) == (result.path, 3)
    options = {"encoder": "mine:Blocks", "allow_failures": True}
    scaled = gia_mic.extract_features(corpus, "speech", encoder_settings={"scale": 2}, **options)["speech"]
    change(mine, ("too short for me", "too short"))
    changed = gia_mic.extract_features(corpus, "speech", **options)["speech"]
    assert len({result.path, scaled.path, changed.path}) == 3
    np.testing.assert_allclose(open_store(scaled.path).values, 2 * store.values, rtol=2e-3)


@pytest.mark.parametrize(
    ("modality", "body", "shape"),
    [("text", "np.array([[len(word)] for word in text.split()])", (2, 1)), ("visual", "text.mean((1, 2))", (4, 3))],
)
def test_text_and_pictures_have_frames_too(here, modality, body, shape):
    head = f"import numpy as np\n\nclass Lengths:\n    modality, picture_size = {modality!r}, (8, 6)\n"
    (here / "short.py").write_text(f"{head}    def frames(self, text):\n        return {body}\n")
    assert all(finding.problem is None for finding in check_named("short:Lengths"))
    kind = {"text": {"text": "no way"}, "visual": {"video": video(here / "a.mp4", [200] * 10)}}[modality]
    assert gia_mic.encode(**kind, encoder="short:Lengths", pool="none").shape == shape


def test_the_name_of_a_model_that_a_stranger_recorded_runs_no_code(here):
    (here / "taken.py").write_text("raise SystemExit")
    spec = make_encoder("speech", "tiny").spec.canonical() | {"model": "taken:Encoder", "weights": "0" * 40}
    with pytest.raises(EncoderError, match="taken:Encoder"):
        rebuild(spec)


def test_a_run_keeps_its_code_and_runs_it_for_those_who_trust_it(mine, mer, monkeypatch):
    (mine.parent / "table.bin").write_bytes(b"weights")
    corpus = prepare_demo(mine.parent / "features", demo=Demo(utterances=24))
    words = ("--encoder", "mine:Blocks", "--set", "scale=2", "--set", "weights=table.bin")
    assert mer("extract", "--modality", "speech", *words).exit_code == 0
    answer = mer("fuse-train", "--fold", 1, "--epochs", 1, "--fusion", "concat", "--protocol", "speaker")
    assert answer.exit_code == 0, answer.output
    run = mine.parent / "runs" / "demo" / "concat-s"
    fold = next(run.glob("fold-*/seed-*"))
    assert (fold / "encoders" / "speech" / "mine.py").read_bytes() == mine.read_bytes()
    mer("report", "--write-experiment", "again.toml")
    assert mer("run", "again.toml", "--dry-run").output.count("--set scale=2.0 --set weights=") == 1
    sound = next(corpus.root.rglob("*.wav"))
    expected = load_predictor(run, trust=True).predict(sound).probabilities
    assert mer("export", run, "out").exit_code == 0
    mine.unlink()
    answer = mer("predict", run, "--audio", sound)
    assert "The encoder blocks is code of its author, Blocks in " in answer.output
    assert "add --trust" in answer.output
    assert len([line for line in answer.output.splitlines() if line.startswith("Error")]) == 1
    assert mer("listen", run, sound, "--trust").exit_code == 0
    with pytest.raises(EncoderError, match="where they lie isn't known: give --encoder speech=FOLDER"):
        load_predictor("out", trust=True).predict(sound)
    moved = load_predictor("out", trust=True, encoders={"speech": "table.bin"})
    assert moved.predict(sound).probabilities == expected
    with pytest.raises(EncoderError, match="The speech encoder blocks is code of its author, which can't be exported"):
        _write_encoder(moved, "speech", mine.parent / "onnx")
    (mine.parent / "table.bin").write_bytes(b"others")
    with pytest.raises(EncoderError, match=r"table\.bin holds other weights than the speech frames were made with"):
        load_predictor("out", trust=True, encoders={"speech": "table.bin"}).predict(sound)
    (mine.parent / "table.bin").write_bytes(b"weights")
    for code, message in [
        ({"digest": "0" * 64}, "isn't the code that"),
        ({"file": "../x.py"}, "doesn't say where its"),
    ]:
        config = json.loads((fold / "config.json").read_text())
        config["features"]["speech"]["spec"]["code"] |= code
        (mine.parent / "bad" / "fold-1").mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree(fold, mine.parent / "bad" / "fold-1" / "seed-0", dirs_exist_ok=True)
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(MerError, match=message):
            load_predictor(copy, trust=True).encoders.encode([Input(sound)])
