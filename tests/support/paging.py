"""A real browser, without a window, and what it says of a page that no person sees."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1280,1000",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
IS_REQUIRED = "chromium" in os.environ.get("COMFY_FSM_REQUIRES", "")
needs_chromium = pytest.mark.skipif(
    not IS_REQUIRED and not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    assert CHROMIUM, "COMFY_FSM_REQUIRES says that chromium is installed, and it is not"
    assert DRIVER, "nor is chromedriver; selenium would look for one elsewhere"
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(DRIVER)
    found = webdriver.Chrome(options, service)
    try:
        yield found
    finally:
        found.quit()
        service.stop()


def requests_of(found: webdriver.Chrome) -> list[str]:
    """What it asked for since the last question; its own new tab is not counted."""
    messages = [json.loads(entry["message"])["message"] for entry in found.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("chrome:", "chrome-", "about:"))]
