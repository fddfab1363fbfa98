"""Tests of redaction: no secret in any spelling, nobody's workflow; and every verdict stays the same."""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Failure
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import ClientError
from comfy_fsm.live.redaction.messages import NOTHING, Redactor
from comfy_fsm.live.redaction.scrubber import COMMON, REDACTED
from comfy_fsm.live.redaction.secret_encodings import MIN_SECRET
from tests.support.folding import fold_all, outcomes

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
TRACES = sorted((FIXTURES / "recordings").glob("*/*.jsonl.gz")) + sorted((FIXTURES / "made").glob("*.jsonl"))
assert len(TRACES) > 150, "a green run over no traces proves nothing"
SECRET = "s3cr3t/Tok+en?of=m\u00e9 \U0001f511"
CANARY = "canary-4f1c"
MARK = "0b7f7d5e-6d7e-4a36-9d3a-2f9f5f1a7c11"


def line_of(text: str) -> bytes:
    frame = {"type": "execution_error", "data": {"exception_message": text}}
    return codec.message_line(json.dumps(frame), at=1.5, window="w", server="http://s:1")


def answer(method: str, path: str, body: object, status: int = 200, *, keep_inputs: bool = False) -> object:
    kept = Redactor(keep_inputs=keep_inputs).response(method, path, status, json.dumps(body).encode())
    return json.loads(bytes(kept.logged))


# secrets, however they are spelled


def base64_within(text: str, before: str) -> str:
    return base64.b64encode(f"{before}{text} and more".encode()).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "json": lambda text: json.dumps(text)[1:-1],
    "json, every letter": lambda text: "".join(rf"\u{unit:04x}" for unit in utf_16(text)),
    "json, every letter, in capitals": lambda text: "".join(rf"\u{unit:04X}" for unit in utf_16(text)),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "json with slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "python": ascii,
    "python bytes": lambda text: repr(text.encode()),
    "percent": lambda text: quote(text, safe=""),
    "percent, lower": lambda text: re.sub("%..", lambda match: match[0].lower(), quote(text, safe="")),
    "percent, every letter": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent, twice": lambda text: quote(quote(text, safe="")),
    "plus": quote_plus,
    "plus, some": lambda text: text.replace(" ", "+"),
    "html": html.escape,
    "html, every letter": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "html, hex": lambda text: "".join(f"&#x{ord(letter):X};" for letter in text),
    "hex": lambda text: text.encode().hex(),
    "hex, upper": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64_within(text, ""),
    "base64, one before": lambda text: base64_within(text, "a"),
    "base64, two before": lambda text: base64_within(text, "ab"),
    "base64, three before": lambda text: base64_within(text, "abc"),
    "base64, for urls": lambda text: base64.urlsafe_b64encode(f"ab{text}".encode()).decode(),
    "base64, in lines": lambda text: base64.encodebytes(f"{'x' * 50}{text}".encode()).decode(),
    "base64, percent": lambda text: quote(base64_within(text, "a"), safe=""),
}  # fmt: skip


def utf_16(text: str) -> Iterator[int]:
    raw = text.encode("utf-16-be")
    return (int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2))


each_spelling = pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS.keys())


@each_spelling
@pytest.mark.parametrize(
    "secret", [SECRET, "plain-secret", "123456", 'quo"te\\back', "\u00fc\u00df\u4e2d\u6587\u5b57\u7b26", "<a&b>c'd"]
)
def test_a_secret_does_not_pass_in_any_spelling(secret: str, spelled: Callable[[str], str]) -> None:
    redactor = Redactor([secret])
    for text in (spelled(secret), f"before {spelled(secret)} after"):
        for line in (line_of(text), line_of(f"{text}\\")):
            assert json.loads(line)["data"]["data"]["exception_message"].startswith(text)
            clean = redactor.scrub(line)
            assert json.loads(clean)["data"]["data"]["exception_message"].count(REDACTED) == 1
            assert secret not in json.dumps(json.loads(clean), ensure_ascii=False)
            assert codec.parse(clean) != codec.parse(line)


@pytest.mark.parametrize(
    "frame",
    ['{"type":"x","data":{"\\u0073ecret-word":1}}', '{"type":"x","data":[[{"a":["secret-word"]}]]}',
     '{"type":"secret-word"}', '{"secret-word', '{"type":"x","data":NaN,"b":"secret%2Dword"}'],
)  # fmt: skip
def test_a_secret_is_found_wherever_it_stands(frame: str) -> None:
    clean = Redactor(["secret-word"]).scrub(codec.message_line(frame, at=1.5, window="w", server="http://s"))
    assert REDACTED in clean.decode()
    assert b"secret" not in clean
    read = codec.parse(clean)
    assert (read.at, read.window, read.server) == (1.5, "w", "http://s")


def test_a_secret_of_digits_is_found_as_a_number_and_never_in_the_time() -> None:
    line = codec.message_line('{"type":"x","data":{"pin":31415926}}', at=31415926.5, window="w", server="s")
    clean = json.loads(Redactor(["31415926"]).scrub(line))
    assert (clean["at"], clean["data"]["data"]["pin"]) == (31415926.5, REDACTED)


@pytest.mark.parametrize("word", [
    "server", "window", "prompt_id", "exception_message", "execution_error", "ws.message", "history", "output",
    "Completed", "in_progress", "localhost", "connecterror", "password",
])  # fmt: skip
def test_a_common_word_is_refused_as_a_secret_and_passed_over_where_nobody_chose_it(word: str) -> None:
    with pytest.raises(ClientError, match="common word"):
        Redactor([word])
    redactor = Redactor()
    redactor.keep([word])
    line = line_of(f"see {word}")
    assert redactor.scrub(line) == line


def test_a_line_too_deep_to_look_into_passes_only_if_it_is_clean() -> None:
    redactor = Redactor(["secret-word"])
    for word, passes in (("public-word", True), ("secret%2Dword", False), ("secret-word", False)):
        frame = '{"type":"x","data":' + "[" * 5_000 + f'"{word}%"' + "]" * 5_000 + "}"
        line = b'{"at":1.5,"window":"w","server":"s","kind":"ws.message","data":' + frame.encode() + b"}"
        clean = redactor.scrub(line)
        assert (clean == line) is passes
        assert b"secret" not in clean
        if not passes:
            assert isinstance(codec.parse(clean), seen.Undecodable)


@pytest.mark.parametrize(
    "text", ["nothing here", "50 % & more? a@b \\ c", "%zz &nosuch; \\u12 \\x4", "see http://host/a and c; d?"]
)
def test_a_line_without_a_secret_is_the_same_line(text: str) -> None:
    for redactor in (Redactor(), Redactor([SECRET])):
        line = line_of(text)
        assert redactor.scrub(line) is line


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("see http://me:hunter2@host/x", "see http://[redacted]@host/x"),
        ("http://me:hun/ter2@host/x", "http://[redacted]@host/x"),
        ("wss://token@host", "wss://[redacted]@host"),
        ("http://h/ws?clientId=1&token=abc&x=", "http://h/ws?clientId=[redacted]&token=[redacted]&x="),
        ("(https://h/a?abc#def)", "(https://h/a?[redacted]#[redacted]"),
        ("https://h/a;sid=1/b?c=d", "https://h/a;sid=[redacted]?c=[redacted]"),
        ("https://h/?a=1&amp;pat=abc", "https://h/?a=[redacted]&amp;pat=[redacted]"),
        ("see https%3A%2F%2Fu%3Aabc%40h now", "see [redacted] now"),
        (r"see https://u:abc\u0040h now", "see [redacted] now"),
        ("/view?API_KEY=abc#f", "/view?API_KEY=[redacted]#f"),
        ("/view?filename=a.png&x-auth-key=1", "/view?filename=[redacted]&x-auth-key=[redacted]"),
        ("mail me@host about http://h", "mail me@host about http://h"),
    ],
)
def test_credentials_in_urls_go_even_if_nobody_registered_them(url: str, kept: str) -> None:
    assert json.loads(Redactor().scrub(line_of(url)))["data"]["data"]["exception_message"] == kept
    assert Redactor().request("GET", url, None)[0] == url, "a route is needed as it is"


def test_what_is_too_short_to_be_told_apart_is_no_secret() -> None:
    with pytest.raises(ClientError, match="at least"):
        Redactor().add("x" * (MIN_SECRET - 1))


@given(st.text(min_size=MIN_SECRET, max_size=30), st.sampled_from(list(SPELLINGS)), st.text(max_size=5))
def test_no_secret_at_all_passes_raw_or_in_a_spelling(secret: str, spelling: str, before: str) -> None:
    """Whatever the secret is made of: a line stays a line of the same window and time."""
    assume(secret not in "http://s:1" and secret.lower() not in COMMON)
    line = line_of(before + SPELLINGS[spelling](secret))
    clean = Redactor([secret]).scrub(line)
    read = codec.parse(clean)
    assert (read.at, read.window, read.server) == (1.5, "w", "http://s:1")
    message = json.loads(clean)["data"]["data"]["exception_message"]
    assert secret not in message
    if secret.isalnum() and spelling.startswith("percent"):
        assert secret not in unquote(unquote(message))


# messages, without what they are about

GRAPH = {"1": {"class_type": "Loader", "inputs": {"name": CANARY}},
         "2": {"class_type": "Save", "inputs": {"images": ["1", 0], "prefix": CANARY, "pair": [CANARY, 2]},
               "_meta": {"title": CANARY}}}  # fmt: skip
KEPT = {"1": {"class_type": "Loader", "inputs": {}}, "2": {"class_type": "Save", "inputs": {"images": ["1", 0]}}}
EXTRA = {"comfy_fsm": MARK, "api_key_comfy_org": CANARY, "extra_pnginfo": {"workflow": CANARY}}
OUTPUTS = {"2": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}
FAILED = {"prompt_id": "p", "node_id": "2", "exception_type": "ValueError", "exception_message": "no",
          "current_inputs": {"x": [CANARY]}, "current_outputs": {"1": [CANARY]}, "new": CANARY}  # fmt: skip
RECORD = {
    "prompt": [5, "p", GRAPH, EXTRA, ["2"], {"sensitive": CANARY}],
    "outputs": OUTPUTS,
    "status": {"status_str": "error", "completed": False, "messages": [["execution_error", FAILED]], "x": CANARY},
    "meta": {"2": CANARY},
}
TOLD = {"prompt_id": "p", "node_id": "2", "exception_type": "ValueError", "exception_message": "no"}
KEPT_RECORD = {
    "prompt": [5, "p", KEPT, {"comfy_fsm": MARK}, ["2"]],
    "outputs": OUTPUTS,
    "status": {"status_str": "error", "completed": False, "messages": [["execution_error", TOLD]]},
}
REFUSAL = {
    "error": {"type": "invalid", "message": "no", "details": CANARY, "extra_info": {"received_value": CANARY}},
    "node_errors": {
        "2": {
            "errors": [{"type": "t", "message": "m", "details": CANARY, "extra_info": {"input_config": [CANARY]}}],
            "dependent_outputs": ["2"],
            "class_type": "Save",
        }
    },
}
KEPT_ERRORS = {"2": {"errors": [{"type": "t", "message": "m"}], "dependent_outputs": ["2"], "class_type": "Save"}}


def test_of_a_submission_its_graph_and_its_ids_are_kept() -> None:
    body = {"prompt": GRAPH, "client_id": "c", "prompt_id": "p", "extra_data": EXTRA, "number": 1.5, "front": True,
            "partial_execution_targets": ["2"], "new": CANARY}  # fmt: skip
    kept = {"client_id": "c", "prompt_id": "p", "extra_data": {"comfy_fsm": MARK}, "number": 1.5, "front": True,
            "partial_execution_targets": ["2"]}  # fmt: skip
    assert Redactor().request("post", "/api/prompt", body) == ("/api/prompt", kept | {"prompt": KEPT})
    assert Redactor(keep_inputs=True).request("POST", "/prompt", body)[1] == kept | {"prompt": GRAPH}


def test_a_key_that_was_submitted_is_a_secret_from_then_on() -> None:
    redactor = Redactor()
    redactor.request("POST", "/prompt", {"prompt": GRAPH, "extra_data": {"auth_token_comfy_org": CANARY, "key": {}}})
    assert CANARY.encode() not in redactor.scrub(line_of(f"401 for {CANARY}"))


@pytest.mark.parametrize(
    ("path", "body", "kept"),
    [
        ("/queue", {"delete": ["a", "b"], "x": CANARY}, {"delete": ["a", "b"]}),
        ("/queue", {"clear": True}, {"clear": True}),
        ("/history", {"delete": ["a"]}, {"delete": ["a"]}),
        ("/interrupt", {"prompt_id": "a", "x": CANARY}, {"prompt_id": "a"}),
        ("/api/jobs/a/cancel", {"x": CANARY}, None),
        ("/api/jobs/cancel", {"job_ids": ["a", "b"], "x": CANARY}, {"job_ids": ["a", "b"]}),
        ("/upload/image", {"x": CANARY}, None),
        ("/prompt", CANARY, None),
    ],
)
def test_of_other_requests_only_what_they_act_on_is_kept(path: str, body: object, kept: object) -> None:
    assert Redactor().request("POST", path, body) == (path, kept)


ANSWERS: list[tuple[str, str, int, object, object]] = [
    ("POST", "/prompt", 200, {"prompt_id": "p", "number": 3, "node_errors": REFUSAL["node_errors"], "x": CANARY},
     {"prompt_id": "p", "number": 3, "node_errors": KEPT_ERRORS}),
    ("POST", "/prompt", 200, {"prompt_id": "p", "node_errors": []}, {"prompt_id": "p", "node_errors": []}),
    ("POST", "/prompt", 200, {"login": CANARY}, {}),
    ("POST", "/prompt", 202, {"id": CANARY, "status": CANARY, CANARY: 1}, {"id": None, "status": None}),
    ("POST", "/prompt", 200, {"error": "no"}, {"error": "no"}),
    ("POST", "/prompt", 402, {"error": {"type": "P", "message": "no", "x": CANARY}},
     {"error": {"type": "P", "message": "no"}}),
    ("POST", "/prompt", 422, {"detail": [{"msg": "no", "input": CANARY}]}, {"detail": [{"msg": "no"}]}),
    ("POST", "/prompt", 400, REFUSAL, {"error": {"type": "invalid", "message": "no"}, "node_errors": KEPT_ERRORS}),
    ("POST", "/prompt", 400, {"error": "no", "node_errors": [CANARY]}, {"error": "no", "node_errors": []}),
    ("POST", "/prompt", 500, REFUSAL, {"error": {"type": "invalid", "message": "no"}, "node_errors": KEPT_ERRORS}),
    ("GET", "/history/p", 200, {"p": RECORD}, {"p": KEPT_RECORD}),
    ("GET", "/api/history/p", 200, {"p": {"prompt": [1], "outputs": {}}}, {"p": {"prompt": [1], "outputs": {}}}),
    ("GET", "/history/p", 200, {}, {}),
    ("GET", "/history/p", 200, {"p": CANARY}, {"…": None}),
    ("GET", "/history/p", 200, {"code": 0, "data": {"p": RECORD}}, {"p": KEPT_RECORD}),
    ("GET", "/history?max_items=9", 200, {"history": [{"prompt_id": "p"} | RECORD]}, {"p": KEPT_RECORD}),
    ("GET", "/history/p", 200, [CANARY], []),
    ("GET", "/history/p", 200, CANARY, "…"),
    ("GET", "/history/p", 502, {"p": RECORD}, None),
    ("GET", "/history?max_items=9", 200, {"p": RECORD, "q": {"prompt": [5, "q", GRAPH, {}, []]}}, {"p": KEPT_RECORD}),
    ("GET", "/queue", 200,
     {"queue_running": [[1, "a", GRAPH, EXTRA, []]], "queue_pending": [[2, MARK, GRAPH, EXTRA, []]]},
     {"queue_running": [[None, "a", {}, {"comfy_fsm": MARK}, []]],
      "queue_pending": [[None, MARK, {}, {"comfy_fsm": MARK}, []]]}),
    ("GET", "/queue", 200, {"queue_running": [], "queue_pending": [[2, MARK, GRAPH, EXTRA, []], [3, "b", {}, {}, []]]},
     {"running": [], "pending": [MARK, "b"]}),
    ("GET", "/queue", 200, {"queue_running": CANARY}, {"…": None}),
    ("GET", "/api/jobs", 200, {"jobs": [{"id": "p", "status": "failed", "execution_error": FAILED, "workflow": GRAPH}]},
     {"jobs": [{"id": "p", "status": "failed", "execution_error": TOLD}]}),
    ("GET", "/api/jobs/p", 200, {"id": "p", "status": "completed", "outputs": OUTPUTS, "workflow": {"prompt": GRAPH}},
     {"id": "p", "status": "completed", "outputs": OUTPUTS}),
    ("GET", "/api/jobs/p", 200, {"id": "p", "execution_status": {"messages": [["execution_error", FAILED]]}},
     {"id": "p", "execution_status": {"messages": [["execution_error", TOLD]]}}),
    ("GET", "/api/jobs/p", 404, {"error": "Job not found", "x": CANARY}, {"error": "Job not found"}),
    ("GET", "/api/jobs/p", 404, {"error": CANARY}, None),
    ("GET", "/api/jobs?limit=1", 200,
     {"jobs": [{"id": "p", "status": "pending", "x": CANARY}], "pagination": {"total": 3, "has_more": True}},
     {"jobs": [{"id": "p", "status": "pending"}], "pagination": {"total": 3, "has_more": True}}),
    ("POST", "/api/jobs/p/cancel", 200, {"cancelled": False, "x": CANARY}, {"cancelled": False}),
    ("GET", "/system_stats", 200, {"system": {"comfyui_version": "0.3.64", "argv": [CANARY]}, "devices": [CANARY]},
     {"system": {"comfyui_version": "0.3.64"}}),
    ("GET", "/features", 200, {"supports_x": True, "size": 5, "name": CANARY}, {"supports_x": True, "size": 5}),
    ("GET", "/view?filename=a.png", 200, {"x": CANARY}, None),
    ("GET", "/object_info", 200, {"x": CANARY}, None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status", "body", "kept"), ANSWERS)
def test_of_an_answer_what_a_verdict_needs_is_kept(
    method: str, path: str, status: int, body: object, kept: object
) -> None:
    assert answer(method, path, body, status) == kept
    assert CANARY not in json.dumps(kept)


def test_inputs_are_kept_where_that_is_wanted() -> None:
    prompt = [5, "p", GRAPH, {"comfy_fsm": MARK}, ["2"]]
    status = {"status_str": "error", "completed": False, "messages": [["execution_error", FAILED]]}
    kept = {"prompt": prompt, "outputs": OUTPUTS, "status": status}
    assert answer("GET", "/history/p", {"p": RECORD}, keep_inputs=True) == {"p": kept}
    assert answer("POST", "/prompt", REFUSAL, 400, keep_inputs=True) == REFUSAL
    frame = json.dumps({"type": "execution_error", "data": FAILED})
    assert Redactor(keep_inputs=True).frame(frame) is frame


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[", b"null", b"3", b"[" * 100_000, b'"' + b"x" * 9])
@pytest.mark.parametrize(("method", "path"), sorted({(method, path) for method, path, *_ in ANSWERS}))
def test_an_answer_that_is_no_such_json_is_kept_as_none(method: str, path: str, body: bytes) -> None:
    """Of what came where a queue, a record or a job was asked for, the log has the kind, and no word."""
    for status in (200, 400):
        logged = json.loads(bytes(Redactor().response(method, path, status, body).logged))
        assert logged in (None, {}, *([3, [], "…"] if status == 200 else []))


def test_odd_json_is_read_on_the_way() -> None:
    body = b'{"p":{"outputs":{"1":{"text":["\\ud800",NaN]}},"status":{"status_str":"success","messages":[]}}}'
    kept = Redactor().response("GET", "/history/p", 200, body).logged
    assert json.loads(bytes(kept))["p"]["outputs"] == {"1": {"text": ["\ufffd", None]}}
    assert Redactor().request("POST", "/interrupt", {"prompt_id": "\ud800"})[1] == {"prompt_id": "\ufffd"}


def test_a_failing_node_echoes_nothing_into_the_log() -> None:
    frame = json.dumps({"type": "execution_error", "data": FAILED | {"odd": float("nan")}})
    assert json.loads(Redactor().frame(frame))["data"] == TOLD | {"new": CANARY, "odd": None}
    assert Redactor().frame(frame[:-9]).endswith(', "')
    for innocent in ('{"type":"status"}', '{"type":"x","data":"my current_inputs"}', "current_[" * 9_000):
        assert Redactor().frame(innocent) in (innocent, "")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["prompt", "error", "status", "messages", "queue_running", "jobs", "id", "extra_data", "outputs"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(ANSWERS))
def test_any_json_at_all_is_kept_as_json_or_not_at_all(body: object, of: tuple[str, str, int, object, object]) -> None:
    method, path, status, *_ = of
    kept = Redactor().response(method, path, status, json.dumps(body).encode())
    assert kept is NOTHING or (json.loads(bytes(kept.whole)) is not None and json.loads(bytes(kept.logged)) is not None)
    told, asked = Redactor().request(method, path, body)
    assert told == path
    json.dumps(asked, allow_nan=False)


SPOTS = [
    ("POST", "/prompt", {"prompt": {"1": {"class_type": "A", "inputs": {"text": "HERE"}}}}),
    ("POST", "/prompt", {"prompt": {"1": {"class_type": "A", "inputs": {"a": ["HERE", 0], "b": {"x": ["HERE"]}}}}}),
    ("POST", "/prompt", {"prompt": {}, "extra_data": {"HERE": "HERE", "extra_pnginfo": {"a": "HERE"}}, "HERE": 1}),
    ("POST", "/interrupt", {"HERE": "HERE"}),
    ("GET", "/history/p", {"p": {"prompt": [1, "p", {"1": {"inputs": {"a": "HERE"}}}, {"HERE": "HERE"}, []]}}),
    ("GET", "/history/p", {"p": {"status": {"messages": [["execution_error", {"current_inputs": {"a": ["HERE"]}}]]}}}),
    ("GET", "/history/p", {"p": {"status": {"messages": [["execution_error", {"HERE": 1}]]}, "meta": {"1": "HERE"}}}),
    ("GET", "/queue", {"queue_running": [[1, "p", {"HERE": "HERE"}, {"comfy_fsm": "x", "HERE": "HERE"}, ["HERE"]]],
                       "queue_pending": []}),
    ("GET", "/api/jobs/p", {"id": "p", "workflow": {"HERE": "HERE"}, "execution_error": {"current_outputs": "HERE"}}),
    ("GET", "/system_stats", {"system": {"argv": ["HERE"], "HERE": "HERE"}}),
    ("GET", "/view", {"HERE": "HERE"}),
]  # fmt: skip


@given(st.sampled_from(SPOTS), st.sampled_from(list(SPELLINGS)))
def test_what_prompts_are_about_is_never_logged(spot: tuple[str, str, object], spelling: str) -> None:
    """Nothing of it is registered: where it stands is enough."""
    method, path, body = spot
    spelled = SPELLINGS[spelling](CANARY)
    full = json.loads(json.dumps(body).replace('"HERE"', json.dumps(spelled)))
    assert spelled in str(full) or json.dumps(spelled) in json.dumps(full)
    kept = [Redactor().request(method, path, full)[1]]
    for status in (200, 400):
        answered = Redactor().response(method, path, status, json.dumps(full).encode())
        kept.append(json.loads(bytes(answered.logged)))
    assert json.dumps(spelled)[1:-1] not in json.dumps(kept)


# verdicts


def lines_of(path: Path) -> list[bytes]:
    raw = path.read_bytes()
    lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()
    return [line for line in lines if line.strip() and not line.startswith(b"#")]


def redacted(redactor: Redactor, line: bytes, asked: dict[str, tuple[str, str]]) -> codec.AnyObservation:
    """The line as a live client would have written it down, read back."""
    o = codec.read(line)
    if isinstance(o, seen.Undecodable):
        line = codec.encode(o)
    if isinstance(o, seen.Request):
        asked[o.data.id] = (o.data.method, o.data.path)
        path, body = redactor.request(o.data.method, o.data.path, json.loads(bytes(o.data.body)))
        data = seen.RequestData(o.data.id, o.data.method, path, Raw(json.dumps(body).encode()))
        line = codec.encode(seen.Request(at=o.at, window=o.window, server=o.server, data=data))
    elif isinstance(o, seen.Response) and o.data.id in asked:
        body = redactor.response(*asked[o.data.id], o.data.status, bytes(o.data.body)).logged
        told = seen.ResponseData(o.data.id, o.data.status, body)
        line = codec.encode(replace(o, data=told))
    return codec.read(redactor.scrub(line), o.at)


def why(error: Failure | None) -> object:
    """What a log keeps of it: no details, no values."""
    if error is None or error.status is None:
        return error
    named = [(fault.node_id, fault.node_type, fault.type, fault.message, fault.input_name) for fault in error.faults]
    return error.type, error.node_id, error.node_type, error.status, named


OURS = [path for path in TRACES if path.stem != "history-of-another-odd"]
"""Of a list of records those are kept that bear a mark, as all prompts of our clients do; in that one none does."""


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}/{path.name.partition('.')[0]}")
def test_a_redacted_trace_reaches_the_verdict_of_the_whole_one(path: Path) -> None:
    lines = lines_of(path)
    redactor, asked = Redactor([SECRET]), {}
    board = fold_all([codec.read(line) for line in lines])
    other = fold_all([redacted(redactor, line, asked) for line in lines])
    assert outcomes(other) == outcomes(board)
    assert [task.outputs for task in other.tasks] == [task.outputs for task in board.tasks]
    assert [why(task.error) for task in other.tasks] == [why(task.error) for task in board.tasks]
    assert other.findings == [found for found in board.findings if "is no route of ComfyUI" not in found.text]


def told_by(board: Board) -> object:
    """All that a replay decides: states, ids, windows, files."""
    tasks = [(t.prompt_id, t.window, t.server, t.client_id, t.completion_source, t.outputs) for t in board.tasks]
    return outcomes(board), tasks, board.windows, board.addresses


def texts_of(line: bytes) -> Iterator[str]:
    with suppress(codec.Unreadable):
        yield from texts_in(codec.loads(line))


def texts_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, str):
        yield value


@settings(max_examples=int(os.environ.get("HOSTILE_SECRETS", "60")), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_is_a_secret_the_replay_of_a_log_decides_as_was_decided_live(data: st.DataObject) -> None:
    """The worst of secrets: ids, window ids, file names, routes and words of the trace itself, or pieces of them."""
    short = [path for path in OURS if path.stat().st_size < 20_000 and path.stem != "damaged"]
    lines = lines_of(data.draw(st.sampled_from(short), label="trace"))
    texts = sorted({text for line in lines for text in texts_of(line) if len(text) >= MIN_SECRET})
    chosen = data.draw(st.lists(st.sampled_from(texts), min_size=1, max_size=6))
    cuts = data.draw(st.lists(st.integers(0, 3), min_size=len(chosen), max_size=len(chosen)))
    redactor, asked = Redactor(), {}
    redactor.keep(text[cut:] for text, cut in zip(chosen, cuts, strict=True))
    live = fold_all([codec.read(line) for line in lines])
    assert told_by(fold_all([redacted(redactor, line, asked) for line in lines])) == told_by(live)
