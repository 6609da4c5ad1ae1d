"""Proposes the stages with the least expected error that fit a budget. Arithmetic only: timings are given."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence

from carclf.planning import effects
from carclf.planning.candidates import ALL, HEAD, HEAD_EPOCHS, SCRATCH, Candidate
from carclf.planning.costs import PhotoCounts, Timing, Timings, prediction_seconds, stage_seconds
from carclf.planning.effects import Effect

MARGIN = 0.1  # of the budget: what predictions of time are wrong by


@dataclasses.dataclass(frozen=True)
class Step:
    """A stage of a proposal.

    Attributes:
      candidate: what is trained.
      epochs: how many.
      grown: whether it follows the same at a smaller size.
      seconds: how long one fold takes.
    """

    candidate: Candidate
    epochs: int
    grown: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Stages, folds and views.

    Attributes:
      steps: in the order of training; each starts from the one before.
      folds: how many folds are held out in turn; each is a run of its own in the ensemble.
      views: as in `--tta`.
      prediction_seconds: how long the prediction takes.
      effect: what is expected of its error.
    """

    steps: tuple[Step, ...]
    folds: int
    views: str
    prediction_seconds: float
    effect: Effect

    @property
    def seconds(self) -> float:
        """How long training and prediction take."""
        return self.folds * sum(step.seconds for step in self.steps) + self.prediction_seconds


def best_proposal(timings: Timings, photos: PhotoCounts, *, budget_seconds: float, folds: int) -> Proposal | None:
    """Returns the proposal with the least expected error that the budget has time for, with a margin; None if none.

    Of several that are expected to be as good it is the shortest. More time never makes the expectation worse.

    Args:
      timings: of this machine.
      photos: those of the data set.
      budget_seconds: for training and prediction.
      folds: how many folds may be held out.
    """
    fitting = [
        proposal
        for proposal in proposals(timings, photos, folds=folds)
        if proposal.seconds <= (1 - MARGIN) * budget_seconds
    ]
    return min(fitting, key=_rank, default=None)


def smallest_budget(timings: Timings, photos: PhotoCounts) -> float:
    """Returns the seconds of the smallest budget that has time for anything; infinite if nothing was timed."""
    seconds = (proposal.seconds for proposal in proposals(timings, photos, folds=1))
    return min(seconds, default=math.inf) / (1 - MARGIN)


def _rank(proposal: Proposal) -> tuple[float, float, str]:
    return proposal.effect.ratio, proposal.seconds, repr(proposal)


def proposals(timings: Timings, photos: PhotoCounts, *, folds: int) -> Iterator[Proposal]:
    """Yields everything that can be done with what was timed."""
    for steps in chains(timings, photos):
        last = steps[-1].candidate
        forward = _forward(timings, last)
        for count in (number for number in effects.FOLDS if number <= folds):
            for views in effects.VIEWS:
                seconds = prediction_seconds(timings, photos, forward=forward, runs=count, views=len(views.split("|")))
                yield Proposal(steps, count, views, seconds, effect_of(steps, folds=count, views=views))


def chains(timings: Timings, photos: PhotoCounts) -> Iterator[tuple[Step, ...]]:
    """Yields the stages of each chain: a head, a head and then every layer, or all from random weights.

    The last of these may be followed by the same at a larger size.
    """
    for timing in timings.stages:
        candidate = timing.candidate
        step = functools.partial(_step, timings, photos)
        if candidate.part == SCRATCH:
            for epochs in effects.SCRATCH:
                alone = (step(timing, epochs),)
                yield alone
                yield from _grown(timings, photos, alone)
        elif candidate.part == HEAD:
            head = step(timing, HEAD_EPOCHS)
            yield (head,)
            after = timings.of(dataclasses.replace(candidate, part=ALL))
            for epochs in effects.FINE_TUNING if after else ():
                assert after
                both = (head, step(after, epochs, chained=True))
                yield both
                yield from _grown(timings, photos, both)


def _grown(timings: Timings, photos: PhotoCounts, steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    last = steps[-1].candidate
    for larger in timings.stages:
        known = larger.candidate
        same = dataclasses.replace(known, image_size=last.image_size) == last
        if same and known.pixels > last.pixels:
            for epochs in effects.GROWN:
                yield *steps, _step(timings, photos, larger, epochs, chained=True, grown=True)


def _step(
    timings: Timings, photos: PhotoCounts, timing: Timing, epochs: int, *, chained: bool = False, grown: bool = False
) -> Step:
    forward = _forward(timings, timing.candidate)
    seconds = stage_seconds(timing, photos, epochs=epochs, forward=forward, chained=chained)
    return Step(timing.candidate, epochs, grown, seconds)


def _forward(timings: Timings, candidate: Candidate) -> Timing:
    """Returns the timing at this size whose validation runs the whole network: that of a head has its features."""
    wanted = dataclasses.replace(candidate, part=ALL) if candidate.part == HEAD else candidate
    found = timings.of(wanted) or timings.of(candidate)
    assert found
    return found


def effect_of(steps: Sequence[Step], *, folds: int, views: str) -> Effect:
    """Returns what is expected of the error of these stages, against the reference of their kind.

    That is the head alone at the backbone's own size, or 20 epochs from random weights there. The epochs at a first
    size count like those at the second.
    """
    last = steps[-1]
    trained = [step for step in steps if step.candidate.part != HEAD]
    epochs = sum(step.epochs for step in trained)
    parts = [_size(last.candidate.share), effects.FOLDS[folds], effects.VIEWS[views]]
    if last.candidate.part == SCRATCH:
        parts.append(effects.at_least(effects.SCRATCH, epochs))
    else:
        parts.append(effects.BACKBONES.get(last.candidate.backbone, effects.OTHER_BACKBONE))
    if last.candidate.part == ALL:
        parts.append(effects.at_least(effects.FINE_TUNING, epochs))
    if last.grown:
        parts.append(effects.GROWN[last.epochs])
    return effects.combined(parts)


def _size(share: float) -> Effect:
    table: Mapping[float, Effect] = effects.SIZES
    return table[min(table, key=lambda known: abs(math.log(known / share)))]
