"""Long work shows how far it is, on a terminal and in a log, and counts right whether it is shown or not."""

import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from made_media import tone

from gia_mic import cli
from gia_mic.extract import progress as module
from gia_mic.extract.corpus import Clip, Utterance, write_corpus
from gia_mic.extract.progress import progress, time_text
from gia_mic.extract.store import open_store


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_log_gets_a_line_every_half_minute_and_one_at_the_end(clock, caplog):
    caplog.set_level("INFO", "gia_mic")
    with progress(1440, "demo speech", "utterance") as work:
        for _ in range(72):
            clock.now += 5
            work.update(20)
            work.set(loss="0.5")
    *lines, last = caplog.messages
    assert len(lines) == 11
    assert lines[0] == "demo speech: 120 of 1440 utterances, 4.0/s, 5 min 30 s left, loss 0.5"
    assert last == "demo speech: 1440 of 1440 utterances in 6 min 0 s, 4.0/s, loss 0.5"


def test_work_that_is_short_or_stops_early(clock, caplog):
    caplog.set_level("INFO", "gia_mic")
    with progress(3, "made text", "utterance") as work:
        clock.now += 29
        work.update(3)
    assert caplog.messages == []
    with suppress(KeyboardInterrupt), progress(3, "made text", "utterance") as work:
        clock.now += 90
        work.update()
        raise KeyboardInterrupt
    assert caplog.messages == [
        "made text: 1 of 3 utterances, 0.7/min, 3 min 0 s left",
        "made text: 1 of 3 utterances in 1 min 30 s, 0.7/min",
    ]


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch, caplog):
    caplog.set_level("INFO", "gia_mic")
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress(4, "made speech", "utterance") as work:
        work.update(3)
    assert "made speech:  75%" in terminal.getvalue()
    assert caplog.messages == []


@pytest.mark.parametrize("terminal", [Terminal, io.StringIO])
@pytest.mark.parametrize(("level", "quiet"), [(logging.INFO, True), (logging.WARNING, False)])
def test_quiet_work_counts_all_the_same(monkeypatch, caplog, terminal, level, quiet):
    caplog.set_level(level, "gia_mic")
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", stream := terminal())
    with progress(5, "made speech", "utterance", quiet=quiet) as work:
        work.update(2)
        work.update()
    assert (work.done, work.total) == (3, 5)
    assert stream.getvalue() == ""
    assert caplog.messages == []


@pytest.mark.parametrize("terminal", [Terminal, io.StringIO])
def test_threads_that_tell_at_once_are_all_counted(monkeypatch, terminal):
    monkeypatch.setattr(sys, "stderr", terminal())
    with progress(8000, "made speech", "utterance") as work:
        threads = [threading.Thread(target=lambda: [work.update() for _ in range(1000)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert work.done == 8000


def test_a_line_does_not_tear_the_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with cli._lines_on_standard_error(), progress(2, "made speech", "utterance") as work:
        work.update()
        logging.getLogger("gia_mic.extract.run").info("Something happened.")
        logging.getLogger("gia_mic.extract.run").warning("Do something.")
        logging.getLogger("gia_mic.extract.run").debug("Nobody asked.")
    lines = [line.rpartition("\r")[2] for line in terminal.getvalue().split("\n")]
    assert lines[:2] == ["Something happened.", "Warning: Do something."]
    assert "Nobody" not in terminal.getvalue()


def test_times_are_said_as_people_say_them():
    seconds = (0.4, 59.6, 3600, 90061)
    assert [time_text(one) for one in seconds] == ["0 s", "1 min 0 s", "1 h 0 min", "25 h 1 min"]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("prepare demo --utterances 8", 1),
        ("-q prepare demo --utterances 8", 0),
        ("prepare demo --utterances 8 --quiet", 0),
    ],
)
def test_quiet_leaves_only_results(tmp_path, words, lines, mer):
    answer = mer(*words.split(), "--features", str(tmp_path))
    assert answer.exit_code == 0
    assert answer.stdout.startswith("demo: 8 utterances")
    assert len(answer.stderr.splitlines()) == lines


def test_verbose_tells_more_and_a_command_leaves_logging_as_it_was(tmp_path, mer):
    make_corpus(tmp_path, 3)
    words = f"extract --modality speech --encoder tiny --device cpu --features {tmp_path}/features".split()
    assert "batches of up to 500 positions" not in mer(*words).stderr
    next(tmp_path.glob("features/made/speech/*.h5")).unlink()
    answer = mer("-v", *words)
    assert "3 utterances in 1 batches of up to 500 positions" in answer.stderr
    logger = logging.getLogger("gia_mic")
    assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)


def make_corpus(folder, count):
    """Utterances of half a second, each so long that a batch of 25 positions holds one."""
    for number in range(count):
        tone(folder / "sound" / f"u{number:03d}.wav", 0.5, hz=100.0 + number)
    utterances = [Utterance(f"u{n:03d}", "ab"[n % 2], audio=Clip(f"u{n:03d}.wav")) for n in range(count)]
    return write_corpus(folder / "features", "made", utterances, root=folder / "sound")


SLOW_EXTRACTION = """
import time
from gia_mic.extract import progress, run
from gia_mic.extract.encoders.speech import SpeechEncoder
progress.LINE_SECONDS, run.batch_positions = 0.2, lambda device: 25
begin = SpeechEncoder.begin
SpeechEncoder.begin = lambda *given: (time.sleep(0.05), begin(*given))[1]
from gia_mic.cli import main
main()
"""


def test_an_extraction_shows_progress_in_its_log_and_counts_right_when_stopped(tmp_path):
    make_corpus(tmp_path, 200)
    words = ["extract", "--modality", "speech", "--encoder", "tiny", "--device", "cpu"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", SLOW_EXTRACTION, *words], cwd=tmp_path, stderr=file)
        try:
            until = time.monotonic() + 120
            while len(re.findall("(?m)^made speech: ", log.read_text())) < 2:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
    *lines, last = log.read_text().splitlines()
    assert re.fullmatch(r"made speech: \d+ of 200 utterances, [\d.]+/s, \d+ s left", lines[0])
    count = int(re.fullmatch(r"Stopped after (\d+) of 200 utterances; they are kept: run the .*", last)[1])
    parts = tmp_path.glob("features/made/speech/*.parts/*.h5")
    assert 0 < count < 200
    assert sum(len(open_store(part).ids) for part in parts) == count


def test_ctrl_c_in_any_command_is_one_sentence_and_exit_code_130(tmp_path, monkeypatch, mer):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gia_mic.read_report", interrupted)
    answer = mer("report", str(tmp_path))
    assert (answer.exit_code, answer.output) == (130, "Stopped by Ctrl-C.\n")
