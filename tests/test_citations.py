"""Tests of citations: each number that is cited stands in its page, and none is printed to a user."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "P": (ROOT / "docs" / "reference" / "protocol.md", 58),
    "F": (ROOT / "docs" / "explanation" / "failure-modes.md", 32),
}
CITING = ("comfy_fsm", "replay", "tests", "docs", "ops", "examples", "benchmarks", "fixtures")
SUFFIXES = {".py", ".md", ".yml", ".html", ".js", ".css", ".jsonl"}
CITATION = re.compile(r"(?<![\w.#/-])([PF])(\d{1,3})(?![\w.]\w|\w)")
ELSEWHERE = re.compile(r"\((?:[PF]\d{1,2}, )*R\d{1,2}(?:\.\d+)?\)|# R\d{1,2}\.\d+\b")
PRINTED = re.compile(r"(?<![\w.#/\\-])[PFR]\d{1,2}(?:\.\d+)?(?!\w)")


@cache
def rows(letter: str) -> dict[int, list[str]]:
    """The cells of each fact, by its number."""
    text = PAGES[letter][0].read_text(encoding="utf-8")
    found = re.findall(rf"^\| {letter}(\d+) \|(.*)\|$", text, re.MULTILINE)
    assert len({number for number, _ in found}) == len(found), "a number stands twice"
    return {int(number): [cell.strip() for cell in cells.split(" | ")] for number, cells in found}


def files() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in CITING:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and "generated" not in path.parts and "recordings" not in path.parts:
                yield path


@pytest.mark.parametrize("letter", PAGES)
def test_every_number_has_its_row_and_every_row_its_cells(letter: str) -> None:
    _, last = PAGES[letter]
    assert [*rows(letter)] == [*range(1, last + 1)]
    for number, cells in rows(letter).items():
        assert len(cells) == (3 if letter == "P" else 4), f"{letter}{number}"
        assert all(cells), f"{letter}{number} has an empty cell"
        assert len(cells[0].split()) >= 3, f"{letter}{number} says too little"


def test_every_fact_names_a_file_and_a_version() -> None:
    for number, (_, where, since) in rows("P").items():
        assert re.search(r"\.py|`app/|not in ComfyUI|custom nodes", where), f"P{number}: where is it?"
        assert re.search(r"ever|\d|no release", since), f"P{number}: since when?"


def test_every_citation_resolves() -> None:
    lost = []
    for path in files():
        if path.suffix == ".jsonl" and not path.read_text(encoding="utf-8").startswith("#"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path.suffix == ".jsonl" and not line.startswith("#"):
                break
            lost += [
                f"{path.relative_to(ROOT)}:{number}: {letter}{digits}"
                for letter, digits in CITATION.findall(line)
                if int(digits) not in rows(letter)
            ]
    assert not lost


def test_nothing_cites_numbers_of_a_list_that_is_not_here() -> None:
    """Only P and F are lists of this repository: a number of another one would lead nowhere."""
    nowhere = [
        f"{path.relative_to(ROOT)}:{number}: {found.group()}"
        for path in files()
        if path.suffix in (".py", ".md")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := ELSEWHERE.search(line)) is not None
    ]
    assert not nowhere


def test_failure_modes_cite_facts_and_what_holds_against_them() -> None:
    for number, (symptom, cause, told, held) in rows("F").items():
        assert symptom, number
        assert told, number
        assert held, number
        assert all(int(digits) in rows("P") for letter, digits in CITATION.findall(cause) if letter == "P")


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Each string of a module that is no docstring: what may come before a user's eyes."""
    spared = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spared:
            yield node.lineno, node.value


@pytest.mark.parametrize("folder", ["comfy_fsm", "replay"])
def test_no_number_is_printed_to_a_user(folder: str) -> None:
    printed = [
        f"{path.relative_to(ROOT)}:{line}: {text!r:.90}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8")))
        if PRINTED.search(text)
    ]
    assert not printed, "\n".join(printed)
