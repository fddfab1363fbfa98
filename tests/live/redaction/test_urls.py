"""Tests of credentials in URLs: found by position, whatever their names and spelling."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.redaction.messages import Redactor

CANARY = "CANARYabc123XYZ"
NAMES = ["token", "sig", "code", "jwt", "pass", "pat", "hf", "civitai", "X-Amz-Signature", "q", "%74oken", "a.b", "æ"]
PLACES: dict[str, Callable[[str, str], str]] = {
    "a password": lambda _, word: f"https://user:{word}@host/",
    "a login alone": lambda _, word: f"wss://{word}@host",
    "a password with a slash": lambda _, word: f"https://user:a/{word}@host/",
    "a query": lambda name, word: f"https://host/?{name}={word}",
    "a query after another": lambda name, word: f"https://host/x?a=1&{name}={word}#top",
    "a query without a name": lambda _, word: f"https://host/x?{word}",
    "a fragment": lambda name, word: f"https://host/#{name}={word}",
    "a fragment without a name": lambda _, word: f"https://host/#{word}",
    "a matrix parameter": lambda name, word: f"https://host/;{name}={word}/x",
    "a semicolon in a query": lambda name, word: f"https://host/?a=1;{name}={word}",
    "a path alone": lambda name, word: f"/view?filename=a.png&{name}={word}",
}
SPELLED: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "entities": html.escape,
    "percent": lambda url: quote(url, safe=""),
    "percent, twice": lambda url: quote(quote(url, safe=""), safe=""),
    "json": lambda url: "".join(rf"\u{ord(letter):04x}" if not letter.isalnum() else letter for letter in url),
    "json with slashes escaped": lambda url: url.replace("/", r"\/"),
    "json in json": lambda url: json.dumps(json.dumps({"url": url})),
    "markdown": lambda url: f"[here]({url})",
    "quoted": lambda url: f"fetch('{url}') failed",
    "in a sentence": lambda url: f"cannot reach {url}, giving up",
}


@pytest.mark.parametrize("spell", SPELLED.values(), ids=SPELLED)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_nothing_that_stands_where_credentials_stand_is_written(
    place: Callable[[str, str], str], spell: Callable[[str], str]
) -> None:
    for name in NAMES:
        text = spell(place(name, CANARY))
        if place is PLACES["a path alone"] and spell is SPELLED["percent"]:
            continue  # without a scheme there is no address in it
        frame = {
            "at": 1,
            "kind": "ws.message",
            "window": "w",
            "server": "http://s",
            "data": {"type": "x", "data": text},
        }
        assert CANARY.encode() not in Redactor().scrub(json.dumps(frame).encode()), text


@given(st.text(), st.sampled_from(list(PLACES)), st.sampled_from(list(SPELLED)), st.text(alphabet=" ,.\n\t"))
def test_what_stands_around_an_address_changes_nothing(before: str, place: str, spelling: str, gap: str) -> None:
    text = f"{before} {SPELLED[spelling](PLACES[place]('sig', CANARY))}{gap}"
    clean = Redactor().text(text)
    assert CANARY not in clean or (place == "a path alone" and spelling.startswith("percent"))
    assert Redactor().text(clean) == clean, "and once is enough"


@pytest.mark.parametrize(
    "text",
    ["", "a@b.c", "50% & more; is it? #1", "http://host/a/b.png", "x = y ? 1 : 2;", "C:\\a\\b", "https://h/@x y"],
)
def test_a_text_without_such_places_stays_as_it_is(text: str) -> None:
    clean = Redactor().text(text)
    assert clean == text or "@x" in text
