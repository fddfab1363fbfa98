"""Spellings of a secret, frames that repeat one, and how to find it in bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": lambda word: quote(word, safe=""),
    "percent, lower": lambda word: quote(word, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "percent, every letter": lambda word: "".join(f"%{byte:02X}" for byte in word.encode()),
    "percent, every letter, mixed": lambda word: "".join(f"%{ord(c):02{'xX'[n % 2]}}" for n, c in enumerate(word)),
    "percent, twice": lambda word: quote(quote(word, safe=""), safe=""),
    "json": lambda word: "".join(rf"\u{ord(letter):04x}" for letter in word),
    "json, capitals": lambda word: "".join(rf"\u{ord(letter):04X}" for letter in word),
    "json, a slash": lambda word: word.replace("/", r"\/"),
    "hex": lambda word: word.encode().hex(),
    "hex, capitals": lambda word: word.encode().hex().upper(),
    "base64": lambda word: base64.b64encode(word.encode()).decode(),
    "base64, as a login": lambda word: base64.b64encode(f"user:{word}".encode()).decode(),
    "base64, after one": lambda word: base64.b64encode(f"x{word} and more".encode()).decode(),
    "base64, after two": lambda word: base64.b64encode(f"xy{word} and more".encode()).decode(),
    "base64, for urls": lambda word: base64.urlsafe_b64encode(f"??{word}".encode()).decode(),
}


def shows(raw: bytes, word: str) -> list[str]:
    """The spellings in which the word stands there, its last letters or not, whatever escapes are around it."""
    word = word[:-4]
    plain = raw.replace(b"\\", b"")
    spelled = {name: spell(word).replace("\\", "") for name, spell in SPELLINGS.items()}
    spelled |= {f"base64 at {at}": base64.b64encode(b"_" * at + word.encode()).decode()[4:-4] for at in range(3)}
    return [name for name, text in spelled.items() if text.encode() in plain]


def told_by_a_node(**data: Any) -> Callable[[str], str]:
    """A frame about a prompt that nobody knows, as ComfyUI words it; what is HERE is the word."""
    return lambda word: json.dumps(data | {"data": {"prompt_id": "p", **data["data"]}}).replace(
        "HERE", json.dumps(word)[1:-1]
    )


def error(**data: Any) -> Callable[[str], str]:
    return told_by_a_node(type="execution_error", data={"node_id": "3", "node_type": "X", **data})


def executed(output: Any) -> Callable[[str], str]:
    return told_by_a_node(type="executed", data={"node": "3", "output": output})


FRAMES: dict[str, Callable[[str], str]] = {
    "a message of an error": error(exception_message="HERE"),
    "within a message of an error": error(exception_message="401 for 'HERE' (see above)"),
    "the type of an error": error(exception_type="HERE"),
    "the class of a node": error(node_type="HERE"),
    "a line of a traceback": error(traceback=["File x", "  HERE\n"]),
    "inputs that are echoed": error(current_inputs={"a": ["HERE"]}),
    "outputs that are echoed": error(current_outputs={"1": [["HERE"]]}),
    "an unknown field": error(more={"a": [{"b": "HERE"}]}),
    "the name of an unknown field": error(more={"HERE": 1}),
    "an unknown field of progress": told_by_a_node(type="progress", data={"value": 1, "max": 2, "note": "HERE"}),
    "a field of progress_state": told_by_a_node(type="progress_state", data={"nodes": {"3": {"note": "HERE"}}}),
    "a text output": executed({"text": ["HERE"]}),
    "a text output, nested": executed({"a": [[{"b": ["HERE"]}]]}),
    "a text beside a file": executed({"images": [{"filename": "a.png", "note": "HERE"}], "text": ["HERE"]}),
    "a kind of output that is no file": executed({"HERE": [1]}),
    "a frame of unknown type": told_by_a_node(type="parrot", data={"a": "HERE"}),
    "the type of a frame": told_by_a_node(type="HERE", data={}),
    "a list": lambda word: json.dumps({"type": "parrot", "data": [word, [word], {"a": word}]}),
    "no JSON": lambda word: f"<p>{word}</p>",
    "JSON that is cut": lambda word: json.dumps({"type": "parrot", "data": word})[:-2],
    "JSON in JSON": lambda word: json.dumps({"type": "parrot", "data": json.dumps({"a": json.dumps(word)})}),
    "an address": lambda word: json.dumps({"type": "parrot", "data": f"https://host/a/{word}/b"}),
}
