"""Write a useless diffusion model of 2.7 MB, with which a server without a GPU has steps and previews to report.

ComfyUI tells an architecture by the shapes of its weights, and leaves a weight that is missing as it finds the memory.
So these few tensors, all zero, are a UNet of one level to it, which computes noise in milliseconds.

    python tests/conformance/tiny_model.py COMFYUI/models/diffusion_models
"""

import json
import math
import struct
import sys
from pathlib import Path

NAME = "conformance-unet.safetensors"

# The least that is taken for Stable Diffusion 2: 320 channels, and a context of 1024, as LotusConditioning gives it.
SHAPES = {
    "input_blocks.0.0.weight": [320, 4, 3, 3],
    "input_blocks.1.0.in_layers.0.weight": [320],
    "input_blocks.1.0.out_layers.3.weight": [320, 320, 3, 3],
    "input_blocks.1.1.proj_in.weight": [320, 320],
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 1024],
    "output_blocks.0.0.in_layers.0.weight": [640],
    "output_blocks.1.0.in_layers.0.weight": [640],
    "out.2.weight": [4, 320, 3, 3],
}


def safetensors() -> bytes:
    """The length of a JSON header, the header, and the bytes of all tensors one after another."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in SHAPES.items():
        start, end = end, end + 2 * math.prod(shape)  # two bytes for each number of F16
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    told = json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + bytes(end)


if __name__ == "__main__":
    Path(sys.argv[1], NAME).write_bytes(safetensors())
