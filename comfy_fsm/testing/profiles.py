"""Profiles of ComfyUI versions: what each does and does not do yet, as in the last table of the protocol."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_type_hints
from urllib.parse import urlsplit

__all__ = [
    "HISTORY_LIMIT",
    "MAX_BODY",
    "NEWEST",
    "PROFILES",
    "Profile",
    "Since",
    "features",
    "headers",
    "profile_of",
    "refuses",
    "system_stats",
]


class Since(NamedTuple):
    """Range of versions: from which on, and until which; a month stands for its first day."""

    version: str
    until: str = "never"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Behaviour of one version. Each boolean is a row of the table; its annotation names the first version."""

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
    states_its_version: Annotated[bool, Since("0.3.11")]
    node_errors_are_an_object: Annotated[bool, Since("0.3.28")]  # of a prompt refused as a whole; before, a list
    sends_text: Annotated[bool, Since("0.3.34")]  # binary 3
    honours_own_ids: Annotated[bool, Since("0.3.45")]  # and `progress_state`, flags, `/features`, binary 4, inner nodes
    hides_keys: Annotated[bool, Since("0.3.45")]  # in the history, not in the queue
    interrupts_by_id: Annotated[bool, Since("0.3.57")]  # before, an interrupt hits whatever runs (P31)
    progress_state_is_private: Annotated[bool, Since("0.3.58")]  # before, everybody hears it
    cycles_succeed: Annotated[bool, Since("0.3.64")]  # that appear in mid-run: to the record, a success (P40)
    hides_keys_in_queue: Annotated[bool, Since("0.3.68")]  # of partner services
    records_what_was_told: Annotated[bool, Since("0.3.68")]  # in this prompt; before, whatever the cache had (P51)
    omits_cached_outputs: Annotated[bool, Since("0.3.68", until="0.28.0")]  # of a prompt without `client_id` (P51)
    reruns_subgraphs: Annotated[bool, Since("0.3.68")]  # nodes of them, in one prompt (P17)
    stamps_create_time: Annotated[bool, Since("0.3.69")]  # into `extra_data` (P44)
    may_forbid_other_sites: Annotated[bool, Since("0.3.72")]  # to its pages, where `api_nodes` are off
    flags_its_manager: Annotated[bool, Since("0.4.0")]  # a flag
    heeds_preview_method: Annotated[bool, Since("0.5.0")]  # of one prompt, in `extra_data`
    has_jobs: Annotated[bool, Since("0.6.0")]  # to be listed and read (P36)
    cancelled_jobs: Annotated[bool, Since("0.9.0")]  # before, an interrupted job is `failed` (P37)
    names_missing_nodes: Annotated[bool, Since("0.12.0")]  # `missing_node_type`; before, `invalid_prompt` (P46)
    counts_texts: Annotated[bool, Since("0.12.0")]  # among the outputs of a job; before, objects alone
    replaces_nodes: Annotated[bool, Since("0.14.0")]  # of classes that are gone, before validation (P48)
    previews_texts: Annotated[bool, Since("0.16.0")]  # in jobs
    has_assets: Annotated[bool, Since("0.17.0")]  # routes, a flag, and where they are on, frames (P53, P54)
    finds_by_hash: Annotated[bool, Since("0.18.0")]  # in `/view`, and uploads tell their asset
    refuses_cross_sites: Annotated[bool, Since("0.19.0")]  # by `Sec-Fetch-Site` (P47)
    shows_intermediates: Annotated[bool, Since("0.19.0")]  # kept back to the end (P50)
    names_cycles: Annotated[bool, Since("0.20.0")]  # of a posted graph, in `node_errors` (P46)
    evicts_under_pressure: Annotated[bool, Since("0.23.0")]  # what the cache has, where memory is short (P49)
    demands_canonical_ids: Annotated[bool, Since("0.25.0")]  # and null is absent; before, it is the id "None" (P45)
    names_assets: Annotated[bool, Since("0.25.0")]  # of outputs, where assets are on (P53)
    passes_usage_source: Annotated[bool, Since("0.25.0")]  # and tells where it is deployed
    cancels_jobs: Annotated[bool, Since("0.26.0")]  # before, 405 (P42, P43)
    forbids_sniffing: Annotated[bool, Since("0.28.0")]  # of what `/view` gives
    tags_model_types: Annotated[bool, Since("0.28.0")]  # a flag
    previews_media_first: Annotated[bool, Since("0.30.0")]  # in jobs
    counts_previewable: Annotated[bool, Since("0.32.0")]  # in jobs
    # what was only read in files newer than 0.33.0, not seen to run: a switch for each
    assets_are_on: Annotated[bool, Since("latest")]  # unless turned off; before, unless turned on (P53)
    reports_activity: Annotated[bool, Since("latest")]  # of nodes, in `progress_state` (P56)
    shows_waiting_workflows: Annotated[bool, Since("latest")]  # in the job of a prompt that waits or runs (P57)
    names_preview_assets: Annotated[bool, Since("latest")]  # of outputs, where assets are on (P53)
    refuses_known_ids: Annotated[bool, Since("never")]  # 409; in a branch alone (P58)
    # how it was started
    api_nodes: bool = True


_ROWS: dict[str, Since] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Profile, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
_LATEST = "0.38.1"  # what the newest files that were read say of themselves
_UNNUMBERED = ("latest", "never")
HISTORY_LIMIT = 10_000
MAX_BODY = 100 * 1024 * 1024


def profile_of(version: str) -> Profile:
    """Return the profile of a version, recorded or not: `0.3.58`, `2024-06-30`, `latest`."""
    age = _age(version)
    rows = {name: _age(row.version) <= age < _age(row.until) for name, row in _ROWS.items()}
    return Profile(version=version, **rows)


def _age(version: str) -> tuple[int, ...]:
    """Return a sort key: dates come before all numbers, and unreleased versions after."""
    if version in _UNNUMBERED:
        return (2, _UNNUMBERED.index(version))
    if re.fullmatch(r"\d{4}-\d\d(-\d\d)?", str(version)):  # a marker of a test may say anything
        return (0, *map(int, version.split("-")))
    if re.fullmatch(r"\d+\.\d+\.\d+", str(version)):
        return (1, *map(int, version.split(".")))
    raise ValueError(
        f"{version!r} is no version of ComfyUI, so nothing is known of it; "
        "write '0.3.64', a day such as '2024-08-17', or 'latest'"
    )


NEWEST = "0.3.64"  # before the jobs: what a fake is if nothing else is said
PROFILES: dict[str, Profile] = {
    version: profile_of(version)
    for version in (
        "2023-10-14", "2024-01", "2024-08-17", "0.3.10", "0.3.44", "0.3.50", "0.3.57", NEWEST,
        "0.6.0", "0.8.2", "0.9.0", "0.18.1", "0.24.0", "0.26.0", "0.33.0", "latest",
    )
}  # fmt: skip


def _is_foreign(origin: str, host: str) -> bool:
    """Return whether a browser asks from a page of another site (P35); ports are compared only if both are known."""
    page, own = urlsplit(origin), urlsplit(f"//{host}")
    ports = {page.port, own.port}
    return bool(page.netloc) and (page.hostname != own.hostname or (None not in ports and len(ports) > 1))


def refuses(profile: Profile, headers: Mapping[str, str], host: str) -> bool:
    """Return whether the server refuses a browser that asks for another site (P35, P47); other clients send no
    origin.
    """
    crosses = profile.refuses_cross_sites and headers.get("Sec-Fetch-Site") == "cross-site"
    return crosses or (profile.refuses_origins and _is_foreign(headers.get("Origin", ""), host))


def headers(profile: Profile, path: str) -> dict[str, str]:
    """Return the headers of an answer: without API nodes, pages load nothing from elsewhere."""
    is_closed = profile.may_forbid_other_sites and not profile.api_nodes
    policy = {"Content-Security-Policy": "default-src 'self'"} if is_closed else {}
    is_view = profile.forbids_sniffing and path.removeprefix("/api") == "/view"
    return policy | ({"X-Content-Type-Options": "nosniff"} if is_view else {})


def system_stats(profile: Profile) -> dict[str, object]:
    """Return what a server of this version reports about itself."""
    number = _LATEST if profile.version == "latest" else profile.version
    version = {"comfyui_version": number} if profile.states_its_version else {}
    deployed = {"deploy_environment": "local-git"} if profile.passes_usage_source else {}
    device = {"name": "fake", "type": "cpu", "index": None, "vram_total": 1 << 33, "vram_free": 1 << 33}
    about = {"os": os.name, "python_version": sys.version, "pytorch_version": "none", "argv": []}
    system = {**about, **version, **deployed}
    return {"system": system, "devices": [device]}


def features(profile: Profile) -> dict[str, object]:
    """Return the features that it announces, over HTTP and in reply to a first frame (P7); jobs are not among them
    (P43).
    """
    flags: dict[str, object] = {"supports_preview_metadata": True, "max_upload_size": MAX_BODY}
    if profile.replaces_nodes:
        flags["node_replacements"] = True
    if profile.flags_its_manager:
        flags["extension"] = {"manager": {"supports_v4": True}}
    if profile.has_assets:
        flags["assets"] = profile.assets_are_on
    if profile.tags_model_types:
        flags["supports_model_type_tags"] = True
    return flags
