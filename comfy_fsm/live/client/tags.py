"""Tags: JSON values of the application, logged with their tasks, and returned with them after a restart."""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

import msgspec
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.scheduling.backlog import MAX_TAG
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import BadTag
from comfy_fsm.live.engine.ingest import Ingest

__all__ = ["NO_TAG", "Tag", "checked", "tagged"]

_logger = logging.getLogger(__name__)


class Tag(NamedTuple):
    """Tag as it was given, and as it is logged, without what must not be recorded."""

    value: object
    full: Raw
    kept: Raw

    @property
    def of_job(self) -> Tag:
        """Tag for a waiting job, which is logged with the job and not with each POST."""
        return NO_TAG._replace(value=self.value)


NO_TAG = Tag(None, Raw(b"null"), Raw(b"null"))


def checked(tag: object, ingest: Ingest) -> Tag:
    """Return the tag; raises BadTag if it would not come back from the log as it was given."""
    if tag is None:
        return NO_TAG
    try:
        raw = json.dumps(tag).encode()
        value = codec.loads(raw)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadTag(f"a tag is a JSON value, and this one is none ({error}); nothing was sent") from None
    if len(raw) > MAX_TAG:
        raise BadTag(
            f"this tag has {len(raw):,} bytes as JSON, and {MAX_TAG:,} are what it may have, so nothing was sent; keep "
            "what is long yourself, and give the key of it as the tag"
        )
    if value != _listed(tag):
        raise BadTag(
            "this tag would come back from JSON as another value, so nothing was sent; give keys as texts, and no NaN "
            "or lone surrogates"
        )
    shown = ingest.shown(value)
    if shown != value:
        _logger.warning(
            "a secret, or what stands in an address like one, is in a tag: the log has %r instead, and so has the task "
            "after a restart", shown
        )  # fmt: skip
    return Tag(value, Raw(raw), Raw(raw if shown == value else json.dumps(shown).encode()))


def tagged(command: seen.Command, tag: Tag) -> tuple[seen.Command, seen.Command]:
    """Return the command with its tag, as it is folded and as it is logged."""
    if tag.kept == tag.full:
        whole = _with(command, tag.full, False)
        return whole, whole
    return _with(command, tag.full, command.redacted), _with(command, tag.kept, True)


def _with(command: seen.Command, tag: Raw, redacted: bool) -> seen.Command:
    data = msgspec.structs.replace(command.data, tag=tag)
    return msgspec.structs.replace(command, data=data, redacted=redacted or command.redacted)


def _listed(value: object) -> object:
    """Replace tuples by lists, since JSON has none."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value
