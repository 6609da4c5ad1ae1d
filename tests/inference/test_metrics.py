import json
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from carclf.errors import UserError
from carclf.inference.metrics import FIGURES, Evaluation, evaluate, wilson_interval
from carclf.metrics import find_metric
from tests.memory import peak_memory


def random_predictions(*, photos: int, classes: int, seed: int):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, photos)
    logits = rng.normal(size=(photos, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels


def run(probabilities, labels, ids=None, class_names=None) -> Evaluation:
    probabilities = np.asarray(probabilities)
    return evaluate(
        probabilities=probabilities,
        labels=np.asarray(labels),
        ids=ids or [f"{row}.jpg" for row in range(len(labels))],
        class_names=class_names or [f"class {k}" for k in range(probabilities.shape[1])],
    )


@pytest.mark.parametrize(
    ("photos", "classes", "seed"), [(1, 2, 0), (7, 10, 1), (200, 10, 2), (500, 4, 3), (300, 40, 4), (64, 3, 5)]
)
def test_every_figure_equals_scikit_learn(photos, classes, seed):
    probabilities, labels = random_predictions(photos=photos, classes=classes, seed=seed)
    predicted, every = probabilities.argmax(axis=1), np.arange(classes)
    ours = run(probabilities, labels)
    precision, recall, f1, count = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    assert ours.photos == photos
    assert ours.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert ours.metrics["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities, labels=every))
    assert ours.metrics["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.UndefinedMetricWarning)  # top 3 of 2 or 3 classes
        top3 = sklearn.metrics.top_k_accuracy_score(labels, probabilities, k=3, labels=every) if classes > 2 else 1.0
    assert ours.metrics["top3_accuracy"] == pytest.approx(top3)
    assert [score.photos for score in ours.per_class] == count.tolist()
    assert [score.precision for score in ours.per_class] == pytest.approx(precision.tolist())
    assert [score.recall for score in ours.per_class] == pytest.approx(recall.tolist())
    assert [score.f1 for score in ours.per_class] == pytest.approx(f1.tolist())
    theirs = sklearn.metrics.confusion_matrix(labels, predicted, labels=every)
    np.testing.assert_array_equal(ours.confusion.matrix(), theirs)


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (1, 1), (5, 10), (365, 400), (6530, 6675)])
def test_wilson_interval_equals_scipy(correct, total):
    theirs = scipy.stats.binomtest(correct, total).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(correct, total) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(total=st.integers(1, 10**6), share=st.floats(0, 1))
def test_wilson_interval_contains_the_fraction_and_stays_within_0_and_1(total, share):
    correct = round(share * total)
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= correct / total <= high <= 1


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_what_is_no_fraction(correct, total):
    with pytest.raises(ValueError, match=f"{correct} of {total}"):
        wilson_interval(correct, total)


def test_mistakes_are_the_most_confident_first_and_no_more_than_50():
    confidence = np.linspace(0.6, 0.9, 60)
    probabilities = np.stack([1 - confidence, confidence], axis=1)
    evaluation = run(probabilities, np.zeros(60, np.int64), class_names=["cat", "dog"])
    assert [mistake.id for mistake in evaluation.mistakes] == [f"{row}.jpg" for row in range(59, 9, -1)]
    assert evaluation.mistakes[0] == ("59.jpg", "cat", "dog", pytest.approx(0.9), False)


def test_most_confused_pairs_name_truth_first():
    labels = [0, 0, 0, 1, 2, 2]
    predicted = [1, 1, 0, 2, 2, 1]
    evaluation = run(np.eye(3)[predicted], labels, class_names=["2109", "21099", "Niva"])
    assert evaluation.most_confused == (("2109", "21099", 2), ("21099", "Niva", 1), ("Niva", "21099", 1))


def test_the_loss_of_a_mistake_with_certainty_is_finite():
    assert run([[1.0, 0.0], [1.0, 0.0]], [0, 1]).metrics["log_loss"] == pytest.approx(
        -np.log(np.finfo(np.float64).eps) / 2
    )


def test_the_first_of_equally_likely_classes_is_predicted():
    evaluation = run(np.full((5, 5), 0.2), np.arange(5))
    assert evaluation.accuracy == pytest.approx(1 / 5)
    assert evaluation.metrics["top3_accuracy"] == pytest.approx(3 / 5)


def test_16_bit_probabilities_are_accepted():
    probabilities, labels = random_predictions(photos=50, classes=10, seed=6)
    assert run(probabilities.astype(np.float16), labels).accuracy == run(probabilities, labels).accuracy


def test_the_summary_names_accuracy_interval_and_photos():
    predicted = np.eye(2)[[0] * 365 + [1] * 35]
    assert run(predicted, [0] * 400).summary() == "0.912 (95 % interval 0.88–0.94) on 400 photos"
    assert run(predicted[:1], [0]).summary().endswith("on 1 photo")


def test_to_dict_is_json_with_every_field():
    probabilities, labels = random_predictions(photos=30, classes=4, seed=7)
    evaluation = run(probabilities, labels)
    stored = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert set(stored) == set(Evaluation.__dataclass_fields__) - {"metrics"} | set(FIGURES)
    assert {name: stored[name] for name in FIGURES} == evaluation.metrics
    assert stored["confusion"] == evaluation.confusion.matrix().tolist()
    assert stored["per_class"][2] == evaluation.per_class[2]._asdict()
    assert stored["mistakes"][0]["id"] == evaluation.mistakes[0].id


def test_a_thousand_classes_most_of_them_absent_have_finite_figures():
    """Four hundred photos of 1,000 classes: the matrix is stored by its cells, and the pairs are more."""
    probabilities, labels = random_predictions(photos=400, classes=1000, seed=9)
    evaluation = run(probabilities, labels // 4)
    stored = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert stored["confusion"] is None
    assert sum(photos for _, _, photos in stored["confusion_cells"]) == 400
    assert len(stored["most_confused"]) == 30
    assert sum(score.photos == 0 for score in evaluation.per_class) > 700
    assert 0.0 <= evaluation.metrics["macro_f1"] <= 1.0


def test_twenty_thousand_classes_are_evaluated_without_a_matrix_of_all_pairs():
    classes, labels, best = 20_000, np.array([7, 7, 7, 19_999, 0]), np.array([7, 12, 12, 19_999, 3])
    probabilities = np.full((5, classes), 0.1 / (classes - 1))
    probabilities[range(5), best] = 0.9
    with peak_memory() as peak:
        evaluation = run(probabilities, labels)
        stored = evaluation.to_dict()
    assert peak.bytes < classes**2 / 8
    assert stored["confusion_cells"] == [[0, 3, 1], [7, 7, 1], [7, 12, 2], [19_999, 19_999, 1]]
    assert evaluation.most_confused == (("class 7", "class 12", 2), ("class 0", "class 3", 1))
    assert evaluation.per_class[7] == ("class 7", 3, 1.0, pytest.approx(1 / 3), 0.5)
    assert (evaluation.accuracy, evaluation.metrics["macro_f1"]) == (0.4, pytest.approx((0.5 + 1) / 5))


@pytest.mark.parametrize("name", ["qwk", "log_loss", "auc", "map@5", "top-3", "balanced_accuracy"])
def test_the_metric_that_counts_comes_first(name):
    probabilities, labels = random_predictions(photos=60, classes=4, seed=1)
    metric = find_metric(name)
    evaluation = evaluate(
        probabilities=probabilities,
        labels=labels,
        ids=[str(row) for row in range(60)],
        class_names=list("abcd"),
        metric=metric,
    )
    assert (evaluation.metric, evaluation.score) == (name, metric.compute(probabilities, labels))
    assert evaluation.headline() == f"{metric.title} {metric.show(evaluation.score)}"
    assert run(probabilities, labels).headline() == ""
    assert run(probabilities, labels).score == run(probabilities, labels).accuracy


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_probability_that_is_not_finite_is_refused_with_the_photo(value):
    probabilities = np.full((3, 2), 0.5)
    probabilities[1, 0] = value
    with pytest.raises(UserError, match=r"1 of 3 photos .* not finite, 1\.jpg first"):
        run(probabilities, [0, 1, 0])


def test_an_evaluation_without_photos_is_refused():
    with pytest.raises(ValueError, match="There must be a photo to evaluate"):
        evaluate(probabilities=np.zeros((0, 2)), labels=np.zeros(0, np.int64), ids=[], class_names=["a", "b"])


@pytest.mark.parametrize(
    ("probabilities", "labels", "text"),
    [
        (np.full((3, 2), 0.5), [0, 1], r"probabilities \[3, 2\], labels \[2\]"),
        (np.full((2, 3), 1 / 3), [0, 1], r"probabilities \[2, 3\], labels \[2\]"),
        (np.full((2, 2), 0.5), [0, 2], r"in 0\.\.1\. Received: \[0 2\]"),
        (np.full((2, 2), 0.5), [0, -1], r"in 0\.\.1\. Received: \[-1  0\]"),
        (np.full((2, 2), 0.5), [0.0, 1.0], "Labels must be integers"),
        ([[0.5, 0.5], [3.0, -2.0]], [0, 1], r"sum to 1\. Received: .* for b"),
        ([[0.5, 0.5], [2.0, 1.0]], [0, 1], r"sum to 1\. Received: .* for b"),
    ],
)
def test_inconsistent_shapes_and_values_are_refused(probabilities, labels, text):
    with pytest.raises(ValueError, match=text):
        run(probabilities, labels, ids=["a", "b"], class_names=["x", "y"])
