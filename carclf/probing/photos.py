"""The training photos of a data set as the probes see them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from carclf.data.index import read_index, select
from carclf.data.manifest import Manifest
from carclf.data.pipeline import training_shards


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingPhotos:
    """The training photos in the order of the features.

    Attributes:
      ids: N ids.
      labels: int64 [N].
      folds: int64 [N]; −1 for external photos, which are trained on and never evaluated.
      class_count: K.
    """

    ids: Sequence[str]
    labels: np.ndarray
    folds: np.ndarray
    class_count: int

    @property
    def evaluated(self) -> np.ndarray:
        """bool [N], the photos that belong to a fold."""
        return self.folds >= 0


def training_photos(manifest: Manifest) -> TrainingPhotos:
    """Returns the training photos in the order in which their features are computed."""
    index = read_index(manifest)
    entries = index[select(manifest, index, training_shards(manifest, manifest.folds))]
    known = manifest.read_ids("train").iloc[entries["row"]]
    return TrainingPhotos(
        ids=known["id"].tolist(),
        labels=known["label"].to_numpy(np.int64),
        folds=known["fold"].to_numpy(np.int64),
        class_count=manifest.class_count,
    )
