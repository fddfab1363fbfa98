"""Tests of a capture that is read in pieces: all of it comes, in order, and where it breaks off is known."""

from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.captures.capture import Pieces

BLOCKS = st.lists(st.binary(min_size=1, max_size=20), max_size=8)


@given(BLOCKS, st.lists(st.integers(1, 30), min_size=1))
def test_pieces_of_any_size_are_the_whole(blocks: list[bytes], sizes: list[int]) -> None:
    pieces, read = Pieces(blocks), b""
    while part := pieces.read(sizes[len(read) % len(sizes)]):
        read += part
    assert read == b"".join(blocks).removeprefix(b"\xef\xbb\xbf") or blocks[0].startswith(b"\xef")
    assert pieces.damage is None


@given(BLOCKS, st.text(min_size=1, max_size=10))
def test_where_it_breaks_off_nothing_more_comes_and_why_is_known(blocks: list[bytes], why: str) -> None:
    pieces = Pieces([*blocks, why, b"what is behind it"])
    while pieces.read(7):
        pass
    assert (pieces.damage, pieces.read(7)) == (why, b"")


def test_a_mark_of_byte_order_is_no_part_of_it() -> None:
    assert Pieces([b"\xef\xbb\xbf{", b"}"]).read() == b"{"
