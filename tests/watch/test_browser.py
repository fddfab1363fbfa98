"""Tests of the page of `serve` in a real browser: it shows a growing log, reconnects, and executes nothing from
names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support import paging
from tests.support.lines import fill, frame, line
from tests.support.paging import needs_chromium
from tests.support.processes import LOG, until
from tests.support.serving import DISCOVERED, NOW, RUNNING, Page, answered, gone, serving, writing

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with paging.chromium(tmp_path_factory.mktemp("browser")) as found:
        yield found


class Browser:
    """What a person sees of the page, and what the browser says of it that no person sees."""

    def __init__(self, chromium: webdriver.Chrome) -> None:
        self.chromium = chromium
        self.requests: list[str] = []

    def open(self, page: Page) -> None:
        self.told()
        self.requests.clear()
        self.chromium.get(page.url)
        until(lambda: self.is_read())

    def is_read(self) -> bool:
        """All that is in the log is shown; most logs here are filled before, and nobody writes them any more."""
        return self.text("#standing").startswith(("live", "no process writes this log"))

    def text(self, selector: str) -> str:
        return str(
            self.chromium.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        )

    def count(self, selector: str) -> int:
        return len(self.chromium.find_elements(By.CSS_SELECTOR, selector))

    def row(self, table: str, number: int = 0) -> list[str]:
        cells = f"[...document.querySelectorAll('[data-table={table}] tbody tr')[{number}]?.cells ?? []]"
        found: list[str] = self.chromium.execute_script(f"return {cells}.map((cell) => cell.innerText)")
        return found

    def told(self) -> list[str]:
        """What the console was told since the last question: errors of the page, violations of its policy."""
        for entry in self.chromium.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith(("chrome:", "chrome-", "about:")):  # its own new tab, before any page of ours
                    self.requests.append(url)
        return [entry["message"] for entry in self.chromium.get_log("browser")]

    def dialog(self) -> str | None:
        try:
            return self.chromium.switch_to.alert.text
        except NoAlertPresentException:
            return None


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[Browser]:
    found = Browser(chromium)
    yield found
    chromium.get("about:blank")


def test_a_page_shows_a_log_that_grows(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        assert browser.text("#log") == LOG
        state, task, window, server, _, _, progress = browser.row("tasks")
        assert (state, task, window, server) == ("in_progress", "prompt-o", "w", "one:8188")
        assert " ".join(progress.split()) == "50 % node 7"
        assert browser.chromium.execute_script("return document.querySelector('progress').value") == 0.5
        assert "Nothing to report." in browser.text("section:last-child")

        fill(tmp_path / LOG, frame("progress", NOW, prompt_id="prompt-one", node="7", value=9, max=10))
        until(lambda: "90 %" in browser.text("[data-table=tasks]"))
        fill(tmp_path / LOG, DISCOVERED)
        until(lambda: browser.count(".findings > li") == 1)
        card = browser.text(".findings > li")
        assert "A frame or line could not be decoded." in card
        assert "verify over HTTP" in card
        assert "undecodable" in browser.text("#announce")
        assert "1\nwarning" in browser.text("#totals")
        assert browser.told() == []


def test_a_settled_task_is_shown_as_settled(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    status = {"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}
    record = {"prompt": [1, "prompt-one", {}, {}, []], "outputs": {}, "status": status}
    with serving(tmp_path) as page:
        browser.open(page)
        fill(
            tmp_path / LOG, frame("execution_success", NOW + 2, prompt_id="prompt-one"),
            line("http.request", {"id": "h", "method": "GET", "path": "/history/prompt-one"}, NOW + 2),
            line("http.response", {"id": "h", "status": 200, "body": {"prompt-one": record}}, NOW + 2),
        )  # fmt: skip
        until(lambda: browser.row("tasks")[0] == "completed")
        assert browser.row("tasks")[-1] == "verified"
        assert browser.count("progress") == 0


def test_a_page_comes_back_when_its_server_does(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        port = page.host.partition(":")[2]
    until(lambda: "trying again" in browser.text("#standing"))
    assert browser.row("tasks")[0] == "in_progress", "what was seen stays on show"
    fill(tmp_path / LOG, DISCOVERED)
    with serving(tmp_path, "--port", port):
        until(lambda: browser.count(".findings > li") == 1)
        until(browser.is_read)
        assert browser.count("[data-table=tasks] tbody tr") == 1, "nothing is there twice"


def test_a_log_that_is_replaced_meanwhile_is_shown_from_its_beginning(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        for name in os.listdir(tmp_path):
            (tmp_path / name).unlink()
        until(lambda: "No such file" in browser.text("#standing"))
        fill(tmp_path / LOG, DISCOVERED)
        until(lambda: browser.count("[data-table=tasks] tbody tr") == 0 and browser.count(".findings > li") == 1)


NAMES = {
    "an image": '<img src=x onerror="alert(1)">',
    "the end of a script": '</script><script>alert(1)</script><svg onload="alert(1)">',
    "the end of the page": "</table></main></body></html><h1>gone</h1>",
    "an address": "javascript:alert(1)",
    "an attribute": '" onmouseover="alert(1)" autofocus onfocus="alert(1)" x="',
    "a template": "${alert(1)} {{alert(1)}} `alert(1)`",
    "a foreign image": "<img src='http://127.0.0.1:9/leak'><style>@import 'http://127.0.0.1:9/leak';</style>",
    "a member of every object": "__proto__",
    "a constructor": "constructor",
    "right to left": "\u202egnp.exe",
    "a line for the feed": "x\n\ndata: {}\n\nevent: view\ndata: {}",
    "a long one": "n" * 10_000,
    "a lone surrogate": "\ud800",
    "nothing": "",
}


def hostile(name: str) -> list[bytes]:
    envelope: dict[str, Any] = {"server": name, "window": name}
    prompt = {"prompt_id": name, "node": name}
    messages: list[dict[str, Any]] = [
        {"type": "execution_start", "data": prompt},
        {"type": "progress", "data": prompt | {"value": 1, "max": 2}},
        {"type": name, "data": {}},
        {"type": "execution_error", "data": prompt | {"exception_type": name, "exception_message": name}},
    ]
    return [
        line("ws.open", {}, NOW, **envelope),
        *(line("ws.message", message, NOW, **envelope) for message in messages),
        line("ws.undecodable", {"error": name}, NOW, **envelope),
        line("http.error", {"id": "1", "error": name}, NOW, **envelope),
        line(name, {}, NOW, **envelope),
    ]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_page_does_nothing_that_a_name_says(browser: Browser, tmp_path: Path, name: str) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        fill(tmp_path / LOG, *hostile(name))
        until(lambda: browser.count(".findings > li") >= 2)
        until(lambda: browser.count("[data-table=servers] tbody tr") == 2)
        assert browser.dialog() is None
        assert browser.told() == [], "no error of the page, and nothing that its policy had to stop"
        assert [url for url in browser.requests if not url.startswith(page.url)] == []
        assert {url.removeprefix(page.url) for url in browser.requests} <= {
            "",
            "page.css",
            "page.js",
            "icon.svg",
            "feed",
        }
        assert browser.count("script") == 1
        assert browser.count("img, iframe, style, object, embed, form, [onerror], [onload], [onfocus]") == 0
        assert browser.count("h1") == 1
        assert browser.text("#log") == LOG
        assert browser.count("[data-table=tasks] tbody tr") == 2
        if name.isprintable():
            assert name[:100] in browser.text("main"), "it is told as it is"


def test_the_policy_of_the_page_stops_what_the_page_does_not_do(browser: Browser, tmp_path: Path) -> None:
    """So that the silence of the test above says something."""
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        browser.chromium.execute_script(
            "const image = new Image(); image.src = 'http://127.0.0.1:9/x'; document.body.append(image)"
        )
        until(lambda: any("Content Security Policy" in told for told in browser.told()))


def test_a_page_works_without_a_mouse(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        body = browser.chromium.find_element(By.TAG_NAME, "body")
        reached = []
        for _ in range(32):
            body.send_keys(Keys.TAB) if not reached else browser.chromium.switch_to.active_element.send_keys(Keys.TAB)
            element = browser.chromium.switch_to.active_element
            reached.append(element.get_attribute("id") or element.get_attribute("aria-labelledby") or element.text)
        columns = [
            "servers", "Server", "Queue", "Tasks", "Sockets", "Heard",
            "windows", "Window", "Server", "Socket", "Tasks", "Heard",
            "All", "Open", "Failed", "word",
            "tasks", "State", "Task", "Window", "Server", "Took", "Ended", "Progress", "prompt-o",
        ]  # fmt: skip
        assert reached[:27] == ["Skip to the tasks", "pause", *columns]
        button = browser.chromium.find_element(By.ID, "pause")
        button.send_keys(Keys.ENTER)
        assert (button.get_attribute("aria-pressed"), browser.text("#standing")) == ("true", "paused")
        fill(tmp_path / LOG, DISCOVERED)
        button.send_keys(Keys.SPACE)
        until(lambda: browser.count(".findings > li") == 1)
        assert browser.is_read()


def failing(name: str) -> bytes:
    why = {"exception_type": "OutOfMemory", "exception_message": f"of {name}", "node_id": "3"}
    return frame("execution_error", NOW, prompt_id=name, **why)


def test_a_row_opens_its_diagnosis_and_escape_leads_back_to_it(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING, failing("prompt-two"))
    with serving(tmp_path) as page:
        browser.open(page)
        link = browser.chromium.find_element(By.LINK_TEXT, "prompt-t")
        link.send_keys(Keys.ENTER)
        until(lambda: browser.text("#sheet-title").endswith("prompt-two"))
        told = browser.text("#sheet-body")
        assert "OutOfMemory" in told
        assert "What to do next" in told
        assert "What happened" in told
        assert browser.chromium.execute_script("return document.activeElement.closest('dialog') !== null")
        fill(tmp_path / LOG, line("ws.close", {"code": 1006, "reason": ""}, NOW + 1))
        browser.chromium.switch_to.active_element.send_keys(Keys.ESCAPE)
        until(lambda: browser.count("dialog[open]") == 0)
        assert browser.chromium.switch_to.active_element.text == "prompt-t"
        assert browser.chromium.current_url == page.url
        assert browser.told() == []


def test_a_link_to_a_row_opens_it_and_the_button_back_closes_it(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        address = browser.chromium.find_element(By.LINK_TEXT, "prompt-o").get_attribute("href")
        assert address
        browser.chromium.get(address)
        until(lambda: browser.count("dialog[open]") == 1)
        browser.chromium.back()
        until(lambda: browser.count("dialog[open]") == 0)


def test_an_open_diagnosis_follows_the_log(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        browser.chromium.find_element(By.LINK_TEXT, "prompt-o").click()
        until(lambda: "in_progress" in browser.text("#sheet-title"))
        fill(tmp_path / LOG, failing("prompt-one"))
        until(lambda: "OutOfMemory" in browser.text("#sheet-body"))


def test_a_column_sorts_up_then_down_then_not(browser: Browser, tmp_path: Path) -> None:
    def tasks() -> list[str]:
        return [each.text for each in browser.chromium.find_elements(By.CSS_SELECTOR, "[data-table=tasks] .open .id")]

    def sorted_by() -> str | None:
        return browser.chromium.find_element(By.CSS_SELECTOR, "[data-table=tasks] th:nth-child(2)").get_attribute(
            "aria-sort"
        )

    fill(tmp_path / LOG, *RUNNING, *(frame("execution_start", NOW, prompt_id=name, timestamp=1) for name in "cab"))
    with serving(tmp_path) as page:
        browser.open(page)
        unsorted = tasks()
        button = browser.chromium.find_element(By.CSS_SELECTOR, "[data-table=tasks] th:nth-child(2) button")
        for wanted, way in ((sorted(unsorted), "ascending"), (sorted(unsorted)[::-1], "descending"), (unsorted, None)):
            button.send_keys(Keys.ENTER)
            assert (tasks(), sorted_by()) == (wanted, way)
        button.click()
        fill(tmp_path / LOG, frame("execution_start", NOW, prompt_id="bb", timestamp=1))
        until(lambda: "bb" in tasks())
        assert tasks() == sorted([*unsorted, "bb"]), "what comes is put in its place"


def test_a_page_shows_an_alert_that_holds_and_a_server_that_is_drained(browser: Browser, tmp_path: Path) -> None:
    now = time.time()
    away = gone(now, "http://gone.example:8188")
    with (
        writing(tmp_path, *away, *answered(now), line("command", {"name": "drain"}, now)),
        serving(tmp_path) as page,
    ):
        browser.open(page)
        until(lambda: "ComfyServerUnreachable" in browser.text("#alerts"))
        assert "gone.example:8188: No request to a server was answered" in browser.text("#alerts")
        assert "answering, drained" in browser.text("[data-table=servers]")
        assert "ConnectError" in browser.text("[data-table=servers]")


def test_windows_of_earlier_processes_are_counted_not_listed(browser: Browser, tmp_path: Path) -> None:
    old = [line(kind, {}, NOW - 60, window=f"old-{n}") for n in range(9) for kind in ("ws.open", "ws.close")]
    with writing(tmp_path, *old, *answered(time.time())), serving(tmp_path) as page:
        browser.open(page)
        assert browser.text("#windows .more") == "2 shown of 10"


def test_tables_are_tables_to_who_hears_them(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as page:
        browser.open(page)
        for table in ("servers", "windows", "tasks"):
            assert browser.count(f"[data-table={table}] thead th[scope=col]") > 4
            assert browser.count(f"[data-table={table}] tbody th[scope=row]") == 1
        assert browser.count("[aria-live=polite]") == 1
        assert browser.count("h1") == 1
        assert browser.count("main h2") == 4


CONTRAST = """
const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = (color) => { const [r, g, b] = color.match(/[\\d.]+/g).map(Number);
  return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
const ground = (element) => { for (; element; element = element.parentElement) {
  const color = getComputedStyle(element).backgroundColor;
  if (!/, 0\\)$/.test(color)) return color; } return "rgb(255, 255, 255)"; };
return [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility() &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())).map((element) => {
  const pair = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
  return [(pair[0] + 0.05) / (pair[1] + 0.05), element.innerText.slice(0, 40)];
}).filter(([ratio]) => ratio < 4.5);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_can_be_read_by_day_and_night_and_on_a_phone(
    browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    fill(tmp_path / LOG, *RUNNING, DISCOVERED, *hostile("n" * 500))
    run = browser.chromium.execute_cdp_cmd
    with serving(tmp_path) as page:
        run("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        run("Emulation.setDeviceMetricsOverride", size)
        try:
            browser.open(page)
            assert browser.chromium.execute_script(CONTRAST) == []
            wide = browser.chromium.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, "nothing is beyond the edge"
            browser.chromium.find_element(By.CSS_SELECTOR, "[data-table=tasks] .open").send_keys(Keys.ENTER)
            until(lambda: browser.count("dialog[open]") == 1)
            assert browser.chromium.execute_script(CONTRAST) == []
            assert browser.chromium.execute_script(
                "const sheet = document.querySelector('dialog'); return sheet.scrollWidth <= sheet.clientWidth"
            )
        finally:
            run("Emulation.clearDeviceMetricsOverride", {})
            run("Emulation.setEmulatedMedia", {"features": []})
