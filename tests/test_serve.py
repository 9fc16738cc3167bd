"""The page answers as `predict` does, in a real browser, and nothing that it is given leaves this machine."""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import stat
import threading
import time
from contextlib import suppress
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import soundfile
from made_browser import open_browser
from made_media import tone

import gia_mic
from gia_mic.explain import Explanation
from gia_mic.extract.targets import Target
from gia_mic.predictor import Prediction
from gia_mic.serve import live
from gia_mic.serve.page import build_app
from gia_mic.serve.server import serving
from gia_mic.serve.view import explanation_html

HOSTILE = "<img src=x onerror=document.title='taken'> {{value}} ${1+1}"


@pytest.fixture(autouse=True)
def _no_loops(monkeypatch):
    """Close the event loops that Gradio makes and leaves open."""
    loops, new = [], asyncio.new_event_loop
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: loops.append(new()) or loops[-1])
    yield
    for loop in loops:
        if not loop.is_running():
            loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture(scope="module")
def model(demo):
    return gia_mic.load(demo[1] / "gia-mic", device="cpu")


class Reader(HTMLParser):
    """Takes the tags and the text of HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


TARGETS = {
    "label": (
        Target("label", ("angry", "sad & <b>")),
        {"angry": 0.25, "sad & <b>": 0.75},
        {"angry": 0.5, "sad & <b>": 0.5},
    ),
    "labels": (Target("labels", ("happy", "loud")), {"happy": 0.875, "loud": 0.375}, {"happy": 0.5, "loud": 0.25}),
    "votes": (Target("votes", ("happy", "sad")), {"happy": 0.125, "sad": 0.875}, {"happy": 0.75, "sad": 0.25}),
    "scores": (
        Target("scores", ("valence", "arousal"), ((1, 5), (-3, 3))),
        {"valence": 2.0, "arousal": 1.5},
        {"valence": 3.0, "arousal": 1.5},
    ),
    "score": (Target("scores", ("valence",), ((1, 5),)), {"valence": 2.0}, {"valence": 3.0}),
}
SHOWN = {
    "score": ["valence 2.00 1 to 5", "valence is then without text 3.00 (+1.00) Attention"],
    "label": ["sad & <b> 75.0 %, from speech, text and visual", "without text 50.0 % (-25.0) angry"],
    "labels": [
        "happy from speech",
        "happy 87.5 % applies loud 37.5 %",
        "happy 87.5 % 50.0 % (-37.5) loud 37.5 % 25.0 %",
    ],
    "votes": ["sad 87.5 %, from", "Shares of annotators", "without text 25.0 % (-62.5) happy"],
    "scores": [
        "valence 2.00, arousal 1.50 from",
        "valence 2.00 1 to 5 arousal 1.50 -3 to 3",
        "2.00 3.00 (+1.00) arousal",
    ],
}


@pytest.mark.parametrize("kind", TARGETS)
def test_an_answer_and_what_it_rests_on_are_shown_as_text(kind):
    target, values, without_text = TARGETS[kind]
    explanation = Explanation(
        prediction=Prediction(target, values, "1", ("speech", "text", "visual"), HOSTILE, ("left /tmp/x/a.wav out",)),
        gates={},
        attention={"speech": np.array([0.25, 0.75]), "visual": np.array([0.5, 0.5])},
        words=[("<s>", 0.1), *((word, 0.2) for word in HOSTILE.split()), ("<s>", 0.1)],
        without={"text": without_text},
        seconds={"speech": 0.5, "visual": 0.5},
        sound=(np.sin(np.arange(16000.0)), 16000),
        pictures=np.zeros((12, 8, 8, 3), np.uint8),
    )
    html = explanation_html(explanation, ["/tmp/x/a.wav"])
    assert not re.search("[{}$]", html)
    page = Reader(html)
    for part in (*SHOWN[kind], HOSTILE, "left a.wav out", "0 s most at 0.8 s 1.0 s"):
        assert part in page.text
    assert (page.tags.count("img"), page.tags.count("rect")) == (8, 160)
    assert page.tags.count("script") == page.tags.count("b") == 0


@pytest.mark.parametrize(
    ("duration_s", "answered"), [(0.0, [True] * 6), (0.9, [True, False, True, False, True, False])]
)
def test_the_microphone_is_answered_as_its_last_seconds_are_and_a_slow_machine_waits(
    model, tmp_path, monkeypatch, duration_s, answered
):
    clock = itertools.count(0, duration_s)
    monkeypatch.setattr(live.time, "perf_counter", lambda: next(clock))
    samples, rate = soundfile.read(tone(tmp_path / "a.wav", 3.0, rate=48000), dtype="float32")
    speech = live.LiveSpeech(model)
    answers = [speech.push(samples[begin : begin + 24000], rate) for begin in range(0, len(samples), 24000)]
    assert [answer is not None for answer in answers] == answered
    last = [answer for answer in answers if answer][-1]
    part = samples[: round(last.time_s * rate)]
    assert len(part) / rate == pytest.approx(3.0 if answered[-1] else 2.5, abs=0.05)
    whole = model.predict(audio=part, sampling_rate_hz=rate)
    assert last.probabilities == pytest.approx(whole.probabilities, abs=0.03)


@pytest.mark.parametrize(
    ("run", "recognises", "inputs"),
    [
        ("gia-mic", False, ["audio", "video", "textbox", "audio"]),
        ("gia-mic-t", False, ["textbox"]),
        ("gia-mic-t", True, ["audio", "textbox"]),
    ],
)
def test_there_are_inputs_for_what_a_run_takes(demo, model, run, recognises, inputs):
    model = model if run == "gia-mic" else gia_mic.load(demo[1] / run, device="cpu")
    model.encoders._recogniser = object() if recognises else None
    parts = build_app(model).config["components"]
    kinds = [part["type"] for part in parts if part["type"] in ("audio", "video", "textbox")]
    assert kinds == inputs
    live_inputs = [part for part in parts if part["props"].get("streaming") and part["type"] == "audio"]
    assert len(live_inputs) == (run == "gia-mic")


def test_the_microphone_is_heard_by_an_encoder_without_a_limit():
    class Encoders(dict):
        def window(self, length_s):
            assert length_s == 4.0

    limitless = SimpleNamespace(spec=SimpleNamespace(window_s=None))
    live.LiveSpeech(SimpleNamespace(encoders=Encoders(speech=limitless)))


@pytest.fixture(scope="module")
def browser():
    microphone = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    driver = open_browser("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", *microphone, performance="ALL")
    yield driver
    driver.quit()


def wait(what, seconds=60):
    """The first result of a function that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := what():
            return result
        time.sleep(0.05)
    raise AssertionError("nothing came")


@pytest.fixture
def hosts(monkeypatch):
    """Hosts other than this machine that this process looks up or connects to."""
    others, connect, look_up = [], socket.socket.connect, socket.getaddrinfo

    def is_here(host):
        return host in ("localhost", "::1", None) or str(host).startswith("127.")

    def connect_and_note(self, address):
        others.extend([address] if self.family != getattr(socket, "AF_UNIX", None) and not is_here(address[0]) else [])
        return connect(self, address)

    def look_up_and_note(host, *options, **more):
        others.extend([] if is_here(host) else [host])
        return look_up(host, *options, **more)

    monkeypatch.setattr(socket.socket, "connect", connect_and_note)
    monkeypatch.setattr(socket, "getaddrinfo", look_up_and_note)
    return others


def test_a_browser_gets_the_answer_and_nothing_leaves_this_machine(model, browser, hosts, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sound = tone(tmp_path / "a.wav", 1.0)
    (tmp_path / "broken.wav").write_text("RIFF")
    elements = lambda selector: [e for e in browser.find_elements("css selector", selector) if e.is_displayed()]  # noqa: E731
    click = lambda text: next(button for button in elements("button") if button.text.strip() == text).click()  # noqa: E731
    with serving(model, "127.0.0.1", 0) as address:
        browser.get(address)
        wait(lambda: elements("textarea"))
        click("Predict")
        refusal = wait(lambda: elements(".mer-refusal"))[0].text
        assert refusal == "The run takes speech, text, visual, and of the input there is nothing: give some."

        files = browser.find_element("css selector", "input[type=file]")
        files.send_keys(str(tmp_path / "broken.wav"))
        wait(lambda: elements("audio, .waveform-container, [aria-label=Clear]"))
        click("Predict")
        wait(lambda: [e for e in elements(".mer-refusal") if e.text.startswith("speech: broken.wav ")])

        click("Clear")
        wait(lambda: not elements(".mer-refusal"))
        browser.find_element("css selector", "input[type=file]").send_keys(str(sound))
        wait(lambda: elements("[aria-label=Clear]"))
        elements("textarea")[0].send_keys(HOSTILE)
        click("Predict")
        lead = wait(lambda: elements(".mer-lead"))[0].text
        expected = model.predict(audio=sound, text=HOSTILE)
        assert lead.startswith(f"{expected.label} {100 * expected.probabilities[expected.label]:.1f} %, from speech")
        assert elements(".mer-changes, .mer-sound, .mer-words")
        assert browser.title == "Emotion recognition"

        [folder] = tmp_path.glob("mer-serve-*")
        assert list(folder.rglob("a.wav"))
        if os.name == "posix":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700

        click("Live")
        wait(lambda: [button for button in elements("button") if "Record" in button.text])[0].click()
        wait(lambda: [e for e in elements(".mer-lead") if "speech up to" in e.text])
        browser.get("about:blank")
    assert not list(tmp_path.glob("mer-serve-*"))
    assert hosts == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [e["params"]["request"]["url"] for e in messages if e["method"] == "Network.requestWillBeSent"]
    assert len(addresses) > 20
    assert [one for one in addresses if not one.startswith((address, "data:", "blob:", "about:"))] == []
    assert [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]] == []


@pytest.fixture
def port():
    """A port of this machine that is free, or was so just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_ctrl_c_ends_it_and_only_its_own_address_is_answered(mer, demo, port, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answers = []

    def visit():
        address = f"http://127.0.0.1:{port}"
        with suppress(OSError), urlopen(address) as answer:
            answers.append(answer.headers["Content-Security-Policy"])
            try:
                urlopen(Request(address, headers={"Host": "stranger.example"}))
            except HTTPError as refusal:
                answers.append(refusal.code)
                refusal.close()
        return answers

    def visit_and_stop():
        try:
            wait(visit)
        finally:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    visitor = threading.Thread(target=visit_and_stop)
    visitor.start()
    answer = mer("serve", demo[1] / "gia-mic-t", "--port", port, "--device", "cpu")
    visitor.join()
    assert answer.exit_code == 0, answer.output
    assert "connect-src 'self'" in answers[0]
    assert answers[1:] == [400]
    assert answer.stderr.endswith(f"Open http://127.0.0.1:{port}/ in a browser. Ctrl-C ends it.\nStopped.\n")
    assert signal.getsignal(signal.SIGINT) is before
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_and_a_missing_extra_are_sentences(mer, demo, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = mer("serve", demo[1] / "gia-mic-t", "--port", port, "--device", "cpu")
    assert answer.exit_code == 1
    last = answer.stderr.splitlines()[-1]
    assert re.fullmatch(rf"Error: Nobody can listen on port {port} of 127\.0\.0\.1 \(.+\): give another .+", last)
    monkeypatch.setattr("gia_mic.commands.serve.find_spec", lambda name: None)
    answer = mer("serve", demo[1] / "gia-mic-t")
    assert answer.exit_code == 1
    assert answer.stderr == "Error: The page needs Gradio, which isn't installed: run `pip install 'gia-mic[serve]'`.\n"
