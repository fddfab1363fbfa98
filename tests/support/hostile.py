"""Names that a server may choose to disturb who reads them."""

from __future__ import annotations

HOSTILE = {
    "escapes": "\x1b[31mred\x1b[2J\x1b]0;title\x07\x9b1m",
    "a link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "right to left": "abc\u202egnp.exe\u2066\u200f",
    "markup": "[bold red]x[/] [link=http://evil.example]y[/link] :smile:",
    "wide": "漢字" * 40,
    "piled up": "e" + "\u0301" * 60,
    "long": "n" * 10_000,
    "lines": "a\nb\r\nc\x0bd\u2028e\x85f",
    "nothing": "",
    "blanks": " \t\u00a0\u3000",
    "surrogates": "\ud800\udfff",
    "nul": "\x00\x7f",
}
