import re
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as theirs

from carclf.errors import UserError
from carclf.forms import FORMS, Form
from carclf.metrics import METRICS, TALLIES, choose_metric, find_metric, grades_note
from carclf.metrics.formulas import mean_ranks
from tests.memory import peak_memory


def predictions(*, photos: int, classes: int, seed: int, absent: int = 0):
    """Returns probabilities and labels; the last `absent` classes have no photo."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - absent, photos)
    logits = rng.normal(size=(photos, classes)) + 1.5 * np.eye(classes)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def auc(probabilities, labels):
    """Returns scikit-learn's area, one against the rest, over the classes for which there is one."""
    own = np.eye(probabilities.shape[1], dtype=bool)[labels]
    counts = [k for k in range(probabilities.shape[1]) if 0 < own[:, k].sum() < len(labels)]
    return np.mean([theirs.roc_auc_score(own[:, k], probabilities[:, k]) for k in counts])


def mean_average_precision(probabilities, labels, k):
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return np.mean(
        [sum(1 / (place + 1) for place in np.flatnonzero(row == y)) for row, y in zip(ranked, labels, strict=True)]
    )


# Name → the same from scikit-learn: probabilities, labels, likeliest classes, all classes.
REFERENCES = {
    "accuracy": lambda p, y, best, every: theirs.accuracy_score(y, best),
    "balanced_accuracy": lambda p, y, best, every: theirs.balanced_accuracy_score(y, best),
    "macro_f1": lambda p, y, best, every: theirs.f1_score(y, best, average="macro", zero_division=0),
    "micro_f1": lambda p, y, best, every: theirs.f1_score(y, best, average="micro", zero_division=0),
    "qwk": lambda p, y, best, every: theirs.cohen_kappa_score(y, best, weights="quadratic", labels=every),
    "log_loss": lambda p, y, best, every: theirs.log_loss(y, p, labels=every),
    "auc": lambda p, y, best, every: auc(p, y),
    "map@5": lambda p, y, best, every: mean_average_precision(p, y, 5),
    "map@1": lambda p, y, best, every: theirs.accuracy_score(y, best),
    "top-3": lambda p, y, best, every: theirs.top_k_accuracy_score(y, p, k=3, labels=every) if len(every) > 3 else 1.0,
}
SETS = [(40, 2, 0, 0), (7, 10, 1, 0), (200, 10, 2, 3), (300, 40, 4, 0), (64, 3, 5, 1)]


@pytest.mark.parametrize(("photos", "classes", "seed", "absent"), SETS)
@pytest.mark.parametrize("name", REFERENCES)
def test_every_metric_equals_scikit_learn(name, photos, classes, seed, absent):
    probabilities, labels = predictions(photos=photos, classes=classes, seed=seed, absent=absent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without a label, the first 3 of 2
        expected = REFERENCES[name](probabilities, labels, probabilities.argmax(axis=1), np.arange(classes))
    tolerance = 1e-6 if name == "auc" else 1e-9
    assert find_metric(name).compute(probabilities, labels) == pytest.approx(expected, abs=tolerance)


def test_every_row_has_a_reference():
    assert {find_metric(name).tally for name in REFERENCES} == set(TALLIES)
    assert {re.sub(r"(?<=[@-])\d+$", "k", name) for name in REFERENCES} == set(METRICS)


@pytest.mark.parametrize("name", REFERENCES)
def test_tallies_of_two_parts_add_up_to_that_of_the_whole(name):
    metric = find_metric(name)
    probabilities, labels = predictions(photos=90, classes=6, seed=8, absent=1)
    parts = [TALLIES[metric.tally](probabilities[part], labels[part]) for part in (slice(0, 31), slice(31, 90))]
    whole = TALLIES[metric.tally](probabilities, labels)
    np.testing.assert_allclose(parts[0] + parts[1], whole, rtol=1e-12)
    assert metric.of_tally(whole) == pytest.approx(metric.compute(probabilities, labels), abs=2e-3)


@pytest.mark.parametrize("name", REFERENCES)
def test_many_classes_take_no_matrix_of_all_pairs(name):
    classes, labels, best = 20_000, np.array([7, 19_999, 0, 7]), np.array([7, 19_999, 12, 3])
    probabilities = np.full((4, classes), 0.1 / (classes - 1), np.float32)
    probabilities[range(4), best] = 0.9
    with peak_memory() as peak:
        value = find_metric(name).compute(probabilities, labels)
    assert peak.bytes < classes**2 / 100
    distances = (labels[:, None] - best) ** 2.0
    expected = {
        "accuracy": 0.5,
        "balanced_accuracy": (1 + 0.5 + 0) / 3,
        "macro_f1": (1 + 2 / 3 + 0 + 0 + 0) / 5,
        "micro_f1": 0.5,
        "qwk": 1 - np.diag(distances).mean() / distances.mean(),
        "log_loss": -(np.log(0.9) + np.log(0.1 / (classes - 1))) / 2,
        "auc": None,
        "map@5": (1 + 1 + 1 / 2 + 0) / 4,
        "map@1": 0.5,
        "top-3": 0.75,
    }[name]
    if expected is None:
        expected = auc(probabilities[:, np.unique(labels)], np.unique(labels, return_inverse=True)[1])
    assert value == pytest.approx(expected, rel=1e-6)


def test_the_kappa_is_the_same_number_as_from_the_matrix_of_all_pairs():
    probabilities, labels = predictions(photos=400, classes=5, seed=3)
    predicted = probabilities.argmax(axis=1)
    matrix = theirs.confusion_matrix(labels, predicted, labels=np.arange(5)).astype(np.float64)
    distance = (np.arange(5.0)[:, None] - np.arange(5.0)) ** 2
    by_chance = (np.outer(matrix.sum(axis=1), matrix.sum(axis=0)) * distance).sum() / 400
    expected = 1 - (matrix * distance).sum() / by_chance
    metric = find_metric("qwk")
    assert metric.compute(probabilities, labels) == metric.of_labels(predicted, labels, classes=5) == expected


def test_binned_scores_come_near_the_exact_area():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 10_000)
    positive = 1 / (1 + np.exp(-(rng.normal(size=10_000) + labels)))
    probabilities = np.stack([1 - positive, positive], axis=1)
    metric = find_metric("auc")
    assert metric.of_tally(TALLIES["scores"](probabilities, labels)) == pytest.approx(
        metric.compute(probabilities, labels), abs=1e-4
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_a_single_photo_of_a_class_gives_a_number(name):
    value = find_metric(name).compute(np.array([[0.7, 0.2, 0.1]]), np.array([0]))
    assert value == {"auc": 0.5, "log_loss": pytest.approx(-np.log(0.7))}.get(name, 1.0)


def test_certainty_in_the_wrong_class_has_a_finite_loss():
    assert find_metric("log_loss").compute(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(36.04, abs=0.01)


def test_equally_likely_classes_count_in_label_order():
    equal = np.full((5, 5), 0.2)
    assert find_metric("top-3").compute(equal, np.arange(5)) == pytest.approx(3 / 5)
    assert find_metric("map@5").compute(equal, np.arange(5)) == pytest.approx(np.mean(1 / np.arange(1, 6)))


def test_a_number_in_the_name_is_the_number_of_labels():
    metric = find_metric("map@12")
    assert (metric.k, metric.title, metric.name) == (12, "MAP@12", "map@12")
    assert (find_metric("top-3").title, find_metric("top-3").least_classes) == ("Top-3 accuracy", 4)


@pytest.mark.parametrize("name", ["map@k", "map@0", "top-k", "top-", "f1", "", "log_loss5"])
def test_another_name_is_refused_with_those_there_are(name):
    with pytest.raises(
        UserError, match=rf"--metric={name} is not a metric: choose auto, or one of accuracy, .*map@5, top-5"
    ):
        find_metric(name)


SHAPES = {
    "label": "accuracy",
    "probability": "log_loss",
    "probabilities": "log_loss",
    "ranking": "map@4",
    "scored_label": "accuracy",
}


@pytest.mark.parametrize("kind", FORMS)
def test_the_metric_follows_the_form(kind):
    form = Form(kind, ("id", "x"), ("x",), k=4)
    assert choose_metric("auto", form).name == SHAPES[kind]
    assert choose_metric("qwk", form).name == "qwk"


def test_without_a_form_any_metric_may_be_chosen_and_accuracy_is():
    assert choose_metric("auto", None).name == "accuracy"
    assert {choose_metric(name, None).name for name in REFERENCES} == set(REFERENCES)


@pytest.mark.parametrize(("name", "kind"), [("auc", "label"), ("log_loss", "ranking"), ("map@5", "label")])
def test_a_metric_of_what_the_answers_do_not_say_is_refused(name, kind):
    with pytest.raises(
        UserError, match=f"--metric={name} scores .*, but the sample submission asks for {FORMS[kind].summary}"
    ):
        choose_metric(name, Form(kind, ("id", "x"), ("x",), k=5))


def test_an_order_of_grades_that_numbers_do_not_tell_is_said():
    assert grades_note(find_metric("qwk"), ["0", "1", "10"]) == ""
    assert grades_note(find_metric("accuracy"), ["mild", "no"]) == ""
    assert grades_note(find_metric("qwk"), ["mild", "no"]).startswith("Grades, from low to high: mild, no. Another")


def test_log_loss_alone_is_better_when_lower():
    assert [name for name, metric in METRICS.items() if not metric.higher] == ["log_loss"]
    assert find_metric("log_loss").rank(0.2) > find_metric("log_loss").rank(0.3)
    assert find_metric("qwk").rank(0.3) > find_metric("qwk").rank(0.2)


@pytest.mark.parametrize("values", [[3.0], [0.5, 0.5, 0.5], [2.0, 1.0, 2.0, 3.0, 1.0, 0.0]])
def test_equal_values_share_the_mean_of_their_ranks(values):
    np.testing.assert_array_equal(mean_ranks(np.array(values)), scipy.stats.rankdata(values))
