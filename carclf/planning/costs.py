"""How long stages and predictions take, from the timings of a machine. Arithmetic only."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from carclf.planning.candidates import HEAD, Candidate

HEAD_VIEWS = 2  # a head stage keeps the features of each photo and of one draw of it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """A stage as it was timed.

    Attributes:
      candidate: what was timed.
      train_photos: photos that it trained on.
      val_photos: photos that it was validated on.
      once_seconds: from the start of the process to its end, without the epochs but with the compilation.
      compile_seconds: the part of it that the first epoch took longer than the later ones.
      train_seconds: of a training photo in an epoch.
      val_seconds: of a validation photo in an epoch, with the checkpoint at its end.
      pause_seconds: between two epochs, when the best weights are written.
    """

    candidate: Candidate
    train_photos: int
    val_photos: int
    once_seconds: float
    compile_seconds: float
    train_seconds: float
    val_seconds: float
    pause_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionTiming:
    """The command that predicts, as it was timed.

    Attributes:
      start_seconds: until TensorFlow and Keras have started.
      run_seconds: what each run costs beyond that and beyond its photos: it is built, loaded and compiled.
    """

    start_seconds: float
    run_seconds: float


@dataclasses.dataclass(frozen=True)
class Timings:
    """Everything that was timed on a machine.

    Attributes:
      device: the line about the device.
      stages: each candidate that was timed.
      prediction: the command that predicts.
    """

    device: str
    stages: tuple[Timing, ...]
    prediction: PredictionTiming

    def of(self, candidate: Candidate) -> Timing | None:
        """Returns the timing of a candidate; None if there is none."""
        return next((timing for timing in self.stages if timing.candidate == candidate), None)


@dataclasses.dataclass(frozen=True)
class PhotoCounts:
    """How many photos a stage and the prediction have: outside the validation fold, in it, and to predict."""

    train: int
    val: int
    predicted: int


def timing_of(
    candidate: Candidate,
    history: Sequence[Mapping[str, float]],
    *,
    wall_seconds: float,
    period_seconds: float,
    train_photos: int,
    val_photos: int,
) -> Timing:
    """Returns the timing that the epochs of a short run say, of which the first one compiles.

    Args:
      candidate: what ran.
      history: seconds and images_per_second of each epoch, two at least.
      wall_seconds: of the whole process.
      period_seconds: from the last training step of the last epoch but one to that of the last.
      train_photos: photos that it trained on.
      val_photos: photos that it was validated on.
    """
    photos = train_photos // candidate.batch_size * candidate.batch_size
    trained = [photos / row["images_per_second"] for row in history]
    ended = [row["seconds"] - spent for row, spent in zip(history, trained, strict=True)]
    epoch = _mean(row["seconds"] for row in history[1:])
    compiling = max(history[0]["seconds"] - epoch, 0.0)
    pause = max(period_seconds - ended[-2] - trained[-1], 0.0)
    return Timing(
        candidate=candidate,
        train_photos=train_photos,
        val_photos=val_photos,
        once_seconds=max(wall_seconds - len(history) * (epoch + pause), 0.0),
        compile_seconds=compiling,
        train_seconds=_mean(trained[1:]) / photos,
        val_seconds=max(_mean(ended[1:]), 0.0) / val_photos,
        pause_seconds=pause,
    )


def stage_seconds(timing: Timing, photos: PhotoCounts, *, epochs: int, forward: Timing, chained: bool) -> float:
    """Returns the seconds of a stage.

    Args:
      timing: of its candidate.
      photos: those of the whole data set.
      epochs: how many it trains.
      forward: a timing whose validation runs the whole network, which is what further photos of the last evaluation
        and of kept features cost.
      chained: whether it validates the weights that it starts from.
    """
    batch = timing.candidate.batch_size
    epoch = photos.train // batch * batch * timing.train_seconds + photos.val * timing.val_seconds
    epoch += timing.pause_seconds
    more_val = max(photos.val - timing.val_photos, 0)
    seconds = timing.once_seconds + epochs * epoch + more_val * forward.val_seconds
    if timing.candidate.part == HEAD:
        more = HEAD_VIEWS * max(photos.train - timing.train_photos, 0) + more_val
        seconds += more * forward.val_seconds
    return seconds + chained * photos.val * timing.val_seconds


def prediction_seconds(timings: Timings, photos: PhotoCounts, *, forward: Timing, runs: int, views: int) -> float:
    """Returns the seconds of the command that predicts the photos in these views by these runs."""
    each = timings.prediction.run_seconds + views * photos.predicted * forward.val_seconds
    return timings.prediction.start_seconds + runs * each


def to_dict(timings: Timings) -> dict[str, Any]:
    """Returns the timings ready for JSON."""
    return dataclasses.asdict(timings)


def from_dict(content: Mapping[str, Any]) -> Timings:
    """Returns the timings of `to_dict`."""
    stages = tuple(Timing(**{**timing, "candidate": Candidate(**timing["candidate"])}) for timing in content["stages"])
    return Timings(content["device"], stages, PredictionTiming(**content["prediction"]))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
