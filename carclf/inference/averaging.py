"""Logits of views to probabilities, and probabilities of runs to those of an ensemble: NumPy only."""

from collections.abc import Sequence

import numpy as np

from carclf.recipe import View


class ViewMean:
    """The weighted mean over the views of N photos, row by row as they come; memory [N, K], however many views."""

    def __init__(self, photos: int, classes: int, *, views: Sequence[View], kind: str) -> None:
        """An empty mean.

        Args:
          photos: N.
          classes: K.
          views: with their weights.
          kind: 'probabilities' or 'logits', what is averaged.
        """
        self._weights = np.array([view.weight for view in views], np.float64)
        self._kind = kind
        self._sums = np.zeros((photos, classes))
        self._seen = np.zeros((photos, len(views)), np.uint8)

    def add(self, place: int, row: np.ndarray, logits: np.ndarray) -> None:
        """Takes in one view of a batch.

        Args:
          place: of the view among all.
          row: int [B], the photos' rows in 0..N-1; −1 is padding, which does not count.
          logits: float [B, K].
        """
        real = row >= 0
        values = logits[real] if self._kind == "logits" else softmax(logits[real])
        np.add.at(self._sums, row[real], self._weights[place] * values)
        np.add.at(self._seen[:, place], row[real], 1)

    def rows(self) -> np.ndarray:
        """int64 [M], the rows that came in any view, ascending."""
        return np.flatnonzero(self._seen.any(axis=1))

    def probabilities(self) -> np.ndarray:
        """float64 [M, K], of `rows`; each row sums to 1.

        Raises:
          RuntimeError: a photo did not come exactly once in each view; nothing is returned then.
        """
        rows = self.rows()
        if not np.all(self._seen[rows] == 1):
            raise RuntimeError(f"{len(rows)} photos did not come back once in each of {len(self._weights)} views.")
        mean = self._sums[rows] / self._weights.sum()
        return softmax(mean) if self._kind == "logits" else mean


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 [N, K] of logits [N, K]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
