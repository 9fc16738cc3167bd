import time

import made_releases
import pytest

from gia_mic.extract.corpora import release
from gia_mic.extract.corpus import Clip
from gia_mic.extract.errors import CorpusError


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
    corpus, turns, said = prepared(trees, tmp_path, caplog, "iemocap")
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
    assert "turns with another time in the transcript (the evaluation's is taken): Ses01F_impro01_M001." in said
    assert (turns["Ses01F_impro01_M001"].video.start_s, turns["Ses01F_impro01_F000"].audio) == (0.25, None)
    assert "turns without sound: Ses01F_impro01_F000." in said
    assert "dialogs without video: Ses01M_impro02." in said
    assert turns["Ses01M_impro02_F000"].video is None
    assert "transcripts that are not there: Ses01F_script01_1b.txt." in said
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
    corpus, turns, said = prepared(trees, tmp_path, caplog, "iemocap")
    assert corpus.score_ranges == {"valence": (1, 5.5), "arousal": (1, 5), "dominance": (1, 5)}
    assert turns["Ses02M_impro02_F002"].scores == {"valence": 2.5, "arousal": 3.0, "dominance": 4.5}
    assert turns["Ses05F_impro01_F002"].scores["valence"] == 5.5
    assert "turns with a mean outside 1 to 5, kept as it is: Ses05F_impro01_F002." in said
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
    assert disagreed.scores == {"valence": 2.5, "arousal": 3.0, "dominance": 4.5}
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
    began = time.perf_counter()
    assert len(release.prepare_release("iemocap", tmp_path, tmp_path / "features")) == 10_000
    assert time.perf_counter() - began < 10


def test_meld(trees, tmp_path, caplog):
    corpus, utterances, said = prepared(trees, tmp_path, caplog, "meld")
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
    assert "utterances without a clip: dev_dia1_utt2." in said
    assert "clips without a line, left out: test: final_videos_testdia0_utt0." in said
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
    corpus, utterances, said = prepared(trees, tmp_path, caplog, "cremad")
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
    assert "files of another name, left out: README_EXTRA." in said
    assert "of 7442" in release.counts(corpus)


def test_ravdess(trees, tmp_path, caplog):
    corpus, utterances, said = prepared(trees, tmp_path, caplog, "ravdess")
    assert len(utterances) == 16
    utterance = utterances["01-05-01-01-01-01"]
    assert (utterance.label, utterance.speaker, utterance.scenario) == ("angry", "Actor_01", "sentence 1")
    assert utterance.audio.path.endswith("Actor_01/03-01-05-01-01-01-01.wav")
    assert utterance.video.path.endswith("Actor_01/01-01-05-01-01-01-01.mp4")
    assert utterances["01-08-01-01-01-02"].audio.path.endswith("01-01-08-01-01-01-02.mp4")
    assert "songs, left out: 03-02-03-01-01-01-01." in said
    assert "16 of 1440" in release.counts(corpus)


def test_emodb(trees, tmp_path, caplog):
    corpus, utterances, said = prepared(trees, tmp_path, caplog, "emodb", name="berlin")
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
    assert "silence" in said
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
    assert total == (5531 if name == "iemocap" else info.utterances)
    assert set(corpus.classes) <= set(info.classes)


@pytest.mark.parametrize("name", release.RELEASES)
def test_a_folder_without_the_release_is_refused(tmp_path, name):
    with pytest.raises(CorpusError, match="give "):
        release.prepare_release(name, _empty(tmp_path), tmp_path)
