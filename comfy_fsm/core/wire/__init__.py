"""Reads and writes ComfyUI's JSON: frames, bodies, routes. No state, no time."""
