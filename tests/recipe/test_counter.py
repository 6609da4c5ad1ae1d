"""The counter-based generator: known answers, independence of the batch, and the shape of the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.recipe import counter

# Source: Random123's kat_vectors, philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def uniforms(row, *, seed=1, epoch=0, blocks=((7, 0),)):
    return counter.uniforms(seed=seed, epoch=epoch, row=np.tile(row, (len(blocks), 1)), blocks=blocks)


@pytest.mark.parametrize(("words", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(words, key, expected):
    column = np.array(words, np.uint64)[:, None]
    # Neighbours must not matter, so the known columns follow another one.
    answer = counter.philox(np.hstack([column + 1 & 0xFFFFFFFF, column, column]), np.array(key, np.uint64))
    assert answer[:, 1].tolist() == expected
    assert answer[:, 2].tolist() == expected


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40), st.integers(-(2**63), 2**64), st.integers(0, 99))
def test_a_number_depends_only_on_its_own_row(rows, seed, epoch):
    together = uniforms(np.array(rows), seed=seed, epoch=epoch)
    for index, row in enumerate(rows):
        alone = uniforms(np.array([row]), seed=seed, epoch=epoch)
        np.testing.assert_array_equal(together[:, :, index], alone[:, :, 0])


def test_seed_epoch_row_stream_and_block_all_matter():
    base = {"row": np.arange(64), "seed": 5, "epoch": 3, "blocks": ((7, 0),)}
    changes = [{"row": np.arange(64) + 64}, {"seed": 6}, {"seed": 5 + 2**32}, {"epoch": 4}]
    changes += [{"blocks": ((8, 0),)}, {"blocks": ((7, 1),)}]
    drawn = [uniforms(**base)] + [uniforms(**(base | change)) for change in changes]
    values = np.concatenate([numbers.ravel() for numbers in drawn])
    assert len(np.unique(values)) == len(values)


@pytest.mark.parametrize("axis", ["row", "epoch"])
def test_uniform_and_uncorrelated(axis):
    count = 20_000
    if axis == "row":
        numbers = uniforms(np.arange(count))[0]
    else:
        numbers = np.concatenate([uniforms(np.arange(20), epoch=epoch)[0] for epoch in range(count // 20)], axis=1)
    assert numbers.min() > 0.0
    assert numbers.max() < 1.0
    counts = np.histogram(numbers, bins=50, range=(0, 1))[0]
    expected = numbers.size / 50
    assert ((counts - expected) ** 2 / expected).sum() < 85.4  # chi-square, 49 degrees of freedom, p = 0.001
    lagged = np.corrcoef(np.vstack([numbers[:, 1:], numbers[:, :-1]])) - np.eye(8)
    assert np.abs(lagged).max() < 4 / np.sqrt(count)


def test_every_operation_has_a_stream_of_its_own():
    from carclf.recipe import RECIPES

    assert len({counter.stream_of(name) for name in RECIPES}) == len(RECIPES)
    assert counter.stream_of("rotate") == 0x3789520C  # a published run must draw the same with every later version
