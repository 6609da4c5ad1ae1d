"""Likely mislabels: planted ones are found under a good model, and a poor model's confident mistakes are none."""

import numpy as np
import pytest

from carclf.inference.ensemble import softmax
from carclf.inference.label_noise import fit_label_noise, likely_mislabels
from carclf.inference.metrics import evaluate

CLASSES, VIEWS = 8, 4


def predicted(*, photos: int, margin: float, sureness: float = 1.0, seed: int = 0):
    """Mean probabilities [N, K], those of each view [V, N, K] and true classes [N]; true logits are higher by margin.

    A part of the noise is the photo's own and so is in every view; `sureness` multiplies the logits.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, photos)
    own = rng.normal(size=(photos, CLASSES)) + margin * np.eye(CLASSES)[truth]
    views = softmax(sureness * (own + 0.5 * rng.normal(size=(VIEWS, photos, CLASSES))))
    return views.mean(axis=0), views, truth


def planted(truth: np.ndarray, *, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(labels, whether each is wrong): a share of them is moved to another class."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < share
    moved = (truth + rng.integers(1, CLASSES, len(truth))) % CLASSES
    return np.where(wrong, moved, truth), wrong


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.02, 0.1])
@pytest.mark.parametrize("sureness", [0.5, 1.0, 3.0])
def test_planted_mislabels_under_a_good_model_are_found(share, sureness, seed):
    mean, views, truth = predicted(photos=900, margin=6.0, sureness=sureness, seed=seed)
    labels, wrong = planted(truth, share=share, seed=seed)
    found = likely_mislabels(mean, labels, view_scores=views)
    assert (found & wrong).sum() >= 0.9 * wrong.sum()  # recall
    assert (found & wrong).sum() >= 0.9 * found.sum()  # precision


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sureness", [1.0, 3.0, 10.0])
def test_a_poor_model_calls_few_labels_wrong_however_sure_it_is(sureness, seed):
    mean, views, truth = predicted(photos=200, margin=1.2, sureness=sureness, seed=seed)
    mistakes = mean.argmax(axis=1) != truth
    assert 0.35 < 1 - mistakes.mean() < 0.6
    found = likely_mislabels(mean, truth, view_scores=views)
    assert found.sum() <= 0.02 * mistakes.sum()


@pytest.mark.parametrize("seed", range(4))
def test_honest_mistakes_of_a_fair_model_are_not_called_mislabels(seed):
    mean, views, truth = predicted(photos=900, margin=3.0, sureness=2.0, seed=seed)
    mistakes = mean.argmax(axis=1) != truth
    assert 0.03 < mistakes.mean() < 0.25
    assert likely_mislabels(mean, truth, view_scores=views).sum() <= 0.1 * mistakes.sum()


def test_confidence_that_is_wrong_half_of_the_time_is_no_evidence():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, 400)
    seen = np.where(rng.random(400) < 0.45, truth, (truth + 1) % CLASSES)
    views = softmax(8 * np.eye(CLASSES)[seen] + rng.normal(size=(VIEWS, 400, CLASSES)))
    assert not likely_mislabels(views.mean(axis=0), truth, view_scores=views).any()


def test_one_view_is_not_enough_and_a_view_that_disagrees_clears_a_label():
    mean, views, truth = predicted(photos=600, margin=6.0)
    labels, _ = planted(truth, share=0.05)
    assert not likely_mislabels(mean, labels, view_scores=None).any()
    assert not likely_mislabels(mean, labels, view_scores=views[:1]).any()
    found = likely_mislabels(mean, labels, view_scores=views)
    cleared = int(np.flatnonzero(found)[0])
    views[2, cleared] = np.eye(CLASSES)[labels[cleared]]
    again = likely_mislabels(mean, labels, view_scores=views)
    assert np.flatnonzero(found != again).tolist() == [cleared]


def test_the_share_of_drawn_labels_and_the_temperature_are_found_together():
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(20000, CLASSES))
    honest = (softmax(logits).cumsum(axis=1) < rng.random((20000, 1))).sum(axis=1)
    labels = np.where(rng.random(20000) < 0.08, rng.integers(0, CLASSES, 20000), honest)
    fitted = fit_label_noise(softmax(2 * logits), labels)
    assert fitted.temperature == pytest.approx(2, rel=0.05)
    assert fitted.noise == pytest.approx(0.08, abs=0.01)
    assert fit_label_noise(softmax(2 * logits), honest).noise < 0.005


def test_every_likely_mislabel_is_listed_before_the_other_mistakes():
    mean, views, truth = predicted(photos=900, margin=6.0)
    labels, _ = planted(truth, share=0.1)
    found = likely_mislabels(mean, labels, view_scores=views)
    mistakes = evaluate(
        probabilities=mean, labels=labels, ids=[str(row) for row in range(900)],
        class_names=[str(k) for k in range(CLASSES)], mislabelled=found,
    ).mistakes  # fmt: skip
    assert found.sum() > 50
    likely = [mistake.likely_mislabel for mistake in mistakes]
    assert likely == sorted(likely, reverse=True)
    assert sum(likely) == found.sum()
    sure = [mistake.probability for mistake in mistakes if mistake.likely_mislabel]
    assert sure == sorted(sure, reverse=True)
