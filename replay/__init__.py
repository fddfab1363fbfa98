"""Replays a recorded trace or log with the same fold, to explain an incident.

Both names are loaded when they are first asked for: a help page needs no fold.
"""

import typing

if typing.TYPE_CHECKING:
    from comfy_fsm.report.player import Replay, replay

__all__ = ["Replay", "replay"]

if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name that is not here yet (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from comfy_fsm.report import player

        return getattr(player, name)
