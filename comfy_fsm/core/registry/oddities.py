"""Notes on what could not be understood about a known prompt: reported by name, never judged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from msgspec import Raw

from comfy_fsm.core.findings import Code
from comfy_fsm.core.registry.registry import MAX_WHAT, Question, Registry, Subject
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire.fieldwise import Oddity

__all__ = ["MAX_PATH", "note_misfit", "note_odd_queue", "note_oddities", "note_unknown_route", "note_unknown_word"]

MAX_PATH = 300
"""Characters kept of a path that is no route of ComfyUI."""
_MAX_LOOKED = 64 * 1024
_TEXTS = re.compile(rb'"([^"\\]{1,200})"')


def note_unknown_route(registry: Registry, question: Question, raw: Raw) -> None:
    """Note an answer of an unknown route: if it is about a prompt of ours, its reader may miss it."""
    method, _, path = question.what.partition(" ")
    path = path.partition("?")[0]
    ids = [unquote(part) for part in path.split("/")]
    ids += [text.decode("utf-8", "replace") for text in _TEXTS.findall(bytes(raw)[:_MAX_LOOKED])]
    task = next((task for each in ids if each and (task := registry.task_at(question.server, each)) is not None), None)
    if task is None:
        return
    text = f"{method} {path!r:.{MAX_PATH}} is no route of ComfyUI; its answer is about this prompt, and was not judged"
    route = path.replace(task.prompt_id or "", "")
    registry.report(Code.UNRECOGNIZED, text, task, name=f"route {method} {route}")


def note_misfit(registry: Registry, question: Question, raw: Raw, wanted: str) -> None:
    """Note a 200 whose body is not what was asked for: from a wrapper, a fork, a login page. A body of null was
    unreadable to the recorder."""
    if bytes(raw) == b"null":
        return
    task, first = registry.task_at(question.server, question.prompt_id), bytes(raw)[:1]
    came = {b"{": "another object", b"[": "a list", b'"': "a text"}.get(first, "a number or a flag")
    text = f"{came} came where {wanted} was asked for, and was not judged"
    about = task or Subject(question.window, question.server.url)
    registry.report(Code.UNRECOGNIZED, text, about, name=f"{came} for {wanted}")


def note_unknown_word(registry: Registry, task: Task, what: str, word: object) -> None:
    text = f"{what} is {word!r:.{MAX_WHAT}}, which is no word that is known, and was not judged"
    registry.report(Code.UNRECOGNIZED, text, task, name=f"{what} {word}")


def note_oddities(registry: Registry, task: Task, whose: str, odd: Sequence[Oddity]) -> None:
    """Note what in an answer about this task is not as ComfyUI writes it; the rest of the answer counts."""
    for each in odd:
        text = f"{whose}: {each}; the rest of it counts"
        registry.report(Code.UNRECOGNIZED, text, task, name=f"{whose} {each}")


def note_odd_queue(registry: Registry, question: Question, odd: Sequence[Oddity]) -> None:
    text = f"the queue: {odd[0]}" + (f", and {len(odd) - 1} more" if len(odd) > 1 else "") + "; the rest of it counts"
    url = question.server.url
    registry.report(Code.UNRECOGNIZED, text, Subject(question.window, url), name="the queue")
