"""Headless Chromium with its network tools open: pages, what they run, and the HAR that the tools would export."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException

__all__ = ["BROWSER", "DRIVER", "Browser", "browsing"]

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900")
Params = dict[str, Any]


class Browser:
    """One tab."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._entries: dict[str, Params] = {}  # by the id of the request

    def visit(self, url: str) -> None:
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """Return what an asynchronous function with this body returns in the page."""
        wrapped = f"const done = arguments[arguments.length - 1]; (async function() {{ {script} }})"
        return self.driver.execute_async_script(
            f"{wrapped}.apply(null, [...arguments].slice(0, -1)).then(done, error => done('error: ' + error));",
            *arguments,
        )

    def har(self) -> dict[str, Any]:
        """Return everything since the tab was opened, in the shape in which Chrome exports it."""
        time.sleep(0.1)  # events of the network come to the log of the driver a moment later
        for line in self.driver.get_log("performance"):
            event = json.loads(line["message"])["message"]
            self._take(event["method"].removeprefix("Network."), event["params"])
        entries = [_entry(each) for each in self._entries.values() if "url" in each]
        creator = {"name": "WebInspector", "version": "537.36"}
        return {"log": {"version": "1.2", "creator": creator, "pages": [], "entries": entries}}

    def _take(self, method: str, params: Params) -> None:
        if "requestId" not in params:
            return
        entry = self._entries.setdefault(params["requestId"], {"frames": []})
        match method:
            case "requestWillBeSent":
                request = params["request"]
                entry |= {"url": request["url"], "method": request["method"], "sent": request.get("postData")}
                entry |= {"wall": params["wallTime"], "mono": params["timestamp"]}
            case "responseReceived":
                entry |= {"status": params["response"]["status"], "mime": params["response"]["mimeType"]}
            case "loadingFinished":
                entry["ended"] = params["timestamp"]
                with suppress(WebDriverException):  # it may be gone by now
                    told = self.driver.execute_cdp_cmd("Network.getResponseBody", {"requestId": params["requestId"]})
                    entry |= {"text": told["body"], "base64": told["base64Encoded"]}
            case "loadingFailed":
                entry |= {"ended": params["timestamp"], "failed": params["errorText"]}
            case "webSocketCreated":
                entry |= {"url": params["url"], "method": "GET", "socket": True}
            case "webSocketWillSendHandshakeRequest":
                entry |= {"wall": params["wallTime"], "mono": params["timestamp"]}
            case "webSocketHandshakeResponseReceived":
                entry["status"] = params["response"]["status"]
            case "webSocketFrameReceived" | "webSocketFrameSent":
                entry["frames"].append((method, params["timestamp"], params["response"]))
            case "webSocketClosed":
                entry["ended"] = params["timestamp"]


def _entry(told: Params) -> Params:
    begun = told.get("wall", 0.0)
    ahead = begun - told.get("mono", 0.0)
    start = datetime.fromtimestamp(int(begun * 1000) / 1000, UTC).isoformat(timespec="milliseconds")
    content: Params = {"mimeType": told.get("mime", "")}
    if "text" in told:
        content |= {"text": told["text"]} | ({"encoding": "base64"} if told["base64"] else {})
    request: Params = {"method": told["method"], "url": told["url"]}
    if told.get("sent"):
        request["postData"] = {"mimeType": "application/json", "text": told["sent"]}
    response: Params = {"status": told.get("status", 0), "content": content}
    entry: Params = {
        "startedDateTime": start.replace("+00:00", "Z"), "pageref": "page_1", "request": request, "response": response,
        "time": (told.get("ended", told.get("mono", 0.0)) - told.get("mono", 0.0)) * 1000,
    }  # fmt: skip
    if "failed" in told:
        response["_error"] = told["failed"]
    if "socket" in told:
        entry |= {"_resourceType": "websocket", "_webSocketMessages": [*_messages(told["frames"], ahead)]}
    return entry


def _messages(frames: list[tuple[str, float, Params]], ahead: float) -> Iterator[Params]:
    for method, at, frame in frames:
        way = "receive" if method == "webSocketFrameReceived" else "send"
        yield {"type": way, "time": at + ahead, "opcode": frame["opcode"], "data": frame["payloadData"]}


@contextmanager
def browsing() -> Iterator[Browser]:
    """Open a browser with one tab."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_script_timeout(60)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
