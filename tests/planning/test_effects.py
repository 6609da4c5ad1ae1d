"""The table of effects is one: intervals hold their ratio, more of a thing is never expected to be worse."""

import math

import pytest

from carclf.planning import effects
from carclf.planning.effects import Effect, at_least, combined

TABLES = {
    name: getattr(effects, name) for name in ("FINE_TUNING", "SCRATCH", "SIZES", "GROWN", "FOLDS", "VIEWS", "BACKBONES")
}


@pytest.mark.parametrize("name", TABLES)
def test_an_interval_holds_its_ratio(name):
    assert all(0 < row.low <= row.ratio <= row.high for row in TABLES[name].values())


@pytest.mark.parametrize("name", ["FINE_TUNING", "SCRATCH", "SIZES", "GROWN", "FOLDS", "VIEWS"])
def test_more_is_never_expected_to_be_worse(name):
    ratios = [row.ratio for row in TABLES[name].values()]
    assert ratios == sorted(ratios, reverse=True)


def test_two_effects_multiply_and_their_uncertainty_adds_as_that_of_independent_ones():
    both = Effect(0.5, 0.25, 1.0, "here") * Effect(0.8, 0.4, 1.6, "here")
    width = 2 ** math.sqrt(2)
    assert (both.ratio, both.low, both.high) == pytest.approx((0.4, 0.4 / width, 0.4 * width))
    assert both.measured == "here"
    assert (Effect(0.5, 0.4, 0.6, "here") * Effect(0.5, 0.4, 0.6)).measured == ""


def test_what_changes_nothing_leaves_the_origin_of_the_rest():
    measured = Effect(0.5, 0.4, 0.6, "here")
    assert combined([effects.NONE, measured, effects.NONE]) == measured
    assert combined([effects.NONE]) == effects.NONE


def test_epochs_between_two_rows_count_as_the_lower():
    assert at_least(effects.FINE_TUNING, 13) == effects.FINE_TUNING[10]
    assert at_least(effects.FINE_TUNING, 14) == effects.FINE_TUNING[14]
    assert at_least(effects.SCRATCH, 1) == effects.SCRATCH[4]
