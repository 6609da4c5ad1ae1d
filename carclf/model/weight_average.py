"""The mean of several states of a model, for SWA, soups and WiSE-FT: NumPy only."""

from collections.abc import Sequence

import numpy as np


def running_average(
    average: Sequence[np.ndarray] | None, weights: Sequence[np.ndarray], *, count: int
) -> list[np.ndarray]:
    """Returns the mean of `count` + 1 states: float64 for float arrays, the newest value for others (counters, seeds).

    Between epochs, and in a checkpoint, this list and the count are the whole state.

    Args:
      average: the mean of the earlier states, or None if there are none.
      weights: the newest state, from `model.get_weights()`; `model.set_weights` accepts the mean.
      count: number of states in `average`.

    Raises:
      ValueError: the two differ in length or in a shape, or the count does not fit `average`.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima", algorithm 1.
    """
    if (average is None) != (count == 0):
        raise ValueError(f"None goes with a count of 0. Received: {count=}, average is None: {average is None}")
    newest = [
        array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
        for array in map(np.asarray, weights)
    ]
    if average is None:
        return newest
    before, now = ([np.shape(array) for array in state] for state in (average, newest))
    if before != now:
        raise ValueError(f"The states do not have the same shapes. Received: {before} and {now}")
    return [
        old + (new - old) / (count + 1) if np.issubdtype(new.dtype, np.floating) else new
        for old, new in zip(average, newest, strict=True)
    ]


def interpolate(start: Sequence[np.ndarray], end: Sequence[np.ndarray], *, alpha: float) -> list[np.ndarray]:
    """Returns (1 − alpha) · start + alpha · end, float64 for float arrays, the value of `end` for others.

    With alpha 0 and 1 the floats are exactly those of `start` and of `end`.

    Args:
      start: a state, from `model.get_weights()`.
      end: another state of the same model.
      alpha: in 0..1.

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), section 3.
    """
    return [
        (1 - alpha) * old.astype(np.float64) + alpha * new if np.issubdtype(new.dtype, np.floating) else new
        for old, new in zip(map(np.asarray, start), map(np.asarray, end), strict=True)
    ]
