"""Passes on what any client and its ComfyUI tell each other, as it came, and records it in a log."""
