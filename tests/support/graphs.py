"""Workflows that Hypothesis draws: few classes and names, so that they meet; and files that may be none."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

from comfy_fsm.errors import BadWorkflow

CLASSES = ["KSampler", "CLIPTextEncode", "LoadImage", "SaveImage"]


NAMES = ["seed", "noise_seed", "text", "image", "steps"]


VALUES = st.integers() | st.text(max_size=5) | st.floats(allow_nan=False) | st.booleans() | st.none()


INPUTS = st.dictionaries(st.sampled_from(NAMES), VALUES | st.tuples(st.just("1"), st.integers(0, 3)).map(list))


NODES = st.fixed_dictionaries(
    {"class_type": st.sampled_from(CLASSES), "inputs": INPUTS},
    optional={
        "_meta": st.fixed_dictionaries({"title": st.sampled_from(["", "Positive", "positive", "Pose", "KSampler"])})
    },
)


GRAPHS = st.dictionaries(st.integers(1, 20).map(str), NODES, min_size=1, max_size=6)


@contextmanager
def may_be_refused(name: str) -> Iterator[None]:
    """If the file is no workflow, the error begins with its name."""
    refusal = name
    try:
        yield
    except BadWorkflow as error:
        refusal = str(error)
    assert refusal.startswith(name)
