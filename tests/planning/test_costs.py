"""The seconds of a stage follow from those of a short run."""

import dataclasses
import json

import pytest

from carclf.planning.candidates import ALL, HEAD, SCRATCH, Candidate
from carclf.planning.costs import PhotoCounts, from_dict, prediction_seconds, stage_seconds, timing_of, to_dict
from tests.planning.made_timings import PHOTOS, SCRATCH_TIMINGS, timing, timings_of

CANDIDATE = Candidate("tiny", "none", "64", SCRATCH, 10)
# Two steps of 10 photos take 4 s and the validation of 5 photos 1 s; the first epoch compiles for 7 s.
HISTORY = [
    {"seconds": 12.0, "images_per_second": 20 / 11},
    {"seconds": 5.0, "images_per_second": 5.0},
    {"seconds": 5.0, "images_per_second": 5.0},
]


@pytest.fixture
def timed():
    return timing_of(CANDIDATE, HISTORY, wall_seconds=30.0, period_seconds=5.5, train_photos=25, val_photos=5)


def test_the_epochs_are_taken_apart(timed):
    assert timed.compile_seconds == pytest.approx(7)
    assert timed.pause_seconds == pytest.approx(0.5)
    assert timed.once_seconds == pytest.approx(30 - 3 * 5.5)
    assert timed.train_seconds == pytest.approx(4 / 20)
    assert timed.val_seconds == pytest.approx(1 / 5)


def test_the_same_run_takes_as_long_as_it_took(timed):
    same = PhotoCounts(train=25, val=5, predicted=1)
    assert stage_seconds(timed, same, epochs=3, forward=timed, chained=False) == pytest.approx(30)


def test_more_epochs_and_photos_take_longer(timed):
    photos = PhotoCounts(train=99, val=15, predicted=1)
    epoch = 90 * 0.2 + 15 * 0.2 + 0.5
    expected = timed.once_seconds + 4 * epoch + 10 * 0.2  # ten more photos to evaluate at the end
    assert stage_seconds(timed, photos, epochs=4, forward=timed, chained=False) == pytest.approx(expected)
    chained = stage_seconds(timed, photos, epochs=4, forward=timed, chained=True)
    assert chained == pytest.approx(expected + 15 * 0.2)


def test_a_head_stage_also_computes_the_features_of_what_was_not_timed():
    head, forward = timing(HEAD, 128, seconds=0.001), timing(ALL, 128, seconds=0.3)
    photos = PhotoCounts(train=1600, val=200, predicted=1)
    epochs = 4 * (1600 * head.train_seconds + 200 * head.val_seconds + 0.5)
    looked_at = 2 * (1600 - 160) + (200 - 64) + (200 - 64)
    expected = head.once_seconds + epochs + looked_at * forward.val_seconds
    assert stage_seconds(head, photos, epochs=4, forward=forward, chained=False) == pytest.approx(expected)


def test_each_run_and_view_of_a_prediction_costs():
    forward = timing(SCRATCH, 96, seconds=0.03)
    timings = timings_of(forward)
    assert prediction_seconds(timings, PHOTOS, forward=forward, runs=3, views=2) == pytest.approx(
        5 + 3 * (4 + 2 * 400 * 0.01)
    )


def test_timings_survive_their_file():
    stored = json.loads(json.dumps(to_dict(SCRATCH_TIMINGS)))
    assert from_dict(stored) == SCRATCH_TIMINGS
    assert SCRATCH_TIMINGS.of(dataclasses.replace(SCRATCH_TIMINGS.stages[0].candidate, part=HEAD)) is None
