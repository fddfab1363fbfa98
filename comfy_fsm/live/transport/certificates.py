"""Certificates to trust, in the form that a connection takes them."""

from __future__ import annotations

import os
import ssl
from functools import cache

from comfy_fsm.errors import ClientError

__all__ = ["context_of", "trusted"]


@cache
def trusted() -> ssl.SSLContext:
    """Return the certificates that this machine trusts, for HTTP and sockets; built once, since it takes a while."""
    return ssl.create_default_context()


def _trusting(ca: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return those, and the certificates in this file (PEM), as for a server of one's own. Raises ClientError,
    OSError.
    """
    context = ssl.create_default_context()
    with open(ca, "rb") as file:
        file.read(1)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ClientError(
            f"{os.fspath(ca)} holds no certificate in PEM form ({error.reason or error}), so nothing was opened; give "
            "the certificate of the server, or of who signed it"
        ) from None
    return context


def context_of(ca: str | os.PathLike[str] | None, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return whichever of the two was given; raises ClientError for both, OSError if there is no such file."""
    if ca is not None and given is not None:
        raise ClientError("both ca and an ssl_context were given, so no client was opened; load the file into one")
    return _trusting(ca) if ca is not None else given
