"""Tests of the anonymizer: nothing personal is left, and the verdict is the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.anonymity.anonymizer import Anonymizer, anonymized
from comfy_fsm.anonymity.vocabulary import SENTENCES, WORDS
from comfy_fsm.core.wire import codec
from comfy_fsm.testing.strategies.arbitrary import observations
from comfy_fsm.testing.strategies.runs import true_runs
from replay import replay
from tests.support.fixtures import MADE, RECORDINGS, bytes_of, name_of
from tests.support.judgements import judgement

CANARY = "Zaphod"
NUMBER = 815_815_815_815_815
PLACES = [
    {"kind": "trace", "data": {"version": 1, "recorder": "Zaphod", "scenario": "Zaphod"}},
    {"kind": "ws.message", "data": {"type": "Zaphod", "data": {"Zaphod": "Zaphod"}}},
    {"kind": "ws.message", "data": {"type": "execution_error", "data": {
        "prompt_id": "Zaphod", "exception_type": "ZaphodError", "exception_message": "no /home/Zaphod/a.png here",
        "traceback": ["File C:\\Users\\Zaphod\\a.py"], "current_inputs": {"text": ["Zaphod in the snow"]}}}},
    {"kind": "ws.message", "data": {"type": "executed", "data": {"prompt_id": "p", "node": "Zaphod", "output": {
        "images": [{"filename": "Zaphod_0001.png", "subfolder": "Zaphod/x", "type": "output"}],
        "text": ["Zaphod"], "Zaphod": [{"url": "https://Zaphod.example/Zaphod?Zaphod=Zaphod#Zaphod"}]}}}},
    {"kind": "ws.message", "data": {"type": "executed", "data": {"prompt_id": "p", "node": "1", "output": {
        "result": ["C:\\Zaphod\\output\\a\\Zaphod.glb", "/Zaphod/Zaphod.png [temp]", "Zaphod " * 1_000]}}}},
    {"kind": "ws.binary", "data": {"event": 3, "node": "Zaphod", "text": "Zaphod", "digest": "Zaphod"}},
    {"kind": "ws.close", "data": {"code": 1006, "reason": "Zaphod left"}},
    {"kind": "ws.undecodable", "data": {"error": "Zaphod", "text": "{Zaphod"}},
    {"kind": "http.request", "data": {"id": "Zaphod", "method": "POST", "path": "/Zaphod/api/prompt?token=Zaphod",
        "body": {"client_id": "Zaphod", "prompt": {"Zaphod": {"class_type": "ZaphodNode", "inputs": {
            "Zaphod": NUMBER, "text": "Zaphod", "seed": NUMBER}, "_meta": {"title": "Zaphod"}}},
            "extra_data": {"comfy_fsm": "Zaphod", "api_key_comfy_org": "Zaphod", "user": NUMBER}}}},
    {"kind": "http.request", "data": {"id": "2", "method": "GET", "path": "https://Zaphod:Zaphod@Zaphod.example/queue"}},
    {"kind": "http.request", "data": {"id": "3", "method": "GET", "path": "/view?filename=Zaphod.png&user=Z%61phod"}},
    {"kind": "http.response", "data": {"id": "3", "status": 200, "body": "{\"Zaphod\": \"Zaphod\"}"}},
    {"kind": "http.response", "data": {"id": "2", "status": 400, "location": "http://Zaphod/", "body": {
        "error": {"type": "Zaphod", "message": "Zaphod", "details": "ckpt: 'Zaphod.safetensors' not in ['Zaphod']"}}}},
    {"kind": "http.error", "data": {"id": "4", "error": "ConnectError: Zaphod refused"}},
    {"kind": "command", "data": {"name": "Zaphod", "prompt_id": "Zaphod", "withheld": ["3.Zaphod", "Zaphod.text"],
        "tag": {"user": NUMBER, "where": 52.520008, "name": "Zaphod"}, "graph": "Zaphod"}},
    {"kind": "Zaphod", "data": {"Zaphod": {"Zaphod": ["Zaphod"]}}},
]  # fmt: skip
"""A trace with something personal in every place that there is."""


PUBLIC = {word for text in (*WORDS, *SENTENCES) for word in re.findall(r"[^\W_]{4,}", text)}
OURS = {"Class", "window", "words", "name", "host", "text", "path", "localhost", "4000", "0000", "Valid", "values"}
"""What pseudonyms are made of."""
OURS |= {"https", "flac", "webm", "webp", "safetensors", "jpeg", "tiff", "gltf"}
"""And what they keep of an address, and of the name of a file."""


def lines_of(path: Path) -> list[bytes]:
    return bytes_of(path).split(b"\n")


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def words(line: bytes) -> set[str]:
    """The words of a line, of four letters or more: what a reader could recognise."""
    try:
        return {word for text in texts(codec.loads(line)) for word in re.findall(r"[^\W_]{4,}", unquote(text))}
    except codec.Unreadable:
        return set()


@pytest.mark.parametrize("path", RECORDINGS + MADE, ids=name_of)
def test_an_anonymised_recording_is_judged_alike(path: Path) -> None:
    lines = lines_of(path)
    assert judgement(replay(list(anonymized(lines)))) == judgement(replay(lines))


@pytest.mark.parametrize("path", RECORDINGS + MADE, ids=name_of)
def test_of_a_recording_no_word_is_left_that_is_not_public(path: Path) -> None:
    lines = lines_of(path)
    before = {word for line in lines for word in words(line) if not word.isdigit()}
    after = {word for line in anonymized(lines) for word in words(line)}
    assert (before & after) - PUBLIC - OURS == set()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place["kind"])
def test_nothing_personal_is_left_wherever_it_stands(place: dict) -> None:
    line = json.dumps({"at": 1.0, "window": "Zaphod", "server": "http://Zaphod.example:8188", "Zaphod": 1, **place})
    told = Anonymizer().line(line.encode())
    assert CANARY.encode().lower() not in told.lower()
    assert str(NUMBER).encode() not in told
    assert b"52.52" not in told


def test_a_line_that_cannot_be_read_is_left_out_and_keeps_its_place() -> None:
    lines: list[bytes | str] = [b"Zaphod {", b"# Zaphod", b"", b'{"at": 1, "kind": "Zaphod', "Zaphod broke here"]
    assert list(anonymized(lines)) == [b"?", b"#", b"", b"?", b"?"]


@given(st.lists(observations(), max_size=12))
@settings(max_examples=200)
def test_any_trace_is_judged_alike(seen: list) -> None:
    lines = [codec.encode(observation) for observation in seen]
    assert judgement(replay(list(anonymized(lines)))) == judgement(replay(lines))


@given(true_runs())
@settings(max_examples=60)
def test_any_true_run_is_judged_alike(run) -> None:
    assert judgement(replay(list(anonymized(run.lines)))) == judgement(replay(run.lines))


@given(st.lists(observations(), max_size=6))
def test_the_same_trace_is_written_alike_each_time(seen: list) -> None:
    lines = [codec.encode(observation) for observation in seen]
    assert list(anonymized(lines)) == list(anonymized(lines))
