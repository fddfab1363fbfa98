"""Graphs that the scenarios post, in one table: built-in nodes only, valid on a real server and on the fake."""

import itertools
import random
from typing import Any

from tests.conformance.tiny_model import NAME as MODEL

Graph = dict[str, dict[str, Any]]

FRESH = object()
"""Stands for a number never posted before, the same all over a graph, so that nothing of it is cached (P14)."""
_fresh = itertools.count(random.randrange(2**24))

LINKS = 20  # of the slow chain: a server looks at an interrupt between two nodes, so many short ones and not a long one


def _image(side: int) -> tuple[str, dict[str, Any]]:
    return "EmptyImage", {"width": side, "height": side, "batch_size": 1, "color": FRESH}


def _blur(source: str, sigma: float = 10.0) -> tuple[str, dict[str, Any]]:
    return "ImageBlur", {"image": [source, 0], "blur_radius": 31, "sigma": sigma}


def _save(source: str) -> tuple[str, dict[str, Any]]:
    return "SaveImage", {"images": [source, 0], "filename_prefix": "conformance"}


def _show(source: str) -> tuple[str, dict[str, Any]]:
    return "PreviewImage", {"images": [source, 0]}


_SILENT = ("LoraSave", {"filename_prefix": "conformance", "rank": 8, "lora_type": "standard", "bias_diff": True})

TABLE: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "picture": {"1": _image(64), "2": _save("1")},
    "two pictures": {"1": _image(64), "2": _save("1"), "3": _image(32), "4": _show("3")},
    # Two nodes that are the same to the cache, and an output of each.
    "twins": {"1": _image(64), "2": _image(64), "3": _show("1"), "4": _save("2")},
    # A second or two of work, in many small nodes.
    "slow": {"1": _image(128), **{str(n): _blur(str(n - 1)) for n in range(2, LINKS + 2)}, "99": _show(str(LINKS + 1))},
    # An output node that has nothing to show, since no model is given to it.
    "silent": {"1": _SILENT},
    # A radius beyond the image's side passes every check, and fails when it is computed.
    "failing": {"1": _image(8), "2": _show("1"), "3": _blur("1"), "4": _save("3")},
    "failing with NaN": {"1": _image(8), "3": _blur("1", float("nan")), "4": _save("3")},
    # One output is good, the other lacks its images.
    "half": {"1": _image(64), "2": _show("1"), "3": ("SaveImage", {"filename_prefix": "conformance"})},
    "steps": {
        "1": ("UNETLoader", {"unet_name": MODEL, "weight_dtype": "default"}),
        "2": ("LotusConditioning", {}),
        "3": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "4": (
            "KSampler",
            {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["2", 0],
                "latent_image": ["3", 0],
                "seed": FRESH,
                "steps": 5,
                "cfg": 1.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        ),
        "5": ("SaveLatent", {"samples": ["4", 0], "filename_prefix": "conformance"}),
    },
    # What is refused as a whole.
    "without an output": {"1": _image(64)},
    "without a good output": {"1": ("SaveImage", {"filename_prefix": "conformance"})},
    "circle": {"1": ("ImageInvert", {"image": ["2", 0]}), "2": ("ImageInvert", {"image": ["1", 0]}), "3": _save("2")},
    "of an unknown class": {"1": ("NoSuchNodeClass", {})},
}


def workflow(name: str) -> Graph:
    """A graph of the table, new to any server's cache."""
    number = next(_fresh) % 2**24  # a colour has 24 bits
    return {
        node: {
            "class_type": kind,
            "inputs": {key: number if value is FRESH else value for key, value in inputs.items()},
        }
        for node, (kind, inputs) in TABLE[name].items()
    }
