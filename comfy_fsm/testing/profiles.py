"""What a ComfyUI of a version does, and does not do yet: the last table of the protocol, a line for each row."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_type_hints
from urllib.parse import urlsplit


class Since(NamedTuple):
    """From which version on it is so, and until which; a month stands for its first day."""

    version: str
    until: str = "never"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One version. Each boolean is a row of the table, and its annotation says when that came."""

    version: str
    history_is_limited: Annotated[bool, Since("2023-11")]  # to 10,000 entries (P27)
    progress_names_its_prompt: Annotated[bool, Since("2024-01")]  # and its node
    history_has_status: Annotated[bool, Since("2024-01")]  # before, an entry says that it ended and not how
    unknown_class_is_400: Annotated[bool, Since("2024-05")]  # before, it is 500
    api_prefix: Annotated[bool, Since("2024-06")]  # `/api/…` beside every route
    states_success: Annotated[bool, Since("2024-07-21")]  # `execution_success`, and timestamps
    expands: Annotated[bool, Since("2024-08-15")]  # and `display_node`, blocked errors, cached outputs told, `meta`
    writes_success_for_all: Annotated[bool, Since("2024-08-15", until="2024-08-22")]  # into the history (P24)
    refuses_origins: Annotated[bool, Since("2024-09")]  # P35
    tells_its_version: Annotated[bool, Since("0.3.11")]
    node_errors_are_an_object: Annotated[bool, Since("0.3.28")]  # of a prompt refused as a whole; before, a list
    sends_text: Annotated[bool, Since("0.3.34")]  # binary 3
    honours_own_ids: Annotated[bool, Since("0.3.45")]  # and `progress_state`, flags, `/features`, binary 4, inner nodes
    hides_keys: Annotated[bool, Since("0.3.45")]  # in the history, not in the queue
    interrupts_by_id: Annotated[bool, Since("0.3.57")]  # before, an interrupt hits whatever runs (P31)
    progress_state_is_private: Annotated[bool, Since("0.3.58")]  # before, everybody hears it
    has_jobs: Annotated[bool, Since("jobs")]  # and demands canonical ids (P32)


_ROWS: dict[str, Since] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Profile, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
HISTORY_LIMIT = 10_000


def profile_of(version: str) -> Profile:
    """What a server of this version does, whether or not it was recorded: `0.3.58`, `2024-06-30`, `jobs`."""
    age = _age(version)
    rows = {name: _age(row.version) <= age < _age(row.until) for name, row in _ROWS.items()}
    return Profile(version=version, **rows)


def _age(version: str) -> tuple[int, ...]:
    """To compare by: dates came before all numbers, and the jobs after."""
    if version in ("jobs", "never"):
        return (2, ("jobs", "never").index(version))
    if re.fullmatch(r"\d{4}-\d\d(-\d\d)?", version):
        return (0, *map(int, version.split("-")))
    if re.fullmatch(r"\d+\.\d+\.\d+", version):
        return (1, *map(int, version.split(".")))
    raise ValueError(
        f"{version!r} is no version of ComfyUI, so nothing is known of it; "
        "write '0.3.64', a day such as '2024-08-17', or 'jobs'"
    )


NEWEST = "0.3.64"  # of those that were recorded
PROFILES: dict[str, Profile] = {
    version: profile_of(version)
    for version in (
        "2023-10-14", "2024-01", "2024-08-17", "0.3.10", "0.3.44", "0.3.50", "0.3.57", NEWEST, "jobs",
    )
}  # fmt: skip


def is_foreign(origin: str, host: str) -> bool:
    """Whether a browser asks from a page of elsewhere (P35); a port that one of them does not tell is not compared."""
    page, own = urlsplit(origin), urlsplit(f"//{host}")
    ports = {page.port, own.port}
    return bool(page.netloc) and (page.hostname != own.hostname or (None not in ports and len(ports) > 1))


def system_stats(profile: Profile) -> dict[str, object]:
    """What a server of this version says of itself."""
    version = {"comfyui_version": profile.version} if profile.tells_its_version else {}
    device = {"name": "fake", "type": "cpu", "index": None, "vram_total": 1 << 33, "vram_free": 1 << 33}
    system = {"os": os.name, **version, "python_version": sys.version, "pytorch_version": "none", "argv": []}
    return {"system": system, "devices": [device]}
