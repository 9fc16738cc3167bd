"""Metrics that others wrote: tried when they are loaded, and worked out of sums over utterances."""

import numpy as np
import pytest

from gia_mic.extract.errors import RunError
from gia_mic.extract.plugins import Plugin, Source
from gia_mic.extract.targets import Target
from gia_mic.fuse.measure.classes import ClassMeasure
from gia_mic.fuse.measure.own import check_metric, with_own

TARGET = Target("label", ("angry", "sad"))
CODE = '''
import numpy as np

class Brier:
    """Mean squared distance of the probabilities from the truth."""

    targets = ("label", "votes")
    lower_is_better = True

    def sums(self, true, answers):
        return np.column_stack([((true - answers) ** 2).sum(1), np.ones(len(true))])

    def value(self, sums):
        return sums[0] / sums[1]
'''


def metric(code=CODE, name="Brier"):
    namespace = {"__name__": __name__}
    exec(code, namespace)
    return check_metric(name, Plugin(namespace["Brier"], Source("Brier", "theirs", "0" * 64, "theirs.py")))


def test_it_stands_beside_ours():
    metrics = (metric(),)
    measure = with_own(ClassMeasure, metrics, TARGET)
    true, answers = [[1, 0], [0, 1], [0, 1]], [[0.75, 0.25], [0.5, 0.5], [0, 1]]
    assert measure.whole(true, answers) == {"Brier": pytest.approx((0.125 + 0.5 + 0) / 3)}
    assert measure.own == ("Brier",)
    assert "Brier" in measure.table
    assert "Brier" not in measure.metrics
    assert measure.lower_is_better == {"Brier"}
    assert measure.about["Brier"] == "Mean squared distance of the probabilities from the truth (theirs.py)"
    plain = ClassMeasure(TARGET)
    np.testing.assert_array_equal(measure.tally(true, answers), plain.tally(true, answers))
    assert measure == with_own(ClassMeasure, metrics, TARGET)
    assert with_own(ClassMeasure, (), TARGET) == plain


def test_it_may_be_a_dataclass_which_has_no_hash():
    code = CODE.replace("class Brier", "from dataclasses import dataclass\n\n@dataclass\nclass Brier")
    assert with_own(ClassMeasure, (metric(code),), TARGET).own == ("Brier",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def sums", "def sum", "has no method sums: write it, or uninstall it"),
        ('("label", "votes")', '"label"', "has the targets 'label': write a tuple of some of label, labels"),
        ('("label", "votes")', '("class",)', r"has the targets \('class',\)"),
        (".sum(1), np", ".sum(), np", r"fails \(ValueError: .*"),
        ("return np.column", "return 1, np.column", r"fails \(ValueError"),
        ("np.ones(len(true))", "np.full(len(true), np.nan)", r"\(ValueError: sums gives NaN or infinity"),
        ("sums[0] / sums[1]", "sums", "value gives .*, not one number"),
        ("sums[0] / sums[1]", "1 / 0", r"fails \(ZeroDivisionError: division by zero.*: correct it, or uninstall it"),
        ("** 2).sum(1)", "** 2).sum(1) * np.arange(len(true))", "depends on the order of utterances"),
        ("class Brier:", "class Brier:\n    def __init__(self, size): pass", r"can't be made \(TypeError"),
    ],
)
def test_what_cannot_be_a_metric_is_refused_in_one_sentence(old, new, message):
    assert old in CODE
    with pytest.raises(RunError, match=message) as refusal:
        metric(CODE.replace(old, new))
    assert len(str(refusal.value).splitlines()) == 1


def test_it_may_not_have_the_name_of_one_of_ours():
    with pytest.raises(RunError, match=r"The metric UA of theirs\.py is called as one of ours: rename its entry point"):
        with_own(ClassMeasure, (metric(name="UA"),), TARGET)


def test_a_file_is_checked_by_the_command(tmp_path, monkeypatch, mer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    assert "mine:Brier judges label, votes" in mer("metrics", "--check", "mine:Brier").output
    (tmp_path / "mine.py").write_text(CODE.replace("def value", "def values"))
    assert "has no method value" in mer("metrics", "--check", "mine:Brier").output
    assert "  UA  " in mer("metrics").output
