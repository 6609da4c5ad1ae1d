"""How progressive resizing changes the epochs, batches, learning rates and augmentation of a stage."""

import pytest

from carclf.train_options import TrainOptions
from carclf.training.phases import image_sizes, optimizer_step, phase_of_step, plan_phases

GROWING = {"image_size": "224-512", "epochs": 10, "batch_size": 8, "learning_rate": 1e-3, "first_strength": 0.4}


def plan(*, photos: int = 1000, **changes):
    return plan_phases(TrainOptions(**(GROWING | changes)), train_photos=photos)


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({}, [(224, 224), (320, 320), (416, 416), (512, 512)]),
        ({"size_count": 2}, [(224, 224), (512, 512)]),
        ({"size_count": 1}, [(512, 512)]),
        ({"epochs": 2}, [(224, 224), (512, 512)]),
        ({"image_size": "300"}, [(300, 300)]),
        ({"image_size": "384x512"}, [(384, 512)]),
        ({"image_size": "48x64-72x96", "size_count": 3}, [(48, 64), (64, 80), (72, 96)]),
        ({"image_size": "300-301"}, [(300, 300), (301, 301)]),  # there is no multiple of 8 in between
        ({"image_size": "32-48"}, [(32, 32), (40, 40), (48, 48)]),  # each size once
        ({"image_size": "128x64-128"}, [(128, 64), (128, 88), (128, 104), (128, 128)]),
    ],
)
def test_sizes_rise_evenly_on_multiples_of_eight(changes, sizes):
    assert image_sizes(TrainOptions(**(GROWING | changes))) == sizes


def test_each_size_has_its_share_of_epochs_and_a_batch_of_no_more_pixels_than_the_last():
    phases = plan()
    assert [(phase.first_epoch, phase.end_epoch) for phase in phases] == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert [phase.batch_size for phase in phases] == [40, 16, 8, 8]  # 512²/224² = 5.2, 512²/320² = 2.6
    assert [phase.steps_per_epoch for phase in phases] == [25, 62, 125, 125]
    assert [phase.strength for phase in phases] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert [phase.learning_rate for phase in phases] == pytest.approx([5**0.5 * 1e-3, 2**0.5 * 1e-3, 1e-3, 1e-3])
    assert [phase.learning_rate for phase in plan(optimizer="sgd")] == pytest.approx([5e-3, 2e-3, 1e-3, 1e-3])
    assert str(phases[0]) == (
        "epoch 1 to 2 at 224x224 px, 25 steps of 40 photos, learning rate 0.00224, augmentation 40%"
    )


@pytest.mark.parametrize("count", range(1, 8))
def test_epochs_are_divided_as_evenly_as_whole_ones_allow(count):
    for epochs in range(1, 30):
        shares = [phase.end_epoch - phase.first_epoch for phase in plan(epochs=epochs, size_count=count)]
        assert sum(shares) == epochs
        assert max(shares) - min(shares) <= 1
        assert shares[-1] == max(shares)


def test_batch_and_rate_may_stay_and_no_epoch_is_without_a_step():
    assert {(phase.batch_size, phase.learning_rate) for phase in plan(scale_batch=False)} == {(8, 1e-3)}
    assert [phase.batch_size for phase in plan(photos=20)] == [16, 16, 8, 8]
    assert {phase.steps_per_epoch for phase in plan(steps=3)} == {3}


def test_a_stage_of_one_size_has_one_phase_as_the_options_say():
    (phase,) = plan(image_size="224")
    assert (phase.first_epoch, phase.end_epoch, phase.strength, phase.ahead_steps) == (0, 10, 1.0, 0)
    assert (phase.batch_size, phase.learning_rate, phase.steps_per_epoch) == (8, 1e-3, 125)


@pytest.mark.parametrize("changes", [{}, {"steps": 7}, {"scale_batch": False}, {"epochs": 3}])
def test_a_step_tells_its_phase_and_the_optimizer_counts_those_that_were_taken(changes):
    phases = plan(**changes)
    taken = 0
    for index, phase in enumerate(phases):
        for epoch in range(phase.first_epoch, phase.end_epoch):
            first = epoch * phase.steps_per_epoch
            assert {phase_of_step(phases, step) for step in (first + 1, first + phase.steps_per_epoch)} == {index}
            assert optimizer_step(phases, epoch) == first - phase.ahead_steps == taken
            assert optimizer_step(phases, epoch + 0.5) == pytest.approx(taken + phase.steps_per_epoch / 2, abs=1)
            taken += phase.steps_per_epoch
    assert phase_of_step(phases, 0) == 0
    assert optimizer_step(phases, TrainOptions(**(GROWING | changes)).epochs) == taken
