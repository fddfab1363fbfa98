"""Reasons why a server opens no socket, in words: cause, consequence and remedy, and whether retrying can help."""

from __future__ import annotations

from comfy_fsm.errors import MAX_TOLD, ClientError, HandshakeRefused, ServerUnreachable
from comfy_fsm.live.transport.arrivals import Refused
from comfy_fsm.live.transport.redirects import shown_location

__all__ = ["TRIES", "error_of", "for_good", "is_nobody", "sockets_alone"]

TRIES = 3
"""How often a connection that nobody takes is tried before that is told: a server that starts may take a moment."""
_NOBODY = frozenset({"ConnectError", "gaierror"})
_UNTOLD = "so nothing was submitted"


def for_good(refused: Refused) -> bool:
    """Return whether the next handshake will be refused as well: by a gateway, a login, a certificate."""
    return not refused.passing


def is_nobody(refused: Refused) -> bool:
    """Return whether nobody accepts the connection: no port, no host."""
    return refused.reason in _NOBODY


def sockets_alone(refused: Refused | None) -> bool:
    """Return whether it may be sockets alone that fail: somebody answered, or nothing came of it."""
    return refused is None or not (is_nobody(refused) or refused.reason == "SSLCertVerificationError")


def error_of(url: str, refused: Refused | None, patience: float) -> ClientError:
    """Return the error for a socket that could not be opened within this many seconds, or never can."""
    if refused is None:
        return _unreachable(url, f"no socket could be opened in {patience:g} s (no answer)")
    status = refused.status
    if 300 <= status < 400:
        return _redirected(url, refused)
    if status in (401, 403):
        return HandshakeRefused(
            f"{url}: refused the socket with {status}, {_UNTOLD}; "
            "give the headers or the token that this server wants; trying again without them is useless",
            url,
            status,
        )
    if status and for_good(refused):
        return HandshakeRefused(
            f"{url}: refused the socket with HTTP {status}, and what answers there is no ComfyUI that can do without, "
            f"{_UNTOLD}; check the address and its path; trying again before that is useless",
            url,
            status,
        )
    if status:
        return _unreachable(url, f"no socket could be opened in {patience:g} s (HTTP {status})")
    return _unanswered(url, refused, patience)


def _unanswered(url: str, refused: Refused, patience: float) -> ServerUnreachable:
    detail = f": {refused.detail[:MAX_TOLD]}" if refused.detail else ""
    match refused.reason:
        case "ConnectError":
            cure = "start ComfyUI there, or check host and port; trying again is safe"
            return _unreachable(url, "nothing listens there (connection refused)", cure)
        case "gaierror":
            return _unreachable(url, f"the name of the host is not known{detail}", "check how it is spelled")
        case "SSLCertVerificationError" if "ostname mismatch" in refused.detail:
            return _unreachable(url, f"its certificate is for another name{detail}", "give the name that it is for")
        case "SSLCertVerificationError":
            cure = (
                "if it is your own, give a file with the certificate or its CA: --ca FILE of the command, ca=FILE of "
                "the client, or SSL_CERT_FILE=FILE in the environment; trying again without that is useless"
            )
            return _unreachable(url, f"its certificate is not trusted{detail}", cure)
        case "SSLError" if "WRONG_VERSION_NUMBER" in refused.detail:
            return _unreachable(url, "the server does not speak TLS", "write http:// instead of https://")
    if for_good(refused):
        cure = "check the address, and what stands before ComfyUI there; trying again before that is useless"
        return _unreachable(url, f"what answers there opens no socket ({refused.reason}{detail})", cure)
    return _unreachable(url, f"no socket could be opened in {patience:g} s ({refused.reason}{detail})")


def _redirected(url: str, refused: Refused) -> ServerUnreachable:
    place = shown_location(refused.location)
    return _unreachable(
        url,
        f"every request is redirected to {place} (HTTP {refused.status})",
        "give that address if ComfyUI is there; if it is a login, give the token or the header that it wants; "
        "trying again without that is useless",
    )


def _unreachable(
    url: str, why: str, cure: str = "check address and port, and that ComfyUI runs there; trying again is safe"
) -> ServerUnreachable:
    return ServerUnreachable(f"{url}: {why}, {_UNTOLD}; {cure}", url)
