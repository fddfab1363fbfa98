"""Tests of the page in a real browser: what it shows, that it asks for nothing, and runs nothing but its own script."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.fixtures import RECORDINGS, name_of
from tests.support.hostile import HOSTILE
from tests.support.paging import chromium, needs_chromium, requests_of
from tests.support.pictures import MARKUP, hostile, picture_of, run

INTERRUPTS = next(path for path in RECORDINGS if name_of(path) == "0.3.64/interrupts")
DROP = next(path for path in RECORDINGS if name_of(path) == "0.3.64/socket-drop")
NAMES = {**HOSTILE, "markup of a page": MARKUP, "an end of a comment": "--><!--", "a template": "{{scene}} {{script}}"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as found:
        yield found


class Shown:
    """A page in the browser."""

    def __init__(self, browser: webdriver.Chrome, page: str, folder: Path, *, width: int = 1280, scheme: str = "light"):
        self.browser = browser
        requests_of(browser)
        browser.get_log("browser")
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        path = folder / "report.html"
        path.write_text(page, encoding="utf-8")
        self.url = path.as_uri()
        browser.get(self.url)

    def run(self, script: str) -> Any:
        return self.browser.execute_script(script)

    def text(self, selector: str) -> str:
        return str(self.run(f"return document.querySelector({selector!r}).innerText"))

    def press(self, *keys: str) -> None:
        canvas = self.browser.find_element(By.CSS_SELECTOR, "canvas")
        for key in keys:
            canvas.send_keys(key)

    def colours(self) -> set[str]:
        """The colours on the canvas."""
        found = self.run(
            "draw(); const all = pen.getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();"
            "for (let i = 0; i < all.length; i += 4) seen.add([all[i], all[i + 1], all[i + 2]].join());"
            "return [...seen]"
        )
        return set(found)

    def colour(self, name: str) -> str:
        value = self.run(f"return getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        value = "".join(digit * 2 for digit in value[1:]) if len(value) == 4 else value[1:]
        return ",".join(str(number) for number in bytes.fromhex(value))


@needs_chromium
def test_a_page_shows_the_verdict_the_tasks_with_reasons_and_the_findings(browser, tmp_path: Path) -> None:
    shown = Shown(browser, picture_of(INTERRUPTS).page, tmp_path)
    assert "FAIL" in shown.text(".verdict")
    assert "foreign-interrupt" in shown.text(".verdict")
    assert "Its own window interrupted it." in shown.text("table")
    assert "interrupted by window" in shown.text(".findings")


@needs_chromium
def test_the_time_line_is_drawn_in_the_colours_of_what_it_shows(browser, tmp_path: Path) -> None:
    shown = Shown(browser, picture_of(DROP).page, tmp_path)
    colours = shown.colours()
    for name in ("open", "run", "good", "warn", "accent", "gap"):
        assert shown.colour(name) in colours, name


@needs_chromium
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_hostile_names_are_text_and_nothing_else(browser, tmp_path: Path, name: str) -> None:
    picture = picture_of(hostile(name))
    shown = Shown(browser, picture.page, tmp_path)
    shown.press("n", Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    with pytest.raises(NoAlertPresentException):
        _ = browser.switch_to.alert.text
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert requests_of(browser) == [shown.url]
    assert shown.run("return [document.scripts.length, document.images.length, document.links.length]") == [2, 0, 1]
    assert shown.run("return document.documentElement.scrollWidth <= innerWidth")


@needs_chromium
def test_a_page_runs_no_script_that_was_put_into_it(browser, tmp_path: Path) -> None:
    page = picture_of(run()).page.replace("</h1>", "</h1><script>alert(1)</script><img src=x onerror=alert(2)>")
    Shown(browser, page, tmp_path)
    with pytest.raises(NoAlertPresentException):
        _ = browser.switch_to.alert.text
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@needs_chromium
def test_the_keyboard_goes_from_line_to_line_and_from_finding_to_finding(browser, tmp_path: Path) -> None:
    shown = Shown(browser, picture_of(DROP).page, tmp_path)
    shown.press(Keys.ARROW_RIGHT)
    assert shown.text("#said") == "Line 2"
    shown.press(Keys.ARROW_RIGHT)
    assert shown.text("#said") == "Line 3"
    shown.press("n")
    assert shown.text("#said") == "warning socket-gap: the socket of its window was down"
    assert "socket closed, code 1006" in shown.text("#lines .chosen")
    shown.press("+", "+")
    assert shown.run("return view.to - view.from < LENGTH / 3")
    shown.press("0")
    assert shown.run("return view.to - view.from > LENGTH")
    shown.press(Keys.ARROW_DOWN)
    assert shown.text("#said").startswith("Task d3424813")
    assert "in_progress: the server works on it" in shown.text("#lines")
    shown.press(Keys.ESCAPE)
    assert shown.text("#said") == "Lines"


@needs_chromium
def test_a_finding_and_a_task_lead_to_the_time_line(browser, tmp_path: Path) -> None:
    shown = Shown(browser, picture_of(DROP).page, tmp_path)
    browser.find_element(By.CSS_SELECTOR, "button[data-flag='0']").click()
    assert shown.text("#said").startswith("warning socket-gap")
    # by the keyboard: the page may still be scrolling to the flag
    browser.find_element(By.CSS_SELECTOR, "button[data-task='1']").send_keys(Keys.ENTER)
    assert shown.text("#said").startswith("Task 38f48f48")


@needs_chromium
def test_what_is_clicked_on_the_time_line_is_selected(browser, tmp_path: Path) -> None:
    shown = Shown(browser, picture_of(DROP).page, tmp_path)
    places = {
        "flag": ("scene.flags[0]", "x(it.at) + 4", "AXIS + 6"),
        "task": ("scene.tasks[1]", "x(it.from) + 40", "it.y + 10"),
        "entry": ("entries[0]", "x(it.at)", "HEAD + rows[0].y + 14"),
    }
    for kind, (it, left, top) in places.items():
        found = shown.run(f"const it = {it}; return hit({left}, {top})")
        assert list(found) == [kind], kind


@needs_chromium
def test_dark_and_light_are_both_drawn_and_a_narrow_page_does_not_scroll_sideways(browser, tmp_path: Path) -> None:
    page = picture_of(INTERRUPTS).page
    grounds = set()
    for scheme in ("light", "dark"):
        for width in (1280, 400):
            shown = Shown(browser, page, tmp_path, width=width, scheme=scheme)
            assert shown.run("return document.documentElement.scrollWidth <= innerWidth")
            assert shown.colour("card") in shown.colours()
            grounds.add(shown.colour("card"))
    assert len(grounds) == 2


@needs_chromium
def test_a_page_can_be_printed_whole_on_white(browser, tmp_path: Path) -> None:
    shown = Shown(browser, picture_of(INTERRUPTS).page, tmp_path, scheme="dark")
    shown.run("window.dispatchEvent(new Event('beforeprint'))")
    assert shown.colour("card") == "255,255,255"
    assert "255,255,255" in shown.colours()
    shown.run("window.dispatchEvent(new Event('afterprint'))")
    assert base64.b64decode(browser.print_page()).startswith(b"%PDF")


def test_a_page_names_no_other_page_and_allows_nothing_but_its_own_script_and_style() -> None:
    page = picture_of(run()).page
    assert re.findall(r"(?:src|href|action)=\"?([^\"\s>]*)", page) == ["#tasks"]
    assert "https://" not in page.replace("https?:", "")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    words = [rule.split() for rule in policy[1].replace("&#x27;", "'").split("; ")]
    assert words[0] == ["default-src", "'none'"]
    assert {word[:8] for rule in words[1:3] for word in rule[1:]} == {"'sha256-"}
