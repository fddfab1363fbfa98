"""MIME types of what ComfyUI produces, by file name: one table, independent of the operating system."""

from __future__ import annotations

__all__ = ["type_in", "type_of"]

_UNKNOWN = "application/octet-stream"
_TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "avif": "image/avif", "bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff", "svg": "image/svg+xml",
    "exr": "image/x-exr", "hdr": "image/vnd.radiance",
    "mp4": "video/mp4", "m4v": "video/mp4", "webm": "video/webm", "mkv": "video/x-matroska", "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "flac": "audio/flac", "mp3": "audio/mpeg", "wav": "audio/wav", "ogg": "audio/ogg", "opus": "audio/ogg",
    "m4a": "audio/mp4", "aac": "audio/aac",
    "glb": "model/gltf-binary", "gltf": "model/gltf+json", "obj": "model/obj", "stl": "model/stl",
    "txt": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json",
    "zip": "application/zip",
}  # fmt: skip
_STARTS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def type_of(filename: str) -> str:
    """Return the MIME type that the name stands for."""
    return _TYPES.get(filename.rpartition(".")[2].lower(), _UNKNOWN)


def type_in(image: bytes) -> str:
    """Return the MIME type of an image, by its first bytes."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _STARTS.items() if image.startswith(start)), _UNKNOWN)
