"""Tests of measures of the source that need no table: how docstrings open, sizes beside the packages, and trips."""

from pathlib import Path

from tests import measure_house
from tests.support import trips

BESIDE = measure_house.modules(measure_house.BESIDE)
FRAME, ANSWER, SUBMIT = 20, 70, 90
"""Changes of module on the way of each: a little above what they are, so that a detour is seen and a step is not."""


def test_a_docstring_opens_with_a_verb_or_a_noun() -> None:
    """Who skims reads the first word: `Error of the last request`, not `Why the last request failed`."""
    assert measure_house.misleading(measure_house.modules()) == []


def test_what_stands_beside_the_packages_is_as_small() -> None:
    folders, files = measure_house.folders_of(BESIDE), measure_house.lengths(BESIDE)
    assert {folder: count for folder, count in folders.items() if count > 12} == {}
    assert {path: count for path, count in files.items() if count > 400} == {}


def test_a_frame_and_an_answer_take_no_detours_through_the_fold() -> None:
    frame, answer = trips.of_fold()
    assert 0 < len(frame.stays) <= FRAME, frame.stays
    assert 0 < len(answer.stays) <= ANSWER, answer.stays


async def test_a_submission_takes_no_detours_to_its_server() -> None:
    trip = await trips.of_submit()
    named = [Path(path).stem for path in trip.stays]
    assert 0 < len(named) <= SUBMIT, named
