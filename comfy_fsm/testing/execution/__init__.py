"""Runs posted graphs as a ComfyUI does: judged, queued, executed node by node."""
