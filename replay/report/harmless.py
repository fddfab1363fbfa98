"""The one function that everything from a trace passes before a person sees it."""

from __future__ import annotations

LONGEST = 300


def harmless(text: object, longest: int = LONGEST) -> str:
    """The text on one line, with control, escape, bidirectional and other invisible characters spelled out."""
    shown = str(text)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    if shown.isprintable():
        return shown
    return "".join(letter if letter.isprintable() else _spell(letter) for letter in shown)


def _spell(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
