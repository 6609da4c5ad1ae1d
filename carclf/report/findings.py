"""The main findings of a data set's page, in sentences."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from carclf.data.manifest import Manifest
from carclf.report.photo_table import DIFFERENT_LABELS, LEAK, TOO_LARGE, Group
from carclf.wording import counted

UNEVEN_CLASSES = 1.5  # times the smallest class
UNEVEN_FOLD = 0.1  # fraction of a class's mean over the folds, and at least UNEVEN_PHOTOS
UNEVEN_PHOTOS = 2
OTHER_LIGHT = 0.25  # standard deviations between the mean brightness of training and test photos


@dataclasses.dataclass(frozen=True)
class Finding:
    """One sentence, whether it is good news, and the section of the page that shows more."""

    good: bool
    text: str
    section: str


def find(
    photos: pd.DataFrame,
    *,
    manifest: Manifest,
    groups: Sequence[Group],
    rejected: int,
    remarked: int = 0,
    folds: pd.DataFrame,
) -> Iterator[Finding]:
    """Yields the findings, both those that need attention and those that do not.

    Args:
      photos: `carclf.report.photo_table.photo_table` with measurements.
      manifest: the data set.
      groups: of photos that show the same picture.
      rejected: number of rejected photos.
      remarked: number of photos that the converter remarked on.
      folds: `carclf.report.photo_table.fold_counts`.
    """
    yield from _duplicate_findings(groups, has_test=bool((photos["split"] == "test").any()))
    if rejected:
        yield Finding(False, f"{counted(rejected, 'photo')} of the input could not be used.", "rejected")
    else:
        yield Finding(True, "Every photo of the input could be used.", "rejected")
    if remarked:
        yield Finding(False, f"The converter remarked on {counted(remarked, 'photo')}: look at them.", "odd")
    yield _class_finding(manifest)
    yield _fold_finding(folds, manifest)
    yield from _light_finding(photos)


def _duplicate_findings(groups: Sequence[Group], *, has_test: bool) -> Iterator[Finding]:
    labelled = [group for group in groups if DIFFERENT_LABELS in group.notes]
    if labelled:
        yield Finding(False, f"{_duplicate_groups_have(labelled)} different labels.", "duplicates")
    else:
        yield Finding(True, "No picture has two labels.", "duplicates")
    leaks = [group for group in groups if LEAK in group.notes]
    if leaks:
        yield Finding(False, f"{_duplicate_groups_have(leaks)} photos in both training and test.", "duplicates")
    elif has_test:
        yield Finding(True, "No picture is in both training and test.", "duplicates")
    if large := sum(TOO_LARGE in group.notes for group in groups):
        text = f"{counted(large, 'group')} of duplicates {_is(large)} too large to stay in one fold."
        yield Finding(False, text, "duplicates")


def _class_finding(manifest: Manifest) -> Finding:
    smallest = min(manifest.classes, key=lambda entry: entry.count)
    largest = max(manifest.classes, key=lambda entry: entry.count)
    ratio = largest.count / max(smallest.count, 1)
    if ratio < UNEVEN_CLASSES:
        each = f"{smallest.count:,} to {largest.count:,}" if ratio > 1 else f"{largest.count:,}"
        text = f"Classes are about equally frequent: {each} photos each."
        return Finding(True, text, "classes")
    text = (
        f"The largest class, {largest.name} ({largest.count:,}), has {ratio:.1f} times the photos of the smallest, "
        f"{smallest.name} ({smallest.count:,}): consider --class_weights=balanced."
    )
    return Finding(False, text, "classes")


def _fold_finding(folds: pd.DataFrame, manifest: Manifest) -> Finding:
    mean = folds.mean(axis=1)
    off = folds.sub(mean, axis=0).abs()
    uneven = off.gt((UNEVEN_FOLD * mean).clip(lower=UNEVEN_PHOTOS), axis=0)
    if not uneven.to_numpy().any():
        return Finding(True, f"Every class is spread evenly over the {folds.shape[1]} folds.", "folds")
    worst = int(np.argmax(off.where(uneven, 0).to_numpy()))
    label, fold = divmod(worst, folds.shape[1])
    text = (
        f"The folds are uneven, most of all in {manifest.class_names[label]}: fold {folds.columns[fold]} has "
        f"{int(folds.to_numpy()[label, fold])} of its photos instead of {mean.iloc[label]:.0f}."
    )
    return Finding(False, text, "folds")


def _light_finding(photos: pd.DataFrame) -> Iterator[Finding]:
    training, test = (photos[photos["split"].isin(splits)]["brightness"] for splits in (("train", "extra"), ("test",)))
    if training.empty or test.empty:
        return
    distance = float(test.mean() - training.mean()) / max(float(training.std(ddof=0)), 1.0)
    alike = abs(distance) < OTHER_LIGHT
    compared = "about as bright as" if alike else "darker than" if distance < 0 else "brighter than"
    text = f"Test photos are {compared} training photos ({test.mean():.0f} and {training.mean():.0f} of 255)."
    yield Finding(alike, text, "light")


def _duplicate_groups_have(groups: Sequence[Group]) -> str:
    exact = sum(group.kind == "exact" for group in groups)
    certain = f" ({exact} of them equal byte for byte)" if exact else ""
    return f"{counted(len(groups), 'group')} of duplicates{certain} {'has' if len(groups) == 1 else 'have'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
