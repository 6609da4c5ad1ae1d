"""Which stages keep features, what of, and what a resumed run makes of it."""

import pytest

from carclf.errors import UserError
from carclf.recipe import parse_recipe
from carclf.train_options import TrainOptions
from carclf.training.feature_plan import FeaturePlan, plan_features

HEAD = {"unfreeze": "head", "backbone": "tiny", "weights": "none"}


def plan(begun=None, **changes) -> FeaturePlan | None:
    options = TrainOptions(**(HEAD | changes))
    return plan_features(options, recipe=parse_recipe(options.augment), begun=begun)


def test_a_frozen_backbone_looks_once_at_each_photo_and_once_at_a_draw():
    assert plan() == FeaturePlan(undrawn=True, draws=1, regression=True)
    assert plan(augment="none") == FeaturePlan(undrawn=True, draws=0, regression=True)
    assert plan().views == {"train-undrawn": None, "train-0": 0}
    assert plan(feature_views=2).views == {"train-0": 0, "train-1": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"unfreeze": "all"},
        {"augment": "mixup(0.2)"},
        {"augment_validation": True},
        {"image_size": "32-48"},
        {"keep_features": False},
        {"num_hosts": 2, "coordinator": "a:1"},
    ],
    ids=str,
)
def test_a_stage_whose_features_change_trains_on_photos(changes):
    assert plan(**changes) is None


def test_the_head_of_a_parent_stays_unless_a_regression_is_asked_for():
    assert plan(init_from="parent").regression is False
    assert plan(init_from="parent", head_start="regression").regression is True
    assert plan(head_start="random").regression is False


@pytest.mark.parametrize("changes", [{"keep_features": False}, {"unfreeze": "all"}], ids=str)
def test_a_regression_without_features_is_refused(changes):
    with pytest.raises(
        UserError, match="--head_start=regression is not possible: it needs --unfreeze=head, and kept features"
    ):
        plan(head_start="regression", **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augment": "flip|mixup(0.2)"}, "--augment mixes photos, and a regression needs single ones"),
        ({"augment_validation": True}, "it does not work with --augment_validation"),
        ({"image_size": "32-48"}, "it needs a single --image_size"),
        ({"num_hosts": 2, "coordinator": "a:1"}, "it needs a single host"),
    ],
    ids=str,
)
def test_a_regression_on_features_that_change_is_refused_with_the_reason(changes, reason):
    with pytest.raises(UserError, match=f"^--head_start=regression is not possible: {reason}"):
        plan(head_start="regression", **changes)
    assert plan(**changes) is None  # by default such a head starts at random
    assert plan(head_start="regression").regression is True


@pytest.mark.parametrize(
    ("begun", "options", "kept"),
    [
        ({}, {}, None),  # a run of version 0.1
        ({}, {"feature_views": 2}, FeaturePlan(undrawn=False, draws=2, regression=False)),
        ({"features": None}, {}, None),
        (
            {"features": {"undrawn": True, "draws": 3, "regression": False}},
            {},
            FeaturePlan(undrawn=True, draws=3, regression=False),
        ),
    ],
)
def test_a_resumed_run_keeps_what_it_was_begun_with(begun, options, kept):
    assert plan(begun, **options) == kept
