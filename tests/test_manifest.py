import json
import re
import time
import wave

import numpy as np
import pandas as pd
import pytest

from gia_mic.extract.corpora.manifest import prepare_table
from gia_mic.extract.corpus import Clip, corpus_names
from gia_mic.extract.errors import CorpusError

HEADER = "id,label,text,audio,audio_start_s,audio_end_s"


@pytest.fixture
def root(tmp_path):
    """A folder with one second of sound, sound.wav."""
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    for name in ("sound.wav", "sub/other.wav"):
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(np.zeros(16_000, "<i2").tobytes())
    return folder


def table(root, *rows, header=HEADER, name="table.csv"):
    path = root / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_csv_becomes_utterances(root, tmp_path):
    path = table(
        root,
        'a,happy,"yes, well",sound.wav,0.25,0.75,S1,video.mp4,,,"0,0,0.5,1"',
        "b, sad ,,sub/other.wav,,,2,,,,",
        "c,sad,alas,,,,,,,,",
        header=HEADER + ",speaker,video,video_start_s,video_end_s,video_crop",
    )
    (root / "video.mp4").touch()
    a, b, c = prepare_table(path, tmp_path / "features", "mine")
    assert (a.text, a.speaker, a.audio) == ("yes, well", "S1", Clip("sound.wav", 0.25, 0.75))
    assert a.video == Clip("video.mp4", crop=(0.0, 0.0, 0.5, 1.0))
    assert (b.label, b.text, b.speaker, b.audio, b.video) == ("sad", None, "2", Clip("sub/other.wav"), None)
    assert (c.audio, c.text, c.session) == (None, "alas", None)


def test_every_kind_of_table_gives_the_same_corpus(root, tmp_path):
    rows = [
        {"id": "a", "label": "happy", "speaker": 1, "audio": "sound.wav", "audio_start_s": 0.5, "audio_end_s": None},
        {
            "id": "b",
            "label": "sad",
            "speaker": None,
            "audio": "sub/other.wav",
            "audio_start_s": None,
            "audio_end_s": 1.0,
        },
    ]
    frame = pd.DataFrame(rows).astype({"speaker": "Int64"})
    frame.to_csv(root / "t.csv", index=False)
    frame.to_csv(root / "t.tsv", index=False, sep="\t")
    frame.to_csv(root / "semicolon.csv", index=False, sep=";", encoding="utf-8-sig")
    frame.to_parquet(root / "t.parquet")
    nested = [
        {"id": r["id"], "label": r["label"], "speaker": r["speaker"]}
        | {"audio": {"path": r["audio"], "start_s": r["audio_start_s"], "end_s": r["audio_end_s"]}}
        for r in rows
    ]
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "nested.jsonl").write_text("".join(json.dumps(row) + "\r\n" for row in nested))
    pd.DataFrame(nested).to_parquet(root / "nested.parquet")
    files = ["t.csv", "t.tsv", "semicolon.csv", "t.parquet", "t.jsonl", "nested.jsonl", "nested.parquet"]
    prepared = [list(prepare_table(root / file, tmp_path / "features", "mine")) for file in files]
    assert prepared == [prepared[0]] * len(files)
    assert [u.speaker for u in prepared[0]] == ["1", None]


def test_labels_fix_the_order_of_classes(root, tmp_path):
    path = table(root, "a,happy,yes,,,", "b,angry,no,,,")
    assert prepare_table(path, tmp_path / "f", "sorted").classes == ("angry", "happy")
    assert prepare_table(path, tmp_path / "f", "given", labels=["happy", " angry", "sad"]).classes == (
        "happy",
        "angry",
        "sad",
    )


def test_paths_start_at_the_given_root_and_may_be_absolute_inside_it(root, tmp_path):
    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    path = table(elsewhere, f"a,happy,,{root / 'sound.wav'},,", "b,sad,,sub/other.wav,,")
    corpus = prepare_table(path, tmp_path / "features", "mine", root=root)
    assert [utterance.audio.path for utterance in corpus] == ["sound.wav", "sub/other.wav"]
    assert all(corpus.path(utterance.audio).is_file() for utterance in corpus)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",happy,yes,,,", "rows without an id: 2;"),
        ("a,happy,yes,,,", "duplicate ids: a;"),
        ("b,,yes,,,", "utterances without a label: b;"),
        ("b,NaN,yes,,,", "utterances without a label: b;"),
        ("../b,happy,yes,,,", r"ids that lead out of a folder or have control characters: '../b';"),
        ("/b,happy,yes,,,", r"ids that lead out .*: '/b';"),
        ("b,bored,yes,,,", r"labels that are none of happy, sad: b \(bored\);"),
        ("b,happy,,,,", "utterances without text, audio or video: b;"),
        ("b,happy,,none.wav,,", r"files that are not in .*: b \(none.wav\);"),
        ("b,happy,,../root/sound.wav,,", r"outside the corpus root .*: b \(../root/sound.wav\);"),
        ("b,happy,,/etc/passwd,,", r"outside the corpus root .*: b \(/etc/passwd\);"),
        (
            "b,happy,,link.wav,,",
            r"links that lead outside the corpus root .*--follow-links.*: b \(link.wav to .*secret",
        ),
        ("b,happy,,circle.wav,,", "(paths that can't be|files that are not in .*): b"),
        ("b,happy,,sound.wav,0.5,0.5", r"clips that end before they start: b \(0.5 to 0.5 s\);"),
        ("b,happy,,sound.wav,-1,0.5", r"times in audio that are no seconds from 0 on: b \('-1'\);"),
        ("b,happy,,sound.wav,inf,0.5", r"times in audio that are no seconds from 0 on: b \('inf'\);"),
        ("b,happy,,sound.wav,0,soon", r"times in audio that are no seconds from 0 on: b \('soon'\);"),
        ("b,happy,,sound.wav,0,1.5", r"clips that end after their recording: b \(0 to 1.5 of 1 s\);"),
        ("b,happy,,sound.wav,1,", r"clips that end after their recording: b \(1 to of 1 s\);"),
        ("b,happy,yes,,0,1", "times or crops without a path in audio: b;"),
    ],
)
def test_each_problem_is_named(root, tmp_path, row, message):
    (tmp_path / "secret.wav").write_bytes((root / "sound.wav").read_bytes())
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    (root / "circle.wav").symlink_to(root / "circle.wav")
    path = table(root, "a,happy,yes,,,", row)
    with pytest.raises(CorpusError, match=message):
        prepare_table(path, tmp_path / "features", "mine", labels=["happy", "sad"])
    assert corpus_names(tmp_path / "features") == []


def test_a_clip_may_end_a_rounding_after_its_recording(root, tmp_path):
    path = table(root, "a,happy,,sound.wav,0,1.01")
    assert len(prepare_table(path, tmp_path / "features", "mine")) == 1


def test_bad_crops_are_named(root, tmp_path):
    (root / "video.mp4").touch()
    rows = [f'{n},happy,video.mp4,"{crop}"' for n, crop in enumerate(["0,0,1", "0.5,0,0.5,1", "0,0,2,1", "a,b,c,d"])]
    path = table(root, *rows, header="id,label,video,video_crop")
    with pytest.raises(CorpusError, match=r"crops that are not .* 0 .*, 1 .*, 2 .*, 3 "):
        prepare_table(path, tmp_path / "features", "mine")


def test_all_problems_come_at_once_and_long_lists_are_cut(root, tmp_path):
    path = table(root, *(f"u{n},happy,,none-{n}.wav,," for n in range(25)), "u0,,yes,,,", ",sad,yes,,,")
    with pytest.raises(CorpusError) as caught:
        prepare_table(path, tmp_path / "features", "mine", labels=["happy"])
    lines = str(caught.value).splitlines()
    assert "problems of 5 kinds" in lines[0]
    assert len(lines) == 6
    assert re.search(r"u9 \(none-9.wav\) and 15 more \(25 in all\)", str(caught.value))
    assert "u10" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "id,emotion\na,happy\n", r"needs \(it has id, emotion\): label"),
        ("t.csv", "id,label,text,speekr\na,happy,yes,S1\n", "unknown columns .*: speekr"),
        ("t.csv", "id,label,label,text\na,happy,sad,yes\n", "several columns of one name: label"),
        ("t.csv", "id,label,text\na,happy,yes, no\n", r"another number of cells than its header's 3: line 2 \(4\)"),
        ("t.csv", 'id,label,text\na,happy,"yes\n', "line 2: unexpected end of data"),
        ("t.csv", "id,label,text\n", "has no rows"),
        ("t.csv", "", "has no rows"),
        ("t.csv", b"id,label,text\na,happy,\xff\xfe\n", "not UTF-8 text .* at byte 22"),
        ("t.jsonl", '{"id": "a"}\n[1]\n{"id"\n', "not one JSON object each: 2, 3"),
        ("t.jsonl", '{"id": ["a"], "label": "happy", "text": "yes"}\n', r"values in id that are not text: row 1"),
        (
            "t.jsonl",
            '{"id": "a", "label": "happy", "audio": {"path": "sound.wav", "begin": 1}}\n',
            "parts of audio .*: begin",
        ),
        ("t.jsonl", '{"id": "a", "label": "happy", "audio": 7}\n', r"paths in audio that are not text: a \(7\)"),
        ("t.parquet", "no parquet", "not a Parquet table"),
        ("t.xlsx", "no table", "not( of)? a known kind"),
    ],
)
def test_a_table_that_is_none_is_refused(root, tmp_path, name, content, message):
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CorpusError, match=message):
        prepare_table(root / name, tmp_path / "features", "mine")


def test_missing_table_root_and_double_labels_are_refused(root, tmp_path):
    with pytest.raises(CorpusError, match="can't be read"):
        prepare_table(root / "none.csv", tmp_path / "features", "mine")
    path = table(root, "a,happy,yes,,,")
    with pytest.raises(CorpusError, match="is no folder"):
        prepare_table(path, tmp_path / "features", "mine", root=root / "none")
    with pytest.raises(CorpusError, match="each class once"):
        prepare_table(path, tmp_path / "features", "mine", labels=["happy", "happy"])


def test_ten_thousand_rows_take_seconds(root, tmp_path):
    path = table(root, *(f"u{n},happy,words,sound.wav,0.1,0.9" for n in range(10_000)))
    began = time.perf_counter()
    assert len(prepare_table(path, tmp_path / "features", "mine")) == 10_000
    assert time.perf_counter() - began < 10
