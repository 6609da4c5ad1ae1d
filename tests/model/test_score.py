import math

import keras
import numpy as np
import pytest

from carclf.metrics import TALLIES, find_metric
from carclf.model import score

NAMES = ("balanced_accuracy", "macro_f1", "micro_f1", "qwk", "log_loss", "auc", "map@3", "top-2")
LOGITS = np.random.default_rng(2).normal(scale=3, size=(60, 5)).astype(np.float32)
LABELS = np.random.default_rng(3).integers(0, 4, 60)  # class 4 has no photo
PROBABILITIES = np.asarray(keras.ops.softmax(LOGITS.astype(np.float64)))


def test_every_tally_has_a_twin_on_the_device():
    assert set(score.TALLIES) == set(TALLIES)


@pytest.mark.parametrize("name", NAMES)
def test_batches_of_logits_give_the_metric_of_the_probabilities(name):
    metric = find_metric(name)
    running = score.Score(metric.name, class_count=5)
    target = np.eye(5, dtype=np.float32)[LABELS]
    for part in (slice(0, 25), slice(25, 60)):
        running.update_state(target[part], LOGITS[part], sample_weight=np.ones(len(LABELS[part]), np.float32))
    expected = metric.of_tally(TALLIES[metric.tally](PROBABILITIES, LABELS))
    assert float(running.result()) == pytest.approx(expected, abs=1e-3 if name == "auc" else 1e-5)
    running.reset_state()
    assert float(keras.ops.sum(running.tally)) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_count(name):
    target, weight = np.eye(5, dtype=np.float32)[LABELS], np.ones(60, np.float32)
    plain, padded = (score.Score(name, class_count=5) for _ in range(2))
    plain.update_state(target[:40], LOGITS[:40])
    weight[40:] = 0.0
    padded.update_state(target, LOGITS, sample_weight=weight)
    assert float(padded.result()) == pytest.approx(float(plain.result()), abs=1e-6)


class SizedOps:
    """`keras.ops` that notes how many numbers each result has."""

    def __init__(self):
        self.sizes = []

    def __getattr__(self, name):
        def call(*arguments, **named):
            result = getattr(keras.ops, name)(*arguments, **named)
            self.sizes.append(math.prod(getattr(result, "shape", ())))
            return result

        return call


@pytest.mark.parametrize("name", NAMES)
def test_no_array_has_a_place_for_each_pair_of_many_classes(name, monkeypatch):
    classes, labels = 20_000, np.array([7, 19_999, 0])
    logits = np.full((3, classes), -4.0, np.float32)
    logits[range(3), [7, 19_999, 12]] = 8.0
    logits[:, 0] = -2.0, -6.0, -4.0  # no two photos are equal, since rounding would decide which of them is first
    sized = SizedOps()
    monkeypatch.setattr(score, "ops", sized)
    running = score.Score(name, class_count=classes)
    running.update_state((np.arange(classes) == labels[:, None]).astype(np.float32), logits)
    value = float(running.result())
    assert max(sized.sizes) <= 2 * classes * score.SCORE_BINS
    probabilities = np.asarray(keras.ops.softmax(logits.astype(np.float64)))
    expected = find_metric(name).compute(probabilities, labels)
    assert value == pytest.approx(expected, abs=1e-3 if name == "auc" else 1e-5)


def test_equal_logits_rank_in_label_order():
    running = score.Score("top-2", class_count=4)
    running.update_state(np.eye(4, dtype=np.float32), np.zeros((4, 4), np.float32))
    assert float(running.result()) == pytest.approx(0.5)


def test_scores_near_1_keep_their_order():
    logits = np.array([[0.0, 12.0], [0.0, 14.0], [0.0, 13.0]], np.float32)
    running = score.Score("auc", class_count=2)
    running.update_state(np.eye(2, dtype=np.float32)[[0, 1, 1]], logits)
    assert float(running.result()) == pytest.approx(1.0)
