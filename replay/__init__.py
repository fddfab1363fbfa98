"""Replays a recorded trace or log with the same fold, to explain an incident."""

from comfy_fsm.report.player import Replay, replay

__all__ = ["Replay", "replay"]
