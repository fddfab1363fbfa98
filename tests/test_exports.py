"""The front doors: what a package exports is sorted, there, and all of it."""

import types

import pytest

import comfy_fsm
import replay


@pytest.mark.parametrize("package", [comfy_fsm, replay], ids=lambda package: package.__name__)
def test_all_is_sorted_whole_and_importable(package: types.ModuleType) -> None:
    found = {name: getattr(package, name) for name in {*package.__all__, *vars(package)} if name[0] != "_"}
    public = [name for name, value in found.items() if not isinstance(value, types.ModuleType)]
    # Constants, classes, functions: the order that ruff's RUF022 writes.
    assert package.__all__ == sorted(public, key=lambda name: (not name.isupper(), name[0].islower(), name))
