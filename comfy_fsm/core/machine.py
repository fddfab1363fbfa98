"""State machine of one task: its states, its signals, and TABLE, with a reason for each row.

Knows no observation, no time and no other task. docs/reference/machine.md has the diagram, drawn from TABLE:

    submitting ──► pending ──► in_progress ──► ending ──► completed failed cancelled
        │  ▲           ▲                        │  ▲
        ▼  │           │                        ▼  │       rejected
      uncertain ───────┘                    in_progress    lost expired ──recover──► uncertain

    lost, expired, and cancelled if only concluded ──reopen──► uncertain
    any state that is not final ──adopt──► uncertain
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from transitions import Machine

__all__ = [
    "CONCLUDABLE",
    "FINAL",
    "FOUND_ELSEWHERE",
    "MOVES",
    "OPEN",
    "REASONS",
    "RECOVERABLE",
    "SETTLED",
    "TABLE",
    "UNANSWERED",
    "Row",
    "Signal",
    "State",
    "declare",
    "diagram",
    "step",
]


class State(StrEnum):
    """State of a task, in ComfyUI's own job words where it has one."""

    __hash__ = str.__hash__  # Enum computes its hash in Python, at each step; a string keeps it

    SUBMITTING = "submitting"
    UNCERTAIN = "uncertain"
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    ENDING = "ending"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    LOST = "lost"
    EXPIRED = "expired"


class Signal(StrEnum):
    """Meaning of an observation for a task."""

    __hash__ = str.__hash__

    ACCEPT = "accept"
    REJECT = "reject"
    DOUBT = "doubt"
    QUEUE = "queue"
    RUN = "run"
    TRAIL = "trail"
    EXHAUST = "exhaust"
    END = "end"
    TELL = "tell"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    LOSE = "lose"
    EXPIRE = "expire"
    RECOVER = "recover"
    ADOPT = "adopt"
    REOPEN = "reopen"


class Row(NamedTuple):
    """Transition: from a state, on a signal, to the next state, with the reason."""

    state: State
    signal: Signal
    next: State
    why: str


UNANSWERED = frozenset({State.SUBMITTING, State.UNCERTAIN})
OPEN = (State.SUBMITTING, State.UNCERTAIN, State.PENDING, State.IN_PROGRESS, State.ENDING)
FINAL = (State.COMPLETED, State.FAILED, State.CANCELLED, State.REJECTED)
RECOVERABLE = (State.LOST, State.EXPIRED)
CONCLUDABLE = (*RECOVERABLE, State.CANCELLED)
"""States that absence or time alone may lead to. Whether they led to `cancelled` is recorded in the task."""
SETTLED = frozenset(FINAL + RECOVERABLE)
FOUND_ELSEWHERE = "its server does not have it and another does: from now on it is bound there"


def _open_rows() -> list[Row]:
    s, g = State, Signal
    unknown = (s.SUBMITTING, s.UNCERTAIN)
    before = (*unknown, s.PENDING)
    running = (*before, s.IN_PROGRESS)
    known = (s.PENDING, s.IN_PROGRESS, s.ENDING)
    groups: list[tuple[tuple[State, ...], Signal, State | None, str]] = [
        # submitting: the POST was answered, or not
        (unknown, g.ACCEPT, s.PENDING, "the server accepted the prompt"),
        (known, g.ACCEPT, None, "the answer to the POST came after the first news of the prompt"),  # P12
        (unknown, g.REJECT, s.REJECTED, "the server answered 400: nothing runs"),  # P9
        (known, g.REJECT, None, "a later POST of the same id was refused; the accepted one goes on"),
        (unknown, g.DOUBT, s.UNCERTAIN, "no clear answer to its POST was seen: it may have been accepted"),  # P11
        (known, g.DOUBT, None, "a later POST of the same id stayed unanswered; this one was accepted"),
        # pending and running
        (before, g.QUEUE, s.PENDING, "the server lists it as pending"),
        ((s.IN_PROGRESS,), g.QUEUE, None, "listed as pending by an answer older than its start"),
        ((s.ENDING,), g.QUEUE, None, "listed as pending by an answer older than its end"),
        (running, g.RUN, s.IN_PROGRESS, "the server works on it"),
        ((s.ENDING,), g.RUN, s.IN_PROGRESS, "it still runs: the end was concluded too early"),
        (before, g.TRAIL, s.IN_PROGRESS, "the server worked on it"),
        ((s.IN_PROGRESS, s.ENDING), g.TRAIL, None, "a report of the run from before its stated end"),
        # ending: reported, concluded, or stated with its outcome
        (OPEN, g.EXHAUST, s.ENDING, "nothing is left to run, as far as was reported"),  # P16
        (OPEN, g.END, s.ENDING, "the server reports its end, not its outcome"),  # P22
        (OPEN, g.TELL, s.ENDING, "the server states its outcome; its record follows"),  # P21
        # settled: decided once, on evidence
        (OPEN, g.COMPLETE, s.COMPLETED, "the evidence says that it succeeded"),
        (OPEN, g.FAIL, s.FAILED, "the evidence says that it failed"),
        (OPEN, g.CANCEL, s.CANCELLED, "the evidence says that it was cancelled"),
        (OPEN, g.LOSE, s.LOST, "absent from queue and history, and nothing shows its outcome"),  # P29
        (OPEN, g.EXPIRE, s.EXPIRED, "no sign of life for longer than the last tier"),
        *((OPEN, signal, None, "it is not settled: there is nothing to reopen") for signal in (g.RECOVER, g.REOPEN)),
        (OPEN, g.ADOPT, s.UNCERTAIN, FOUND_ELSEWHERE),
    ]
    return [
        Row(state, signal, state if target is None else target, why)
        for states, signal, target, why in groups
        for state in states
    ]


def _settled_rows() -> list[Row]:
    """Build the rows of settled states: what arrives after the end is a row with its reason, not an `if`."""
    taken_back = "that was only concluded, and later evidence takes it back"
    rows = [
        Row(s, g, State.UNCERTAIN, taken_back)
        if g is Signal.REOPEN and s in CONCLUDABLE
        else Row(s, g, s, f"already {s}: settled once")
        for s in FINAL
        for g in Signal
    ]
    for state in RECOVERABLE:
        for signal in Signal:
            if signal is Signal.RECOVER:
                rows.append(Row(state, signal, State.UNCERTAIN, "a recover command reopens it"))
            elif signal is Signal.REOPEN:
                rows.append(Row(state, signal, State.UNCERTAIN, taken_back))
            elif signal is Signal.ADOPT:
                rows.append(Row(state, signal, State.UNCERTAIN, FOUND_ELSEWHERE))
            else:
                rows.append(Row(state, signal, state, f"already {state}: only a command or evidence reopens it"))
    return rows


TABLE: tuple[Row, ...] = (*_open_rows(), *_settled_rows())


def declare(rows: tuple[Row, ...] = TABLE) -> Machine:
    """Declare rows to `transitions`: one machine, without models, callbacks or automatic transitions."""
    return Machine(
        model=None,
        states=[str(state) for state in State],
        initial=str(State.SUBMITTING),
        transitions=[[str(row.signal), str(row.state), str(row.next)] for row in rows],
        auto_transitions=False,
    )


def _compile(machine: Machine) -> dict[State, dict[Signal, State]]:
    """Compile a declared machine to a flat table, so that a step of the fold costs two look-ups."""
    moves: dict[State, dict[Signal, State]] = {state: {} for state in State}
    for signal in Signal:
        for source, declared in machine.events[str(signal)].transitions.items():
            moves[State(source)][signal] = State(str(declared[0].dest))
    return moves


MOVES = _compile(declare())
REASONS = {(row.state, row.signal): row.why for row in TABLE}


def step(state: State, signal: Signal) -> State:
    """Return the next state; every state takes every signal."""
    return MOVES[state][signal]


def diagram() -> str:
    """Return the machine as a Mermaid diagram, drawn by `transitions` from the rows that change the state."""
    from transitions.extensions import GraphMachine  # needed here alone; costs more to import than the fold to run

    moving = [row for row in TABLE if row.next is not row.state]
    machine = GraphMachine(  # a model of its own: the drawing part of the library needs one
        states=[str(state) for state in State],
        initial=str(State.SUBMITTING),
        transitions=[[str(row.signal), str(row.state), str(row.next)] for row in moving],
        auto_transitions=False,
        graph_engine="mermaid",
    )
    return str(machine.get_graph(title="title: the life of one task").draw(None)) + "\n"
