"""From photos that are in no data set to answers, even where photos are unreadable."""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from carclf.device import Device
from carclf.engines.choice import Engines
from carclf.errors import UserError
from carclf.inference.answering import fit_on_held_out, prediction_settings
from carclf.inference.decisions import PLAIN, Decision
from carclf.inference.photo_files import printable
from carclf.inference.photo_list import PhotoList
from carclf.inference.photo_predictor import PhotoPredictor
from carclf.inference.photo_stream import Pace, predict_list
from carclf.inference.unseen_job import UnseenJob
from carclf.progress import describe_seconds
from carclf.recipe import View
from carclf.runs import Member
from carclf.wording import counted

MANY = 10_000  # photos, of which the time is estimated
NAMED = 5  # unreadable photos that are named


def predict_unseen(
    members: Sequence[Member],
    job: UnseenJob,
    *,
    views: Sequence[View],
    tta_mean: str,
    weights: np.ndarray,
    batch_size: int,
    device: Device,
    engines: Engines,
    fails_on_bad: bool,
) -> tuple[np.ndarray, Decision, list[int]]:
    """Returns probabilities float64 [N, K], the decision for the metric, and the rows of photos that cannot be read.

    Prints the time that a photo takes.

    Args:
      members: the runs.
      job: the photos, and what to fit.
      views: of each photo.
      tta_mean: what the mean over the views is taken of.
      weights: of the members, float64 [M].
      batch_size: photos per step.
      device: where to predict.
      engines: the ones that may compute the networks there.
      fails_on_bad: whether an unreadable photo is an error; otherwise its probabilities are the classes' frequencies,
        and it is named on stderr.

    Raises:
      UserError: weights are missing, no photo can be read, or one cannot and `fails_on_bad`.
    """
    with device.scope():
        decision = Decision()
        if job.manifest is not None and job.wanted.kind != PLAIN:
            how = prediction_settings(
                views=views, tta_mean=tta_mean, batch_size=batch_size, device=device, engines=engines
            )
            _, _, decision = fit_on_held_out(
                members, manifest=job.manifest, folds=job.wanted.folds, weights=weights, wanted=job.wanted, how=how
            )
        predictor = PhotoPredictor.of_members(
            members,
            weights=weights,
            views=views,
            tta_mean=tta_mean,
            batch_size=device.padded_batch_size(min(batch_size, len(job.photos.ids))),
            jit=device.jit,
            engines=engines,
            photos=len(job.photos.ids),
        )
        pace = Pace()
        probabilities, unread = predict_list(predictor, job.photos, batch_size=batch_size, pace=pace)
    if pace.photos:
        print(time_line(pace), flush=True)
    if unread:
        _report_unread(unread, photos=job.photos, fails=fails_on_bad)
        probabilities[list(unread)] = job.prior
    return probabilities, decision, list(unread)


def time_line(pace: Pace) -> str:
    """Returns what is printed about the time of photos, compilation apart if there was more than one batch."""
    each = f"{1000 * pace.later_seconds:,.0f} ms each"
    if pace.photos > pace.first_photos:
        each = f"{describe_seconds(pace.first_seconds)} for the first batch, with compiling, then {each}"
    else:
        each += ", with compiling"
    return (
        f"Predicted {counted(pace.photos, 'photo')} in {describe_seconds(pace.seconds)}: {each}. "
        f"{MANY:,} would take {describe_seconds(pace.expected_seconds(MANY))}."
    )


def _report_unread(unread: Mapping[int, str], *, photos: PhotoList, fails: bool) -> None:
    """Names the unreadable photos on stderr.

    Raises:
      UserError: `fails`, or all photos are unreadable.
    """
    first, reason = next(iter(unread.items()))
    count = f"{len(unread):,} of {len(photos.ids):,} photos cannot be read"
    if len(unread) == len(photos.ids):
        raise UserError(
            f"{count} (first: {photos.ids[first]}: {reason}), so nothing was written: give other photos with "
            "--photos=FOLDER."
        )
    if fails:
        raise UserError(
            f"{count} (first: {photos.ids[first]}: {reason}), so nothing was written: fix them, or answer for them "
            "with the frequency of each class by --on_bad=prior."
        )
    print(f"Warning: {count}; their answers are the frequency of each class in training.", file=sys.stderr)
    for index, why in list(unread.items())[:NAMED]:
        print(f"  {printable(photos.ids[index])}: {printable(why)}", file=sys.stderr)
    if len(unread) > NAMED:
        print(f"  and {len(unread) - NAMED:,} more", file=sys.stderr)
