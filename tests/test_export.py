"""A run as a folder to hand on: loads alone, tells nothing it shouldn't, and is the same model in ONNX."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_demo import MODEL, train_demo
from made_features import make_corpus, make_stores
from made_media import tone

import gia_mic
from gia_mic.export import export
from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import GiaMicConfig, MultConfig, TrainingConfig
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.packed import PackedFrames, average
from gia_mic.fuse.runs.folder import find_run_dirs
from gia_mic.predictor import Input, load_predictor


def test_an_export_loads_alone_and_answers_as_before(exported_run, tmp_path, mer):
    run, before = exported_run
    answer = mer("export", run, tmp_path / "out", "--licence", "cc-by-4.0")
    assert answer.exit_code == 0, answer.output
    assert "models: 2" in answer.stdout
    moved = shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    assert gia_mic.load(moved, device="cpu").predict(text="I am so angry.") == before
    files = sorted(path.relative_to(moved).as_posix() for path in moved.rglob("*") if path.is_file())
    names = ("config.json", "metrics.json", "model.safetensors")
    assert files == ["README.md", *(f"fold-{fold}/seed-0/{name}" for fold in (1, 2) for name in names)]
    everything = "".join((moved / name).read_text() for name in files if not name.endswith("safetensors"))
    assert "--secret" not in everything
    assert str(tmp_path.parent) not in everything  # where the run and its corpus lie too


def test_the_card_says_what_there_is_to_know(exported_run, tmp_path):
    run, _ = exported_run
    card = (export((run / "fold-1" / "seed-0",), tmp_path / "out", licence="mit") / "README.md").read_text()
    assert "\nlicense: mit\n" in card
    for words in (
        "trained on demo",
        "40 utterances",
        "Folds by session: 1 of 5",
        "angry, happy, neutral, sad",
        "95 % bootstrap intervals over 1 dialogs",
        "| speech | tiny | tiny-",
        "Only 1 of 5 folds",
        "synthetic",
        "expected calibration error",
        "mer predict THIS-FOLDER --audio a.wav",
    ):
        assert words in card, words


@pytest.mark.parametrize(
    ("target", "has_readout", "phrases"),
    [
        (
            "labels",
            True,
            ["which of angry, happy, neutral, sad, loud apply", ").labels)", "| macro_F1 |", "F1 by class"],
        ),
        ("votes", False, ["share of annotators that would choose each of angry", ").probabilities)", "| JS |"]),
        (
            "valence,arousal",
            True,
            ["valence, arousal from speech", "the scores valence (1 … 5), arousal (-3 … 3)", ").scores)", "| CCC |"],
        ),
        ("valence", True, ["# gia-mic-valence: valence from", "the scores valence (1 … 5)", "| MAE | Pearson | CCC |"]),
    ],
)
def test_an_export_answers_and_describes_whatever_was_predicted(targets, tmp_path, target, has_readout, phrases):
    run = targets[1][target]
    before = load_predictor(run, device="cpu").predict(text="I am so angry.")
    gia_mic.load(run, device="cpu").save(tmp_path / "out")
    assert gia_mic.load(tmp_path / "out", device="cpu").predict(text="I am so angry.") == before
    assert (tmp_path / "out" / "fold-1" / "seed-0" / "readout.json").exists() == has_readout
    card = (tmp_path / "out" / "README.md").read_text()
    for words in phrases:
        assert words in card, words
    assert ("expected calibration error" in card) == (target == "votes")
    assert "| 2 | Ses02 |" in card


def test_the_best_possible_scores_stand_in_the_card(targets, tmp_path):
    run = shutil.copytree(targets[1]["valence"], tmp_path / "runs" / "demo" / "known")
    for path in run.glob("*/*/config.json"):
        config = json.loads(path.read_text())
        config["corpus"]["ceiling"] = {"MAE": 0.25, "CCC": 0.9}
        path.write_text(json.dumps(config))
    card = (gia_mic.load(run, device="cpu").save(tmp_path / "out") / "README.md").read_text()
    assert "| best possible |  | 0.250 | — | 0.900 |" in card


def test_an_export_of_an_export_keeps_its_card(exported_run, tmp_path):
    run, _ = exported_run
    export(gia_mic.load(run, device="cpu").run_dirs, tmp_path / "one")
    again = gia_mic.load(tmp_path / "one", device="cpu").save(tmp_path / "two")
    assert (again / "README.md").read_text() == (tmp_path / "one" / "README.md").read_text()


def test_an_export_replaces_an_export_and_nothing_else(exported_run, tmp_path):
    run, _ = exported_run
    run_dirs = gia_mic.load(run, device="cpu").run_dirs
    export(run_dirs, tmp_path / "out")
    export(run_dirs[:1], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "fold-1"]
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(RunError, match=r"holds thesis\.tex"):
        export(run_dirs, tmp_path / "out")
    with pytest.raises(RunError, match="holds a run"):
        export(run_dirs, run)


def test_a_stranger_cannot_choose_where_an_export_is_written(exported_run, tmp_path):
    run = shutil.copytree(exported_run[0], tmp_path / "run")
    path = run / "fold-1" / "seed-0" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fold": "../../elsewhere"}))
    with pytest.raises(RunError, match="lacks fold, or has it in another type"):
        export((path.parent,), tmp_path / "in" / "out")
    assert sorted(tmp_path.glob("*")) == [run]


def averaged(frames):
    """Average each four frames."""
    values, lengths = average(frames.values[frames.mask], frames.mask.sum(1).numpy(), 4)
    starts = torch.from_numpy(np.cumsum(lengths) - lengths)
    return PackedFrames(values, starts, torch.from_numpy(lengths)).gather(torch.arange(len(lengths)))


def answers_of(trained, batch):
    with torch.inference_mode():
        return trained.readout.answers(trained.model(batch).logits).numpy()


SMALL = {"gia-mic": MODEL, "mult": MultConfig(width=16, heads=2, layers=1)}  # each layer takes a while to export


@pytest.mark.parametrize(
    ("fusion", "model"),
    [pytest.param(name, SMALL.get(name), id=name) for name in FUSIONS]
    + [
        pytest.param(name, model, marks=pytest.mark.slow, id=f"{name}-{size}")
        for name, model, size in [
            ("gia-mic", replace(MODEL, without=("interaction",)), "without-interaction"),
            ("gia-mic", GiaMicConfig(), "of-usual-size"),
            ("mult", MultConfig(), "of-usual-size"),
        ]
    ],
)
def test_onnx_says_what_pytorch_says(tmp_path, fusion, model):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx isn't installed")
    pytest.importorskip("onnxscript", reason="the extra onnx isn't installed")
    from gia_mic.onnx import write_onnx

    corpus = make_corpus(tmp_path)
    run_dirs = train_demo(
        corpus,
        make_stores(corpus, speech_hz=50),
        tmp_path / "runs",
        fusion=fusion,
        model=model,
        training=TrainingConfig(epochs=1),
        fold=1,
        seeds=(0, 1) if fusion == "concat" else (0,),
    )
    write_onnx(run_dirs, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    predictor = load_predictor(run_dirs[0].parents[1], device="cpu")
    random = torch.Generator().manual_seed(0)
    for B, lengths in [(1, (40, 3, 1)), (3, (9, 30, 5)), (2, (1, 1, 1)), (2, (120, 70, 90))]:
        batch = {}
        for modality, T in zip(predictor.modalities, lengths, strict=True):
            dim = predictor.config["features"][modality]["dim"]
            ends = torch.randint(1, T + 1, (B, 1), generator=random)
            batch[modality] = PaddedFrames(torch.randn(B, T, dim, generator=random), torch.arange(T) < ends)
        batch["text"].mask[-1] = False  # one utterance without
        batch["speech"].mask[1:2] = False
        fed = {name: frames.values.numpy() for name, frames in batch.items()}
        fed |= {f"{name}_mask": frames.mask.numpy() for name, frames in batch.items()}
        batch["speech"] = averaged(batch["speech"])
        expected = np.mean([answers_of(trained, batch) for trained in predictor.trained], axis=0)
        [probabilities] = session.run(["probabilities"], fed)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("target", ["labels", "votes", "valence,arousal", "valence"])
def test_onnx_answers_what_predict_answers(targets, tmp_path, target):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx isn't installed")
    pytest.importorskip("onnxscript", reason="the extra onnx isn't installed")
    from gia_mic.onnx import write_onnx

    predictor = load_predictor(find_run_dirs(targets[1][target])[0], device="cpu")
    _, [encoded] = predictor.encode([Input(text="I am so angry.")])
    write_onnx(predictor.run_dirs, tmp_path / "model.onnx")
    fed = {}
    for name in predictor.modalities:
        frames = encoded.frames.get(name, np.zeros((1, predictor.config["features"][name]["dim"])))
        fed[name] = frames[None].astype(np.float32)
        fed[f"{name}_mask"] = np.full((1, len(frames)), name in encoded.frames)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    [output] = session.get_outputs()
    assert output.name == ("scores" if target.startswith("valence") else "probabilities")
    [[answers]] = session.run([output.name], fed)
    np.testing.assert_allclose(answers, list(predictor.predict(text="I am so angry.").values.values()), atol=1e-5)


def test_the_command_writes_onnx_or_says_what_to_install(exported_run, tmp_path, monkeypatch, mer):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    answer = mer("export", exported_run[0], tmp_path / "out", "--onnx")
    assert answer.exit_code == 1
    assert "pip install 'gia-mic[onnx]'" in answer.stderr


def test_listening_prints_an_answer_every_half_second(exported_run, tmp_path, mer):
    sound = tone(tmp_path / "a.wav", 1.6)
    answer = mer("listen", exported_run[0], sound, "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    assert [line.split()[0] for line in answer.stdout.splitlines()] == ["0.5", "1.0", "1.5"]
    assert "real-time factor" in answer.stderr
    raw = b"".join((np.zeros(800, "<i2")).tobytes() for _ in range(25)) + b"\0"
    piped = mer("listen", exported_run[0], "-", "--json", "--device", "cpu", input=raw)
    lines = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [line["time_s"] for line in lines] == [0.5, 1.0]
    assert mer("listen", exported_run[0], tmp_path / "none.wav").exit_code == 1
    assert "There is no file" in mer("listen", exported_run[0], tmp_path / "none.raw").stderr
