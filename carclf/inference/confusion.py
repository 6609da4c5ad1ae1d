"""Which classes are predicted as which, without a matrix of all pairs, which takes gigabytes where classes are many."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Confusion:
    """The photos of each pair of a true and a predicted class.

    Attributes:
      cells: int64 [M, 3], (true class, predicted class, photos) of the pairs that have photos, ascending.
      class_count: K.
    """

    cells: np.ndarray
    class_count: int

    def matrix(self) -> np.ndarray:
        """Returns int64 [K, K], photos by true class (row) and predicted class (column), for few classes."""
        counts = np.zeros((self.class_count, self.class_count), np.int64)
        counts[self.cells[:, 0], self.cells[:, 1]] = self.cells[:, 2]
        return counts

    def mistaken(self, count: int) -> np.ndarray:
        """Returns int64 [≤ count, 3], the cells of two classes with the most photos, most first; equal ones ascend."""
        mistaken = self.cells[self.cells[:, 0] != self.cells[:, 1]]
        return mistaken[np.argsort(-mistaken[:, 2], kind="stable")[:count]]


def count_confusion(predicted: np.ndarray, labels: np.ndarray, *, class_count: int) -> Confusion:
    """Returns the confusion of N photos.

    Args:
      predicted: int64 [N], classes.
      labels: int64 [N].
      class_count: K.
    """
    pairs, photos = np.unique(labels * class_count + predicted, return_counts=True)
    return Confusion(np.stack([*np.divmod(pairs, class_count), photos], axis=1), class_count)
