"""Specialists for confusable pairs: chosen by inner folds alone, and used where these two classes are the likeliest."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.regression import FeatureSet, Regression
from carclf.probing.photos import TrainingPhotos

ROOT = Path(__file__).parent.parent


@pytest.fixture
def specialists(monkeypatch):
    """Returns the module specialists of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import specialists

    yield specialists
    for name in ("held_out", "specialists"):
        sys.modules.pop(name, None)


def noisy_photos(count: int = 120, classes: int = 4, folds: int = 4) -> tuple[FeatureSet, TrainingPhotos]:
    """Returns photos with two views of noisy features, in which the classes 1 and 3 are alike."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(0, 1.5, (classes, 6))
    centres[3] = centres[1] + 0.3
    views = [(centres[labels] + rng.normal(0, 1, (count, 6))).astype(np.float32) for _ in range(2)]
    known = FeatureSet(views, labels, classes, np.ones(count, np.float32))
    folds_of_photos = np.arange(count) // classes % folds
    return known, TrainingPhotos([str(row) for row in range(count)], labels, folds_of_photos, classes)


def relabelled(known: FeatureSet, photos: TrainingPhotos, rows: np.ndarray) -> tuple[FeatureSet, TrainingPhotos]:
    """Returns the photos with other labels for those with True."""
    labels = np.where(rows, (photos.labels + 1) % photos.class_count, photos.labels)
    return dataclasses.replace(known, labels=labels), dataclasses.replace(photos, labels=labels)


def test_labels_of_the_outer_fold_choose_nothing(specialists):
    known, photos = noisy_photos()
    other_known, other_photos = relabelled(known, photos, photos.folds == 2)
    chosen = specialists.choose_pairs(known, photos, 2, {}, most=3)
    assert chosen == specialists.choose_pairs(other_known, other_photos, 2, {}, most=3)
    assert chosen != specialists.choose_pairs(other_known, other_photos, 1, {}, most=3)
    assert chosen[0].classes == (1, 3)


def test_an_inner_fold_is_predicted_without_its_own_labels(specialists):
    """With all labels of an inner fold changed, the regression and the specialist for that fold stay as they were."""
    known, photos = noisy_photos()
    rows = photos.folds == 1
    other_known, other_photos = relabelled(known, photos, rows)
    without = frozenset({1, 2})
    for fitted in (
        lambda known, photos: specialists.general(known, photos, without, {}),
        lambda known, photos: specialists.specialist(known, photos, (1, 3), without, c=0.1),
    ):
        np.testing.assert_array_equal(fitted(known, photos).kernel, fitted(other_known, other_photos).kernel)


def test_every_photo_is_evaluated_once_and_each_way_has_its_answer(specialists):
    known, photos = noisy_photos()
    photos.folds[:8] = -1  # external
    found = specialists.measure(known, photos, most=2)
    assert {way: len(text) for way, text in found["right"].items()} == dict.fromkeys(
        (specialists.GENERAL, specialists.CHOSEN, specialists.EVERY), 112
    )
    assert list(found["pairs"]) == [0, 1, 2, 3]
    assert all(pair["used"] == (pair["fixed"] > pair["broken"]) for pairs in found["pairs"].values() for pair in pairs)
    if not any(pair["used"] for pairs in found["pairs"].values() for pair in pairs):
        assert found["right"][specialists.CHOSEN] == found["right"][specialists.GENERAL]


def test_a_specialist_decides_only_where_its_classes_are_the_likeliest(specialists):
    known = FeatureSet([np.array([[1.0], [-1.0], [1.0], [1.0]], np.float32)], np.zeros(4, np.int64), 3, np.ones(4))
    second = Regression(np.array([[-5.0, 5.0]]), np.zeros(2), 0.1)  # the second class if the feature is positive
    probabilities = np.array([[0.6, 0.1, 0.3], [0.4, 0.1, 0.5], [0.6, 0.3, 0.1], [0.0, 0.0, 0.0]])[:3]
    rows = np.array([True, True, True, False])
    labels = specialists.with_specialists(probabilities, {(0, 2): second}, known, rows)
    assert labels.tolist() == [2, 0, 0]


def test_pairs_are_counted_in_both_directions(specialists):
    labels = np.array([0, 1, 1, 2, 2, 2, 0])
    predicted = np.array([1, 0, 2, 1, 1, 2, 0])
    assert specialists.worst_pairs(predicted, labels, most=5) == [(1, 2), (0, 1)]
    assert specialists.worst_pairs(predicted, labels, most=1) == [(1, 2)]


@pytest.mark.parametrize("limit", [1 << 30, 0])
def test_features_that_are_not_copied_give_the_same_regressions(specialists, monkeypatch, limit):
    known, photos = noisy_photos()
    expected = specialists.specialist(known, photos, (1, 3), frozenset({0}), c=0.1).kernel
    usual = specialists.general(known, photos, frozenset({0}), {}).c
    monkeypatch.setattr("carclf.model.regression.GATHERED_BYTES", limit)
    found = specialists.specialist(known, photos, (1, 3), frozenset({0}), c=0.1).kernel
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert specialists.general(known, photos, frozenset({0}), {}).c == usual


def test_the_table_compares_with_the_regression_of_all_classes(specialists):
    figures = {
        "data": "cars",
        "extractor": "tiny@32",
        "right": {specialists.GENERAL: "1100", specialists.CHOSEN: "1110", specialists.EVERY: "0011"},
        "pairs": {
            0: [{"classes": (0, 2), "strength": 0.01, "fixed": 3, "broken": 1, "used": True}],
            1: [{"classes": (1, 2), "strength": 1.0, "fixed": 1, "broken": 1, "used": False}],
            2: [],
        },
    }
    text = specialists.report(figures, ["A", "B", "C"])
    assert "cars, tiny@32: 4 photos, 3 folds\n  one regression of all classes       0.500 (0.150–0.850)\n" in text
    assert "0.750 (0.301–0.954), +1 −0, p = 1\n" in text
    assert "0.500 (0.150–0.850), +2 −2, p = 1\n" in text
    assert "fold 0, by the others: A/C C=0.01 +3 −1\n" in text
    assert "fold 1, by the others: B/C C=1 +1 −1 (not used)\n" in text
    assert text.endswith("fold 2, by the others: nothing is confused")


def test_two_folds_are_too_few(specialists, monkeypatch):
    monkeypatch.setattr("carclf.data.manifest.load_manifest", lambda folder: type("Two", (), {"folds": [0, 1]})())
    with pytest.raises(UserError, match="cars has 2 folds and specialists need 3: convert the photos again with"):
        specialists.main(specialists.SpecialistOptions(data="cars"))
