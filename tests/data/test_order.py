import numpy as np
import pytest

from carclf.data.order import INTERLEAVED_SHARDS, epoch_order

SHARDS = np.repeat(np.arange(40), 100)


@pytest.mark.parametrize("shuffled", [1, 64, 8192])
def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch(shuffled):
    order = epoch_order(SHARDS, seed=3, epoch=5, shuffled_photos=shuffled)
    assert sorted(order.tolist()) == list(range(4000))
    np.testing.assert_array_equal(order, epoch_order(SHARDS, seed=3, epoch=5, shuffled_photos=shuffled))
    for other in ({"seed": 4, "epoch": 5}, {"seed": 3, "epoch": 6}):
        again = epoch_order(SHARDS, **other, shuffled_photos=shuffled)
        assert np.mean(order == again) < 0.1


def test_the_order_never_changes_between_versions():
    """A golden value: an unfinished run must resume in the same order with later versions."""
    small = epoch_order(np.repeat([0, 1], 4), seed=42, epoch=0)
    large = epoch_order(SHARDS, seed=42, epoch=1, shuffled_photos=256)
    assert small.tolist() == [7, 0, 4, 2, 1, 3, 5, 6]
    assert large[:8].tolist() == [1600, 1002, 2800, 1004, 3303, 1602, 2802, 2101]


def test_reading_stays_local():
    order = epoch_order(SHARDS, seed=0, epoch=0, shuffled_photos=256)
    open_shards = [len(np.unique(SHARDS[order[start : start + 256]])) for start in range(0, 4000, 256)]
    assert max(open_shards) <= 2 * INTERLEAVED_SHARDS
    assert min(open_shards) >= INTERLEAVED_SHARDS - 1


def test_a_small_set_is_shuffled_as_a_whole():
    """Every photo is equally likely at every index: chi-squared over 10 photos, 4,000 epochs."""
    orders = np.array([epoch_order(np.zeros(10, int), seed=1, epoch=epoch) for epoch in range(4000)])
    counts = np.array([np.bincount(orders[:, place], minlength=10) for place in range(10)])
    chi_squared = ((counts - 400) ** 2 / 400).sum()
    assert 40 < chi_squared < 140  # 81 degrees of freedom: five standard deviations


def test_uneven_shards_and_negative_seeds():
    shards = np.array([0, 0, 0, 2, 2, 5])
    for shuffled in (1, 3):
        assert sorted(epoch_order(shards, seed=-1, epoch=0, shuffled_photos=shuffled).tolist()) == list(range(6))
