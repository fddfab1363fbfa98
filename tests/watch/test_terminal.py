"""Tests of the `watch` display: it fits every terminal, says what it left out, and no server controls it."""

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from comfy_fsm.display import age, harmless
from comfy_fsm.report.diagnosis_text import Line
from comfy_fsm.watch import sections, terminal
from comfy_fsm.watch.browsing import KINDS, Browsing
from comfy_fsm.watch.snapshot import QUIET, Scene
from tests.support.hostile import HOSTILE
from tests.support.lines import START, frame, line, lines_of, seen

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "recordings"
WHY = ("type", "message")


def hostile(name: str) -> Scene:
    """A log in which everything that a server or a window may name is named so."""
    envelope = {"server": name, "window": name}
    prompt = {"prompt_id": name, "node": name}

    def told(kind: str, data: object) -> bytes:
        return line(kind, data, START, **envelope)

    view = seen(
        told("ws.open", {}),
        told("ws.message", {"type": "execution_start", "data": prompt}),
        told("ws.message", {"type": "progress", "data": prompt | {"value": 1, "max": 3}}),
        told("ws.message", {"type": name, "data": {}}),
        told("ws.message", {"type": "execution_error", "data": prompt | {f"exception_{what}": name for what in WHY}}),
        told("ws.undecodable", {"error": name}),
        told("http.error", {"id": "1", "error": name}),
        told(name, {}),
    )  # fmt: skip
    return Scene(name, view, START, trouble=name)


def printed(picture: RenderableType, width: int, height: int | None) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height or 100, color_system=None, highlight=False, markup=False)
    console.print(picture)
    return out.getvalue().split("\n")[:-1]


def drawn(scene: Scene, width: int, height: int | None, *keys: str) -> list[str]:
    browsing = Browsing()
    for key in keys:
        browsing.press(key, scene.view)
    return printed(terminal.picture(scene, width, height, browsing), width, height)


SCENES = {
    "nothing": Scene("x.log", seen()),
    "a fleet": Scene("x.log", seen(*lines_of(FIXTURES / "0.3.64" / "fleet-small.jsonl.gz")), START, behind=True),
    **{name: hostile(text) for name, text in HOSTILE.items()},
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@given(width=st.integers(1, 220), height=st.integers(1, 80))
@settings(max_examples=25)
def test_a_picture_fits_the_terminal(scene: Scene, width: int, height: int) -> None:
    for keys in ((), ("down",), ("/", *"nothing has this", "enter"), ("f", "s", "/", "e")):
        lines = drawn(scene, width, height, *keys)
        assert len(lines) == height
        assert all(cell_len(each) <= width for each in lines)


@given(
    st.lists(st.tuples(st.text(), st.just("")).map(lambda piece: [(harmless(piece[0]), piece[1])]), max_size=40),
    st.integers(1, 120), st.integers(2, 40), st.integers(0, 100),
)  # fmt: skip
def test_what_is_opened_fits_the_terminal_and_can_be_read_to_its_end(
    lines: list[Line], width: int, height: int, top: int
) -> None:
    browsing = Browsing(top=top)
    shown = printed(terminal.opened(lines, width, height, browsing, "Esc"), width, height)
    assert len(shown) == height
    assert all(cell_len(each) <= width for each in shown)
    if not any("below" in each for each in shown[-1:]) and lines and width > 20:
        assert "".join("".join(text for text, _ in lines[-1]).split())[-5:] in "".join("".join(shown[:-1]).split())


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize("height", [24, None])
def test_nothing_that_a_server_said_drives_the_terminal(scene: Scene, height: int | None) -> None:
    for each in drawn(scene, 200, height):
        assert each.isprintable(), ascii(each)


@pytest.mark.parametrize("height", [24, 40])
def test_a_usual_terminal_shows_every_section(height: int) -> None:
    text = "\n".join(drawn(SCENES["a fleet"], 80, height))
    assert re.search(r"^x\.log .*\n(?:\d+ \w+(?: · )?)+\n.*\n", text)
    for title in ("server", "window", "task", "finding"):
        assert re.search(rf"^{title}\b.*\n\S", text, re.MULTILINE), title
    listed = re.search(r"^task (?:\((\d+) more\))?.*\n((?:\w.*\n)+)", text, re.MULTILINE)
    assert listed is not None
    shown = re.findall(r"^(?:completed|failed|cancelled|rejected)\b", listed[2], re.MULTILINE)
    assert int(listed[1] or 0) + len(shown) == 24


@pytest.mark.parametrize("width", [60, 80, 100])
def test_an_id_and_a_code_are_told_whole_where_it_is_narrow(width: int) -> None:
    scene = SCENES["a fleet"]
    text = "\n".join(drawn(scene, width, 60))
    for finding in scene.view.findings:
        assert re.search(rf"^{finding.code} .* task {(finding.prompt_id or '')[:8]} ", text, re.MULTILINE), text
    assert text.splitlines()[-1].startswith("q quits")


def test_a_bar_shows_how_far_the_node_is() -> None:
    begun = line("ws.open", {}), frame("execution_start", prompt_id="p", timestamp=1)
    half = seen(*begun, frame("progress", prompt_id="p", node="3", value=10, max=20))
    assert " ━━━━━━━━────────  50% node 3" in "\n".join(drawn(Scene("x", half), 120, None))


STANDINGS = {
    "the log is gone": (Scene("x", SCENES["a fleet"].view, START, trouble="the log is gone"), "the log is gone"),
    "more is to be read": (Scene("x", SCENES["a fleet"].view, START, behind=True), "reading on"),
    "it is history": (Scene("x", seen(line("tick", {})), START + QUIET + 3_600), "nothing new for 70 min"),
}


@pytest.mark.parametrize(("scene", "said"), STANDINGS.values(), ids=STANDINGS)
def test_the_first_line_says_how_the_log_stands(scene: Scene, said: str) -> None:
    assert drawn(scene, 110, 24)[0].endswith(said)


@pytest.mark.parametrize("width", [40, 80, 130, 220])
def test_what_is_wrong_with_the_log_is_told_whole_however_narrow_it_is(width: int) -> None:
    trouble = f"No such file or directory: /{'far/' * 30}x.log"
    lines = drawn(Scene("x", SCENES["a fleet"].view, START, trouble=trouble), width, 24)
    told = "".join("".join(lines).split())
    assert "".join(trouble.split()) in told


AWAY = seen(
    *lines_of(FIXTURES / "0.3.64" / "fleet-small.jsonl.gz"),
    line("http.error", {"id": "z", "error": "ConnectError: all attempts failed"}, 2e9, server="http://127.0.0.1:8102"),
)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_server_that_goes_away_clips_nothing(width: int) -> None:
    scene = Scene("x.log", AWAY, written=True)
    lines = drawn(scene, width, 40)
    text = " ".join(" ".join(lines).split())
    assert "not answering: ConnectError: all attempts failed" in text
    rows = [each for each in lines if re.match(r"127\.0\.0\.1:810\d  +(?:not )?answering", each)]
    assert len(rows) == 3
    assert not [each for each in rows if "…" in each]
    for count, state in ((count, state) for state, count in scene.view.states.items()):
        assert f"{count} {state}" in text


def test_the_selected_row_is_drawn_however_few_lines_there_are() -> None:
    scene = SCENES["a fleet"]
    for steps in range(1, len(scene.view.tasks) + 1):
        row = scene.view.tasks[steps - 1]
        text = "\n".join(drawn(scene, 80, 24, *["down"] * steps))
        assert (row.prompt_id or "")[:8] in text


@pytest.mark.parametrize("kind", list(KINDS)[1:])
def test_what_is_left_out_is_said_above_with_how_to_see_it(kind: str) -> None:
    scene = SCENES["a fleet"]
    keys = "f" * list(KINDS).index(kind)
    text = "\n".join(drawn(scene, 80, 24, *keys))
    shown = sum(KINDS[kind](row.state) for row in scene.view.tasks)
    assert f"shown: {kind}: {shown} of {len(scene.view.tasks)} tasks (Esc: all)" in text


def test_what_to_do_is_told_in_the_row_or_at_the_foot() -> None:
    scene = Scene("x", seen(line("ws.undecodable", {"error": "no JSON"})))
    advice = "It may have been the one that ended a task: verify over HTTP."
    for width in (100, 200):
        assert sum(advice in each for each in drawn(scene, width, 24)) == 1


# the parts


@given(st.integers(-5, 100), st.lists(st.integers(0, 60), max_size=6))
def test_lines_are_given_as_wanted_and_fairly_where_they_are_too_few(lines: int, wanted: list[int]) -> None:
    given = sections.allot(lines, wanted)
    assert sum(given) == min(max(0, lines), sum(wanted))
    assert all(got <= want for got, want in zip(given, wanted, strict=True))
    short = [got for got, want in zip(given, wanted, strict=True) if got < want]
    assert not short or max(given) <= min(short) + len(wanted)


SPANS = {
    -3.0: "0.0 s",
    0.04: "0.0 s",
    9.94: "9.9 s",
    61: "61 s",
    125: "2 min",
    7_300: "2 h",
    200_000: "2 d",
    1e12: "11,574,074 d",
}


@pytest.mark.parametrize(("seconds", "told"), SPANS.items())
def test_a_span_is_told_in_one_unit(seconds: float, told: str) -> None:
    assert age(seconds) == told
