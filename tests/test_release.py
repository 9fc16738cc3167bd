import os
import time

import made_releases
import numpy as np
import pytest

from gia_mic.extract.corpora import release
from gia_mic.extract.corpus import Clip
from gia_mic.extract.errors import CorpusError, StoreError

GROWING = ("msppodcast", "merchallenge", "emobox")  # no counts by class are published that hold for each release


class Hostile:
    """An object whose pickle runs a command."""

    def __reduce__(self):
        return os.system, ("touch proof",)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """One tree of each release."""
    return {name: getattr(made_releases, name)(tmp_path_factory.mktemp(name)) for name in release.RELEASES}


def prepared(trees, tmp_path, caplog, published, **options):
    """Return the corpus, its utterances by id, and what was warned of."""
    caplog.clear()
    corpus = release.prepare_release(published, trees[published], tmp_path / "features", **options)
    utterances = list(corpus)
    for utterance in utterances:
        assert all(corpus.path(clip).is_file() for clip in (utterance.audio, utterance.video) if clip)
    return corpus, {utterance.id: utterance for utterance in utterances}, "\n".join(caplog.messages)


def test_iemocap_with_four_labels(trees, tmp_path, caplog):
    corpus, turns, warnings = prepared(trees, tmp_path, caplog, "iemocap")
    assert corpus.classes == ("angry", "happy", "neutral", "sad")
    assert len(turns) == 5 * 3 * 5
    turn = turns["Ses02M_impro02_F002"]
    assert (turn.label, turn.source_label, turn.text) == ("happy", "exc", "Well, number 2.")
    assert (turn.speaker, turn.session, turn.dialog, turn.scenario) == ("Ses02F", "Ses02", "Ses02M_impro02", "impro02")
    assert turn.audio == Clip("Session2/sentences/wav/Ses02M_impro02/Ses02M_impro02_F002.wav")
    # The actor with the markers is M here, so F sits on the right.
    assert turn.video == Clip("Session2/dialog/avi/DivX/Ses02M_impro02.avi", 0.5, 0.75, (0.5, 0.0, 1.0, 1.0))
    assert turns["Ses02M_impro02_M001"].video.crop == (0.0, 0.0, 0.5, 1.0)
    assert turns["Ses02F_script01_1b_F000"].scenario == "script01_1"
    assert "turns with another time in the transcript (the evaluation's is taken): Ses01F_impro01_M001." in warnings
    assert (turns["Ses01F_impro01_M001"].video.start_s, turns["Ses01F_impro01_F000"].audio) == (0.25, None)
    assert "turns without sound: Ses01F_impro01_F000." in warnings
    assert "dialogs without video: Ses01M_impro02." in warnings
    assert turns["Ses01M_impro02_F000"].video is None
    assert "transcripts that are not there: Ses01F_script01_1b.txt." in warnings
    assert turns["Ses01F_script01_1b_F000"].text is None


def test_iemocap_counts_stand_beside_the_published_ones(trees, tmp_path, caplog):
    table = release.counts(prepared(trees, tmp_path, caplog, "iemocap")[0])
    rows = {line.split()[0]: line for line in table.splitlines() if line.startswith(("Ses", "all"))}
    assert "3 of 229" in rows["Ses01"]
    assert rows["Ses01"].endswith("15 of 1085")
    assert [rows[f"Ses0{n}"].rpartition(" of ")[2] for n in range(1, 6)] == ["1085", "1023", "1151", "1031", "1241"]
    assert [cell.split()[0] for cell in rows["all"].split(" of ")[1:]] == ["1103", "1636", "1708", "1084", "5531"]


@pytest.mark.parametrize(
    ("options", "classes", "count", "published"),
    [
        ({"labels": 5}, ("angry", "frustrated", "happy", "neutral", "sad"), 90, "90 of 7380"),
        ({"labels": 6}, ("angry", "excited", "frustrated", "happy", "neutral", "sad"), 90, "90 of 7380"),
        ({"improvised_only": True}, ("angry", "happy", "neutral", "sad"), 50, "50 of 2943"),
    ],
)
def test_iemocap_with_other_sets_of_labels(trees, tmp_path, options, classes, count, published, caplog):
    corpus, turns, _ = prepared(trees, tmp_path, caplog, "iemocap", **options)
    assert (corpus.classes, len(turns)) == (classes, count)
    assert published in release.counts(corpus)


def test_iemocap_has_scores_and_votes(trees, tmp_path, caplog):
    corpus, turns, warnings = prepared(trees, tmp_path, caplog, "iemocap")
    assert corpus.score_ranges == {"valence": (1, 5.5), "arousal": (1, 5), "dominance": (1, 5)}
    assert turns["Ses02M_impro02_F002"].scores == {"valence": 3.0, "arousal": 3.0, "dominance": 4.5}
    assert turns["Ses05F_impro01_F002"].scores["valence"] == 5.5
    assert "turns with a mean outside 1 to 5, kept as it is: Ses05F_impro01_F002." in warnings
    assert turns["Ses02M_impro02_F000"].votes == {"angry": 2, "neutral": 1}
    assert turns["Ses02M_impro02_F002"].votes == {"happy": 2}  # who names both counts once; surprise is no class
    assert turns["Ses02M_impro02_F004"].votes == {"neutral": 2, "sad": 1}
    assert list(corpus.targets) == ["label", "valence", "arousal", "dominance", "votes"]
    six = prepared(trees, tmp_path, caplog, "iemocap", labels=6)[1]
    assert six["Ses02M_impro02_F002"].votes == {"excited": 2, "happy": 1}
    assert six["Ses02M_impro02_F000"].votes == {"angry": 2, "frustrated": 1, "neutral": 1}


def test_iemocap_keeps_turns_without_a_class_on_request(trees, tmp_path, caplog):
    labelled, _, _ = prepared(trees, tmp_path, caplog, "iemocap")
    corpus, turns, _ = prepared(trees, tmp_path, caplog, "iemocap", all_turns=True)
    assert len(turns) == 5 * 3 * 7
    assert [turn.id for turn in corpus if turn.label is not None] == labelled.ids
    frustrated, disagreed = turns["Ses02M_impro02_M005"], turns["Ses02M_impro02_F006"]
    assert (frustrated.label, frustrated.source_label, frustrated.votes) == (None, "fru", {"angry": 1})
    assert (disagreed.label, disagreed.source_label, disagreed.votes) == (None, "xxx", None)
    assert disagreed.scores == {"valence": 5.0, "arousal": 3.0, "dominance": 4.5}
    table = release.counts(corpus).splitlines()
    assert table[0].split()[-3:] == ["no", "class", "all"]
    assert table[2].split()[-2:] == ["6", "21"]


def test_iemocap_keeps_tags_on_request(trees, tmp_path, caplog):
    _, turns, _ = prepared(trees, tmp_path, caplog, "iemocap", keep_tags=True)
    assert turns["Ses02M_impro02_F002"].text == "Well, [LAUGHTER] number 2."


def test_iemocap_refuses_an_unknown_set_of_labels_and_another_folder(trees, tmp_path, caplog):
    with pytest.raises(CorpusError, match="no set of 3 labels"):
        prepared(trees, tmp_path, caplog, "iemocap", labels=3)
    with pytest.raises(CorpusError, match="give the folder IEMOCAP_full_release itself"):
        release.prepare_release("iemocap", trees["emodb"], tmp_path)
    with pytest.raises(CorpusError, match="is no folder"):
        release.prepare_release("iemocap", tmp_path / "none", tmp_path)


def test_ten_thousand_turns_take_seconds(tmp_path):
    for number in range(1, 6):
        session = tmp_path / f"Session{number}"
        for dialog in (f"Ses{number:02d}F_impro{take:02d}" for take in range(1, 21)):
            turns = [(f"{dialog}_F{index:03d}", index) for index in range(100)]
            lines = [
                f"[{at}.0 - {at + 1}.0]\t{turn}\t{'ang' if at % 2 else 'sad'}\t[2.5, 2.5, 2.5]\n" for turn, at in turns
            ]
            made_releases.write(session / f"dialog/EmoEvaluation/{dialog}.txt", "".join(lines))
            lines = [f"{turn} [{at}.0-{at + 1}.0]: Yes.\n" for turn, at in turns]
            made_releases.write(session / f"dialog/transcriptions/{dialog}.txt", "".join(lines))
    began = time.process_time()
    assert len(release.prepare_release("iemocap", tmp_path, tmp_path / "features")) == 10_000
    assert time.process_time() - began < 10


def test_msppodcast(trees, tmp_path, caplog):
    corpus, turns, warnings = prepared(trees, tmp_path, caplog, "msppodcast")
    assert len(turns) == 8
    turn = turns["MSP-PODCAST_0004_0000"]
    assert (turn.label, turn.source_label, turn.split, turn.dialog) == ("angry", "A", "test", "MSP-PODCAST_0004")
    assert (turn.text, turn.speaker) == ("This is 0004.", "4")
    assert turn.scores == {"valence": 2.4, "arousal": 5.2, "dominance": 4.0}
    assert turn.votes == {"angry": 2, "contemptuous": 1}
    assert corpus.score_ranges == dict.fromkeys(["valence", "arousal", "dominance"], (1, 7))
    disagreed = turns["MSP-PODCAST_0003_0001"]
    assert (disagreed.label, disagreed.split, disagreed.speaker) == (None, "dev", None)
    assert disagreed.votes == {"happy": 1, "sad": 1}
    assert turns["MSP-PODCAST_0001_0000"].audio is None
    assert turns["MSP-PODCAST_0001_0001"].text is None
    assert "turns without sound: MSP-PODCAST_0001_0000." in warnings
    assert "other parts, left out: Test2 (2)." in warnings
    assert release.counts(corpus).splitlines()[-1].split() == "all 3 0 0 0 1 0 0 0 4 8".split()
    _, second, warnings = prepared(trees, tmp_path, caplog, "msppodcast", test=2)
    assert {turn.dialog for turn in second.values() if turn.split == "test"} == {"MSP-PODCAST_0005"}
    assert "parts that the labels don't have: Test3." in prepared(trees, tmp_path, caplog, "msppodcast", test=3)[2]


def test_msppodcast_has_votes_in_two_forms(tmp_path):
    root = made_releases.msppodcast(tmp_path / "release")
    rows = ["FileName,EmoClass_Major", "MSP-PODCAST_0001_0000.wav,Fear", "MSP-PODCAST_0001_0000.wav,Other-tired"]
    made_releases.write(root / "Labels/labels_detailed.csv", "\n".join(rows))
    turns = {turn.id: turn for turn in release.prepare_release("msppodcast", root, tmp_path / "features")}
    assert turns["MSP-PODCAST_0001_0000"].votes == {"fearful": 1}
    assert turns["MSP-PODCAST_0002_0000"].votes is None


def test_msppodcast_names_what_is_wrong_with_its_labels(tmp_path):
    rows = [
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set",
        "a.wav,Q,4,4,4,1,Male,Train",
        "b.wav,A,4,high,4,1,Male,Train",
        "c.wav,A,4,,4,1,Male,Train",
    ]
    made_releases.write(tmp_path / "Labels/labels_consensus.csv", "\n".join(rows))
    (tmp_path / "Audios").mkdir()
    with pytest.raises(CorpusError, match=r"(?s)emotions that.*a \(Q\).*aren't numbers: b.*no value for EmoVal in: c"):
        release.prepare_release("msppodcast", tmp_path, tmp_path / "features")


def test_merchallenge(trees, tmp_path, caplog):
    corpus, clips, warnings = prepared(trees, tmp_path, caplog, "merchallenge")
    assert len(clips) == 12
    clip = clips["sample_00000010"]
    assert (clip.label, clip.source_label, clip.split, clip.text) == ("surprised", "surprise", "test", "你好")
    assert clip.audio == clip.video == Clip("test1/sample_00000010.avi")
    assert clip.scores == {"valence": 1.5}
    assert corpus.score_ranges == {"valence": (-2.5, 2.5)}
    assert clips["sample_00000000"].split == "train"
    assert "other parts, left out: test2, test3." in warnings
    semi = prepared(trees, tmp_path, caplog, "merchallenge", test=3)[1]
    assert (semi["sample_00000018"].label, semi["sample_00000018"].scores) == ("worried", None)


def test_merchallenge_of_a_later_year_has_folds(tmp_path):
    root = made_releases.mer2025(tmp_path / "release")
    clips = list(release.prepare_release("merchallenge", root, tmp_path / "features"))
    assert len(clips) == 12
    assert {clip.split for clip in clips} <= {f"fold_{number}" for number in range(1, 6)}
    assert len({clip.split for clip in clips}) > 2
    assert (clips[0].audio, clips[0].text) == (Clip("audio/samplenew3_00000000.wav"), "你好")
    assert clips[0].video == Clip("video/samplenew3_00000000.mp4")
    assert clips[4].scores == {"valence": 0.0}


def test_merchallenge_as_mertools_prepares_it(tmp_path, caplog):
    root = made_releases.mertools(tmp_path / "release")
    clips = {clip.id: clip for clip in release.prepare_release("merchallenge", root, tmp_path / "features")}
    assert list(clips) == [f"sample_{number}" for number in range(6)]
    assert (clips["sample_0"].scores, clips["sample_1"].scores) == ({"valence": -0.5}, None)
    assert "parts whose labels aren't known, left out: test1." in caplog.text


@pytest.mark.parametrize(
    ("corpora", "error", "message"),
    [
        ({"train_corpus": Hostile()}, StoreError, "is refused.*asks for posix.system"),
        ({"train_corpus": {"a": "sad"}}, CorpusError, "none of MERTools' archives.*found train_corpus"),
        ({"train_corpus": {"a": {"emo": "glee"}}}, CorpusError, r"emotions that MER doesn't have: a \(glee\)"),
    ],
)
def test_archives_of_another_kind_are_refused(tmp_path, corpora, error, message):
    np.savez(tmp_path / "label-6way.npz", **corpora)
    with pytest.raises(error, match=message):
        release.prepare_release("merchallenge", tmp_path, tmp_path / "features")


def test_emobox_with_folds(trees, tmp_path, caplog):
    corpus, recordings, warnings = prepared(trees, tmp_path, caplog, "emobox", name="cafe")
    assert corpus.classes == ("Angry", "Happy")
    assert {one.id: one.split for one in recordings.values()} == {
        f"cafe-0{number}-{emotion}": f"fold_{number}" for number in (1, 2, 3) for emotion in "cj"
    }
    angry = recordings["cafe-02-c"]
    assert (angry.label, angry.source_label, angry.speaker) == ("Angry", "c", "02")
    assert angry.audio == Clip("downloads/cafe/Colère/cafe-02-c.wav")
    assert not warnings
    one = prepared(trees, tmp_path, caplog, "emobox", dataset="cafe", fold=2)[1]
    assert {one.speaker for one in one.values() if one.split == "test"} == {"02"}
    assert {one.split for one in one.values()} == {"train", "test"}


def test_emobox_with_one_fold_of_three_parts(tmp_path, caplog):
    parts = {"train": ["meld-01-c"], "valid": ["meld-02-c"], "test": ["meld-03-c", "meld-03-j"]}
    root = made_releases.emobox(tmp_path / "release", "meld", fold_1=parts)
    (root / "downloads/meld").rename(tmp_path / "MELD.Raw")
    (tmp_path / "MELD.Raw/Joie/meld-03-j.wav").unlink()
    corpus = release.prepare_release("emobox", root, tmp_path / "features", root=tmp_path / "MELD.Raw")
    assert dict(zip(corpus.ids, corpus.column("split"), strict=True)) == {
        "meld-01-c": "train",
        "meld-02-c": "dev",
        "meld-03-c": "test",
        "meld-03-j": "test",
    }
    assert "recordings that are not there: meld-03-j." in caplog.text
    assert next(iter(corpus)).audio == Clip("Colère/meld-01-c.wav")


@pytest.mark.parametrize(
    ("folds", "options", "message"),
    [
        ({}, {"dataset": "meld"}, "has no corpus 'meld': give one of cafe with --dataset"),
        ({}, {"fold": 4}, "has no fold_4/cafe_train_fold_4.jsonl"),
        ({"fold_1": {"train": ["cafe-01-c"]}}, {}, "a fold of one part alone"),
        ({"fold_1": {"train": ["cafe-01-c"], "test": ["cafe-01-c"]}}, {}, "parts of cafe in EmoBox share recordings"),
        (
            {f"fold_{number}": {"train": ["cafe-01-c"], "test": ["cafe-02-c"]} for number in (1, 2)},
            {},
            "2 folds of cafe in EmoBox can't be told by one column.*choose one of them with --fold",
        ),
        (
            {f"fold_{number}": {"train": [], "test": [f"cafe-0{number}-c"]} for number in (1, 2)},
            {},
            "has no rows",
        ),
    ],
)
def test_emobox_refuses_folds_that_no_column_can_tell(tmp_path, folds, options, message):
    root = made_releases.emobox(tmp_path / "release", **folds)
    with pytest.raises(CorpusError, match=message):
        release.prepare_release("emobox", root, tmp_path / "features", **options)


def test_emobox_names_what_is_wrong_with_its_lines(tmp_path):
    root = made_releases.emobox(tmp_path / "release")
    with pytest.raises(CorpusError, match=r"none of the 6 recordings of cafe, such as downloads/.*with --root"):
        release.prepare_release("emobox", root, tmp_path / "features", root=_empty(tmp_path))
    made_releases.write(root / "data/cafe/label_map.json", '{"j": "Happy"}')
    with pytest.raises(CorpusError, match=r"emotions that label_map.json doesn't have: c; take it from EmoBox again"):
        release.prepare_release("emobox", root, tmp_path / "features")
    made_releases.write(root / "data/cafe/label_map.json", "[]")
    with pytest.raises(CorpusError, match="no object of classes by emotion"):
        release.prepare_release("emobox", root, tmp_path / "features")
    made_releases.write(root / "data/cafe/fold_1/cafe_test_fold_1.jsonl", '{"key": "../a", "wav": "a", "emo": "c"}')
    with pytest.raises(CorpusError, match="keys that lead out of a folder"):
        release.prepare_release("emobox", root, tmp_path / "features")


def test_meld(trees, tmp_path, caplog):
    corpus, utterances, warnings = prepared(trees, tmp_path, caplog, "meld")
    assert len(utterances) == 36
    utterance = utterances["train_dia2_utt1"]
    assert (utterance.label, utterance.source_label, utterance.split, utterance.dialog) == (
        "happy",
        "joy",
        "train",
        "train_dia2",
    )
    assert (utterance.text, utterance.speaker) == ("I’m in dialog 2, turn 1", "Monica")
    assert utterance.audio == utterance.video == Clip("train/train_splits/dia2_utt1.mp4")
    assert utterances["test_dia0_utt0"].video.path == "test/output_repeated_splits_test/dia0_utt0.mp4"
    assert utterances["dev_dia1_utt2"].video is None
    assert utterances["dev_dia1_utt2"].text
    assert "utterances without a clip: dev_dia1_utt2." in warnings
    assert "clips without a line, left out: test: final_videos_testdia0_utt0." in warnings
    assert "12 of 9989" in release.counts(corpus)
    assert "36 of 13708" in release.counts(corpus)


def test_meld_names_what_is_wrong_with_its_annotations(tmp_path):
    header = "Sr No.,Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n"
    made_releases.write(
        tmp_path / "dev_sent_emo.csv", header + "1,Hi,Joey,glee,0,0\n2,Hi,Joey,joy,,1\n3,Hi,Joey,joy,0,2\n" * 2
    )
    with pytest.raises(CorpusError, match=r"(?s)emotions that MELD doesn't have.*no value for Dialogue_ID.*come twice"):
        release.prepare_release("meld", tmp_path, tmp_path / "features")
    with pytest.raises(CorpusError, match="give MELD"):
        release.prepare_release("meld", _empty(tmp_path), tmp_path)


def _empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_cremad(trees, tmp_path, caplog):
    corpus, utterances, warnings = prepared(trees, tmp_path, caplog, "cremad")
    utterance = utterances["1001_DFA_ANG_XX"]
    assert (utterance.label, utterance.source_label, utterance.speaker, utterance.scenario) == (
        "angry",
        "ANG_XX",
        "1001",
        "DFA",
    )
    assert (utterance.text, utterance.audio.path) == ("Don't forget a jacket.", "AudioWAV/1001_DFA_ANG_XX.wav")
    assert utterance.video.path == "VideoFlash/1001_DFA_ANG_XX.flv"
    assert utterances["1002_IEO_SAD_XX"].video is None
    assert utterances["1001_IEO_SAD_X"].label == "sad"
    assert "files of another name, left out: README_EXTRA." in warnings
    assert "of 7442" in release.counts(corpus)


def test_ravdess(trees, tmp_path, caplog):
    corpus, utterances, warnings = prepared(trees, tmp_path, caplog, "ravdess")
    assert len(utterances) == 16
    utterance = utterances["01-05-01-01-01-01"]
    assert (utterance.label, utterance.speaker, utterance.scenario) == ("angry", "Actor_01", "sentence 1")
    assert utterance.audio.path.endswith("Actor_01/03-01-05-01-01-01-01.wav")
    assert utterance.video.path.endswith("Actor_01/01-01-05-01-01-01-01.mp4")
    assert utterances["01-08-01-01-01-02"].audio.path.endswith("01-01-08-01-01-01-02.mp4")
    assert "songs, left out: 03-02-03-01-01-01-01." in warnings
    assert "16 of 1440" in release.counts(corpus)


def test_emodb(trees, tmp_path, caplog):
    corpus, utterances, warnings = prepared(trees, tmp_path, caplog, "emodb", name="berlin")
    assert corpus.name == "berlin"
    assert len(utterances) == 28
    utterance = utterances["03a01Fa"]
    assert (utterance.label, utterance.speaker, utterance.scenario, utterance.source_label) == (
        "happy",
        "03",
        "a01",
        "F",
    )
    assert utterance.text == "Der Lappen liegt auf dem Eisschrank."
    assert "silence" in warnings
    assert "28 of 535" in release.counts(corpus)


def test_a_link_out_of_the_root_is_refused(trees, tmp_path):
    secret = made_releases.write(tmp_path / "secret.wav", "secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/03a01Fa.wav").symlink_to(secret)
    with pytest.raises(CorpusError, match=r"symbolic links that lead out of it: 03a01Fa\.wav"):
        release.prepare_release("emodb", tmp_path / "root", tmp_path)


def test_folders_that_link_out_of_the_root_are_refused(tmp_path):
    tree = made_releases.iemocap(tmp_path / "iemocap")
    (tree / "Session2/sentences").rename(tmp_path / "elsewhere")
    (tree / "Session2/sentences").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match="outside the corpus root"):
        release.prepare_release("iemocap", tree, tmp_path / "features")
    tree = made_releases.meld(tmp_path / "meld")
    (tree / "train/train_splits").rename(tmp_path / "clips")
    (tree / "train/train_splits").symlink_to(tmp_path / "clips")
    with pytest.raises(CorpusError, match="outside the corpus root"):
        release.prepare_release("meld", tree, tmp_path / "features")


@pytest.mark.parametrize("name", release.RELEASES)
def test_published_counts_add_up_to_the_facts(trees, tmp_path, name, caplog):
    info = release.corpus_info(name)
    corpus, _, _ = prepared(trees, tmp_path, caplog, name)
    total = sum(row["count"] for row in corpus.about["expected"])
    if name not in GROWING:
        assert total == (5531 if name == "iemocap" else info.utterances)
    assert set(corpus.classes) <= set(info.classes) or name == "emobox"


@pytest.mark.parametrize("name", release.RELEASES)
def test_a_folder_without_the_release_is_refused(tmp_path, name):
    with pytest.raises(CorpusError, match="give "):
        release.prepare_release(name, _empty(tmp_path), tmp_path)
