"""Which test photos get a pseudo-label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.inference.calibration import tempered
from carclf.inference.dataset_predictions import Predictions, concatenate_predictions, mean_predictions
from carclf.inference.ensemble import ViewMean
from carclf.inference.pseudo_labels import select_confident
from carclf.recipe import parse_views


def test_a_photo_is_sure_by_its_calibrated_confidence_and_undisputed():
    probabilities = np.array([[0.99, 0.01], [0.9, 0.1], [0.02, 0.98], [0.03, 0.97]])
    agreed = np.array([0, 0, 1, -1])
    sharper = select_confident(probabilities, agreed, temperature=1.0, confidence=0.95, class_photos=[5, 5])
    assert (sharper.photos.tolist(), sharper.labels.tolist(), sharper.disputed) == ([0, 2], [0, 1], 1)
    agreed = np.array([0, 0, 1, 1])
    cooler = select_confident(probabilities, agreed, temperature=2.0, confidence=0.9, class_photos=[5, 5])
    assert cooler.photos.tolist() == [0]
    assert cooler.confidences == pytest.approx(tempered(probabilities[:1], 2.0).max(axis=1))


def test_an_easy_class_does_not_crowd_out_the_others():
    probabilities = np.array([[0.96 + 0.001 * n, 0.04 - 0.001 * n] for n in range(8)] + [[0.01, 0.99]] * 2)
    labels = probabilities.argmax(axis=1)
    chosen = select_confident(probabilities, labels, temperature=1.0, confidence=0.95, class_photos=[30, 30])
    assert chosen.photos.tolist() == [3, 4, 5, 6, 7, 8, 9]  # half of 10 sure photos, the surest of class 0
    assert chosen.surplus == 3


@given(
    seed=st.integers(0, 1000),
    confidence=st.floats(0.4, 1.0),
    temperature=st.floats(0.3, 3.0),
    class_photos=st.lists(st.integers(1, 50), min_size=3, max_size=3),
)
def test_no_class_exceeds_its_share_and_the_surest_stay(seed, confidence, temperature, class_photos):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.2] * 3, 40)
    agreed = np.where(rng.uniform(size=40) < 0.8, probabilities.argmax(axis=1), -1)
    chosen = select_confident(
        probabilities, agreed, temperature=temperature, confidence=confidence, class_photos=class_photos
    )
    calibrated = tempered(probabilities, temperature)
    sure = (calibrated.max(axis=1) >= confidence) & (agreed == calibrated.argmax(axis=1))
    assert sure[chosen.photos].all()
    assert len(chosen.photos) + chosen.surplus == sure.sum()
    for label, share in enumerate(np.array(class_photos) / sum(class_photos)):
        own = chosen.labels == label
        assert own.sum() <= np.ceil(share * sure.sum())
        left = np.setdiff1d(np.flatnonzero(sure & (agreed == label)), chosen.photos)
        if len(left):
            assert own.sum() == np.ceil(share * sure.sum())
            assert chosen.confidences[own].min(initial=1.0) >= calibrated[left].max() - 1e-12


def test_views_agree_where_all_say_the_same_class():
    mean = ViewMean(3, 2, views=parse_views("clean|flip"), kind="probabilities")
    mean.add(0, np.array([2, 0]), np.array([[5.0, 0], [0, 1]]))
    mean.add(0, np.array([1]), np.array([[2.0, 0]]))
    mean.add(1, np.arange(3), np.array([[0.0, 3], [0, 0.1], [9, 0]]))
    assert mean.agreed().tolist() == [1, -1, 0]


def test_runs_agree_where_all_of_their_views_do():
    def predictions(rows, agreed):
        return Predictions(np.array(rows), np.full((len(rows), 2), 0.5), agreed=np.array(agreed))

    both = mean_predictions([predictions([0, 1, 2, 3], [0, 1, -1, 1]), predictions([0, 1, 2, 3], [0, 0, -1, 1])])
    assert both.agreed.tolist() == [0, -1, -1, 1]
    joined = concatenate_predictions([predictions([2, 0], [1, -1]), predictions([1], [0])])
    assert joined.agreed.tolist() == [-1, 0, 1]
    assert mean_predictions([Predictions(np.arange(2), np.full((2, 2), 0.5))]).agreed is None
