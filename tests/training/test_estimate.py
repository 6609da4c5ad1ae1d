"""The estimate of the time left is right for a stage whose pace is known."""

import dataclasses

import pytest

from carclf.training.checkpointing import Position
from carclf.training.estimate import StageEstimate
from carclf.training.monitoring import ProgressBar
from carclf.training.phases import Phase

ONLY = Phase(
    image_size=(32, 32), batch_size=10, learning_rate=0.1, strength=1.0, first_epoch=0, end_epoch=4,
    steps_per_epoch=20, ahead_steps=0,
)  # fmt: skip
VAL_PHOTOS = 45  # five batches
COMPILING, STEP, VALIDATION = 30.0, 2.0, 7.0


def trained(estimate: StageEstimate, *, until: int, phase: Phase = ONLY, step: float = STEP) -> float:
    """Returns the time at the end of step `until` of a stage that starts at 0; its last epoch is not validated yet."""
    now = 0.0
    for number in range(until):
        if number % phase.steps_per_epoch == 0:
            if number:
                now += VALIDATION
                estimate.epoch_ended(now)
            estimate.epoch_began(now)
        now += COMPILING if number == 0 else step
        estimate.step_ended(now)
    return now


def test_nothing_is_known_before_the_second_step():
    estimate = StageEstimate([ONLY], ONLY, val_photos=VAL_PHOTOS)
    now = trained(estimate, until=1)
    assert estimate.seconds_left(1) is None
    assert estimate.report(1, now) is None


def test_the_step_that_compiles_does_not_count_and_validations_do():
    estimate = StageEstimate([ONLY], ONLY, val_photos=VAL_PHOTOS)
    trained(estimate, until=5)
    validation = STEP / 3 * 5  # a batch counts as a third of a step until one is measured
    assert estimate.seconds_left(5) == pytest.approx(75 * STEP + (4 + 1) * validation)


def test_a_measured_validation_takes_the_place_of_the_guess():
    estimate = StageEstimate([ONLY], ONLY, val_photos=VAL_PHOTOS)
    trained(estimate, until=25)
    assert estimate.seconds_left(25) == pytest.approx(55 * STEP + (3 + 1) * VALIDATION)


def test_at_the_end_the_last_validation_is_left():
    estimate = StageEstimate([ONLY], ONLY, val_photos=VAL_PHOTOS)
    now = trained(estimate, until=80)
    estimate.epoch_ended(now + VALIDATION)
    assert estimate.seconds_left(80) == pytest.approx(VALIDATION)  # the best weights are scored again


def test_a_later_phase_costs_as_much_more_as_it_has_more_pixels():
    first = dataclasses.replace(ONLY, end_epoch=2)
    second = dataclasses.replace(
        ONLY, image_size=(64, 64), batch_size=5, first_epoch=2, end_epoch=4, steps_per_epoch=40
    )
    estimate = StageEstimate([first, second], first, val_photos=VAL_PHOTOS)
    trained(estimate, until=25, phase=first)
    here = 15 * STEP + VALIDATION
    later = 2 * (40 * STEP * 4 / 2 + 4 * VALIDATION)
    assert estimate.seconds_left(25) == pytest.approx(here + later + 4 * VALIDATION)


def test_epochs_of_one_step_are_timed_from_the_second_on():
    one = dataclasses.replace(ONLY, steps_per_epoch=1)
    estimate = StageEstimate([one], one, val_photos=VAL_PHOTOS)
    trained(estimate, until=2, phase=one)
    assert estimate.step_seconds == STEP


def test_the_line_comes_once_and_again_where_an_epoch_was_far_off():
    estimate = StageEstimate([ONLY], ONLY, val_photos=VAL_PHOTOS)
    now = trained(estimate, until=4)
    said = estimate.report(4, now)
    assert said is not None
    assert "about 3 min for the rest of the stage, validation included (2 s per step)" in said
    assert estimate.report(4, now) is None
    for step in range(5, 21):
        now += 3 * STEP
        estimate.step_ended(now)
        assert estimate.report(step, now) is None
    estimate.epoch_ended(now + 3 * VALIDATION)
    assert (
        estimate.report(20, now + 3 * VALIDATION, epoch_over=True) == "Time: now about 7 min for the rest of the stage."
    )
    assert estimate.report(20, now + 3 * VALIDATION, epoch_over=True) is None


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_terminal_has_it_in_the_bar_and_a_file_gets_no_line_on_stdout(monkeypatch, capsys, verbose):
    clock = [0.0]
    monkeypatch.setattr("carclf.training.monitoring.time.perf_counter", lambda: clock[0])
    position = Position(steps_per_epoch=20)
    shown = ProgressBar(
        position=position, batch_size=10, epochs=4, learning_rate_at=lambda step: 0.5,
        estimate=StageEstimate([ONLY], ONLY, val_photos=VAL_PHOTOS),
    )  # fmt: skip
    shown.set_params({"verbose": verbose, "epochs": 4, "steps": 20})
    shown.on_train_begin()
    shown.on_epoch_begin(0)
    for batch in range(6):
        clock[0] += STEP if batch else COMPILING
        position.step += 1
        shown.progbar.interval = 0
        shown.on_train_batch_end(batch, {"loss": 1.0})
    shown.close()
    out, err = capsys.readouterr()
    assert ("minutes left: 2.7" in out.replace("\x1b[1m", "").replace("\x1b[0m", "")) == (verbose == 1)
    assert err.count("Time: about 3 min for the rest of the stage") == (verbose == 2)
    assert "Time" not in out
