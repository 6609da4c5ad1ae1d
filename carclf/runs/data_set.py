"""What a run needs from its data set; `carclf.data.manifest.Manifest` provides it."""

from collections.abc import Sequence
from typing import Protocol


class LabelPatch(Protocol):
    """Corrected labels."""

    @property
    def content(self) -> bytes:
        """Content of the file."""

    @property
    def sha256(self) -> str:
        """Hash of the file."""


class PseudoLabels(Protocol):
    """Predicted labels of test photos."""

    @property
    def content(self) -> bytes:
        """Content of the file."""

    @property
    def provenance(self) -> bytes:
        """Content of the file beside it, which says what predicted them."""

    @property
    def sha256(self) -> str:
        """Hash of both files."""


class DataSet(Protocol):
    """What ties a run to a data set."""

    @property
    def directory(self) -> str:
        """Its folder."""

    @property
    def fingerprint(self) -> str:
        """Hash of its photos and of the options it was made with, and so of its split."""

    @property
    def class_map_sha256(self) -> str:
        """Hash of the label map, equal for data sets that agree on it."""

    @property
    def class_count(self) -> int:
        """Number of its classes."""

    @property
    def folds(self) -> Sequence[int]:
        """The folds of its training photos."""

    @property
    def label_patch(self) -> LabelPatch | None:
        """The corrected labels that are used instead of its own."""

    @property
    def pseudo_labels(self) -> PseudoLabels | None:
        """The predicted labels of test photos that are trained on, too."""
