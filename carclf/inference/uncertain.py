"""Which answers are worth a person's look: those whose two likeliest classes are close to each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from carclf.inference.calibration import tempered
from carclf.inference.held_out import HeldOut


class TopTwo(NamedTuple):
    """The answer of each photo, and the likeliest of the other classes.

    Attributes:
      first: int64 [N], the classes answered.
      second: int64 [N].
      margins: float64 [N], the calibrated probability of the first minus that of the second; below 0 where a decision
        answers with another class than the likeliest.
      wrong: float64 [N], the calibrated probability that the answer is wrong.
    """

    first: np.ndarray
    second: np.ndarray
    margins: np.ndarray
    wrong: np.ndarray


def top_two(probabilities: np.ndarray, *, temperature: float, answers: np.ndarray | None = None) -> TopTwo:
    """Returns the answers and their rivals.

    Args:
      probabilities: float64 [N, K], K at least 2, each row sums to 1.
      temperature: calibrates them.
      answers: int64 [N], the classes answered; None for the likeliest.
    """
    calibrated = tempered(probabilities, temperature)
    photos = np.arange(len(calibrated))
    first = probabilities.argmax(axis=1) if answers is None else answers
    of_first = calibrated[photos, first]
    calibrated[photos, first] = -1.0
    second = calibrated.argmax(axis=1)
    return TopTwo(first, second, of_first - calibrated[photos, second], 1.0 - of_first)


def uncertain_answers(
    found: TopTwo, held_out: HeldOut, *, ids: Sequence[str], id_name: str, class_names: Sequence[str]
) -> pd.DataFrame:
    """Returns a row for each photo, the closest answers first.

    Its columns are the Id, `class` and `second`, `margin`, and of the held-out photos with the same two likeliest
    classes, in either order, how many there are (`held_out`) and how many of these are predicted correctly (`right`).

    Args:
      found: of N photos.
      held_out: photos to compare with.
      ids: of the N photos.
      id_name: of their column.
      class_names: the K names.
    """
    known = top_two(held_out.probabilities, temperature=held_out.temperature)
    alike = pd.DataFrame({"pair": _pairs(known, len(class_names)), "right": known.first == held_out.labels})
    counts = alike.groupby("pair")["right"].agg(["size", "sum"])
    of_pair = counts.reindex(_pairs(found, len(class_names)), fill_value=0)
    names = np.array(class_names, dtype=object)
    table = pd.DataFrame(
        {
            id_name: np.array(ids, dtype=object),
            "class": names[found.first],
            "second": names[found.second],
            "margin": found.margins.round(4),
            "held_out": of_pair["size"].to_numpy(np.int64),
            "right": of_pair["sum"].to_numpy(np.int64),
        }
    )
    return table.iloc[np.argsort(found.margins, kind="stable")]


def photos_with_half_of_the_errors(found: TopTwo) -> int:
    """Returns the least number of photos, the closest answers first, with half of the wrong answers to expect."""
    expected = np.cumsum(found.wrong[np.argsort(found.margins, kind="stable")])
    return int(np.searchsorted(expected, expected[-1] / 2)) + 1


def _pairs(found: TopTwo, classes: int) -> np.ndarray:
    """Returns int64 [N], a number for each pair of classes in either order."""
    return np.minimum(found.first, found.second) * classes + np.maximum(found.first, found.second)
