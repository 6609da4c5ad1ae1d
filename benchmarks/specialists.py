"""Measures what specialists for confusable pairs of classes win: binary logistic regressions on the same features.

A specialist decides between two classes, for photos whose two likeliest classes by the regression of all classes are
these. All photos are evaluated out of fold. Which pairs have specialists, how strongly each is regularised, and whether
it is used at all, is chosen by inner folds: by photos outside the fold that is evaluated, each predicted by
regressions that have seen neither it nor that fold. Features are those of `carclf.probe`, kept in --work.
Example: python benchmarks/specialists.py --data=data/porsche,data/adverts --backbones=mobilenet_v2@128=mobilenet.h5"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from held_out import compare_right

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.inference.ensemble import softmax
from carclf.inference.metrics import wilson_interval
from carclf.model.regression import C_VALUES, FeatureSet, Regression, choose_c, fit_regression
from carclf.probe import ProbeOptions
from carclf.train_options import TrainOptions

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.probing.extractors import Extractor
    from carclf.probing.kept import KeptFeatures
    from carclf.probing.photos import TrainingPhotos

GENERAL = "one regression of all classes"
CHOSEN, EVERY = "specialists that win in inner folds", "a specialist for each worst pair"
LEAST_FOLDS = 3  # one to evaluate on, one to choose by, one to fit on


@dataclasses.dataclass(frozen=True)
class SpecialistOptions(Options):
    """Every option of this benchmark."""

    data: str = option("", "Folders that tools/make_tfrecords.py wrote, separated by commas.")
    backbones: str = same_option(ProbeOptions, "backbones", default="mobilenet_v2@128")
    pairs: int = option(3, "Most confused pairs of classes that may have a specialist.", low=1)
    batch_size: int = same_option(TrainOptions, "batch_size", default=32)
    device: str = same_option(TrainOptions, "device")
    engine: str = same_option(ProbeOptions, "engine")
    work: str = option("bench/specialists", "Folder of the features, kept for the next call.")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.data:
            raise UserError("--data is missing: give the folders that tools/make_tfrecords.py wrote.")


class Pair(NamedTuple):
    """A specialist as the inner folds chose it.

    Attributes:
      classes: two labels, ascending.
      strength: C of its regression; the name is that in stored figures.
      fixed: inner photos that it alone gets right.
      broken: inner photos that the regression of all classes alone gets right.
    """

    classes: tuple[int, int]
    strength: float
    fixed: int
    broken: int

    @property
    def wins(self) -> bool:
        """Whether more inner photos are right with it than without."""
        return self.fixed > self.broken


def main(options: SpecialistOptions) -> None:
    """Measures and prints."""
    from carclf.data.manifest import load_manifest
    from carclf.probing.extractors import parse_extractors
    from carclf.probing.photos import training_photos
    from carclf.probing.probes import labelled

    figures = []
    for folder in options.data.split(","):
        manifest = load_manifest(folder)
        if len(manifest.folds) < LEAST_FOLDS:
            raise UserError(
                f"{folder} has {len(manifest.folds)} folds and specialists need {LEAST_FOLDS}: convert the photos "
                "again with --folds=5 and --overwrite."
            )
        photos = training_photos(manifest)
        for extractor in parse_extractors(options.backbones):
            known = labelled(features_of(extractor, manifest, options), photos)
            found = measure(known, photos, most=options.pairs)
            figures.append({"data": Path(folder).name, "extractor": extractor.name, **found})
            print(report(figures[-1], manifest.class_names), flush=True)
    if options.json:
        content = {"options": dataclasses.asdict(options), "figures": figures}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def features_of(extractor: "Extractor", manifest: "Manifest", options: SpecialistOptions) -> "KeptFeatures":
    """Returns the features of all photos and of their mirror images, which an earlier call may have computed."""
    import keras

    from carclf.device import select_device
    from carclf.engines.choice import plan_engines
    from carclf.probing.kept import VIEWS, keep_features

    device = select_device(options.device)
    with device.scope():
        kept = keep_features(
            extractor,
            manifest=manifest,
            views=list(VIEWS),
            fit=TrainOptions().fit,
            batch_size=device.padded_batch_size(options.batch_size),
            jit=device.jit,
            engines=plan_engines(options.engine, device),
            directory=Path(options.work) / "features",
        )
    keras.backend.clear_session()
    return kept


def measure(known: FeatureSet, photos: "TrainingPhotos", *, most: int) -> dict[str, Any]:
    """Returns which evaluated photos are right, each predicted without its fold, and what the inner folds chose.

    Args:
      known: features and labels of all photos.
      photos: their folds.
      most: pairs of classes that may have a specialist.

    Returns:
      right: by way, a 1 or 0 for each photo, fold after fold.
      pairs: by fold, the worst pairs of classes, as in `Pair`.
    """
    regressions: dict[frozenset[int], Regression] = {}
    right: dict[str, str] = dict.fromkeys((GENERAL, CHOSEN, EVERY), "")
    chosen: dict[int, list[dict[str, Any]]] = {}
    for fold in folds_of(photos):
        pairs = choose_pairs(known, photos, fold, regressions, most=most)
        rows = photos.folds == fold
        probabilities = mean_probabilities(general(known, photos, frozenset({fold}), regressions), known, rows)
        used = {CHOSEN: [pair for pair in pairs if pair.wins], EVERY: pairs}
        answers = {GENERAL: probabilities.argmax(axis=1)}
        for way, own in used.items():
            specialists = {
                pair.classes: specialist(known, photos, pair.classes, frozenset({fold}), c=pair.strength)
                for pair in own
            }
            answers[way] = with_specialists(probabilities, specialists, known, rows)
        for way, labels in answers.items():
            right[way] += "".join(str(int(one)) for one in labels == photos.labels[rows])
        chosen[fold] = [{**pair._asdict(), "used": pair.wins} for pair in pairs]
    return {"right": right, "pairs": chosen}


def folds_of(photos: "TrainingPhotos") -> list[int]:
    """Returns the numbers of the folds, without that of external photos."""
    return sorted(set(photos.folds[photos.evaluated].tolist()))


def general(
    known: FeatureSet, photos: "TrainingPhotos", without: frozenset[int], found: dict[frozenset[int], Regression]
) -> Regression:
    """Returns the regression of all classes without some folds, fitted once; another fold chooses its C."""
    if without not in found:
        fitted, folds = seen(known, photos, without)
        inner = min(set(folds_of(photos)) - without)
        found[without] = fit_regression(fitted, c=choose_c(fitted, held_out=folds == inner))
    return found[without]


def specialist(
    known: FeatureSet,
    photos: "TrainingPhotos",
    classes: tuple[int, int],
    without: frozenset[int],
    *,
    c: float,
    start: Regression | None = None,
) -> Regression:
    """Returns the regression of two classes, fitted to their photos in the other folds; `start` makes that faster."""
    fitted, _ = seen(known, photos, without, classes)
    two = dataclasses.replace(fitted, labels=(fitted.labels == classes[1]).astype(np.int64), class_count=2)
    return fit_regression(two, c=c, start=start)


def seen(
    known: FeatureSet, photos: "TrainingPhotos", without: frozenset[int], classes: Sequence[int] = ()
) -> tuple[FeatureSet, np.ndarray]:
    """Returns the photos outside some folds and of some classes, and the fold of each: −2 if it counts 0."""
    chosen = ~np.isin(photos.folds, list(without))
    if classes:
        chosen &= np.isin(photos.labels, classes)
    fitted = known.rows(chosen)
    copied = len(fitted.weight) == np.count_nonzero(chosen)
    return fitted, photos.folds[chosen] if copied else np.where(chosen, photos.folds, -2)


def mean_probabilities(regression: Regression, known: FeatureSet, rows: np.ndarray) -> np.ndarray:
    """Returns float64 [n, classes], the mean over the views of the photos with True in bool [N]."""
    return np.mean([softmax(regression.logits(np.asarray(view)[rows])) for view in known.views], axis=0)


def top_two(probabilities: np.ndarray) -> np.ndarray:
    """Returns int64 [n, 2], the two likeliest classes of each photo, ascending."""
    return np.sort(np.argsort(-probabilities, axis=1, kind="stable")[:, :2], axis=1)


def with_specialists(
    probabilities: np.ndarray,
    specialists: Mapping[tuple[int, int], Regression],
    known: FeatureSet,
    rows: np.ndarray,
) -> np.ndarray:
    """Returns int64 [n], the classes of the photos with True in bool [N].

    Args:
      probabilities: float64 [n, K], by the regression of all classes.
      specialists: by pair of classes.
      known: features of all N photos.
      rows: bool [N].
    """
    labels, two = probabilities.argmax(axis=1), top_two(probabilities)
    for classes, regression in specialists.items():
        theirs = (two == classes).all(axis=1)
        decided = mean_probabilities(regression, known, rows).argmax(axis=1)
        labels[theirs] = np.array(classes)[decided[theirs]]
    return labels


def choose_pairs(
    known: FeatureSet, photos: "TrainingPhotos", fold: int, regressions: dict[frozenset[int], Regression], *, most: int
) -> list[Pair]:
    """Returns the pairs of classes that are confused most in the inner folds of a fold, most photos first."""
    inner = [other for other in folds_of(photos) if other != fold]
    probabilities, labels = {}, {}
    for other in inner:
        rows = photos.folds == other
        regression = general(known, photos, frozenset({fold, other}), regressions)
        probabilities[other], labels[other] = mean_probabilities(regression, known, rows), photos.labels[rows]
    predicted = np.concatenate([probabilities[other].argmax(axis=1) for other in inner])
    pairs = worst_pairs(predicted, np.concatenate([labels[other] for other in inner]), most=most)
    return [choose_c_of(classes, known, photos, fold, probabilities) for classes in pairs]


def worst_pairs(predicted: np.ndarray, labels: np.ndarray, *, most: int) -> list[tuple[int, int]]:
    """Returns the pairs of classes that are confused at all, in either direction, most photos first."""
    wrong = predicted != labels
    pairs = np.sort(np.stack([predicted[wrong], labels[wrong]], axis=1), axis=1)
    counts = Counter((int(one), int(other)) for one, other in pairs)
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:most]


def choose_c_of(
    classes: tuple[int, int],
    known: FeatureSet,
    photos: "TrainingPhotos",
    fold: int,
    probabilities: Mapping[int, np.ndarray],
) -> Pair:
    """Returns the specialist with the C that wins most inner photos; of equal ones the smallest.

    Args:
      classes: its pair.
      known: features and labels of all photos.
      photos: their folds.
      fold: that must not be seen.
      probabilities: of each inner fold, by a regression of all classes that has seen neither.
    """
    ours: dict[float, list[bool]] = {c: [] for c in C_VALUES}
    theirs: list[bool] = []
    for other, found in probabilities.items():
        rows, regression = photos.folds == other, None
        theirs += (found.argmax(axis=1) == photos.labels[rows]).tolist()
        for c in C_VALUES:
            regression = specialist(known, photos, classes, frozenset({fold, other}), c=c, start=regression)
            labels = with_specialists(found, {classes: regression}, known, rows)
            ours[c] += (labels == photos.labels[rows]).tolist()
    differences = {c: compare_right(right, theirs) for c, right in ours.items()}
    tried = [Pair(classes, c, one.fixed, one.broken) for c, one in differences.items()]
    return max(tried, key=lambda pair: pair.fixed - pair.broken)


def report(figures: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Returns the table: accuracies with Wilson's 95 % interval, McNemar's exact test, and the pairs of each fold."""
    before = [one == "1" for one in figures["right"][GENERAL]]
    lines = [f"{figures['data']}, {figures['extractor']}: {len(before)} photos, {len(figures['pairs'])} folds"]
    for way, text in figures["right"].items():
        right = [one == "1" for one in text]
        low, high = wilson_interval(sum(right), len(right))
        line = f"  {way:<36}{sum(right) / len(right):.3f} ({low:.3f}–{high:.3f})"
        if way != GENERAL:
            found = compare_right(right, before)
            line += f", +{found.fixed} −{found.broken}, p = {found.p_value:.2g}"
        lines.append(line)
    for fold, pairs in figures["pairs"].items():
        said = ", ".join(
            f"{'/'.join(class_names[label] for label in pair['classes'])} C={pair['strength']:g} "
            f"+{pair['fixed']} −{pair['broken']}{'' if pair['used'] else ' (not used)'}"
            for pair in pairs
        )
        lines.append(f"  fold {fold}, by the others: {said or 'nothing is confused'}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, SpecialistOptions, description=__doc__ or "")
