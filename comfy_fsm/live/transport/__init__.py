"""Speaks HTTP and WebSocket to one ComfyUI; nothing is logged or decided here."""
