"""The front doors: what a package exports is sorted, there, and all of it."""

import types

import pytest

import comfy_fsm
import replay


@pytest.mark.parametrize("package", [comfy_fsm, replay], ids=lambda package: package.__name__)
def test_all_is_sorted_whole_and_importable(package: types.ModuleType) -> None:
    found = {name: getattr(package, name) for name in {*package.__all__, *vars(package)}}
    public = [name for name, value in found.items() if name[0] != "_" and not isinstance(value, types.ModuleType)]
    assert sorted(public) == [name for name in package.__all__ if name[0] != "_"]
    assert sorted(set(package.__all__)) == package.__all__
