"""The tests mirror the tree: each module has its test module, at the same place and of the same name.

Whoever changes a module opens one file and finds what it promises. The few that are tested elsewhere stand in
`ELSEWHERE`, each with where and why; one that gets a test module of its own leaves that table.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTENS = "what it holds shows only in what goes over a real socket"
VALUES = "values alone: they are made and read by what is tested there"
REDUCED = "a step of the reduction: what it may do is a property of the whole"
FAKE = "a room of the fake: it is true if what it answers and sends is what real servers did, which is compared there"
PARITY = "each call is one of the async client: the two are compared name by name"
DATABASE = "needs a server of PostgreSQL, which the tests of its log start once"
DRAWN = "what it says shows in what is drawn of it"
CORPUS = "a corpus is tested by the folder of tables that its run leaves"

ELSEWHERE = {
    "comfy_fsm/anonymity/pseudonyms": ("anonymity/test_anonymizer", "a pseudonym is judged by the trace that bears it"),
    "comfy_fsm/anonymity/vocabulary": ("anonymity/test_anonymizer", "a word is kept or not in a whole trace"),
    "comfy_fsm/cli/doctor": ("live/doctor/test_server_checks", "the checks are tested by the command"),
    "comfy_fsm/cli/serve": ("watch/test_watching", "the command is tested as a process that a browser asks"),
    "comfy_fsm/cli/watch": ("watch/test_watching", "the command is tested as a process on a real terminal"),
    "comfy_fsm/live/blocking/dispatcher": ("live/blocking/test_parity", PARITY),
    "comfy_fsm/live/blocking/outputs": ("live/blocking/test_parity", PARITY),
    "comfy_fsm/live/blocking/task_handle": ("live/blocking/test_parity", PARITY),
    "comfy_fsm/live/blocking/window": ("live/blocking/test_parity", PARITY),
    "comfy_fsm/live/client/companion": ("live/extras/test_alarm", "an interface: what accompanies a client keeps it"),
    "comfy_fsm/live/client/window": ("live/client/test_client", "a window only posts by its client"),
    "comfy_fsm/live/dispatch/waiting_jobs": ("live/dispatch/test_dispatcher", "jobs wait in a dispatcher alone"),
    "comfy_fsm/live/dispatch/health_checks": (
        "live/dispatch/test_dispatcher",
        "it asks servers for a dispatcher",
    ),
    "comfy_fsm/live/doctor/check": ("live/doctor/test_local_checks", VALUES),
    "comfy_fsm/live/doctor/database_checks": ("log/postgres/test_log", DATABASE),
    "comfy_fsm/live/engine/listener": ("live/engine/test_runner", "a listener is tested by what its client hears"),
    "comfy_fsm/live/proxy/body_copies": ("live/proxy/test_forwarding", LISTENS),
    "comfy_fsm/live/proxy/entries": ("live/proxy/test_recording", LISTENS),
    "comfy_fsm/live/proxy/peer": ("live/proxy/test_forwarding", LISTENS),
    "comfy_fsm/live/recovery/prober": ("live/recovery/test_recovery", "it probes for a recovery, against real servers"),
    "comfy_fsm/live/recovery/session": ("live/recovery/test_recovery", "it opens the recoveries that are tested there"),
    "comfy_fsm/live/redaction/scrubber": ("live/redaction/test_canaries", "a secret is sought in all that is written"),
    "comfy_fsm/live/transport/arrivals": ("live/transport/test_comfy", VALUES),
    "comfy_fsm/log/postgres/database": ("log/postgres/test_log", DATABASE),
    "comfy_fsm/log/postgres/reader": ("log/postgres/test_log", DATABASE),
    "comfy_fsm/log/postgres/schema": ("log/postgres/test_log", DATABASE),
    "comfy_fsm/log/postgres/writer": ("log/postgres/test_log", DATABASE),
    "comfy_fsm/log/store": ("support/log_contract", "a contract, which is the suite that each store passes"),
    "comfy_fsm/report/picture/scene": ("report/picture/test_html_page", DRAWN),
    "comfy_fsm/report/picture/words": ("report/picture/test_html_page", DRAWN),
    "comfy_fsm/report/player": ("test_recordings", "it plays every fixture, whole, cut, doubled and mixed"),
    "comfy_fsm/report/recovery_text": ("cli/test_recover", "what it says is what the command prints"),
    "comfy_fsm/testing/execution": ("testing/test_truth", FAKE),
    "comfy_fsm/testing/playback": ("testing/playback/test_playback", "a script is what its playback does"),
    "comfy_fsm/testing/sockets": ("testing/test_server", FAKE),
    "comfy_fsm/testing/routes": ("testing/test_profiles", FAKE),
    "comfy_fsm/testing/strategies": ("laws/test_laws", "what they draw is what the laws are tried on"),
    "comfy_fsm/serve/web_page": ("watch/test_watching", LISTENS),
    "comfy_fsm/watch/sections": ("watch/test_terminal", DRAWN),
    "comfy_fsm/watch/snapshot": ("watch/test_projection", VALUES),
    "replay/corpora/analyses": ("replay/test_corpus", CORPUS),
    "replay/corpora/chunks": ("replay/test_corpus", CORPUS),
    "replay/corpora/baseline": ("replay/test_corpus", CORPUS),
    "replay/corpora/folder": ("replay/test_corpus", CORPUS),
    "replay/corpora/parquet": ("replay/test_corpus", CORPUS),
    "replay/corpora/worker": ("replay/test_corpus", CORPUS),
    "replay/comparison": ("replay/test_diff", "two reports are compared by the command"),
    "replay/faults": ("replay/test_whatif", "a fault is judged by the replay that suffers it"),
    "replay/inputs": ("replay/test_min", "lines are read for what is done with them"),
    "replay/reduction": ("replay/reduction/test_reduction", REDUCED),
    "replay/show": ("report/test_excerpt", "the command shows what an excerpt holds"),
}
"""A module, or a folder of which each module without its own is meant; where it is tested; and why there."""


def mirrors() -> dict[str, str]:
    """The test module of each module, as it should be called."""
    found = {}
    for package in ("comfy_fsm", "replay"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py":
                place = path.relative_to(ROOT if package == "replay" else ROOT / package)
                name = path.stem.strip("_")
                found[str(path.relative_to(ROOT).with_suffix(""))] = str(place.with_name(f"test_{name}"))
    return found


MIRRORS = mirrors()


def is_there(test: str) -> bool:
    return (ROOT / "tests" / f"{test}.py").is_file()


def named(module: str) -> str | None:
    """The row of the table that is about this module."""
    return next((row for row in (module, str(Path(module).parent)) if row in ELSEWHERE), None)


def test_each_module_has_a_test_module_of_its_own_or_a_reason() -> None:
    assert not [test for module, test in MIRRORS.items() if not is_there(test) and not named(module)], "write them"


def test_a_reason_is_about_a_module_that_is_there_and_has_no_test_module() -> None:
    meant = {named(module) for module, test in MIRRORS.items() if not is_there(test)}
    assert [row for row in ELSEWHERE if row not in meant] == []


def test_where_a_module_is_tested_instead_there_is_a_test_module_and_a_reason() -> None:
    assert not [test for test, why in ELSEWHERE.values() if not is_there(test) or not why]
