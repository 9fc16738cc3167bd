"""The page stands alone, shows hostile text as text, and works in a real browser, on a phone and with a keyboard."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made_browser import open_browser
from made_runs import CLASSES, make_fold, make_runs

from gia_mic.extract.errors import RunError
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.report import figures
from gia_mic.report.error_analysis import confused_utterances, learning_curves, speaker_scores
from gia_mic.report.group import groups
from gia_mic.report.render import render
from gia_mic.report.statistics import BINS

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\u202e\x1b"
VOID = {"meta", "link", "br", "input", "img"}


def write_histories(runs):
    for folder in runs.glob("*/*/fold-*/seed-*"):
        lines = [f"{epoch},{1 / epoch},{1 - 0.5 / epoch}" for epoch in range(1, 11)]
        (folder / "history.csv").write_text("\n".join(["epoch,loss,train_UA", *lines]) + "\n")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three models, one of them with three seeds, and a corpus whose last utterance is an attack."""
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder, {"gia-mic": 0.9, "gia-mic-s": 0.5}, B=24, folds=3)
    make_runs(folder, {"mult": 0.8}, B=24, folds=3, seeds=3, model={"name": "mult"})
    make_fold(
        folder,
        [0, 1, 2, 3],
        [1, 2, 3, 0],
        name="gia-mic-<b>hostile",
        folds=1,
        protocol="speaker",
        fold_value=HOSTILE,
        about={"text": [HOSTILE] * 4, "speaker": [HOSTILE] * 4, "dialog": [HOSTILE] * 4},
    )
    write_histories(folder)
    return folder


class Outline(HTMLParser):
    """Counts tags, and refuses one that isn't closed or reaches outside."""

    def __init__(self):
        super().__init__()
        self.open, self.counts, self.text, self.addresses = [], {}, [], []

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def text(runs):
    return render(runs, "html")


def test_the_page_is_well_formed_and_reaches_nowhere(text):
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert all(address.startswith(("#", "data:,")) for address in outline.addresses)
    assert outline.counts["script"] == outline.counts["style"] == 1
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text.replace("&#39;", "'")


def test_hostile_text_is_text(text):
    outline = Outline()
    outline.feed(text)
    assert "img" not in outline.counts
    assert any("<script>document.title='taken'</script>" in part for part in outline.text)
    assert not re.search("[\u202e\x1b]", text)


def test_the_page_has_every_part(text):
    for part in (
        "Models one by one",
        "How sure that is",
        "Utterances most often confused",
        "Made by",
        "UA of each speaker",
    ):
        assert text.count(part) >= 2
    assert text.count('class="interval" viewBox') == 4
    assert text.count('aria-label="reliability diagram"') == 4
    assert text.count('aria-label="loss by epoch"') == 4
    assert "What each change does" not in text


def test_the_page_has_an_ablation_where_a_reference_is_named(runs):
    assert "What each change does, against gia-mic" in render(runs, "html", "gia-mic")


def test_speakers_worked_by_hand(tmp_path):
    about = {"speaker": ["a", "a", "a", "b", "b"]}
    make_fold(tmp_path, [0, 0, 1, 0, 1], [0, 1, 1, 0, 1], folds=1, about=about)
    make_fold(tmp_path, [0, 0, 1, 0, 1], [0, 0, 1, 0, 1], folds=1, about=about, seed=1)
    rows = speaker_scores(read_runs(tmp_path)[0])
    assert [(row.name, row.utterances) for row in rows] == [("a", 3), ("b", 2)]
    assert rows[0].scores["WA"] == pytest.approx((2 / 3 + 1) / 2)
    assert rows[0].scores["UA"] == pytest.approx((0.75 + 1) / 2)
    assert rows[1].scores["UA"] == 1


def test_confused_utterances_worked_by_hand(tmp_path):
    """Of three models the first utterance is wrong in all, the second in one, the third in none."""
    about = {"text": ["one", "two", "three"], "speaker": ["a", "b", None]}
    for name, predicted in (("gia-mic", [1, 1, 2]), ("gia-mic-s", [2, 1, 2]), ("gia-mic-t", [1, 0, 2])):
        make_fold(tmp_path, [0, 1, 2], predicted, name=name, folds=1, about=about)
    (group,) = groups(read_runs(tmp_path))
    first, second = confused_utterances(group)
    assert (first.id, first.text, first.speaker, first.true, first.predicted) == (
        "1-0000",
        "one",
        "a",
        "angry",
        "happy",
    )
    assert (first.wrong, first.answers) == (1, 3)
    assert (second.text, second.wrong, second.predicted) == ("two", pytest.approx(1 / 3), "angry")
    assert first.mean == pytest.approx((0.2 / 3, 0.8, 0.2 / 3, 0.2 / 3))
    assert len(confused_utterances(group, most=1)) == 1


def test_learning_curves_are_means_over_folds(tmp_path):
    for fold, loss in ((1, 1.0), (2, 3.0)):
        folder = make_fold(tmp_path, [0, 1], [0, 1], fold=fold)
        (folder / "history.csv").write_text(f"epoch,loss,train_UA\n1,{loss},0.5\n2,0,0.7\n")
    (run,) = read_runs(tmp_path)
    assert learning_curves(run) == {"loss": [2, 0], "train_UA": [0.5, pytest.approx(0.7)]}
    (folder / "history.csv").write_text("epoch,loss\n1,low\n")
    with pytest.raises(RunError, match=r"history\.csv isn't a table of numbers"):
        learning_curves(run)


def test_a_page_without_speakers_history_or_mistakes_is_still_a_page(tmp_path):
    make_fold(tmp_path, [0, 1], [0, 1], folds=1)
    text = render(tmp_path, "html")
    assert "No model is wrong anywhere." in text
    assert "UA of each speaker" not in text
    assert "Training loss" not in text


# In a browser


@pytest.fixture(scope="module")
def browser():
    driver = open_browser()
    yield driver
    driver.quit()


def resize(browser, width, dark=False):
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture
def page(browser, text, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    resize(browser, 1280)
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.title.startswith("Emotion recognition report")


def column(page, table, heading):
    """Return the texts of a column, as shown."""
    return page.execute_script(
        """
        const table = document.querySelectorAll(arguments[0])[0];
        const place = [...table.tHead.rows[table.tHead.rows.length - 1].cells].findIndex(
            (cell) => cell.textContent.trim() === arguments[1]);
        const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
        return rows.map((row) => row.cells[place].textContent.trim());
        """,
        table,
        heading,
    )


def button(page, table, heading):
    from selenium.webdriver.common.by import By

    buttons = page.find_element(By.CSS_SELECTOR, table).find_elements(By.CSS_SELECTOR, "thead button")
    return next(one for one in buttons if one.text == heading)


def test_a_click_sorts_and_another_turns_the_order(page):
    table = ".headline"
    assert column(page, table, "model")[:3] == ["gia-mic", "mult", "gia-mic-s"]
    button(page, table, "model").click()
    assert column(page, table, "model") == ["gia-mic", "gia-mic-s", "mult", "(most frequent class)"]
    button(page, table, "model").click()
    assert column(page, table, "model")[:3] == ["mult", "gia-mic-s", "gia-mic"]
    heading = button(page, table, "model").find_element("xpath", "..")
    assert heading.get_attribute("aria-sort") == "descending"


def test_numbers_sort_as_numbers(page):
    table = ".utterances"
    button(page, table, "wrong, %").click()
    numbers = [int(value) for value in column(page, table, "wrong, %")]
    assert len(numbers) > 10
    assert numbers == sorted(numbers, reverse=True)
    button(page, table, "wrong, %").click()
    assert [int(value) for value in column(page, table, "wrong, %")] == sorted(numbers)


def test_a_search_shows_what_has_all_its_words(page):
    from selenium.webdriver.common.by import By

    everything = column(page, ".utterances", "text")
    expected = [text for text in everything if "session 2" in text]
    assert 0 < len(expected) < len(everything)
    search = page.find_element(By.CSS_SELECTOR, ".search input")
    search.send_keys("SESSION 2")
    texts = column(page, ".utterances", "text")
    assert set(expected) <= set(texts)
    assert len(texts) < len(everything)
    output = page.find_element(By.CSS_SELECTOR, ".search output")
    assert output.text == f"{len(texts)} of {len(everything)} utterances"
    search.clear()
    search.send_keys("no such words")
    assert column(page, ".utterances", "text") == []


def test_a_model_opens_with_a_click_and_with_the_keyboard(page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    models = page.find_elements(By.CSS_SELECTOR, "details.model")
    assert [model.get_attribute("open") is not None for model in models[:3]] == [True, False, False]
    models[1].find_element(By.TAG_NAME, "summary").click()
    assert models[1].find_element(By.CSS_SELECTOR, "table.confusion").is_displayed()
    models[2].find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert models[2].find_element(By.CSS_SELECTOR, "table.confusion").is_displayed()


def test_the_keyboard_reaches_everything(page):
    """The tab key walks through buttons, models, tables that scroll and the search; Enter sorts."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    body = page.find_element(By.TAG_NAME, "body")
    actual, expected = set(), {"button", "summary", "input", "scroll", "a"}
    for _ in range(120):
        body.send_keys(Keys.TAB)
        active = page.switch_to.active_element
        actual.add(active.tag_name if active.tag_name != "div" else "scroll")
        if expected <= actual:
            break
    assert expected <= actual
    button(page, ".headline", "model").send_keys(Keys.ENTER)
    assert column(page, ".headline", "model")[1] == "gia-mic-s"


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_no_width_makes_the_page_scroll_sideways(page, width):
    resize(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.execute_script("return document.querySelector('.headline').getBoundingClientRect().width") > 200


def test_the_bars_of_the_reliability_diagram_keep_to_their_bins(page):
    widths = page.execute_script(
        "return [...document.querySelectorAll('svg rect.bar')].map((bar) => bar.getBoundingClientRect().width)"
    )
    positive = [width for width in widths if width > 0]
    assert len(positive) >= 1
    assert max(positive) <= figures.SIDE / BINS


def luminance(page, script):
    colour = page.execute_script(f"return getComputedStyle({script}")
    return np.mean([float(part) for part in re.findall(r"[\d.]+", colour)[:3]])


def test_light_and_dark_follow_the_system_and_the_button(page):
    from selenium.webdriver.common.by import By

    back, front = "document.body).backgroundColor", "document.body).color"
    assert luminance(page, back) > 200 > 100 > luminance(page, front)
    resize(page, 1280, dark=True)
    assert luminance(page, back) < 60 < 180 < luminance(page, front)
    page.find_element(By.ID, "theme").click()
    assert luminance(page, back) > 200


def test_an_attack_in_a_transcript_does_nothing(page):
    assert page.title.startswith("Emotion recognition report")
    assert page.execute_script("return document.images.length") == 0
    assert page.execute_script("return document.scripts.length") == 1
    assert any("document.title='taken'" in text for text in column(page, "#group-2-utterances", "text"))


def test_the_classes_are_those_of_the_corpus(page):
    from selenium.webdriver.common.by import By

    headings = page.find_elements(By.CSS_SELECTOR, ".confusion thead")[0].text.split()
    assert headings == ["true", "utterances", *CLASSES]
