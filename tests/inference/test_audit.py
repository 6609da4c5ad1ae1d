"""How many photos views fix and break, and how many views are enough."""

import numpy as np
import pytest

from carclf.inference import audit as audits
from carclf.inference.audit import audit_views, with_clean
from carclf.inference.ensemble import softmax
from carclf.recipe import parse_views

LABELS = np.zeros(6, np.int64)


def logits_of(*predicted: list[int]) -> np.ndarray:
    """[V, N, 3]: logits with the given classes per view, all with the same confidence."""
    return 5.0 * np.eye(3)[np.array(predicted)]


def audit(view_logits, views: str, **changes):
    how = {"views": with_clean(parse_views(views)), "run_weights": np.ones(1), "tta_mean": "probabilities"} | changes
    return audit_views([view_logits], LABELS, **how)


def test_photos_fixed_and_broken_are_counted_against_the_clean_view():
    result = audit(logits_of([0, 0, 1, 1, 1, 1], [0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1]), "clean|flip|zoom(1.1)")
    assert [tuple(effect)[:3] for effect in result.views] == [("flip", 3, 1), ("zoom(1.1)", 2, 0)]
    assert result.views[0].p_value == pytest.approx(0.625)  # P(at least as uneven as 3 : 1) = 10 / 16
    assert result.views[1].p_value == pytest.approx(0.5)
    assert tuple(result.mean)[:3] == ("mean of 3 views", 2, 0)
    assert str(result.views[0]) == "flip: +3 −1, p=0.62"


def test_a_clean_view_is_added_for_comparison_and_does_not_count():
    clean, flip = [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]
    result = audit(logits_of(flip, clean), "flip")
    assert [tuple(effect)[:3] for effect in result.views] == [("flip", 3, 0)]
    assert (result.view_count, result.mean.fixed) == (1, 3)


def test_without_changes_the_p_value_is_one():
    result = audit(logits_of([0] * 6, [0] * 6), "clean|flip")
    assert (result.mean.fixed, result.mean.broken, result.mean.p_value) == (0, 0, 1.0)
    assert result.enough_views == 1
    assert result.lines()[-1] == "mean of 2 views: +0 −0, p=1; 2 views = 1 view"


@pytest.mark.parametrize(
    ("votes", "enough"),
    [
        ([0, 0, 0, 0], 1),
        ([1, 0, 0, 0], 2),  # of equal votes the first class wins: 1, 0, 0, 0
        ([1, 1, 0, 0], 4),  # 1, 1, 1, 0
        ([0, 1, 1, 1], 3),  # 0, 0, 1, 1
        ([1, 0, 1, 1], 3),  # 1, 0, 1, 1
    ],
)
def test_after_enough_views_nothing_changes(votes, enough):
    assert audit(logits_of(*[[k] * 6 for k in votes]), "clean|flip|vflip|zoom(2)").enough_views == enough


def test_weights_of_views_and_runs_count():
    first, second = logits_of([0] * 6, [1] * 6), logits_of([2] * 6, [2] * 6)
    views = with_clean(parse_views("clean|flip*3"))
    how = {"views": views, "tta_mean": "logits"}
    one = audit_views([first, second], LABELS, run_weights=np.array([1.0, 0.0]), **how)
    other = audit_views([first, second], LABELS, run_weights=np.array([0.2, 0.8]), **how)
    assert (one.mean.broken, one.enough_views) == (6, 2)
    assert (other.mean.fixed, other.mean.broken, other.enough_views) == (0, 0, 1)


@pytest.mark.parametrize("tta_mean", ["probabilities", "logits"])
def test_only_one_view_is_computed_at_a_time_and_each_once(monkeypatch, tta_mean):
    rng, shapes = np.random.default_rng(0), []
    views = with_clean(parse_views("flip*2|zoom(1.1)|vflip"))
    logits = [rng.normal(size=(4, 6, 3)) for _ in range(2)]
    weights = np.array([0.3, 0.7])
    monkeypatch.setattr(audits, "softmax", lambda values: shapes.append(values.shape) or softmax(values))
    found = audits.audit_views(logits, LABELS, views=views, run_weights=weights, tta_mean=tta_mean)
    assert set(shapes) == {(6, 3)}
    assert len(shapes) == 2 * 4 * (1 if tta_mean == "probabilities" else 2) - (tta_mean == "logits") * 2
    values = [softmax(one) if tta_mean == "probabilities" else one for one in logits]
    each = [np.average(one[:3], axis=0, weights=[2, 1, 1]) for one in values]
    mean = sum(w * (softmax(one) if tta_mean == "logits" else one) for w, one in zip(weights, each, strict=True))
    clean = sum(w * softmax(one[3]) for w, one in zip(weights, logits, strict=True)).argmax(axis=1) == LABELS
    right = mean.argmax(axis=1) == LABELS
    assert (found.mean.fixed, found.mean.broken) == ((~clean & right).sum(), (clean & ~right).sum())
