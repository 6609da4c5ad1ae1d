"""What a plan says to people: a table of stages with their minutes, and what to expect."""

from collections.abc import Sequence
from pathlib import Path

from carclf import advice, storage
from carclf.planning.budget import in_minutes, write_budget
from carclf.planning.candidates import SCRATCH
from carclf.planning.effects import SOURCE, Effect
from carclf.planning.proposals import MARGIN, Proposal
from carclf.planning.writing import PlannedStage


def plan_table(proposal: Proposal, stages: Sequence[PlannedStage], *, budget_seconds: float) -> str:
    """Returns a line for each stage of a fold, for the prediction and for all of it.

    Args:
      proposal: what is trained.
      stages: its stages in one fold.
      budget_seconds: what it may take.
    """
    width = max(len("predict"), *(len(stage.name) for stage in stages)) + 2
    lines = [f"{'stage':<{width}}{'px':>9}{'epochs':>8}{'runs':>6}{'minutes':>9}"]
    for step, stage in zip(proposal.steps, stages, strict=True):
        minutes = in_minutes(proposal.folds * step.seconds)
        lines.append(
            f"{stage.name:<{width}}{step.candidate.image_size:>9}{step.epochs:>8}{proposal.folds:>6}{minutes:>9}"
        )
    lines.append(f"{'predict':<{width}}{'':>17}{proposal.folds:>6}{in_minutes(proposal.prediction_seconds):>9}")
    total = in_minutes(proposal.seconds)
    lines.append(f"{'in all':<{width}}{'':>23}{total:>9}  of {in_minutes(budget_seconds)}; {MARGIN:.0%} stay free")
    return "\n".join(lines)


def expectation(proposal: Proposal) -> str:
    """Returns a sentence about the error that is expected, against a reference."""
    candidate, effect = proposal.steps[-1].candidate, proposal.effect
    reference = (
        f"20 epochs of {candidate.backbone} from random weights"
        if candidate.part == SCRATCH
        else "a new head alone on EfficientNet-Lite0"
    )
    return f"Expected error: {interval(effect)} times that of {reference} at its own size, {_origin(effect)}."


def interval(effect: Effect) -> str:
    """Returns the ratio with its interval."""
    return f"{effect.ratio:.2f} ({effect.low:.2f} to {effect.high:.2f})"


def _origin(effect: Effect) -> str:
    if effect.measured:
        return f"as measured on {effect.measured}: on other photos it may differ"
    return f"in part assumed rather than measured ({SOURCE}): a guide, no promise"


def commands(
    proposal: Proposal, chain: Path, last: Sequence[str], *, runs: str, data: str, has_test_photos: bool
) -> list[str]:
    """Returns the lines with the commands that train, and that predict or else evaluate.

    Args:
      proposal: what is trained.
      chain: the flag file that trains all stages.
      last: the run of the last stage of each fold.
      runs: the folder of runs.
      data: the data set.
      has_test_photos: whether there is something to predict.
    """
    members = ",".join(advice.run_argument(storage.join(runs, name)) for name in last)
    after = "predict" if has_test_photos else "evaluate"
    return [
        f"Train: {advice.command('train', f'--flagfile={chain}', f'--data={data}')}",
        f"Then: {advice.command(after, f'--run={members}', f'--data={data}', f'--tta={proposal.views}')}",
    ]


def too_small(budget: str, smallest_seconds: float) -> str:
    """Returns the error text for a budget that has time for nothing; a fifth more covers how timings vary."""
    return (
        f"--budget={budget} is too short for anything that was timed here: give at least "
        f"--budget={write_budget(1.2 * smallest_seconds)}."
    )
