"""Targets that come with others' feature files: sentiments, emotions, and tables beside them."""

import json

import numpy as np
import pytest
from made_releases import csd
from test_import_features import dump, frames

from gia_mic.extract.corpora.release import overview
from gia_mic.extract.corpus import Utterance, load_corpus, write_corpus
from gia_mic.extract.errors import CorpusError
from gia_mic.extract.imports.features import import_features
from gia_mic.extract.targets import Target

pytestmark = pytest.mark.usefixtures("log")

NAN = np.nan
EMOTIONS = ("happy", "sad", "angry", "surprised", "disgusted", "fearful")


def part(ids, scores, **fields):
    """One part of a pickle as MMSA publishes them, with sound and pictures."""
    count = len(ids)
    return {
        "id": ids,
        "audio": frames(count * 2, 3).reshape(count, 2, 3),
        "vision": frames(count * 2, 4, 1).reshape(count, 2, 4),
        "raw_text": np.array(["words"] * count, dtype=object),
        "regression_labels": np.array(scores, np.float32),
        **fields,
    }


def sims(path, scores=(-0.8, 0.0, 1.0), **changes):
    """A pickle with the fields of CH-SIMS."""
    fields = {
        "annotations": np.array(["Negative", "Neutral", "Positive"]),
        "regression_labels_T": np.array([-0.2, 0.4, NAN], np.float32),
        "regression_labels_A": np.array([-1.0, 0.0, 0.6], np.float32),
        "regression_labels_V": np.array([-0.6, -0.4, 0.8], np.float32),
        **changes,
    }
    return dump(path, {"train": part(["v$_$1", "v$_$2", "v$_$3"], scores, **fields)})


def imported(tmp_path, path, modality="speech", name="x", **options):
    import_features([path], modality, tmp_path / "f", name, **options)
    return load_corpus(tmp_path / "f", name)


def values(corpus, name):
    return corpus.values(corpus.target(name))


def test_mosi_has_its_sentiment_beside_the_class(tmp_path):
    path = dump(tmp_path / "a.pkl", {"train": part(list("abcd"), [2.8, 0, -3, np.inf])})
    corpus = imported(tmp_path, path)
    assert [(one.id, one.label) for one in corpus] == [("a", "positive"), ("b", "neutral"), ("c", "negative")]
    assert corpus.target().kind == "label"
    assert corpus.target("sentiment") == Target("scores", ("sentiment",), ((-3, 3),))
    assert values(corpus, "sentiment").ravel().tolist() == [2.8, 0, -3]  # not the float32 nearest to 2.8


def test_a_score_of_no_class_is_kept(tmp_path):
    path = dump(tmp_path / "a.pkl", {"train": part(list("abc"), [2, 0, -3])})
    corpus = imported(tmp_path, path, classes="two")
    assert corpus.classes == ("negative", "positive")
    assert corpus.column("label") == [1, None, 0]
    assert values(corpus, "sentiment").ravel().tolist() == [2, 0, -3]


def test_mosei_has_six_emotions_too(tmp_path):
    scores = np.array([[1.0, 2, 0, 0, 0, 0, 1 / 3], [0.0] * 7, [-1.0, 0, 3, 0, NAN, 0, 0]])
    times = [[n, n + 1.0] for n in range(3)]
    labels = csd(tmp_path / "labels.csd", {"v": (scores, times)})
    sound = csd(tmp_path / "a.csd", {"v": (frames(3, 3), times)})
    corpus = imported(tmp_path, sound, labels=labels)
    assert list(corpus.targets) == ["label", "labels", "sentiment", *EMOTIONS]
    assert corpus.label_names == EMOTIONS
    assert [one.labels for one in corpus] == [("happy", "fearful"), (), None]
    assert corpus.score_ranges == {"sentiment": (-3, 3), **dict.fromkeys(EMOTIONS, (0, 3))}
    np.testing.assert_array_equal(values(corpus, "sad,surprised"), [[0, 0], [0, 0], [NAN, NAN]])
    np.testing.assert_array_equal(values(corpus, "sentiment").ravel(), [1, 0, -1])


def test_sims_has_one_sentiment_a_modality_and_its_own_range(tmp_path):
    corpus = imported(tmp_path, sims(tmp_path / "a.pkl"))
    names = ["sentiment", "sentiment_text", "sentiment_speech", "sentiment_visual"]
    assert corpus.classes == ("negative", "neutral", "positive")
    assert corpus.column("label") == [0, 1, 2]
    assert corpus.score_ranges == dict.fromkeys(names, (-1, 1))
    expected = {
        "sentiment": [-0.8, 0, 1],
        "sentiment_text": [-0.2, 0.4, NAN],
        "sentiment_speech": [-1, 0, 0.6],
        "sentiment_visual": [-0.6, -0.4, 0.8],
    }
    for name, numbers in expected.items():
        np.testing.assert_array_equal(values(corpus, name).ravel(), numbers)


def test_fields_of_a_modality_without_a_number_say_nothing_of_the_range(tmp_path):
    nothing = dict.fromkeys(["regression_labels_T", "regression_labels_A", "regression_labels_V"], [NAN] * 3)
    path = sims(tmp_path / "a.pkl", **nothing, annotations=["Positive", NAN, "nan"])
    corpus = imported(tmp_path, path)
    assert corpus.score_ranges == {"sentiment": (-3, 3)}
    assert corpus.column("label") == [2, 1, 2]  # the file's word, else the sign
    ranged = imported(tmp_path, path, name="y", ranges={"sentiment": (-1, 1)})
    assert ranged.score_ranges == {"sentiment": (-1, 1)}


def test_scores_that_fit_no_published_range_have_that_of_their_values(tmp_path, log):
    path = dump(tmp_path / "a.pkl", {"train": part(list("ab"), [1, 7.5])})
    assert imported(tmp_path, path).score_ranges == {"sentiment": (1, 7.5)}
    assert "--range sentiment=1,8." in log.text
    with pytest.raises(CorpusError, match=r"outside their range, sentiment in 0 … 5: b \(7.5\)"):
        imported(tmp_path, path, name="y", ranges={"sentiment": (0, 5)})
    with pytest.raises(CorpusError, match="no scores valence, which a range is given for: it has sentiment"):
        imported(tmp_path, path, name="y", ranges={"valence": (0, 5)})


def test_a_part_that_is_none_of_three_is_left_out(tmp_path, log):
    parts = {"train": part(["a", "b"], [1, -1]), "train_mix": part(["a", "b", "c"], [1, -1, 0])}
    assert imported(tmp_path, dump(tmp_path / "a.pkl", parts)).ids == ["a", "b"]
    assert "left out is 'train_mix'" in log.text


def test_a_second_modality_is_compared_as_far_as_both_have_targets(tmp_path, log):
    path = sims(tmp_path / "a.pkl")
    corpus = imported(tmp_path, path)
    again = imported(tmp_path, sims(tmp_path / "b.pkl", scores=(-0.8001, 0, 1)), "visual")
    assert again.digest == corpus.digest
    with pytest.raises(CorpusError, match=r"other scores than the corpus 'x' for v\$_\$1: import under another name"):
        imported(tmp_path, sims(tmp_path / "c.pkl", scores=(-0.6, 0, 1)), "visual")
    with pytest.raises(CorpusError, match="other ranges of scores than the corpus 'x' for sentiment"):
        imported(tmp_path, path, "visual", ranges={"sentiment": (-3, 3)})


def test_a_second_modality_goes_to_a_corpus_of_a_version_without_scores(tmp_path, log):
    words = ["negative", "neutral", "positive"]
    before = [Utterance(f"v$_${n + 1}", word, split="train") for n, word in enumerate(words)]
    about = {"scores_as": None}
    digest = write_corpus(tmp_path / "f", "x", before, root=tmp_path, classes=words, about=about).digest
    assert imported(tmp_path, sims(tmp_path / "a.pkl"), "visual").digest == digest
    assert "The corpus x has no scores and a.pkl does: import under another name" in log.text.replace(
        f"{tmp_path}/", ""
    )


def test_a_table_of_labels_may_have_any_target(tmp_path):
    np.savez(tmp_path / "a.npz", a=frames(2, 3), b=frames(2, 3, 1))
    rows = [
        {"id": "a", "labels": ["happy"], "scores": {"valence": 1.5}, "votes": {"happy": 2, "sad": 1}},
        {"id": "b", "labels": [], "scores": {"valence": 4}, "votes": {"sad": 3}},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = imported(tmp_path, tmp_path / "a.npz", labels=tmp_path / "t.jsonl", ranges={"valence": (1, 5)})
    assert list(corpus.targets) == ["labels", "valence", "votes"]
    assert corpus.score_ranges == {"valence": (1, 5)}


def test_a_score_in_a_table_becomes_a_class_where_that_is_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", a=frames(2, 3), b=frames(2, 3, 1))
    (tmp_path / "t.csv").write_text("id,score_sentiment\na,-0.5\nb,2\n")
    corpus = imported(tmp_path, tmp_path / "a.npz", labels=tmp_path / "t.csv", classes="sign")
    assert [(one.label, dict(one.scores)) for one in corpus] == [
        ("negative", {"sentiment": -0.5}),
        ("positive", {"sentiment": 2}),
    ]
    assert corpus.score_ranges == {"sentiment": (-3, 3)}
    assert imported(tmp_path, tmp_path / "a.npz", name="y", labels=tmp_path / "t.csv").target().kind == "scores"
    (tmp_path / "v.csv").write_text("id,score_valence\na,-0.5\nb,2\n")
    with pytest.raises(CorpusError, match="nothing that --classes sign makes classes of"):
        imported(tmp_path, tmp_path / "a.npz", name="z", labels=tmp_path / "v.csv", classes="sign")


def test_classes_that_are_numbers_need_a_corpus_that_has_them(tmp_path):
    np.savez(tmp_path / "a.npz", a=frames(2, 3), b=frames(2, 3, 1))
    (tmp_path / "t.csv").write_text("id,label\na,0\nb,1\n")
    with pytest.raises(CorpusError, match=r"numbers for labels .* as `scores`"):
        imported(tmp_path, tmp_path / "a.npz", labels=tmp_path / "t.csv")
    write_corpus(tmp_path / "f", "x", [Utterance("a", "0"), Utterance("b", "1")], root=tmp_path)
    assert imported(tmp_path, tmp_path / "a.npz", labels=tmp_path / "t.csv").classes == ("0", "1")


def test_the_corpora_of_sentiments_are_listed(tmp_path):
    listed = overview(tmp_path)
    assert all(f"\n{name} " in listed for name in ("mosei", "mosi", "sims", "simsv2"))
