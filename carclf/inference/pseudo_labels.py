"""Which test photos get a pseudo-label: those whose answer is sure."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from carclf.data.manifest import Manifest
from carclf.data.pseudo_labels import Provenance, Teacher, write_pseudo_labels
from carclf.errors import UserError
from carclf.inference.calibration import tempered
from carclf.inference.dataset_predictions import Predictions
from carclf.runs import Member, Run
from carclf.runs.weights_files import verified_sha256


class SelectedPhotos(NamedTuple):
    """The photos that get a pseudo-label.

    Attributes:
      photos: int64 [M], their indices, ascending.
      labels: int64 [M].
      confidences: float64 [M].
      disputed: number of photos that are sure, but on which views or runs disagree.
      surplus: number of photos that are sure, but of a class that has enough.
    """

    photos: np.ndarray
    labels: np.ndarray
    confidences: np.ndarray
    disputed: int
    surplus: int


def select_confident(
    probabilities: np.ndarray, agreed: np.ndarray, *, temperature: float, confidence: float, class_photos: Sequence[int]
) -> SelectedPhotos:
    """Returns the photos whose calibrated confidence is high enough and on whose class all views and runs agree.

    Of each class at most its share of the training photos times the number of sure photos is kept, the surest first:
    an easy class must not crowd out the others.

    Args:
      probabilities: float [N, K].
      agreed: int [N], the class of every view and run; −1 where they differ.
      temperature: calibrates the probabilities.
      confidence: the lowest that counts as sure.
      class_photos: K numbers of training photos.
    """
    calibrated = tempered(probabilities, temperature)
    labels, confidences = calibrated.argmax(axis=1), calibrated.max(axis=1)
    sure = confidences >= confidence
    undisputed = sure & (agreed == labels)
    shares = np.asarray(class_photos) / np.sum(class_photos)
    most = np.ceil(shares * undisputed.sum()).astype(np.int64)
    kept: list[int] = []
    for label in range(len(class_photos)):
        own = np.flatnonzero(undisputed & (labels == label))
        kept += own[np.argsort(-confidences[own], kind="stable")][: most[label]].tolist()
    photos = np.array(sorted(kept), np.int64)
    return SelectedPhotos(
        photos,
        labels[photos],
        confidences[photos],
        disputed=int((sure & ~undisputed).sum()),
        surplus=int(undisputed.sum()) - len(photos),
    )


def write_confident(
    predictions: Predictions,
    path: Path,
    *,
    members: Sequence[Member],
    manifest: Manifest,
    views: str,
    confidence: float,
    temperature: float,
) -> str:
    """Writes the pseudo-labels, and returns a line that says what they are.

    Args:
      predictions: of the test photos, with what the views agree on.
      path: of the CSV.
      members: the runs that predicted them.
      manifest: the data set.
      views: their names, joined by '|'.
      confidence: the lowest that counts as sure.
      temperature: calibrates the probabilities.

    Raises:
      UserError: no photo is sure.
    """
    assert predictions.agreed is not None
    chosen = select_confident(
        predictions.probabilities,
        predictions.agreed,
        temperature=temperature,
        confidence=confidence,
        class_photos=[entry.count for entry in manifest.classes],
    )
    ids = manifest.read_ids("test")["id"].iloc[predictions.rows].tolist()
    found = (
        f"of {len(ids)} test photos; {chosen.disputed} more are disputed between views or runs, {chosen.surplus} left "
        f"out to keep the balance of the classes; confidence {confidence:g} at temperature {temperature:.2f}"
    )
    if not len(chosen.photos):
        raise UserError(
            f"No pseudo-labels were written to {path}, since no test photo is sure (0 {found}): lower "
            "--pseudo_confidence, or train better runs first."
        )
    provenance = Provenance(
        csv_sha256="",
        data_fingerprint=manifest.fingerprint,
        teachers=tuple(_teacher(run) for member in members for run in member.runs),
        views=views,
        confidence=confidence,
        temperature=temperature,
    )
    write_pseudo_labels(
        path,
        ids=[ids[photo] for photo in chosen.photos.tolist()],
        classes=[manifest.class_names[label] for label in chosen.labels.tolist()],
        confidences=chosen.confidences.tolist(),
        provenance=provenance,
    )
    return f"Pseudo-labels: {path} ({len(chosen.photos)} {found})"


def _teacher(run: Run) -> Teacher:
    digest = verified_sha256(run.best_weights, recorded=run.recorded_hashes)
    return Teacher(str(run.directory), digest, run.data_fingerprint, run.options.val_fold)
