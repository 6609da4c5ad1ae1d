"""A table that ranks probes: its rows, and how they are printed."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from carclf.inference.metrics import wilson_interval
from carclf.metrics import Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankedRow:
    """A row of the table.

    Attributes:
      names: the probes whose mean it is; one for a single probe.
      score: the metric, out of fold.
      accuracy: out of fold, 0..1.
      low: lower end of its 95 % interval.
      high: upper end.
      seconds: of features and regressions.
      images_per_second: of the features.
    """

    names: tuple[str, ...]
    score: float
    accuracy: float
    low: float
    high: float
    seconds: float
    images_per_second: float

    @property
    def name(self) -> str:
        """The names as one text."""
        return " + ".join(self.names)


def ranked_row(
    names: Sequence[str],
    *,
    probabilities: np.ndarray,
    labels: np.ndarray,
    metric: Metric,
    seconds: float,
    images_per_second: float,
) -> RankedRow:
    """Returns the row of some probabilities float [N, K] of photos with labels int [N]."""
    right = probabilities.argmax(axis=1) == labels
    low, high = wilson_interval(int(right.sum()), len(right))
    return RankedRow(
        names=tuple(names),
        score=metric.compute(probabilities, labels),
        accuracy=float(right.mean()),
        low=low,
        high=high,
        seconds=seconds,
        images_per_second=images_per_second,
    )


def ranking_table(rows: Sequence[RankedRow], ensemble: RankedRow | None, metric: Metric) -> str:
    """Returns the printed table, the best first; the ensemble, if there is one, is its last line."""
    shown = [*rows, *([ensemble] if ensemble else [])]
    head = f"{metric.name[:8]:>8}  accuracy  95 % interval  {'seconds':>7}  images/s  probe"
    return "\n".join([head, *map(ranking_line, shown)])


def ranking_line(row: RankedRow) -> str:
    """Returns a row of the printed table."""
    interval = f"{row.low:.3f}–{row.high:.3f}"
    speed = f"{row.seconds:>7.0f}  {row.images_per_second:>8.1f}"
    return f"{row.score:>8.4f}  {row.accuracy:>8.3f}  {interval:>13}  {speed}  {row.name}"
