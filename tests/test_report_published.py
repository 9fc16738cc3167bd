"""Published numbers stand beside ours with their flags, and never beside ones chosen on the test fold."""

import re

from made_runs import make_runs

from gia_mic.report.published import IEMOCAP
from gia_mic.report.render import render


def table(text):
    return text[text.index("Published numbers on IEMOCAP") : text.index("WA / UA of each fold")]


def test_the_paper_comes_first_and_ours_last(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7}, corpus="iemocap")
    lines = [line for line in table(render(tmp_path)).splitlines() if "±" in line or "unknown" in line]
    assert re.search(r"GIA-MIC, the paper +s t v +80\.7 +81\.3 +unknown +unknown +unknown", lines[0])
    assert re.search(r"gia-mic, ours +s t v +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+ +frozen +session \(5\) +last", lines[4])
    assert "He, Mi, Toda, INTERSPEECH 2025" in render(tmp_path)


def test_another_corpus_has_none(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7}, corpus="demo", folds=2)
    assert "Published" not in render(tmp_path)


def test_numbers_chosen_on_the_test_fold_are_no_part_of_it(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7}, corpus="iemocap")
    make_runs(tmp_path, {"gia-mic-test": 0.9}, corpus="iemocap", select="test")
    text = render(tmp_path)
    assert text.count("Published numbers on IEMOCAP") == 1
    assert "gia-mic-test" not in table(text)
    assert not any(paper.select == "test" for paper in IEMOCAP)


def test_every_published_number_names_its_source_and_is_a_fraction():
    assert len(IEMOCAP) >= 1
    for paper in IEMOCAP:
        assert re.search(r"arXiv:\d{4}\.\d{5}", paper.source)
        assert all(score is None or 0 < score < 1 for score in (paper.wa, paper.ua))
        assert set(paper.modalities) <= {"speech", "text", "visual"}
