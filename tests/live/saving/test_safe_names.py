"""Tests of file names: whatever a server calls a file, its name is safe, and stays in its folder."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.saving.safe_names import MAX_NAME, as_named, numbered, safe_folders, safe_name, same

NAMES = st.text() | st.text(alphabet='./\\:*?"<>| \0\u202econa1', max_size=40)


@given(NAMES)
def test_any_name_becomes_one_that_every_file_system_takes(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= MAX_NAME
    assert not set(safe) & set('/\\:*?"<>|\0')
    assert not safe.startswith((".", " "))
    assert not safe.endswith((".", " "))
    assert not [letter for letter in safe if unicodedata.category(letter) in ("Cc", "Cs")]
    assert safe_name(safe) == safe


@pytest.mark.parametrize("name", ["a.png", "Häuser bei Nacht.png", "図.webp", "a (2).jpeg", "👩‍🚀.png"])
def test_a_harmless_name_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["con", "NUL.png", "com1.txt", "lpt¹"])
def test_the_name_of_a_device_is_no_name_of_a_file(name: str) -> None:
    assert safe_name(name) == f"_{name}"


@given(st.lists(NAMES, max_size=30).map("/".join))
def test_folders_lead_neither_up_nor_out(subfolder: str) -> None:
    folders = safe_folders(subfolder)
    assert len(folders) <= 16
    assert not {"", ".", ".."} & set(folders)
    assert all("/" not in folder and len(folder.encode()) <= MAX_NAME for folder in folders)


@given(NAMES.map(safe_name), st.integers(2, 10**6))
def test_a_number_tells_names_apart_and_keeps_the_extension(name: str, number: int) -> None:
    other = numbered(name, number)
    assert (numbered(name, 1), other != name) == (name, True)
    assert len(other.encode()) <= MAX_NAME
    assert numbered("a.png", number) == f"a-{number}.png"


@given(st.text())
def test_names_that_a_file_system_may_take_for_one_have_one_key(name: str) -> None:
    assert same(name) == same(unicodedata.normalize("NFD", name)) == same(unicodedata.normalize("NFC", name))
    assert same("Ä.PNG") == same("ä.png")


def test_a_path_that_a_server_names_has_one_spelling() -> None:
    assert {as_named("a\\b", "c.png"), as_named("a//b", "c.png"), as_named("./a/./b", "c.png")} == {"a/b/c.png"}
