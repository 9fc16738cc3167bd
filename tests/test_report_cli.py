"""`mer report` and `mer audit` print, write a file, or end in one sentence."""

import json

import pytest
from made_runs import make_runs

from gia_mic import cli
from gia_mic.extract.corpus import Utterance, write_corpus


@pytest.fixture
def runs(tmp_path):
    make_runs(tmp_path / "runs", {"gia-mic": 0.8, "gia-mic-s": 0.5}, folds=2)
    return tmp_path / "runs"


def test_report_prints_a_table(runs, mer):
    result = mer("report", runs)
    assert result.exit_code == 0
    assert "gia-mic-s" in result.stdout
    assert "over 10 dialogs, 5,000 draws. Fewer than 20 make them rough." in " ".join(result.stdout.split())


def test_report_compares_with_a_reference(runs, mer):
    assert "against gia-mic-s" in mer("report", runs, "--reference", "gia-mic-s").stdout


def test_report_writes_a_file(runs, tmp_path, mer):
    result = mer("report", runs, "--format", "html", "--out", tmp_path / "out" / "report.html")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads(mer("report", runs, "--format", "json").stdout)["format"] == 1


def test_report_without_runs_says_what_to_do(tmp_path, mer):
    result = mer("report", tmp_path / "runs")
    assert result.exit_code == 1
    assert "Error: There is no run folder in" in result.stderr
    assert "mer fuse-train --fold all" in result.stderr
    assert "Traceback" not in result.output


def test_report_refuses_an_unknown_format_or_reference(runs, mer):
    result = mer("report", runs, "--format", "pdf")
    assert result.exit_code == 2
    assert "'pdf' is not one of 'terminal', 'md'" in result.stderr
    assert "no run 'nobody'" in mer("report", runs, "--reference", "nobody").stderr


def test_audit_prints_tables_and_plain_words(tmp_path, mer):
    utterances = [
        Utterance(id=f"{row}", label="ab"[row % 2], session=f"Ses{row % 4}", speaker=f"Ses{row % 4}F")
        for row in range(16)
    ]
    write_corpus(tmp_path, "tiny", utterances, root=tmp_path)
    result = mer("audit", "--features", tmp_path, "--protocol", "session")
    assert result.exit_code == 0
    assert "tiny: what controls score without any feature, 16 utterances" in result.stdout
    assert "In plain words" in result.stdout
    assert mer("audit", "--features", tmp_path, "--protocol", "random").exit_code == 2
    result = mer("audit", "--features", tmp_path, "--corpus", "other")
    assert (result.exit_code, "no corpus 'other'" in result.stderr) == (1, True)


def test_the_choices_on_the_command_line_are_those_of_the_code():
    from gia_mic.fuse.split import PROTOCOLS
    from gia_mic.report import audit, render

    choices = {
        (command, option.name): list(option.type.choices)
        for command in ("report", "audit")
        for option in cli.main.commands[command].params
        if hasattr(option.type, "choices")
    }
    assert choices == {
        ("report", "form"): list(render.FORMATS),
        ("audit", "protocols"): list(PROTOCOLS),
        ("audit", "form"): list(audit.FORMATS),
    }
