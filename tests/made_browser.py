"""Starts a real browser, without a window; the tests that need one are skipped where there is none."""

import shutil

import pytest


def open_browser(*flags, **logs):
    """Chromium under selenium, with more flags, and by name the level from which on each of its logs is kept."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed: pip install -e .[test]")
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if not all(programs.values()):
        missing = [name for name, path in programs.items() if not path]
        pytest.skip(f"{' and '.join(missing)} not installed: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", **logs})
    return selenium.Chrome(options, selenium.ChromeService(programs["chromedriver"]))
