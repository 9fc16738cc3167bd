import json
import re
from dataclasses import replace

import pytest
from made_features import make_corpus, make_stores, utterances

from gia_mic.extract.errors import Interrupted, RunError
from gia_mic.extract.files import write_json
from gia_mic.fuse import run as run_module
from gia_mic.fuse.config import SPACE, GiaMicConfig, PooledConfig, TrainingConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.fuse.split import folds
from gia_mic.fuse.tune import draw_settings, refuse_search, tune, with_settings
from gia_mic.report.render import render

SMALL = {"learning_rate": (1e-3, 5e-3), "weight_decay": (0.0, 0.1), "dropout": (0.1, 0.3), "width": (4, 8)}
QUICK = Experiment("concat", PooledConfig(width=8), TrainingConfig(epochs=2, batch_size=16))
HERE = Execution(device="cpu", jobs=1)


def search(corpus, stores, experiment, runs, trials=3):
    return tune(corpus, stores, experiment, HERE, runs=runs, trials=trials, space=SMALL)


@pytest.fixture
def trained(monkeypatch):
    """Rows of each training, in order, and what trains; it is interrupted once it has trained `stop` runs."""
    visited = []
    whole = run_module.fit_together

    def watched(build, data, specs, config, **options):
        if len(visited) == watched.stop:
            raise KeyboardInterrupt
        visited.extend(set(spec.rows.tolist()) for spec in specs)
        assert all(spec.choose is None for spec in specs)
        return whole(build, data, specs, config, **options)

    watched.stop = None
    monkeypatch.setattr(run_module, "fit_together", watched)
    return visited, watched


def test_every_fusion_tries_its_own_settings_and_the_same_others():
    trials = {name: draw_settings(Experiment(name), 6) for name in FUSIONS}
    for name, settings in trials.items():
        config = FUSIONS[name].config()
        training = TrainingConfig()
        assert settings[0] == {setting: getattr(training, setting, getattr(config, setting, None)) for setting in SPACE}
        assert settings[1:] == trials["concat"][1:]
        assert with_settings(Experiment(name), settings[0]) == Experiment(name, config)
        refuse_search(Experiment(name), 6)
    assert len({json.dumps(settings) for settings in trials["concat"][1:]}) == 5
    assert all(settings[name] in SPACE[name] for settings in trials["concat"][1:] for name in SPACE)
    assert draw_settings(Experiment("concat"), 9)[:6] == trials["concat"]
    assert draw_settings(Experiment("concat", seeds=(1,)), 6)[1:] != trials["concat"][1:]


def test_what_a_fusion_lacks_is_not_searched():
    space = {"latents": (1, 2), "learning_rate": (1e-3, 2e-3)}
    assert set(draw_settings(Experiment("late"), 2, space)[1]) == {"learning_rate"}
    assert set(draw_settings(Experiment("gia-mic"), 2, space)[1]) == {"latents", "learning_rate"}


def test_a_search_never_looks_at_the_fold_that_is_tested_in_the_end(tmp_path, trained):
    rows = utterances()
    changed = [replace(row, label="sad") if row.session == "Ses9" else row for row in rows]
    results = []
    for name, its_rows in (("one", rows), ("other", changed)):
        corpus = make_corpus(tmp_path / name, its_rows)
        stores = make_stores(corpus)  # what the fold's utterances show is changed, too
        [run_dir] = search(corpus, stores, replace(QUICK, fold=2), tmp_path / name / "runs")
        results.append(read_fold(run_dir))
    one, other = results
    assert one.value == "Ses9"
    assert one.config["trials"] == other.config["trials"]
    assert one.config["model"] == other.config["model"]
    assert one.config["training"] == other.config["training"]
    assert one.metrics["confusion"] != other.metrics["confusion"]
    visited, test = trained[0], set(folds(corpus)[1].test.tolist())
    assert len(visited) == 2 * (3 + 1)
    assert not any(rows & test for rows in visited)
    assert visited[3] == set(range(80)) - test
    assert all(rows < visited[3] for rows in visited[:3])


def test_the_best_inside_is_trained_with_all_seeds_and_stands_in_the_record(corpus, stores, tmp_path):
    run_dirs = search(corpus, stores, replace(QUICK, fold=3, seeds=(4, 5)), tmp_path, trials=4)
    assert [str(run_dir.relative_to(tmp_path / "toy")) for run_dir in run_dirs] == [
        "concat-tuned/fold-3/seed-4",
        "concat-tuned/fold-3/seed-5",
    ]
    config = read_fold(run_dirs[0]).config
    assert config["search"] == {
        "trials": 4,
        "seed": 4,
        "space": {name: list(values) for name, values in SMALL.items()},
    }
    inside = tmp_path / "toy" / "concat-tuned" / "search" / "toy"
    trials = [read_fold(inside / f"concat-trial-{number}" / "fold-3" / "seed-4") for number in range(1, 5)]
    assert [trial.metrics["UA"] for trial in trials] == [trial["UA"] for trial in config["trials"]]
    best = max(config["trials"], key=lambda trial: trial["UA"])
    settings = {**config["model"], **config["training"]}
    assert {name: settings[name] for name in SMALL} == {name: best[name] for name in SMALL}
    assert trials[0].config["inner"]
    assert "inner" not in config


def test_a_search_that_is_stopped_goes_on_where_it_was(corpus, stores, tmp_path, trained):
    visited, watched = trained
    experiment = replace(QUICK, fold=1)
    watched.stop = 2
    with pytest.raises(Interrupted, match="Stopped after 2 of 3 runs"):
        search(corpus, stores, experiment, tmp_path)
    watched.stop = None
    first = search(corpus, stores, experiment, tmp_path)
    assert len(visited) == 3 + 1
    assert search(corpus, stores, experiment, tmp_path) == first
    assert len(visited) == 4
    search(corpus, stores, experiment, tmp_path, trials=4)
    assert len(visited) == 4 + 1 + 1


def test_folds_with_settings_of_their_own_are_one_row_of_a_report(corpus, stores, tmp_path, trained):
    search(corpus, stores, QUICK, tmp_path, trials=2)
    train_folds(corpus, stores, replace(QUICK, name="concat"), HERE, runs=tmp_path)
    for fold in (1, 2):  # two folds that were given different settings, whatever the search found
        path = tmp_path / "toy" / "concat-tuned" / f"fold-{fold}" / "seed-0" / "config.json"
        config = json.loads(path.read_text())
        write_json(path, {**config, "training": {**config["training"], "learning_rate": fold / 1000}})
    plain, tuned = read_runs(tmp_path)
    assert (plain.name, tuned.name, len(tuned.folds)) == ("concat", "concat-tuned", 5)
    assert tuned.complete
    assert "learning_rate" not in tuned.config["training"]
    assert tuned.config["training"]["epochs"] == 2
    text = render(tmp_path)
    assert "Settings that were chosen for each fold" in text
    assert text.count("concat-tuned  Ses") == 5
    assert "trial" not in text.replace("trials", "").replace("first trial", "")
    inside = render(tmp_path / "toy" / "concat-tuned" / "search")
    assert "tested on a part of the training folds" in inside
    assert "concat-trial-2" in inside


@pytest.mark.parametrize(
    ("experiment", "trials", "message"),
    [
        (QUICK, 0, "0 trials are not between 1 and 16"),
        (QUICK, 17, "17 trials are not between 1 and 16"),
        (replace(QUICK, training=TrainingConfig(epochs=0)), 2, "epochs is 0, and must be at least 1"),
        (Experiment(model=GiaMicConfig(width=9, heads=3)), 3, "width is [48], and must be a multiple of heads, 3"),
    ],
)
def test_what_can_not_be_searched_is_refused(corpus, stores, tmp_path, experiment, trials, message):
    with pytest.raises(RunError, match=message):
        search(corpus, stores, experiment, tmp_path, trials)
    assert not list(tmp_path.iterdir())


def test_a_broken_record_of_a_search_is_refused(corpus, stores, tmp_path):
    [run_dir] = search(corpus, stores, replace(QUICK, fold=1), tmp_path, trials=1)
    config = json.loads((run_dir / "config.json").read_text())
    for wrong in ({"search": 1}, {"search": {"space": 1}}, {"trials": []}, {"trials": [{"UA": "much"}]}):
        write_json(run_dir / "config.json", {**config, **wrong})
        with pytest.raises(RunError, match="the search of its settings isn't described"):
            read_fold(run_dir)


def test_the_command_searches_several_fusions_but_not_what_is_given(tmp_path, mer):
    make_stores(make_corpus(tmp_path / "features"))
    words = "--fold 2 --fusion concat --fusion late --trials 2 --epochs 2 --clip-norm 0.5 --set width=8 --seed 3"
    folders = ["--features", str(tmp_path / "features"), "--runs", str(tmp_path / "runs")]
    answer = mer("tune", *words.split(), "--seeds", "2", "--device", "cpu", *folders)
    assert answer.exit_code == 0, answer.output
    for fusion in ("concat", "late"):
        run = tmp_path / "runs" / "toy" / f"{fusion}-tuned" / "fold-2"
        assert [path.name for path in sorted(run.iterdir())] == ["seed-3", "seed-4"]
        config = read_fold(run / "seed-3").config
        assert set(config["search"]["space"]) == {"learning_rate", "weight_decay", "dropout"}
        assert (config["training"]["epochs"], config["training"]["clip_norm"], config["model"]["width"]) == (2, 0.5, 8)
        assert re.search(rf"{fusion}-tuned +Ses9 ", answer.output)
    named = ["tune", "--fold", "2", "--fusion", "all", "--name", "mine", "--trials", "1", "--epochs", "1", *folders]
    assert mer(*named, "--modalities", "s,t").exit_code == 0
    assert {path.name for path in (tmp_path / "runs" / "toy").glob("mine-*")} == {f"mine-{name}" for name in FUSIONS}
