"""A proposal fits its budget, more time never promises less, and the same timings give the same plan."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.planning import effects
from carclf.planning.candidates import ALL, HEAD, SCRATCH
from carclf.planning.costs import PhotoCounts
from carclf.planning.proposals import MARGIN, best_proposal, chains, effect_of, proposals, smallest_budget
from tests.planning.made_timings import PHOTOS, PRETRAINED_TIMINGS, SCRATCH_TIMINGS, machines, timing, timings_of

photos = st.builds(
    PhotoCounts, train=st.integers(32, 50_000), val=st.integers(1, 5_000), predicted=st.integers(1, 20_000)
)
budgets = st.floats(1.0, 200_000.0)


@settings(max_examples=40)
@given(machines(), photos, budgets, st.integers(1, 10))
def test_a_proposal_never_exceeds_the_budget_less_the_margin(timings, photos, budget, folds):
    proposal = best_proposal(timings, photos, budget_seconds=budget, folds=folds)
    if proposal is None:
        assert budget < smallest_budget(timings, photos) * (1 + 1e-9)
    else:
        assert proposal.seconds <= (1 - MARGIN) * budget
        assert proposal.folds <= folds
        assert proposal.folds * sum(step.seconds for step in proposal.steps) < proposal.seconds


@settings(max_examples=40)
@given(machines(), photos, budgets, st.floats(1.0, 10.0))
def test_more_time_never_promises_less(timings, photos, budget, factor):
    less = best_proposal(timings, photos, budget_seconds=budget, folds=5)
    more = best_proposal(timings, photos, budget_seconds=budget * factor, folds=5)
    if less is not None:
        assert more is not None
        assert more.effect.ratio <= less.effect.ratio


@settings(max_examples=40)
@given(machines(), photos, budgets)
def test_nothing_that_fits_promises_more_and_the_order_of_the_timings_does_not_matter(timings, photos, budget):
    best = best_proposal(timings, photos, budget_seconds=budget, folds=5)
    turned = dataclasses.replace(timings, stages=timings.stages[::-1])
    assert best_proposal(turned, photos, budget_seconds=budget, folds=5) == best
    for other in proposals(timings, photos, folds=5):
        if best is not None and other.seconds <= (1 - MARGIN) * budget:
            assert (best.effect.ratio, best.seconds) <= (other.effect.ratio, other.seconds)


@settings(max_examples=40)
@given(machines(), photos)
def test_the_smallest_budget_is_enough_and_a_little_less_is_not(timings, photos):
    smallest = smallest_budget(timings, photos)
    assert best_proposal(timings, photos, budget_seconds=smallest * 1.0001, folds=5) is not None
    assert best_proposal(timings, photos, budget_seconds=smallest * 0.9999, folds=5) is None


def test_a_chain_begins_with_a_head_grows_and_never_changes_the_network():
    for steps in chains(PRETRAINED_TIMINGS, PHOTOS):
        parts = [step.candidate.part for step in steps]
        assert parts in ([HEAD], [HEAD, ALL], [HEAD, ALL, ALL])
        pixels = [step.candidate.pixels for step in steps]
        assert pixels == sorted(pixels)
        assert [step.grown for step in steps] == [False, False, True][: len(steps)]
        if len(steps) == 3:
            assert pixels[1] < pixels[2]
    two = timings_of(timing(SCRATCH, 48), timing(SCRATCH, 96, backbone="mobilenet_v2"))
    assert all(len(steps) == 1 for steps in chains(two, PHOTOS))


def test_a_short_budget_takes_a_head_and_a_long_one_folds_and_views():
    short = best_proposal(PRETRAINED_TIMINGS, PHOTOS, budget_seconds=180, folds=5)
    assert short is not None
    assert [step.candidate.part for step in short.steps] == [HEAD]
    long = best_proposal(PRETRAINED_TIMINGS, PHOTOS, budget_seconds=9 * 3600, folds=5)
    assert long is not None
    assert (long.folds, long.steps[-1].candidate.part) == (5, ALL)
    assert long.views != "clean"


def test_the_expectation_is_the_product_of_the_table():
    (steps,) = [
        s
        for s in chains(SCRATCH_TIMINGS, PHOTOS)
        if len(s) == 1 and s[0].epochs == 14 and s[0].candidate.image_size == "48"
    ]
    effect = effect_of(steps, folds=3, views="clean|flip")
    parts = (effects.SIZES[0.57], effects.FOLDS[3], effects.VIEWS["clean|flip"], effects.SCRATCH[14])
    product = 1.0
    for part in parts:
        product *= part.ratio
    assert effect.ratio == pytest.approx(product)
    assert effect.low < effect.ratio < effect.high
    assert effect.measured == ""
