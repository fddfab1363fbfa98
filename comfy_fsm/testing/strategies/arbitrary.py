"""Observations of every kind and shape, likely or not: no fold may fail on any of them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.testing.strategies.scripted import GRAPHS, PROMPTS, SERVERS, START, TOLD, WINDOWS

__all__ = [
    "frames",
    "from_our_reader",
    "json_values",
    "names",
    "observations",
    "paths",
    "prompt_ids",
    "raw",
    "sayable",
    "seen_as",
    "texts",
]

texts = st.text(max_size=8)
prompt_ids = st.sampled_from(PROMPTS)
_maybe_ids = st.one_of(prompt_ids, prompt_ids, st.none(), texts)
_nodes = st.sampled_from(("1", "2", "3", "9", ""))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def raw(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Raw]:
    return values.map(lambda value: Raw(json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()))


_failures = st.builds(
    seen.FailureData, prompt_id=_maybe_ids, node_id=st.none() | _nodes,
    exception_type=st.sampled_from((None, "ValueError", "ExecutionBlocked")), exception_message=st.none() | texts,
)  # fmt: skip
_images = st.just({"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]})
_states = st.dictionaries(_nodes, st.fixed_dictionaries({"state": st.sampled_from(("running", "finished", "odd"))}))
frames = st.one_of(
    st.builds(seen.Status),
    st.builds(seen.FeatureFlags),
    st.builds(seen.ExecutionStart, st.builds(seen.StartData, _maybe_ids, st.none() | st.integers(0, 9).map(float))),
    st.builds(seen.ExecutionCached, st.builds(seen.CachedData, _maybe_ids, st.lists(_nodes, max_size=3).map(tuple))),
    st.builds(seen.Executing, st.builds(seen.ExecutingData, _maybe_ids, st.none() | _nodes)),
    st.builds(seen.Executed, st.builds(seen.ExecutedData, _maybe_ids, st.none() | _nodes, raw(_images | json_values))),
    st.builds(seen.Progress, st.builds(seen.PromptData, _maybe_ids)),
    st.builds(seen.ProgressState, st.builds(seen.ProgressStateData, _maybe_ids, raw(_states | json_values))),
    st.builds(seen.ExecutionSuccess, st.builds(seen.PromptData, _maybe_ids)),
    st.builds(seen.ExecutionError, _failures),
    st.builds(seen.ExecutionInterrupted, _failures),
)
_records = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.builds(lambda i, o: [1, i, GRAPHS[0], {}, o], _maybe_ids, st.lists(_nodes)) | json_values,
        "outputs": st.dictionaries(_nodes, _images | json_values, max_size=3) | json_values,
        "status": json_values | st.builds(
            lambda said, told: {"status_str": said, "completed": None, "messages": told},
            st.sampled_from(("success", "error", "odd", None)),
            st.lists(st.builds(lambda name: [name, {}], st.sampled_from((*TOLD, "odd"))), max_size=2),
        ),
    },
)  # fmt: skip
_posts = st.builds(
    lambda i, c, g: {"prompt": g} | ({"prompt_id": i} if i else {}) | ({"client_id": c} if c else {}),
    st.none() | prompt_ids, st.none() | st.sampled_from(WINDOWS), st.sampled_from(GRAPHS) | json_values,
)  # fmt: skip
_bodies = st.one_of(
    _posts,
    json_values,
    st.dictionaries(prompt_ids, _records, max_size=2),
    st.just({}),
    st.builds(lambda i, e: {"prompt_id": i, "node_errors": e}, prompt_ids, json_values),
    st.builds(lambda r, p: {"running": r, "pending": p}, st.lists(prompt_ids), st.lists(prompt_ids)),
    st.builds(lambda r: {"queue_running": [[1, i] for i in r], "queue_pending": []}, st.lists(prompt_ids)),
    st.builds(lambda i: {"delete": [i]}, prompt_ids),
    st.builds(lambda i, s: {"id": i, "status": s}, prompt_ids,
              st.sampled_from(("pending", "in_progress", "completed", "failed", "cancelled", "odd"))),
)  # fmt: skip
paths = st.one_of(
    st.sampled_from(("/prompt", "/api/prompt", "/queue", "/history", "/interrupt", "/api/jobs", "/")),
    st.builds("/history/{}".format, prompt_ids),
    st.builds("/api/jobs/{}".format, prompt_ids),
    st.builds("/api/jobs/{}/cancel".format, prompt_ids),
    texts,
)
_request_ids = st.sampled_from("abcdefgh")
_requests = st.builds(seen.RequestData, _request_ids, st.sampled_from(("GET", "POST")), paths, raw(_bodies))
_responses = st.builds(
    seen.ResponseData, _request_ids, st.sampled_from((200, 200, 200, 400, 404, 500, 502)), raw(_bodies)
)
_envelope: dict[str, Any] = {
    "at": st.integers(0, 128 * 600).map(lambda ticks: START + ticks / 128),
    "window": st.none() | st.sampled_from(WINDOWS),
    "server": st.none() | st.sampled_from(SERVERS),
    "conn": st.none() | st.integers(0, 2),
}


def seen_as(kind: Any, data: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[AnyObservation]:
    return st.builds(kind, **_envelope, **({} if data is None else {"data": data}))


names = st.sampled_from(
    ("recover", "recover", "seek", "adopt", "resume", "follow", "cancel", "callback-cut", "odd",
     "enqueue", "withdraw", "rebind", "recall", "drain", "undrain")
)  # fmt: skip
sayable: st.SearchStrategy[AnyObservation] = st.one_of(
    seen_as(seen.Message, frames),
    seen_as(seen.Message, frames),
    seen_as(seen.Request, _requests),
    seen_as(seen.Request, _requests),
    seen_as(seen.Response, _responses),
    seen_as(seen.Response, _responses),
    seen_as(
        seen.NoAnswer,
        st.builds(seen.NoAnswerData, _request_ids, st.sampled_from(("ReadTimeout", "ConnectError"))),
    ),
    seen_as(seen.Opened),
    seen_as(seen.Closed, st.builds(seen.CloseData, st.sampled_from((None, 1000, 1006)))),
    seen_as(seen.Binary, st.builds(seen.BinaryData, st.integers(1, 5), st.none() | st.builds(
        seen.BinaryMetadata, _maybe_ids))),
    seen_as(seen.Undecodable, st.builds(seen.UndecodableData, texts, texts)),
    seen_as(seen.Tick),
    seen_as(seen.Command, st.builds(
        seen.CommandData, names, _maybe_ids, st.none() | st.sampled_from(SERVERS) | prompt_ids, st.floats())),
    seen_as(seen.Delivered, st.builds(seen.DeliveredData, prompt_ids, st.none() | texts)),
    seen_as(seen.Header, st.builds(seen.HeaderData, st.just(1))),
)  # fmt: skip
from_our_reader: st.SearchStrategy[AnyObservation] = st.one_of(
    seen_as(seen.Message, st.builds(seen.UnrecognizedFrame, texts, texts)),
    st.builds(seen.Unrecognized, **_envelope, name=texts, why=texts),
    seen_as(seen.Damaged, st.builds(seen.DamageData, st.sampled_from(("damaged", "undecodable")), texts)),
)


def observations() -> st.SearchStrategy[AnyObservation]:
    """Return any observation, including odd ones, and those that only our reader makes of what it cannot read."""
    return st.one_of(*[sayable] * 4, from_our_reader)
