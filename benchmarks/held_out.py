"""Which held-out photos a run gets right, and whether two runs differ in that by more than chance."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scipy.stats import binomtest


class Difference(NamedTuple):
    """How the answers of two runs for the same photos differ.

    Attributes:
      fixed: photos that the first alone gets right.
      broken: photos that the second alone gets right.
      p_value: of McNemar's exact test.
    """

    fixed: int
    broken: int
    p_value: float


def correct(data: Path, answers: Path) -> list[bool]:
    """Returns whether each prediction in a file of answers is right."""
    truth = pd.read_csv(data / "ids-train.csv", dtype=str, keep_default_na=False).set_index("id")["class_name"]
    predicted = pd.read_csv(answers, dtype=str, keep_default_na=False)
    return list(predicted.iloc[:, 1].to_numpy() == truth.loc[predicted.iloc[:, 0]].to_numpy())


def compare_right(ours: Sequence[bool], theirs: Sequence[bool]) -> Difference:
    """Returns how two runs differ, given which of the same photos each gets right."""
    pairs = list(zip(ours, theirs, strict=True))
    fixed, broken = pairs.count((True, False)), pairs.count((False, True))
    return Difference(fixed, broken, float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0)
