"""Readers of what other tools recorded: browsers, scripts, ComfyUI itself. Each makes a trace of it."""
