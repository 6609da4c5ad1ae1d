"""The regression is scikit-learn's, and a head that starts from it says what it says."""

import dataclasses

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from carclf.model import regression
from carclf.model.classifier import build_classifier
from carclf.model.head_start import start_head
from carclf.model.regression import FeatureSet, Regression, choose_c, fit_regression
from tests.memory import peak_memory

PHOTOS, WIDTH, CLASSES = 90, 12, 4


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=PHOTOS)
    centres = rng.normal(size=(CLASSES, WIDTH))
    views = [(5 + centres[labels] + rng.normal(size=(PHOTOS, WIDTH))).astype(np.float32) for _ in range(2)]
    return FeatureSet(views, labels, CLASSES, np.ones(PHOTOS, np.float32))


def test_it_is_the_regression_of_scikit_learn(features, monkeypatch):
    monkeypatch.setattr(regression, "STOPPING", {"maxiter": 1000, "gtol": 1e-7, "ftol": 1e-12})
    (view, _), labels = features.views, features.labels
    one = dataclasses.replace(features, views=[view])
    scaler = StandardScaler().fit(view)
    theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(scaler.transform(view), labels)
    ours = fit_regression(one, c=0.1).logits(view)
    wanted = theirs.decision_function(scaler.transform(view))
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), wanted - wanted.mean(1, keepdims=True), atol=1e-3)


def test_a_block_at_a_time_gives_the_same(features, monkeypatch):
    whole = fit_regression(features)
    monkeypatch.setattr(regression, "BLOCK_ROWS", 7)
    np.testing.assert_allclose(fit_regression(features).kernel, whole.kernel, atol=1e-4)


def test_memory_does_not_grow_with_photos_times_classes(monkeypatch):
    """A block of probabilities is much smaller than those of all photos, which would be 32 MB."""
    monkeypatch.setattr(regression, "BLOCK_ROWS", 64)
    monkeypatch.setattr(regression, "STOPPING", {"maxiter": 2})
    rng = np.random.default_rng(3)
    views = [rng.normal(size=(8_000, 3)).astype(np.float32)]
    many = FeatureSet(views, rng.integers(1_000, size=8_000), 1_000, np.ones(8_000, np.float32))
    with peak_memory() as peak:
        choose_c(many, held_out=np.arange(8_000) % 4 == 0, c_values=[0.01])
        fit_regression(many.rows(np.arange(8_000) > 0))
    assert peak.bytes < 4e6


def test_a_photo_of_weight_0_does_not_count(features, monkeypatch):
    chosen = np.arange(PHOTOS) % 3 > 0
    copied = fit_regression(features.rows(chosen))
    monkeypatch.setattr(regression, "GATHERED_BYTES", 0)
    np.testing.assert_allclose(fit_regression(features.rows(chosen)).kernel, copied.kernel, atol=1e-4)
    with pytest.raises(ValueError, match="at least one photo"):
        fit_regression(features.rows(chosen & ~chosen))


def test_the_c_that_says_most_of_unseen_photos_is_chosen(features):
    held_out = np.arange(PHOTOS) < 30
    losses = {}
    for c in regression.C_VALUES:
        logits = fit_regression(features.rows(~held_out), c=c).logits(np.concatenate(features.views))
        log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        losses[c] = -log[np.arange(2 * PHOTOS), np.tile(features.labels, 2)][np.tile(held_out, 2)].sum()
    assert choose_c(features, held_out=held_out) == min(losses, key=losses.get)
    assert choose_c(features, held_out=~held_out & held_out) == regression.DEFAULT_C


@pytest.mark.parametrize("head_width", [128, 7])
def test_a_head_begins_where_the_regression_ends(head_width):
    """Three pairs of units are enough for three directions, which is all that a difference of four classes has."""
    classifier = build_classifier(
        backbone="tiny", weights="none", class_count=CLASSES, image_size=(32, 32), head_width=head_width
    )
    rng = np.random.default_rng(1)
    pool = classifier.get_layer("head_pool").output
    photos = rng.uniform(0, 2, (20, pool.shape[-1])).astype(np.float32)
    kernel = rng.normal(size=(pool.shape[-1], CLASSES))
    wanted = Regression(kernel - kernel.mean(axis=1, keepdims=True), rng.normal(size=CLASSES), 0.1)
    labels = rng.integers(CLASSES, size=20)
    start_head(classifier, wanted, FeatureSet([photos], labels, CLASSES, np.ones(20, np.float32)))
    head = keras.Model(pool, classifier.output)
    logits = keras.ops.convert_to_numpy(head(photos))
    np.testing.assert_allclose(logits, wanted.logits(photos), atol=1e-3)
    hidden = keras.Model(pool, classifier.get_layer("head_norm").output)
    normed = keras.ops.convert_to_numpy(hidden(photos))
    np.testing.assert_allclose(normed.mean(axis=0), 0, atol=1e-3)  # so BatchNorm says the same in training
    np.testing.assert_allclose(normed.std(axis=0), 1, atol=1e-2)


def test_the_statistics_of_the_head_are_those_of_the_photos_that_count(features, monkeypatch):
    classifier = build_classifier(
        backbone="tiny", weights="none", class_count=CLASSES, image_size=(32, 32), head_width=16
    )
    width = classifier.get_layer("head_pool").output.shape[-1]
    rng = np.random.default_rng(2)
    views = [rng.uniform(0, 2, (PHOTOS, width)).astype(np.float32)]
    views[0][60:] += 100
    wanted = Regression(rng.normal(size=(width, CLASSES)), rng.normal(size=CLASSES), 0.1)
    photos = dataclasses.replace(features, views=views)
    kernel = classifier.get_layer("head_dense").get_weights()

    def statistics():
        classifier.get_layer("head_dense").set_weights(kernel)
        start_head(classifier, wanted, photos.rows(np.arange(PHOTOS) < 60))
        return classifier.get_layer("head_norm").get_weights()[2:]

    copied = statistics()
    monkeypatch.setattr(regression, "GATHERED_BYTES", 0)
    for masked, own in zip(statistics(), copied, strict=True):
        np.testing.assert_allclose(masked, own, rtol=1e-5)
