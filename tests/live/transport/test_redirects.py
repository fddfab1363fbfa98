"""Tests of where redirects may lead: to http and https, a few times, never with credentials of our server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.transport.redirects import MAX_HOPS, STATUSES, Hop, Misled, Trail, shown_location

SERVER = "https://comfy.example:8443/prefix"
PATH = "/view?filename=a.png"

LED = {  # a Location, and where it leads; None: nowhere
    "/blob/x?sig=1": Hop("https://comfy.example:8443/blob/x?sig=1", True),
    "blob": Hop("https://comfy.example:8443/prefix/blob", True),
    "//comfy.example:8443/x": Hop("https://comfy.example:8443/x", True),
    "HTTPS://COMFY.example:8443/x": Hop("https://COMFY.example:8443/x", True),
    "https://user:pw@comfy.example:8443/x#part": Hop("https://comfy.example:8443/x", True),
    "https://comfy.example/x": Hop("https://comfy.example/x", False),  # another port
    "http://comfy.example:8443/x": Hop("http://comfy.example:8443/x", False),  # another scheme: no longer private
    "https://store.example/x?X-Amz-Signature=abc": Hop("https://store.example/x?X-Amz-Signature=abc", False),
    "https://comfy.example:8443@evil.example/x": Hop("https://evil.example/x", False),
    "https://comfy.example.evil.example:8443/": Hop("https://comfy.example.evil.example:8443/", False),
    "": None, "ftp://comfy.example/x": None, "file:///etc/passwd": None, "javascript:alert(1)": None,
    "data:image/png;base64,AA": None, "http://": None, "https://[::1": None, "http://h:99999/": None,
    "gopher://h/": None,
}  # fmt: skip


@pytest.mark.parametrize(("location", "hop"), LED.items())
@pytest.mark.parametrize("status", sorted(STATUSES))
def test_a_redirect_leads_where_a_file_may_be_and_says_whether_that_is_ours(
    status: int, location: str, hop: Hop | None
) -> None:
    trail = Trail(SERVER, PATH)
    if hop is None:
        with pytest.raises(Misled) as caught:
            trail.follow(status, location)
        assert "redirect" in str(caught.value)
    else:
        assert trail.follow(status, location) == hop
        assert trail.follow(200, "") is None
        assert shown_location(hop.url) in trail.led_to


@pytest.mark.parametrize("status", [200, 206, 300, 304, 305, 400, 404, 500])
def test_no_other_status_leads_anywhere(status: int) -> None:
    trail = Trail(SERVER, PATH)
    assert trail.follow(status, "https://store.example/x") is None
    assert trail.led_to == ""


def test_it_ends_after_some_hops_and_says_where() -> None:
    trail = Trail(SERVER, PATH)
    for number in range(MAX_HOPS):
        assert trail.follow(302, f"https://store.example/{number}?secret=1") is not None
    with pytest.raises(Misled, match=r"more than 5 redirects, the last to https://store\.example/again\?…$"):
        trail.follow(302, "/again?secret=2")


@given(location=st.text() | st.from_regex(r"(https?|ftp)?://[a-z.:@/?#\[\]\x00 ]*", fullmatch=True))
def test_whatever_it_says_it_leads_to_http_or_is_told_without_what_is_signed(location: str) -> None:
    trail = Trail(SERVER, PATH)
    try:
        hop = trail.follow(302, location)
    except Misled as misled:
        refusal = str(misled)
    else:
        assert hop is not None
        assert hop.url.startswith(("http://", "https://"))
        assert "@" not in hop.url.partition("://")[2].partition("/")[0]
        return
    assert refusal.isprintable()


@given(secret=st.text("abcdef0123456789", min_size=8, max_size=20), place=st.sampled_from("?#@"))
def test_an_address_is_shown_without_login_query_and_fragment(secret: str, place: str) -> None:
    url = f"https://{secret}@h/x" if place == "@" else f"https://h/x{place}sig={secret}"
    assert secret not in shown_location(url)
    assert shown_location(url).replace("…@", "").startswith("https://h/x")


@pytest.mark.parametrize(
    ("location", "shown"),
    [("https://a/b?c=d#e", "https://a/b?…"), ("https://u:p@a/b", "https://…@a/b"), ("//u@a/b", "//…@a/b"),
     ("/login", "/login"), ("", "no address at all"), ("https://a/\n?x\ny", "https://a/?…"),
     (" https://u:p@a/b", "https://…@a/b"), ("http:////u:p@a", "http:////…@a"), ("https://u:p?q@a", "https://…@a")],
)  # fmt: skip
def test_of_a_redirect_the_place_is_shown_and_no_secret_in_it(location: str, shown: str) -> None:
    assert shown_location(location) == shown
