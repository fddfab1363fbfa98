"""The second driver: the same fold over a recorded trace or log, to explain an incident."""

from comfy_fsm.report.player import Replay, replay

__all__ = ["Replay", "replay"]
