"""Checks of `doctor`, as its command prints them."""

import json
from pathlib import Path

from tests.support.processes import command


def found(*arguments: object, cwd: Path) -> tuple[int, dict[tuple[str, str], tuple[str, str]]]:
    """The exit status, and each check that is not well, by subject and level."""
    done = command("doctor", *arguments, "--format", "json", cwd=cwd)
    checks = json.loads(done.stdout)["checks"]
    assert all(check["cure"] for check in checks if check["level"] != "ok"), "each has a cure"
    here = {(each["subject"], each["level"]): (each["found"], each["cure"]) for each in checks if each["level"] != "ok"}
    return done.returncode, here
