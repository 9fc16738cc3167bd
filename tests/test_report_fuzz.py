"""Whatever stands in a run folder's JSON, a report is made or refused in one sentence."""

import copy
import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import TARGETS, make_fold, make_robustness, make_runs_of

from gia_mic.extract.errors import RunError
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.report.render import render

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def paths(value, path=()):
    """Return where every entry of a JSON value stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner_path for key, entry in inner for inner_path in paths(entry, (*path, key)))]


def replaced(value, path, new):
    if not path:
        return new
    value = copy.deepcopy(value)
    node = value
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = new
    return value


@pytest.mark.parametrize("target", ["label", "affect", "labels"])
@pytest.mark.parametrize("name", ["config.json", "metrics.json", "robustness.json"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_entry_ends_in_a_report_or_a_sentence(tmp_path, name, target, data):
    folder = tmp_path / "small/gia-mic/fold-1/seed-0"
    if not folder.exists():
        if target == "label":
            make_fold(tmp_path, [0, 1, 2, 3], [0, 1, 2, 0], folds=1)
        else:
            make_runs_of(tmp_path, TARGETS[target], {"gia-mic": 0.2}, folds=1, B=8)
        (folder / "history.csv").write_text("epoch,loss\n1,1\n2,0.5\n")
        make_robustness(folder, names=measure_of(read_fold(folder).target).headline)
        (folder / "kept").write_bytes((folder / name).read_bytes())
    whole = json.loads((folder / "kept").read_text())
    path = data.draw(st.sampled_from(paths(whole)))
    changed = replaced(whole, path, data.draw(ANYTHING))
    (folder / name).write_text(json.dumps(changed))
    format = data.draw(st.sampled_from(["terminal", "json", "csv", "html"]))
    with suppress(RunError):
        assert render(tmp_path, format)
