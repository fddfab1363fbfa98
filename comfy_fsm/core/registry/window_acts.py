"""Acts of windows: interrupts and removals, remembered to say whose they were."""

from __future__ import annotations

from comfy_fsm.core import observations as seen
from comfy_fsm.core.registry.ending import CauseKind
from comfy_fsm.core.registry.registry import Act, Question, Registry
from comfy_fsm.core.wire import bodies, codec, routes

__all__ = ["ACTS", "fold_act", "undo"]

ACTS: dict[routes.Kind, tuple[CauseKind, ...]] = {
    "act-interrupt": ("interrupt",),
    "act-queue": ("delete",),
    "act-cancel": ("interrupt", "delete"),
    "act-batch": ("interrupt", "delete"),
    "act-history": ("clear-history",),
}


def fold_act(registry: Registry, question: Question, o: seen.Request) -> None:
    """Remember who interrupted or removed what, to explain a task that vanishes (P27, P30, P31)."""
    ids: frozenset[str] | None = None
    if question.kind == "act-interrupt":
        interrupt = codec.body(o.data.body, bodies.Interrupt)
        ids = frozenset({interrupt.prompt_id}) if interrupt and interrupt.prompt_id is not None else None
    elif question.kind == "act-cancel":
        ids = frozenset({question.prompt_id or ""})
    elif question.kind == "act-batch":
        ids = frozenset((codec.body(o.data.body, bodies.Batch) or bodies.Batch()).job_ids)
    else:
        removal = codec.body(o.data.body, bodies.Removal) or bodies.Removal()
        ids = None if removal.clear else frozenset(removal.delete or ())
    exact = question.kind in ("act-cancel", "act-batch")
    acts = (
        Act(kind, o.window, ids, registry.order, registry.position, o.at, exact=exact) for kind in ACTS[question.kind]
    )
    question.acts = tuple(acts)
    for act in question.acts:
        for server in question.server.names():
            registry.remember_act(server, act)


def undo(question: Question) -> None:
    """Undo acts that were refused or never sent."""
    for act in question.acts:
        for server in question.server.twins:
            if act in server.acts:
                server.acts.remove(act)
