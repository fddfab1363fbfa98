"""Node classes: inputs, outputs and behaviour, a row for each.

Built-in classes behave as ComfyUI's, as far as this is visible from outside. Those named `Fake…` are for tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from comfy_fsm.testing.execution.pictures import JPEG, FileKey, Files, Picture, png

__all__ = [
    "CLASSES",
    "REPLACED",
    "Blocked",
    "Given",
    "Graph",
    "Input",
    "Interrupted",
    "Node",
    "NodeClass",
    "NodeFailed",
    "Stage",
    "info",
]

Node = dict[str, object]
Graph = dict[str, Node]


class Blocked(NamedTuple):
    """Value of a link where execution is blocked: reported once, then passed on silently (P19)."""

    message: str | None


class Given(NamedTuple):
    """Result of a node: values for its links, something to show, or other nodes in its place (P17)."""

    values: tuple[object, ...] = ()
    shown: dict[str, object] | None = None
    expansion: Graph | None = None  # whose last node gives the values


class NodeFailed(Exception):
    """Exception raised by a node; `kind` is its name in the error frame."""

    def __init__(self, message: str, kind: str = "RuntimeError") -> None:
        super().__init__(message)
        self.kind = kind


class Interrupted(Exception):
    """Interrupt of the running prompt."""


class Stage(Protocol):
    """Operations that a node may use while it runs."""

    node_id: str
    inputs: dict[str, object]
    files: Files
    step_seconds: float
    previews: bool
    """Whether previews are wanted of this prompt; images that are outputs come anyway."""

    async def pause(self, seconds: float) -> None: ...

    def progress(self, value: float, most: float, picture: bytes | None = None) -> None: ...

    def text(self, words: str) -> None: ...

    def picture(self, picture: bytes) -> None: ...


class Input(NamedTuple):
    """Input of a node class: a type of value or link, or a list of choices."""

    kind: str | list[str]
    low: float | None = None
    high: float | None = None
    required: bool = True

    @property
    def told(self) -> list[object]:
        """Description in `/object_info` and in refusals."""
        bounds = {name: bound for name, bound in (("min", self.low), ("max", self.high)) if bound is not None}
        return [self.kind, bounds] if bounds else [self.kind]


class NodeClass(NamedTuple):
    """Class of nodes."""

    play: Callable[[Stage], Awaitable[Given]]
    gives: tuple[str, ...] = ()
    inputs: Mapping[str, Input] = MappingProxyType({})
    is_output: bool = False
    is_async: bool = False
    is_intermediate: bool = False
    """Where it was not run, it is shown again from the cache, at the very end (P50)."""


def _number(stage: Stage, name: str, default: float = 0.0) -> float:
    value = stage.inputs.get(name, default)
    return value if isinstance(value, int | float) else default


def _words(stage: Stage, name: str, default: str = "") -> str:
    return str(stage.inputs.get(name, default))


def _image(stage: Stage, name: str = "") -> Picture:
    """Return the picture from this link, or from any link."""
    named = stage.inputs.get(name)
    pictures = (value for value in (named, *stage.inputs.values()) if isinstance(value, Picture))
    return next(pictures, Picture())


# what the built-in ones do


async def _empty(stage: Stage) -> Given:
    sizes = (int(_number(stage, name)) for name in ("width", "height", "color", "batch_size"))
    return Given((Picture(*sizes),))


async def _pass(stage: Stage) -> Given:
    return Given((_image(stage),))


async def _scale(stage: Stage) -> Given:
    picture = _image(stage)
    width, height = (int(_number(stage, side)) for side in ("width", "height"))
    return Given((picture._replace(width=width or picture.width, height=height or picture.height),))


async def _batch(stage: Stage) -> Given:
    one, two = (value for value in stage.inputs.values() if isinstance(value, Picture))
    return Given((one._replace(images=one.images + two.images),))


async def _blur(stage: Stage) -> Given:
    picture, radius = _image(stage), _number(stage, "blur_radius")
    if radius >= min(picture.width, picture.height):  # what no check sees, and computing does
        raise NodeFailed("Padding size should be less than the corresponding input dimension")
    return Given((picture,))


async def _load(stage: Stage) -> Given:
    return Given((Picture(), Picture()))


async def _load_checkpoint(stage: Stage) -> Given:
    """Load a model, a text encoder and a VAE; all links carry pictures here."""
    return Given((Picture(), Picture(), Picture()))


async def _decode(stage: Stage) -> Given:
    return Given((_image(stage, "samples"),))


async def _sample(stage: Stage) -> Given:
    steps = int(_number(stage, "steps"))
    for step in range(1, steps + 1):
        await stage.pause(stage.step_seconds)
        stage.progress(step, steps, JPEG if stage.previews else None)
    return Given((_image(stage, "latent_image"),))


def _save(kind: str, prefix: str = "") -> Callable[[Stage], Awaitable[Given]]:
    async def play(stage: Stage) -> Given:
        picture, stem = _image(stage), prefix or _words(stage, "filename_prefix", "ComfyUI")
        saved = [stage.files.save(stem, ".png", kind, png(picture)) for _ in range(picture.images)]
        return Given(shown={"images": saved})

    return play


async def _save_latent(stage: Stage) -> Given:
    prefix = _words(stage, "filename_prefix", "ComfyUI")
    return Given(shown={"latents": [stage.files.save(prefix, ".latent", "output", b"{}")]})


async def _save_to_socket(stage: Stage) -> Given:
    picture = _image(stage)
    for step in range(picture.images):
        stage.progress(step, picture.images, png(picture))
    return Given()


async def _show_and_pass(stage: Stage) -> Given:
    return Given((_image(stage),), {"text": ["seen"]})


async def _nothing(stage: Stage) -> Given:
    return Given()


async def _show_text(stage: Stage) -> Given:
    return Given(shown={"text": [_words(stage, "text", _words(stage, "source"))]})


async def _show_string(stage: Stage) -> Given:
    return (await _show_text(stage))._replace(values=(_words(stage, "text"),))


# what those for tests do


async def _sleep(stage: Stage) -> Given:
    await stage.pause(_number(stage, "seconds"))
    return Given((_image(stage),))


async def _progress(stage: Stage) -> Given:
    """Run some steps of `seconds` each; `values` replaces what is reported, as `[[0.5, 3], [1, 7]]` (P18)."""
    steps = int(_number(stage, "steps", 4))
    values = stage.inputs.get("values")
    told = values if isinstance(values, list) else [[step, steps] for step in range(1, steps + 1)]
    for at, (value, most) in enumerate(told, 1):
        await stage.pause(_number(stage, "seconds"))
        if stage.inputs.get("text"):
            stage.text(f"step {at} of {len(told)}")
        stage.progress(value, most, JPEG if stage.inputs.get("preview") and stage.previews else None)
    return Given((_image(stage),))


async def _fail(stage: Stage) -> Given:
    """Fail after some steps."""
    steps = int(_number(stage, "steps"))
    for step in range(1, steps + 1):
        await stage.pause(_number(stage, "seconds"))
        stage.progress(step, steps + 1)
    raise NodeFailed(_words(stage, "message", "failing as asked"), _words(stage, "kind", "RuntimeError"))


async def _block(stage: Stage) -> Given:
    message = stage.inputs.get("message", "Blocked Execution")
    return Given((Blocked(None if message is None else str(message)),))


async def _expand(stage: Stage) -> Given:
    """Expand to a chain of nodes, each with steps of its own, repeated `times` (P17)."""
    own: dict[str, object] = {name: stage.inputs[name] for name in ("steps", "seconds") if name in stage.inputs}
    names = [f"{stage.node_id}.0.0.{n}" for n in range(1, int(_number(stage, "count", 2)) + 1)]
    links: list[object] = [_image(stage), *([name, 0] for name in names)]
    chain: Graph = {
        name: {"class_type": "FakeProgress", "inputs": {**own, "image": link}}
        for name, link in zip(names, links[:-1], strict=True)
    }
    return Given(expansion=chain)


async def _cycle(stage: Stage) -> Given:
    """Expand to nodes that depend on each other: a cycle that validation could not see (P40)."""
    one, two = (f"{stage.node_id}.0.0.{n}" for n in (1, 2))
    nodes = ((one, two), (two, one))
    return Given(expansion={name: {"class_type": "ImageInvert", "inputs": {"image": [of, 0]}} for name, of in nodes})


async def _big_frame(stage: Stage) -> Given:
    stage.picture(JPEG.ljust(int(_number(stage, "bytes")), b"\0"))
    return Given((_image(stage),))


async def _named(stage: Stage) -> Given:
    """Show a file under the name given by a node; any folder in the name exists."""
    named = FileKey(_words(stage, "filename"), _words(stage, "subfolder"), _words(stage, "type", "output"))
    folder, _, filename = named.filename.rpartition("/")
    place = named._replace(filename=filename, subfolder="/".join(filter(None, (named.subfolder, folder))))
    stage.files.contents[place] = png(_image(stage))
    return Given(shown={"images": [dict(named._asdict())]})


async def _preview_3d(stage: Stage) -> Given:
    """Show a file by its path alone, among values that are no files."""
    path = _words(stage, "model_file")
    folder, _, filename = path.rpartition("/")
    stage.files.contents[FileKey(filename, folder)] = b"glTF"
    return Given(shown={"result": [path, {"position": {"x": 1.5}, "cameraType": "perspective"}, None]})


async def _shown(stage: Stage) -> Given:
    """Show anything, as a custom node may; the files it names exist."""
    shown = stage.inputs.get("shown")
    waiting: list[object] = [shown]
    while waiting:
        item = waiting.pop()
        inner = [*item.values()] if isinstance(item, dict) else item if isinstance(item, list) else []
        waiting += inner
        if isinstance(item, dict) and isinstance(item.get("filename"), str):
            place = FileKey(item["filename"], item.get("subfolder") or "", item.get("type") or "output")
            stage.files.contents[place] = b"shown"
    return Given(shown=shown if isinstance(shown, dict) else None)


# the table

_MODELS = ["fake.safetensors", "conformance-unet.safetensors"]
_CHECKPOINTS = [*_MODELS, "v1-5-pruned-emaonly-fp16.safetensors", "v1-5-pruned-emaonly.safetensors"]
"""The last two are those of ComfyUI's default workflow, now and before."""
_WIDE = {"width": Input("INT", 1, 16384), "height": Input("INT", 1, 16384), "batch_size": Input("INT", 1, 4096)}
_PREFIX = {"filename_prefix": Input("STRING")}
_IMAGES = {"images": Input("IMAGE")}
_IMAGE = {"image": Input("IMAGE")}
_ANY = {"source": Input("*", required=False)}
_MAYBE = {"image": Input("IMAGE", required=False)}
_STEPS = {**_MAYBE, "steps": Input("INT", 0, required=False), "seconds": Input("FLOAT", 0, required=False)}
_EXPANDED = {"count": Input("INT", 1, required=False), "times": Input("INT", 1, required=False), **_STEPS}
_SAMPLING = {
    "model": Input("MODEL"), "positive": Input("CONDITIONING"), "negative": Input("CONDITIONING"),
    "latent_image": Input("LATENT"), "seed": Input("INT", 0), "steps": Input("INT", 1, 10000),
    "cfg": Input("FLOAT", 0, 100), "sampler_name": Input("STRING"), "scheduler": Input("STRING"),
    "denoise": Input("FLOAT", 0, 1),
}  # fmt: skip
_LORA = {
    **_PREFIX, "rank": Input("INT", 1, 4096), "lora_type": Input(["standard", "full_diff"]),
    "bias_diff": Input("BOOLEAN"), "model_diff": Input("MODEL", required=False),
}  # fmt: skip
_BLUR = {**_IMAGE, "blur_radius": Input("INT", 1, 31), "sigma": Input("FLOAT", 0.1, 10)}
_SCALE = {
    **_IMAGE, "upscale_method": Input("STRING"), "width": Input("INT", 0, 16384), "height": Input("INT", 0, 16384),
    "crop": Input(["disabled", "center"]),
}  # fmt: skip
_UNET = {"unet_name": Input(_MODELS), "weight_dtype": Input("STRING")}
_DECODE = {"samples": Input("LATENT"), "vae": Input("VAE")}

CLASSES: dict[str, NodeClass] = {
    "CheckpointLoaderSimple": NodeClass(_load_checkpoint, ("MODEL", "CLIP", "VAE"), {"ckpt_name": Input(_CHECKPOINTS)}),
    "CLIPTextEncode": NodeClass(_pass, ("CONDITIONING",), {"text": Input("STRING"), "clip": Input("CLIP")}),
    "EmptyImage": NodeClass(_empty, ("IMAGE",), {**_WIDE, "color": Input("INT", 0, 0xFFFFFF)}),
    "EmptyLatentImage": NodeClass(_empty, ("LATENT",), _WIDE),
    "ImageBatch": NodeClass(_batch, ("IMAGE",), {"image1": Input("IMAGE"), "image2": Input("IMAGE")}),
    "ImageBlur": NodeClass(_blur, ("IMAGE",), _BLUR),
    "ImageInvert": NodeClass(_pass, ("IMAGE",), _IMAGE),
    "ImageScale": NodeClass(_scale, ("IMAGE",), _SCALE),
    "KSampler": NodeClass(_sample, ("LATENT",), _SAMPLING),
    "LoadImage": NodeClass(_load, ("IMAGE", "MASK"), {"image": Input("FILE")}),
    "LoraSave": NodeClass(_nothing, (), _LORA, is_output=True),
    "LotusConditioning": NodeClass(_pass, ("CONDITIONING",)),
    "PreviewAny": NodeClass(_show_text, (), {"source": Input("*")}, is_output=True),
    "PreviewImage": NodeClass(_save("temp", "ComfyUI_temp_fakes"), (), _IMAGES, is_output=True),
    "Preview3D": NodeClass(_preview_3d, (), {"model_file": Input("STRING")}, is_output=True),
    "SaveImage": NodeClass(_save("output"), (), {**_IMAGES, **_PREFIX}, is_output=True),
    "SaveImageWebsocket": NodeClass(_save_to_socket, (), _IMAGES, is_output=True),
    "SaveLatent": NodeClass(_save_latent, (), {"samples": Input("LATENT"), **_PREFIX}, is_output=True),
    "ShowText|pysssss": NodeClass(_show_string, ("STRING",), {"text": Input("STRING")}, is_output=True),
    "UNETLoader": NodeClass(_pass, ("MODEL",), _UNET),
    "VAEDecode": NodeClass(_decode, ("IMAGE",), _DECODE),
    # for tests
    "FakeAsync": NodeClass(_progress, ("IMAGE",), _STEPS, is_async=True),
    "FakeBigFrame": NodeClass(_big_frame, ("IMAGE",), {"bytes": Input("INT", 0), **_MAYBE}),
    "FakeBlock": NodeClass(_block, ("IMAGE",), {"message": Input("*", required=False), **_MAYBE}),
    "FakeCycle": NodeClass(_cycle, ("IMAGE",), _MAYBE),
    "FakeExpand": NodeClass(_expand, ("IMAGE",), _EXPANDED),
    "FakeFail": NodeClass(_fail, ("IMAGE",), {"message": Input("STRING", required=False), **_STEPS}),
    "FakeIntermediate": NodeClass(_show_and_pass, ("IMAGE",), _MAYBE, is_intermediate=True),
    "FakeNamed": NodeClass(_named, (), {"filename": Input("STRING"), **_MAYBE}, is_output=True),
    "FakeNothing": NodeClass(_nothing, (), _ANY, is_output=True),
    "FakeProgress": NodeClass(_progress, ("IMAGE",), _STEPS),
    "FakeShown": NodeClass(_shown, (), {"shown": Input("*"), **_MAYBE}, is_output=True),
    "FakeSleep": NodeClass(_sleep, ("IMAGE",), {"seconds": Input("FLOAT", 0), **_MAYBE}),
    "FakeText": NodeClass(_show_text, (), {"text": Input("STRING"), **_ANY}, is_output=True),
}

REPLACED = {"FakeRetired": "FakeNothing"}
"""Classes that are not installed, and those that took their place (P48)."""


def info(name: str) -> dict[str, object]:
    """Return a class as `/object_info` describes it."""
    found = CLASSES[name]
    takes = {
        part: {key: one.told for key, one in found.inputs.items() if one.required is (part == "required")}
        for part in ("required", "optional")
    }
    return {"input": takes, "output": list(found.gives), "name": name, "output_node": found.is_output}
