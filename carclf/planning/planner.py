"""Makes a plan: times, proposes, writes, and says what to run."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carclf import advice, preemption
from carclf.command import expand_flagfiles, parse_command_line
from carclf.data.label_patch import apply_label_patch
from carclf.data.manifest import PSEUDO, Manifest, load_manifest
from carclf.data.pseudo_labels import apply_pseudo_labels
from carclf.errors import UserError
from carclf.files import write_atomically
from carclf.flags import define_flags, refuse, refuse_below_a_file, to_dict
from carclf.framing import Framing, parse_image_size
from carclf.planning import costs
from carclf.planning.budget import parse_budget
from carclf.planning.candidates import SCRATCH, STAGES, Candidate, candidates
from carclf.planning.costs import PhotoCounts, Timings
from carclf.planning.proposals import Proposal, best_proposal, smallest_budget
from carclf.planning.sampling import sample_of
from carclf.planning.table import commands, expectation, plan_table, too_small
from carclf.planning.timing import Stopwatch, limit_seconds
from carclf.planning.writing import PlannedStage, planned_stages, write_plan
from carclf.runs.parent import check_batch, check_split
from carclf.scratch import scratch_folder
from carclf.train_options import TrainOptions

CHOSEN = (
    "run", "stages", "init_from", "find_lr", "overwrite", "resume_from", "epochs", "steps", "unfreeze", "patience",
    "num_hosts", "size_count", "feature_views", "keep_features",
)  # fmt: skip
OWN = ("data", "plan", "budget", "plan_output")
FAST_PHOTOS, SLOW_PHOTOS = (1600, 400), (160, 64)  # (training, validation) that are timed, at most
PLAN_FILE = "plan.json"


def make_plan(options: TrainOptions, arguments: Sequence[str]) -> None:
    """Times this machine, writes the stages that fit the budget, and prints them with the commands to run.

    Args:
      options: from the command line.
      arguments: the command line itself: what it gives is the same in every stage.

    Raises:
      UserError: an option is one that the plan chooses or does not fit its stages, labels are not of this data set,
        the budget is too small, or nothing can be timed.
      Preempted: SIGTERM has arrived; nothing was written.
    """
    given = given_options(arguments, options)
    data = load_manifest(options.data)
    check_split(data, val_fold=options.val_fold, parent=None)
    labelled = apply_pseudo_labels(
        options.pseudo_labels, apply_label_patch(options.label_patch, data), val_fold=options.val_fold
    )
    photos = photo_counts(labelled, val_fold=options.val_fold)
    timed_photos = photos.train - labelled.photos(PSEUDO)
    found = candidates(given, train_photos=timed_photos)
    check_candidates(found, given, train_photos=timed_photos)
    if all(candidate.part == SCRATCH for candidate in found) and "weights" not in given:
        print(f"No pretrained weights are at hand, so the plan trains {found[0].backbone} from random ones.")
    budget_seconds = parse_budget(options.budget)
    refuse_below_a_file("plan_output", options.plan_output)
    with preemption.watching(lambda: "nothing was written, and the same command starts again"):
        timings = time_here(found, given, data, options=options, budget_seconds=budget_seconds)
    proposal = propose(timings, photos, data, options=options)
    write_and_print(proposal, timings, data, options=options, given=given)


def given_options(arguments: Sequence[str], options: TrainOptions) -> dict[str, str]:
    """Returns the options that the command line gives, as text by name, without those of the plan itself.

    Raises:
      UserError: it gives one that the plan chooses.
    """
    values = define_flags(TrainOptions)
    values(["carclf", *expand_flagfiles(arguments)])
    named = [name for name in to_dict(options) if values[name].present]
    for name in CHOSEN:
        refuse(name in named, name, getattr(options, name), "--plan chooses it")
    refuse(options.val_fold < 0, "val_fold", "all", "--plan chooses the folds")
    grows = "-" in options.image_size
    refuse(grows, "image_size", options.image_size, "--plan chooses how sizes grow: give one size, or none")
    return {name: _text(getattr(options, name)) for name in named if name not in OWN}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def photo_counts(data: Manifest, *, val_fold: int) -> PhotoCounts:
    """Returns how many photos stages and prediction have; without test photos the held-out ones are predicted."""
    folds = [fold for fold in data.folds if fold != val_fold]
    train = data.photos("train", folds) + data.photos("extra") + data.photos(PSEUDO)
    val = data.photos("train", [val_fold])
    return PhotoCounts(train=train, val=val, predicted=data.photos("test") or val)


def check_candidates(found: Sequence[Candidate], given: Mapping[str, str], *, train_photos: int) -> None:
    """Checks that each candidate has possible options, before anything is timed.

    Raises:
      UserError: one has not.
    """
    for candidate in found:
        flags = [f"--{name}={value}" for name, value in {**candidate.options(), **given}.items()]
        parse_command_line(TrainOptions, [f"--stage={STAGES[candidate.part]}", *flags], description="")
        steps = train_photos // candidate.batch_size
        check_batch(batch_size=candidate.batch_size, replicas=1, mixes=False, steps=steps, train_photos=train_photos)


def time_here(
    found: Sequence[Candidate],
    given: Mapping[str, str],
    data: Manifest,
    *,
    options: TrainOptions,
    budget_seconds: float,
) -> Timings:
    """Returns the timings of the candidates on this machine.

    Raises:
      UserError: the device is refused, or none can be timed.
    """
    fast = found[0].part == SCRATCH or (advice.accelerator_present() and options.device != "cpu")
    train_photos, val_photos = FAST_PHOTOS if fast else SLOW_PHOTOS
    train_photos = max(train_photos, 2 * max(one.batch_size for one in found))  # a stage needs a whole batch
    framings = {Framing(parse_image_size(one.image_size), options.fit) for one in found}
    with scratch_folder() as scratch:
        sample = sample_of(
            data,
            scratch / "data",
            val_fold=options.val_fold,
            train_photos=train_photos,
            val_photos=val_photos,
            framings=framings,
        )
        return Stopwatch(sample, given, scratch, limit_seconds(budget_seconds)).times(found)


def propose(timings: Timings, photos: PhotoCounts, data: Manifest, *, options: TrainOptions) -> Proposal:
    """Returns the best proposal.

    Raises:
      UserError: the budget is too small for any, or there is none.
    """
    budget_seconds = parse_budget(options.budget)
    proposal = best_proposal(timings, photos, budget_seconds=budget_seconds, folds=len(data.folds))
    if proposal is None:
        smallest_seconds = smallest_budget(timings, photos)
        if math.isinf(smallest_seconds):
            raise UserError(
                "Nothing can be planned, since no chain of stages was timed as a whole: give a longer --budget, or "
                "name a smaller --backbone or --image_size."
            )
        raise UserError(too_small(options.budget, smallest_seconds))
    return proposal


def write_and_print(
    proposal: Proposal, timings: Timings, data: Manifest, *, options: TrainOptions, given: Mapping[str, str]
) -> None:
    """Writes flag files and timings, and prints the plan.

    Raises:
      UserError: a file that no plan wrote has the name of one, or an option does not fit the epochs of a stage.
    """
    held_out = [options.val_fold, *(fold for fold in data.folds if fold != options.val_fold)][: proposal.folds]
    stages = planned_stages(proposal, folds=held_out, given=given, fingerprint=data.fingerprint)
    for stage in (stage for chain in stages for stage in chain):
        parse_command_line(TrainOptions, stage.lines, description="")
    says = expectation(proposal)
    head = [f"For --budget={options.budget}. {timings.device}", f"Data set {data.fingerprint}.", says]
    folder = Path(options.plan_output)
    chain = write_plan(folder, stages, data=options.data, head=head)
    content = content_of(proposal, stages, timings, budget_seconds=parse_budget(options.budget))
    write_atomically(folder / PLAN_FILE, (json.dumps(content, indent=1) + "\n").encode())
    print()
    print(plan_table(proposal, stages[0], budget_seconds=parse_budget(options.budget)))
    print(says)
    last = [fold[-1].run for fold in stages]
    has_test_photos = data.photos("test") > 0
    print(
        *commands(proposal, chain, last, runs=options.runs, data=options.data, has_test_photos=has_test_photos),
        sep="\n",
    )


def content_of(
    proposal: Proposal, stages: Sequence[Sequence[PlannedStage]], timings: Timings, *, budget_seconds: float
) -> dict[str, Any]:
    """Returns the content of plan.json: what is expected of time and error, and the timings behind it."""
    trained = [
        {"stage": stage.name, "run": stage.run, "seconds": round(step.seconds, 1)}
        for chain in stages
        for step, stage in zip(proposal.steps, chain, strict=True)
    ]
    return {
        "budget_seconds": budget_seconds,
        "stages": trained,
        "views": proposal.views,
        "prediction_seconds": round(proposal.prediction_seconds, 1),
        "effect": dataclasses.asdict(proposal.effect),
        "timings": costs.to_dict(timings),
    }
