"""`mer predict --batch`: the table's own columns and rows are kept, and the answers stand beside them."""

import io
import json
import shutil

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile
from made_media import tone

from gia_mic.batch import free_names, plain, read_batch
from gia_mic.extract.corpus import Clip
from gia_mic.extract.errors import CorpusError, MediaError
from gia_mic.predictor import Input, load_predictor

EACH = ("p_angry", "p_happy", "p_neutral", "p_sad")

pytestmark = pytest.mark.usefixtures("log")


def read_text(tmp_path, text, name="t.csv", **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_batch(tmp_path / name, tmp_path, **options)


def answered(mer, demo, table, *words):
    answer = mer("predict", demo[1] / "gia-mic", "--batch", table, "--device", "cpu", *words)
    assert "Traceback" not in answer.output
    return answer


def long_and_parts(tmp_path):
    """Three seconds of three pitches in one file, and each second as a file of its own."""
    parts = [soundfile.read(tone(tmp_path / f"u{n}.wav", 1.0, hz=150 * 2**n))[0] for n in range(3)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), soundfile.info(tmp_path / "u0.wav").samplerate)


def test_the_tables_own_columns_are_kept_and_the_answers_have_free_names(demo, tmp_path, mer):
    tone(tmp_path / "a.wav", 0.8)
    text = "id,label,audio,notes,error,modalities,p_sad\nu0, TRUE ,a.wav,mine,none yet,all,0.5\n"
    (tmp_path / "t.csv").write_text(text)
    answer = answered(mer, demo, tmp_path / "t.csv")
    assert answer.exit_code == 0, answer.output
    header, row = answer.stdout.splitlines()
    assert row.startswith("u0, TRUE ,a.wav,mine,none yet,all,0.5,")
    columns = header.split(",")
    assert len(set(columns)) == len(columns)
    assert columns[:7] == text.splitlines()[0].split(",")
    assert {"predicted", "predicted_notes", "predicted_error", "predicted_modalities", "predicted_p_sad"} < set(columns)
    [line] = answered(mer, demo, tmp_path / "t.csv", "--json").stdout.splitlines()
    printed = json.loads(line)
    assert (printed["label"], printed["notes"], printed["modalities"]) == (" TRUE ", "mine", "all")
    assert printed["predicted"] in demo[0].classes
    assert printed["predicted_modalities"] == ["speech"]


@pytest.mark.parametrize(
    ("target", "own", "answers"),
    [
        ("label", "label,p_angry", ["predicted", "predicted_p_angry", "p_happy", "p_neutral", "p_sad"]),
        ("labels", "label", ["labels", *EACH, "p_loud"]),
        ("labels", "labels,p_loud", ["predicted", *EACH, "predicted_p_loud"]),
        ("votes", "votes", ["label", *EACH]),
        ("valence,arousal", "label,Valence", ["predicted_valence", "arousal"]),
        ("valence", "arousal,scores", ["valence"]),
    ],
)
def test_each_target_has_columns_of_its_own_beside_the_tables(targets, tmp_path, mer, target, own, answers):
    _, runs = targets
    columns = own.split(",")
    words = ("predict", runs[target], "--batch", tmp_path / "t.csv", "--device", "cpu")
    (tmp_path / "t.csv").write_text(f"id,{own},text\na,{','.join(columns)},So angry.\nb,{','.join(columns)},\n")
    table = pandas.read_csv(io.StringIO(mer(*words).stdout))
    assert list(table) == ["id", *columns, "text", *answers, "modalities", "notes", "error"]
    assert table[columns].to_numpy().tolist() == [columns] * 2
    assert table["error"].isna().tolist() == [True, False]
    [answer] = load_predictor(runs[target], device="cpu").predict_many([{"text": "So angry."}])
    numbers = [float(table[name][0]) for name in answers if name not in ("label", "labels", "predicted")]
    np.testing.assert_allclose(numbers, list(answer.values.values()), atol=1e-5)
    if not answer.scores:
        assert table[answers[0]][0] == (answer.label or "|".join(answer.labels) or "-")
    line = json.loads(mer(*words, "--json").stdout.splitlines()[0])
    for key, value in answer.entries().items():
        free = {name: "predicted" if name.startswith("label") else f"predicted_{name}" for name in columns}
        assert line[free.get(key, key)] == value


def test_a_score_may_be_called_like_what_stands_beside_an_answer(targets, tmp_path, mer):
    run_dir = shutil.copytree(targets[1]["valence"] / "fold-1" / "seed-0", tmp_path / "run")
    config = json.loads((run_dir / "config.json").read_text())
    config["target"]["names"] = ["notes"]
    (run_dir / "config.json").write_text(json.dumps(config))
    (tmp_path / "t.csv").write_text("text\nSo angry.\n")
    answer = mer("predict", run_dir, "--batch", tmp_path / "t.csv", "--device", "cpu")
    assert answer.stdout.splitlines()[0] == "text,predicted_notes,modalities,notes,error"


def test_names_of_answers_are_free_whatever_the_capitals():
    names = free_names(["label", "notes"], ["LABEL", "Predicted", "predicted_2"])
    assert names == {"label": "predicted_3", "notes": "notes"}


def test_times_mean_what_they_mean_in_a_manifest(demo, tmp_path, mer):
    long_and_parts(tmp_path)
    clips = "id,audio,audio_start_s,audio_end_s\n" + "".join(f"u{n},long.wav,{n},{n + 1}\n" for n in range(3))
    (tmp_path / "clips.csv").write_text(clips)
    (tmp_path / "files.csv").write_text("id,audio\n" + "".join(f"u{n},u{n}.wav\n" for n in range(3)))
    nested = [{"audio": {"path": "long.wav", "start_s": n, "end_s": n + 1.0, "bytes": None}} for n in range(3)]
    (tmp_path / "nested.jsonl").write_text("\n".join(map(json.dumps, nested)))
    clips, files = (
        pandas.read_csv(io.StringIO(answered(mer, demo, tmp_path / f"{name}.csv").stdout))
        for name in ("clips", "files")
    )
    expected = files.filter(like="p_").to_numpy()
    assert len(np.unique(expected.round(3), axis=0)) == 3
    np.testing.assert_allclose(clips.filter(like="p_").to_numpy(), expected, atol=2e-3)
    lines = map(json.loads, answered(mer, demo, tmp_path / "nested.jsonl").stdout.splitlines())
    np.testing.assert_allclose([list(line["probabilities"].values()) for line in lines], expected, atol=2e-3)


def test_headers_are_read_whatever_their_capitals(demo, tmp_path, mer):
    tone(tmp_path / "a.wav", 0.8)
    (tmp_path / "t.csv").write_text("ID,Audio\nx0,a.wav\n")
    answer = answered(mer, demo, tmp_path / "t.csv")
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[1].startswith("x0,a.wav,")


def test_headers_that_are_unknown_are_answered_once(tmp_path, log):
    with pytest.raises(
        CorpusError, match=r"columns file, sentence, and none of them is audio, text or video: .*\(read"
    ):
        read_text(tmp_path, "file,sentence\na.wav,yes\n")
    read_text(tmp_path, "text,begin,mood\nyes,3,good\n")
    assert "text are read; begin, mood are only kept." in log.text


def test_a_row_that_makes_no_input_stays_and_says_why(tmp_path):
    tone(tmp_path / "a.wav", 1.0)
    rows = [
        {"text": "fine"},
        {"audio": "a.wav", "audio_start_s": 0.5, "audio_end_s": 0.5},
        {"audio": "a.wav", "audio_start_s": "soon"},
        {"audio": "a.wav", "audio_start_s": 2},
        {"audio": "a.wav", "audio_end_s": 9},
        {"audio": 7},
        {"audio": "a\0.wav"},
        {"audio": "a" * 5000},
        {"audio": "\ud83d.wav"},
        {"audio": {"path": "a.wav", "array": [0.0]}},
        {"audio_start_s": 1},
        {"text": ["a"]},
        {"video": "a.wav", "video_crop": "1,0,0,1"},
        {"audio": "a.wav", "audio_start_s": 0.5},
    ]
    batch = read_text(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl")
    assert len(batch.rows) == len(rows)
    assert isinstance(batch.inputs[0], Input)
    assert [type(one) for one in batch.inputs[1:-1]] == [MediaError] * 12
    assert batch.inputs[-1].audio == Clip(str(tmp_path / "a.wav"), 0.5, None, None)
    messages = [str(one) for one in batch.inputs[1:-1]]
    assert "ends before it starts" in messages[0]
    assert "'soon' is no time" in messages[1]
    assert "ends after its file, of 1 s" in messages[2]
    assert "can't be a path" in messages[5]
    assert "there are no parts array" in messages[8]


def test_broken_and_empty_rows_keep_their_place_among_the_answers(demo, tmp_path, mer):
    tone(tmp_path / "a.wav", 0.8)
    (tmp_path / "t.csv").write_text("id,audio,audio_start_s\na,a.wav,\nb,a.wav,soon\n,,\nd,a.wav,0.1\nb,gone.wav,\n")
    answer = answered(mer, demo, tmp_path / "t.csv")
    assert answer.exit_code == 1
    table = pandas.read_csv(io.StringIO(answer.stdout))
    assert table["label"].isna().tolist() == [False, True, True, False, True]
    assert table["error"].isna().tolist() == [True, False, False, True, False]
    assert "3 of 5 inputs have no answer: b (audio: 'soon' is no time" in answer.stderr


def test_missing_values_as_text_are_missing(tmp_path, log):
    batch = read_text(tmp_path, "id,audio,text\na,nan,yes\nb,None,no\n")
    assert [one.audio for one in batch.inputs] == [None, None]
    assert "Taken for missing values: 'nan' in audio (1), 'None' in audio (1)." in log.text
    assert read_text(tmp_path, "text\nnone\n", missing=()).inputs[0].text == "none"


def test_sound_inside_a_table_is_read(demo, tmp_path, mer):
    sound = tone(tmp_path / "a.wav", 0.8)
    table = pa.table({"id": ["a"], "audio": [{"bytes": sound.read_bytes(), "path": "gone.wav"}]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    [inside] = map(json.loads, answered(mer, demo, tmp_path / "t.parquet").stdout.splitlines())
    (tmp_path / "t.csv").write_text("id,audio\na,a.wav\n")
    [beside] = map(json.loads, answered(mer, demo, tmp_path / "t.csv", "--json").stdout.splitlines())
    assert inside["probabilities"] == beside["probabilities"]
    assert inside["audio"] == {"path": "gone.wav"}


def test_a_text_that_cannot_be_encoded_has_an_answer(demo, tmp_path, mer):
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "so \ud83d happy"}))
    answer = answered(mer, demo, tmp_path / "t.jsonl")
    assert answer.exit_code == 0, answer.output
    assert answered(mer, demo, tmp_path / "t.jsonl", "--json").exit_code == 0
    assert mer("predict", demo[1] / "gia-mic", "--text", "so \udcff happy", "--device", "cpu").exit_code == 0


def test_cells_are_printed_as_json_can_hold_them():
    value = {"a": float("nan"), "b": [b"x", None, True], "c": pandas.Timestamp("2026-01-02"), "bytes": b"RIFF"}
    assert plain(value) == {"a": None, "b": ["x", None, True], "c": "2026-01-02 00:00:00"}
