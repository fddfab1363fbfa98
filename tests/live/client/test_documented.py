"""Tests that the page of the client names everything an application may use."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from comfy_fsm import Client, Dispatcher, OutputFile, TaskHandle, Update, Window, Workflow

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "client.md").read_text(encoding="utf-8")
INNER = {
    Client: {"handles", "runner"},
    Window: {"forget_id"},
    TaskHandle: {"abandon", "close", "push", "image", "listens", "resume", "settle"},
    Dispatcher: {"close", "moves", "withdraw"},
    OutputFile: {"at", "save_among", "source"},
    Update: set[str](),
    Workflow: {"get", "items", "keys", "values"},
}


@pytest.mark.parametrize("face", INNER, ids=lambda face: face.__name__)
def test_every_public_name_is_on_the_page_of_the_client(face: type) -> None:
    names = {name for name in dir(face) if name[0] != "_"} - INNER[face]
    assert [name for name in sorted(names) if f"`{name}" not in PAGE and f".{name}" not in PAGE] == []


@pytest.mark.parametrize("function", [Client, Window.submit])
def test_every_parameter_is_on_the_page_of_the_client(function: object) -> None:
    names = set(inspect.signature(function).parameters) - {"self"}
    assert [name for name in sorted(names) if f"`{name}" not in PAGE and f"({name}" not in PAGE] == []
