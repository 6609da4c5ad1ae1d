import numpy as np
import pytest

from carclf.errors import UserError
from carclf.forms import Form
from carclf.inference import decision_kinds, decisions
from carclf.inference.decisions import DECISIONS, Decision, fit_decision, plan_decision, wanted_decision
from carclf.metrics import find_metric

FORMS = {
    "label": Form("label", ("id", "x"), ("x",)),
    "probability": Form("probability", ("id", "x"), ("x",), positive="1"),
    "probabilities": Form("probabilities", ("id", "a", "b"), ("a", "b"), column_classes=("a", "b")),
    "ranking": Form("ranking", ("id", "x"), ("x",), k=5),
}


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def overconfident(photos=600, classes=3, sharpness=4.0, seed=0):
    """Returns probabilities with sharper logits than the labels were drawn from, and the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(photos, classes))
    labels = np.array([rng.choice(classes, p=row) for row in softmax(logits)])
    return softmax(sharpness * logits), labels


def graded(photos=900, seed=0):
    """Returns probabilities of 5 grades of which low ones are frequent, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, size=photos, p=[0.5, 0.1, 0.25, 0.05, 0.1])
    seen = labels + rng.normal(scale=0.9, size=photos)
    logits = -((seen[:, None] - np.arange(5)) ** 2) / 2 + np.log([0.5, 0.1, 0.25, 0.05, 0.1])
    return softmax(logits), labels


@pytest.mark.parametrize(
    ("asked", "metric", "form", "kind"),
    [
        ("auto", "log_loss", "probabilities", "temperature"),
        ("auto", "log_loss", "probability", "temperature"),
        ("auto", "auc", "probability", "plain"),
        ("auto", "qwk", "label", "thresholds"),
        ("auto", "qwk", "probabilities", "plain"),
        ("auto", "accuracy", "label", "plain"),
        ("auto", "macro_f1", "label", "plain"),
        ("auto", "map@5", "ranking", "plain"),
        ("offsets", "macro_f1", "label", "offsets"),
        ("offsets", "balanced_accuracy", "label", "offsets"),
        ("plain", "log_loss", "probabilities", "plain"),
    ],
)
def test_the_decision_suits_metric_and_form(asked, metric, form, kind):
    assert wanted_decision(asked, metric=find_metric(metric), form=FORMS[form]) == kind


def test_a_decision_that_does_not_suit_is_refused():
    with pytest.raises(UserError, match=r"--decision=thresholds is for labels that are scored by qwk, .*by accuracy"):
        wanted_decision("thresholds", metric=find_metric("accuracy"), form=FORMS["label"])
    with pytest.raises(UserError, match="--decision=guess is not possible: choose one of auto, plain, temperature"):
        decisions.check_decision("guess")


def test_the_temperature_takes_overconfidence_back():
    probabilities, labels = overconfident()
    metric = find_metric("log_loss")
    decision = fit_decision("temperature", probabilities, labels, metric=metric, folds=1)
    assert decision.parameters[0] == pytest.approx(4.0, rel=0.15)
    changed, decided = decision.apply(probabilities)
    np.testing.assert_allclose(changed.sum(axis=1), 1.0)
    np.testing.assert_array_equal(decided, probabilities.argmax(axis=1))
    before, after = metric.compute(probabilities, labels), metric.compute(changed, labels)
    assert after < 0.75 * before
    assert decision.summary.startswith("Calibrated probabilities (temperature ")
    assert f": Log loss {before:.4f} → " in decision.summary


def test_calibrated_probabilities_are_never_0_or_1():
    probabilities = np.eye(2)[[0, 1] * 50]
    labels = np.array([0, 1] * 49 + [1, 0])
    changed, _ = fit_decision("temperature", probabilities, labels, metric=find_metric("log_loss"), folds=1).apply(
        probabilities
    )
    assert changed.min() >= decision_kinds.CLIPS[0] / 2
    assert changed.max() < 1.0


def test_thresholds_beat_the_likeliest_grade():
    probabilities, labels = graded()
    metric = find_metric("qwk")
    decision = fit_decision("thresholds", probabilities, labels, metric=metric, folds=1)
    assert decision.kind == "thresholds"
    assert (np.diff(decision.parameters) >= 0).all()
    others, truth = graded(photos=4000, seed=1)
    unchanged, decided = decision.apply(others)
    assert unchanged is others
    reached = metric.of_labels(decided, truth, classes=5)
    assert reached > metric.compute(others, truth) + 0.01


def test_offsets_raise_the_f1_of_rare_classes():
    rng = np.random.default_rng(3)
    labels = rng.choice(3, size=800, p=[0.8, 0.15, 0.05])
    logits = rng.normal(size=(800, 3)) + 1.2 * np.eye(3)[labels] + np.log([0.8, 0.15, 0.05])
    decision = fit_decision("offsets", softmax(logits), labels, metric=find_metric("macro_f1"), folds=1)
    assert decision.kind == "offsets"
    assert decision.parameters[2] > decision.parameters[0]


@pytest.mark.parametrize(
    ("kind", "parameters", "labels"),
    [
        ("temperature", [2.0, 1e-6], [0, 0, 2]),
        ("offsets", -np.log([0.6, 0.28, 0.11]), [0, 0, 2]),  # made even, the frequencies say nothing
        ("thresholds", [0.25, 1.4], [1, 1, 2]),  # their mean grade is 0.51
        ("plain", [], [0, 0, 2]),
    ],
)
def test_a_photo_of_which_only_the_frequencies_are_known_is_answered_with_the_best_guess(kind, parameters, labels):
    probabilities = np.array([[0.6, 0.29, 0.11], [0.6, 0.29, 0.11], [0.2, 0.1, 0.7]])
    kept, decided = Decision(kind, np.asarray(parameters)).apply(probabilities, prior_rows=[0, 1])
    np.testing.assert_array_equal(kept[:2], probabilities[:2])
    assert decided.tolist() == labels


def test_many_classes_share_one_parameter():
    rng = np.random.default_rng(4)
    labels = rng.choice(60, size=400, p=np.arange(60, 0, -1) / np.arange(61).sum())
    found = DECISIONS["offsets"].fit(softmax(rng.normal(size=(400, 60))), labels, find_metric("macro_f1"))
    counts = np.maximum(np.bincount(labels, minlength=60), 1)
    assert len({round(float(value), 9) for value in found}) <= len(set(counts.tolist()))


def test_what_does_not_help_is_left_out_and_said():
    probabilities, labels = graded()
    decision = fit_decision("thresholds", np.eye(5)[labels], labels, metric=find_metric("qwk"), folds=1)
    assert decision.kind == "plain"
    assert decision.summary == (
        "Thresholds on the expected grade: Quadratic weighted kappa 1.0000 → 1.0000 on 900 held-out photos, which is "
        "no better, so it is left out."
    )
    np.testing.assert_array_equal(decision.apply(probabilities)[1], probabilities.argmax(axis=1))


def test_few_photos_fit_nothing():
    probabilities, labels = overconfident(photos=19)
    decision = fit_decision("temperature", probabilities, labels, metric=find_metric("log_loss"), folds=1)
    assert (decision.kind, "only 19 photos were held out" in decision.summary) == ("plain", True)
    probabilities, labels = overconfident(photos=199)
    with pytest.raises(UserError, match=r"--decision=offsets needs 200 held-out photos or several folds.* 199 of one"):
        fit_decision("offsets", probabilities, labels, metric=find_metric("macro_f1"), folds=1)
    fit_decision("offsets", probabilities, labels, metric=find_metric("macro_f1"), folds=5)


def test_runs_without_photos_in_common_are_not_calibrated_unless_that_was_asked_for(monkeypatch):
    def refused(members, manifest):
        raise UserError("No photos are new to both.")

    monkeypatch.setattr(decisions, "held_out_folds", refused)
    how = {"members": [], "manifest": None, "metric": find_metric("log_loss"), "form": FORMS["probabilities"]}
    wanted = plan_decision("auto", **how)
    assert wanted.kind == "plain"
    assert wanted.notes == ("Not fitted: calibrated probabilities. No photos are new to both.",)
    with pytest.raises(UserError, match="No photos are new to both"):
        plan_decision("temperature", **how)
