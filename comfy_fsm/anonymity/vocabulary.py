"""Vocabulary: the words that an anonymised trace keeps, because the protocol, ComfyUI or this project made them.

It lists what is kept, not what is taken out: a word that nobody thought of is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.policy import IN_HEADER
from comfy_fsm.core.wire import bodies, histories, queues, refusals, routes

__all__ = ["NUMERIC", "SENTENCES", "WORDS", "is_known"]

_COUNTS = """
    at seq conn mono version status code event bytes size number timestamp value max queue_remaining priority
    retry_after max_upload_size outputs_count create_time created_at updated_at execution_start_time
    execution_end_time execution_duration total limit offset
"""
NUMERIC = frozenset(IN_HEADER) | frozenset(_COUNTS.split())
"""Keys of numbers that the protocol defines: these numbers are kept, however large."""

_OF_MESSAGES = """
    status sid exec_info feature_flags supports_preview_metadata supports_progress_text_metadata execution_start
    execution_cached executing executed progress progress_state execution_success execution_error
    execution_interrupted data type node node_id node_type display_node display_node_id parent_node_id real_node_id
    nodes output state running finished pending error text progress_text logs notification assets message completed
    prompt prompt_id client_id clientId extra_data extra_pnginfo workflow number front partial_execution_targets
    inputs class_type _meta title is_changed queue_running queue_pending delete clear node_errors errors details
    extra_info input_name input_config received_value dependent_outputs exception_type exception_message traceback
    current_inputs current_outputs outputs status_str messages success job jobs job_ids pagination has_more
    execution_status preview_output preview_id nodeId mediaType workflow_id cancelled api system devices
    comfyui_version python_version pytorch_version os exec_info images gifs audio video animated texts files 3d
    filename file_name fileName name subfolder folder format image_type metadata digest temp input output id kind
    window server redacted truncated reason location withheld tag graph to before after path method body scenario
    recorder fail exists user_id hash channel overwrite mask image upload view true false null none mesh camera_info
    queued_at source display label unknown result results history records response
"""
_OF_ERRORS = """
    ConnectError ConnectTimeout ConnectionRefusedError ConnectionResetError ConnectionError ConnectionRefused
    ClientConnectorError ClientConnector ClientOSError ServerDisconnectedError ServerTimeoutError ECONNREFUSED
    ReadTimeout ReadError WriteTimeout WriteError PoolTimeout CloseError ProtocolError RemoteProtocolError
    LocalProtocolError DecodingError TooManyRedirects TimeoutError TimeoutException CancelledError ExecutionBlocked
    Exception RuntimeError ValueError TypeError KeyError IndexError AttributeError AssertionError ImportError
    ModuleNotFoundError NameError NotImplementedError OSError IOError FileNotFoundError PermissionError MemoryError
    OverflowError RecursionError UnicodeDecodeError UnicodeEncodeError ZeroDivisionError InterruptedError
    InterruptProcessingException OutOfMemoryError torch.OutOfMemoryError torch.cuda.OutOfMemoryError
    prompt_no_outputs prompt_outputs_failed_validation no_prompt invalid_prompt missing_node_type
    required_input_missing bad_linked_input return_type_mismatch invalid_input_type value_smaller_than_min
    value_bigger_than_max value_not_in_list custom_validation_failed exception_during_validation
    exception_during_inner_validation dependency_cycle invalid_image_file
"""
_OF_CORE_NODES = """
    KSampler KSamplerAdvanced SamplerCustom SamplerCustomAdvanced CheckpointLoaderSimple UNETLoader CLIPLoader
    DualCLIPLoader VAELoader LoraLoader LoraLoaderModelOnly ControlNetLoader ControlNetApply ControlNetApplyAdvanced
    CLIPTextEncode CLIPSetLastLayer ConditioningCombine EmptyLatentImage EmptySD3LatentImage EmptyImage VAEDecode
    VAEEncode VAEDecodeTiled LatentUpscale LatentUpscaleBy ImageScale ImageScaleBy ImageBlur ImageInvert ImageBatch
    LoadImage LoadImageMask LoadAudio LoadVideo SaveImage SaveImageWebsocket PreviewImage PreviewAny SaveAudio
    SaveVideo SaveAnimatedWEBP SaveAnimatedPNG CreateVideo PreviewAudio Preview3D SaveGLB UpscaleModelLoader
    ImageUpscaleWithModel RandomNoise KSamplerSelect BasicScheduler BasicGuider CFGGuider FluxGuidance SaveLatent
    LoadLatent RepeatLatentBatch LatentFromBatch ImageCrop SolidMask MaskToImage ImageToMask PrimitiveNode Reroute Note
    width height batch_size color samples samples_to seed noise_seed steps cfg sampler_name scheduler denoise
    positive negative model clip vae latent_image text ckpt_name lora_name vae_name unet_name strength_model
    strength_clip filename_prefix image pixels mask audio video fps lossless quality upscale_method crop
"""
_METHODS = "GET POST PUT PATCH DELETE HEAD OPTIONS application/json image/png image/jpeg JPEG PNG WEBP"
SENTENCES = frozenset({
    "Prompt outputs failed validation", "Prompt has no outputs", "No prompt provided", "Required input is missing",
    "Value not in list", "Value smaller than min", "Value bigger than max", "Bad linked input, must be a length-2 list",
    "Return type mismatch between linked nodes", "Failed to convert an input value to a", "Exception when validating",
    "Exception when validating inner node", "Custom validation failed for node", "Job not found", "Job not found.",
    "Allocation on device", "Processing interrupted", "Invalid image file",
})  # fmt: skip
"""Texts of ComfyUI's own that are kept where nothing else stands beside them."""
_STATUS = re.compile(r"[\w -]{1,80}", re.ASCII)


def _declared() -> Iterator[str]:
    """Yield the words that our own tables declare."""
    for kind in (*get_args(seen.KnownObservation), *get_args(seen.KnownFrame)):
        yield str(kind.__struct_config__.tag)
    for module in (seen, bodies, refusals, queues, histories):
        for declared in vars(module).values():
            if isinstance(declared, type) and issubclass(declared, Struct):
                yield from declared.__struct_encode_fields__
    for route in routes.ROUTES:
        yield from (part for part in route.path.split("/") if part and not part.startswith("{"))
    yield from get_args(seen.CommandName)
    yield from (str(word) for kind in (State, Signal, Code) for word in kind)
    yield from (*bodies.ENDED, *bodies.LISTED, bodies.MARK)
    yield from (*refusals.MESSAGES, *refusals.OF_WRAPPERS, *refusals.TYPES)


_WRITTEN = " ".join((_OF_MESSAGES, _OF_ERRORS, _OF_CORE_NODES, _METHODS))
WORDS = frozenset(NUMERIC) | frozenset(_declared()) | frozenset(_WRITTEN.split())


def is_known(word: str) -> bool:
    """Return whether this is a word of the protocol, in any spelling of a status."""
    if word in WORDS or word in SENTENCES:
        return True
    if not _STATUS.fullmatch(word):
        return False
    status = bodies.word(word)
    return status in bodies.ENDED or status in bodies.LISTED
