"""Tests of decoding: what no strict reader takes is read or kept as it came; no frame is lost, and none raises."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
HEAD = '{"at":1.5,"window":"w","server":"http://s","kind":"ws.message","data":'


def message(text: str | bytes) -> codec.AnyObservation:
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return codec.read(HEAD.encode() + raw + b"}", at=7.0)


def real_frames() -> list[str]:
    """One frame of each type and version, as the server wrote it."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted((FIXTURES / "recordings").glob("*/errors.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            value = json.loads(line)
            if value["kind"] == "ws.message":
                found[path.parent.name, value["data"]["type"]] = json.dumps(value["data"])
    assert len(found) > 20
    return list(found.values())


FRAMES = real_frames()

# odd JSON that ComfyUI sends (P20)

ERROR = '{"type":"execution_error","data":{"prompt_id":"p","node_id":"3","exception_message":%s,"current_inputs":%s}}'


@pytest.mark.parametrize(
    "odd", ["NaN", "[Infinity]", '{"x":[-Infinity,NaN]}', '"\\ud800"', '{"\\udfff":"\\ud83d"}', "1e999"]
)
def test_an_error_frame_with_odd_inputs_still_ends_its_task(odd: str) -> None:
    read = message(ERROR % ('"no"', odd))
    assert isinstance(read, seen.Message)
    assert isinstance(read.data, seen.ExecutionError)
    assert (read.data.data.prompt_id, read.data.data.exception_message) == ("p", "no")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [('"\\ud800"', "\ufffd"), ('"a\\udc00b"', "a\ufffdb"), ("NaN", None), ("5", "5"), ("[1]", None), ("null", None)],
)
def test_a_text_that_is_none_is_mended_and_its_frame_kept(sent: str, kept: str | None) -> None:
    read = message(ERROR % (sent, "{}"))
    assert isinstance(read, seen.Message)
    assert isinstance(read.data, seen.ExecutionError)
    assert (read.data.data.prompt_id, read.data.data.exception_message) == ("p", kept)


def test_numbers_for_ids_are_read_as_the_texts_they_stand_for() -> None:
    read = message('{"type":"executing","data":{"prompt_id":12,"node":3}}')
    assert isinstance(read, seen.Message)
    assert read.data == seen.Executing(seen.ExecutingData("12", "3"))


@pytest.mark.parametrize(
    "text", ['{"type":"new","data":{}}', '{"type":"executing","data":7}', '{"data":{}}', "[]", "3", "null"]
)
def test_a_frame_of_an_unknown_type_or_shape_is_kept_with_its_name(text: str) -> None:
    read = message(text)
    value = json.loads(text)
    assert isinstance(read, seen.Message)
    assert isinstance(read.data, seen.UnrecognizedFrame)
    assert read.data.name == (value.get("type", "") if isinstance(value, dict) else "")
    assert (read.at, read.window, read.server) == (1.5, "w", "http://s")


def test_a_line_of_an_unknown_kind_is_kept_with_its_name() -> None:
    read = codec.read(b'{"at":1,"kind":"ws.smell","window":"w","data":{"x":NaN}}')
    assert isinstance(read, seen.Unrecognized)
    assert (read.name, read.window, read.at) == ("ws.smell", "w", 1.0)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
@pytest.mark.parametrize(
    "where", ['{"type":"executing","data":%s', "%s", '{"type":%s', '{"type":"status","data":{"x":%s']
)
def test_a_hundred_thousand_nested_brackets_are_undecodable_and_no_more(bracket: str, where: str) -> None:
    text = where % (bracket * 100_000)
    for line in (text.encode(), (HEAD + text).encode()):
        read = codec.read(line, at=7.0)
        assert isinstance(read, seen.Undecodable)
        assert read.at == 7.0
        assert len(read.data.text) <= codec.MAX_CITED


@pytest.mark.parametrize("levels", [150, 900, 5_000, 100_000])
def test_deep_but_closed_nesting_never_raises_and_never_loses_the_end(levels: int) -> None:
    deep = "[" * levels + "]" * levels
    assert isinstance(message(ERROR % ('"no"', deep)), seen.Message | seen.Undecodable)
    assert isinstance(message(f'{{"type":{deep}}}'), seen.Message | seen.Undecodable)
    line = codec.message_line(ERROR % ('"no"', deep), at=1.0, window="w", server="s")
    assert isinstance(codec.parse(line), seen.Message | seen.Undecodable)


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3\x28", b"\xf8\x88\x80\x80\x80"])
@pytest.mark.parametrize("where", [b"%b", b'{"at":1,"kind":"%b","data":{}}', b'{"at":1,"kind":"tick","window":"%b"}'])
def test_invalid_utf_8_is_undecodable_and_cited_as_plain_ascii(raw: bytes, where: bytes) -> None:
    read = codec.read(where % raw, at=7.0)
    assert isinstance(read, seen.Undecodable | seen.Unrecognized)
    if isinstance(read, seen.Undecodable):
        assert read.at == 7.0
        assert read.data.text.isascii()
        assert "\\x" in read.data.text


def test_a_surrogate_in_bytes_is_mended_as_an_escaped_one_is() -> None:
    assert codec.read(b'{"at":1,"kind":"tick","window":"\xed\xa0\x80"}') == seen.Tick(at=1.0, window="\ufffd")


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"1", b'"x"', b'{"kind":"tick"}', b'{"at":1}', b'{"at":true,"kind":"tick"}',
     b'{"at":NaN,"kind":"tick"}', b'{"at":1' + b"0" * 400 + b',"kind":"x"}', b'{"at":"1","kind":"tick"}',
     b'{"at":1,"kind":7}'],
)  # fmt: skip
def test_a_line_that_does_not_say_what_or_when_is_unreadable(line: bytes) -> None:
    with pytest.raises(codec.Unreadable):
        codec.parse(line)
    assert isinstance(codec.read(line, at=7.0), seen.Undecodable)


INSIDE = ("damaged", "unrecognized", "")


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("data", ['{"code":"nonsense","why":"x"}', '{"code":"damaged","why":"x"}', "null", "[]", "7"])
def test_a_line_cannot_forge_what_only_our_reader_says(name: str, data: str) -> None:
    kind = "\N{REPLACEMENT CHARACTER}" + name
    read = codec.read(json.dumps({"at": 2, "kind": kind, "name": "n", "why": "w", "data": json.loads(data)}).encode())
    assert read == seen.Unrecognized(at=2.0, name=kind)
    frame = message(json.dumps({"type": kind, "name": "n", "why": "w", "data": json.loads(data)}))
    assert isinstance(frame, seen.Message)
    assert frame.data == seen.UnrecognizedFrame(kind)


# whatever comes


def check_kept(text: str) -> None:
    """The line of a frame is one line, reads, and says whose frame it was, whatever the frame says."""
    line = codec.message_line(text, at=1.5, window="w", server="http://s", conn=4)
    assert codec.message(text, at=1.5, window="w", server="http://s", conn=4) == (line, codec.parse(line))
    assert b"\n" not in line
    assert b"\r" not in line
    read = codec.parse(line)
    assert isinstance(read, seen.Message | seen.Undecodable)
    assert (read.at, read.window, read.server, read.conn) == (1.5, "w", "http://s", 4)


SPOILERS = ("NaN", "null", '"', "{", "}", "]", "\\ud800", ",", "1e999", "\x00")


@st.composite
def mutated_frames(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(FRAMES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        new = draw(st.text(max_size=3) | st.sampled_from(SPOILERS))
        text = text[:at] + new + text[at + draw(st.integers(0, 6)) :]
    return text


@given(st.text(st.characters(), max_size=60))
def test_no_text_of_a_frame_is_lost_or_raises(text: str) -> None:
    check_kept(text)


@given(mutated_frames())
def test_no_spoiled_frame_is_lost_or_raises(text: str) -> None:
    check_kept(text)


@pytest.mark.parametrize(
    "text",
    ['{"type":"status"},"window":"other"', '{"type":"status"},"at":9', 'null,"kind":"tick"',
     '{"type":"status"},"kind":"delivered","data":{"prompt_id":"p"}', '0}\n{"at":1,"kind":"tick"'],
)  # fmt: skip
def test_a_frame_cannot_speak_for_another_window_or_as_another_kind(text: str) -> None:
    """It is no JSON by itself, and would be one line of a trace if it were only put into its place."""
    check_kept(text)


ENDINGS = (
    "}",
    "]",
    '"',
    '},"kind":"tick"',
    '},"window":"other","data":{',
    ',"at":9',
    '}\n{"at":1,"kind":"tick"',
    "\\",
    " ",
)


@given(st.sampled_from(FRAMES), st.lists(st.sampled_from(ENDINGS) | st.text(max_size=3), min_size=1, max_size=4))
def test_whatever_follows_a_frame_the_line_stays_that_of_its_window(text: str, more: list[str]) -> None:
    check_kept(text + "".join(more))


@given(st.sampled_from(FRAMES), st.data())
def test_a_frame_that_is_cut_off_is_undecodable(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(text) - 1))
    line = codec.message_line(text[:cut], at=1.5, window="w", server="http://s")
    assert isinstance(codec.parse(line), seen.Undecodable)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_as_something(line: bytes) -> None:
    codec.read(line)


# binary frames

UUID = "f7b912b0-3129-429e-84e9-18ca573716b0"


def sized(*parts: str | bytes) -> bytes:
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in raw)


def binary(payload: bytes) -> dict[str, object]:
    """What the line says, once it was read as what it should be."""
    line = codec.binary_line(payload, at=1.5, window="w", server="http://s", conn=4)
    read = codec.parse(line)
    assert isinstance(read, seen.Binary)
    assert (read.at, read.window, read.server, read.conn) == (1.5, "w", "http://s", 4)
    data = json.loads(line)["data"]
    assert data.pop("bytes") == len(payload)
    image = codec.image_of(payload)
    assert data.pop("size", None) == (len(image) if image is not None else None)
    assert data.pop("digest", None) == (hashlib.sha256(image).hexdigest() if image is not None else None)
    metadata = data.get("metadata", {})
    assert (read.data.metadata.prompt_id if read.data.metadata else None) == metadata.get("prompt_id")
    return data


METADATA = {"node_id": "2", "prompt_id": UUID, "parent_node_id": None, "image_type": "image/jpeg"}


@pytest.mark.parametrize(
    ("payload", "told", "image"),
    [
        (b"\0\0\0\1\0\0\0\1\xff\xd8", {"event": 1, "format": "image/jpeg"}, b"\xff\xd8"),
        (b"\0\0\0\1\0\0\0\2\x89P", {"event": 1, "format": "image/png"}, b"\x89P"),
        (b"\0\0\0\1\0\0\0\7??", {"event": 1}, b"??"),
        (b"\0\0\0\3" + sized("2") + b"step 1", {"event": 3, "node": "2", "text": "step 1"}, None),
        (
            b"\0\0\0\3" + sized(UUID, "2") + "é".encode(),
            {"event": 3, "metadata": {"prompt_id": UUID}, "node": "2", "text": "é"},
            None,
        ),
        (b"\0\0\0\3" + sized(UUID) + b"step", {"event": 3, "node": UUID, "text": "step"}, None),
        (b"\0\0\0\4" + sized(json.dumps(METADATA)) + b"\xff\xd8", {"event": 4, "metadata": METADATA}, b"\xff\xd8"),
        (b"\0\0\0\x63rest", {"event": 99}, None),
    ],
)
def test_a_binary_frame_tells_what_it_is_about_and_keeps_no_image(
    payload: bytes, told: dict[str, object], image: bytes | None
) -> None:
    assert binary(payload) == told
    assert codec.image_of(payload) == image


@pytest.mark.parametrize(
    ("payload", "event"),
    [(b"", 0), (b"\0\0", 0), (b"\0\0\0\1", 1), (b"\0\0\0\3\0\0", 3), (b"\0\0\0\3\xff\xff\xff\xffx", 3),
     (b"\0\0\0\4", 4), (b"\0\0\0\4" + sized("{"), 4), (b"\0\0\0\4" + sized("[1]"), 4),
     (b"\0\0\0\4\xff\xff\xff\xff{}", 4),
     (b"\0\0\0\4" + sized("[" * 9_000), 4), (b"\0\0\0\4" + sized('{"prompt_id":7,"x":{"y":[]}}'), 4),
     (b"\0\0\0\4" + sized('{"x":"' + "y" * 9_000 + '"}'), 4)],
)  # fmt: skip
def test_of_a_malformed_binary_frame_its_kind_and_length_are_kept(payload: bytes, event: int) -> None:
    assert binary(payload) == {"event": event}
    assert codec.image_of(payload) is None


@given(st.sampled_from([0, 1, 3, 4]), st.binary(max_size=60))
def test_no_binary_frame_raises_or_makes_a_long_line(event: int, rest: bytes) -> None:
    binary(event.to_bytes(4) + rest)
    line = codec.binary_line(event.to_bytes(4) + sized(rest) + bytes(100_000), at=1.0, window="w", server="s")
    assert len(line) < 7 * codec.MAX_CITED


def test_a_time_that_is_none_is_left_out_of_its_frame() -> None:
    line = b'{"at":1,"kind":"ws.message","data":{"type":"execution_start","data":{"prompt_id":"p","timestamp":"x"}}}'
    assert codec.parse(line) == seen.Message(at=1, data=seen.ExecutionStart(seen.StartData("p")))


@pytest.mark.parametrize("text", ["[1, NaN]", "NaN", '"a text"'])
def test_a_frame_that_is_no_object_is_undecodable(text: str) -> None:
    _, read = codec.message(text, at=1.0, window="w", server="s")
    assert isinstance(read, seen.Undecodable)
    assert read.data.error == "no JSON object"


def test_json_nested_deeper_than_is_followed_is_unreadable_and_no_body() -> None:
    deep = b"[NaN," * (codec.MAX_DEPTH + 2) + b"1" + b"]" * (codec.MAX_DEPTH + 2)
    with pytest.raises(codec.Unreadable, match="nested too deeply"):
        codec.loads(deep)
    assert codec.body(Raw(deep), object) is None


def test_a_body_of_another_shape_is_not_walked_item_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history of 200,000 odd outputs would keep the loop of an application for a second."""
    monkeypatch.setattr(codec, "strict", lambda *_: pytest.fail("read by Python, which msgspec can read"))
    assert codec.body(Raw(b'{"a":[1.5,null,true]}'), dict[str, dict[str, str]]) is None
    assert codec.body(Raw(b'{"a":5,"a":{"b":"c"}}'), dict[str, dict[str, str]]) == {"a": {"b": "c"}}
