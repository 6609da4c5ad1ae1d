"""From bytes of photos to probabilities, without a data set, for the command line, the web page and the exporter."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import keras
import numpy as np
from PIL import Image

from carclf.data.decoder import decode_for
from carclf.data.validation import validate_image, validate_photo
from carclf.engines.choice import Engines
from carclf.framing import LEAST_DETAIL, Framing
from carclf.inference.ensemble import ViewMean
from carclf.inference.program_runner import ProgramRunner
from carclf.inference.programs import Tensor, build_programs, to_numpy
from carclf.recipe import View, parse_views
from carclf.runs import Member, Run

CLEAN = parse_views("clean")


class DecodeSettings(NamedTuple):
    """What decides the size at which a photo is decoded.

    Attributes:
      max_side: longest side of a stored photo in pixels (`Run.max_side`).
      framing: of the image to render from it.
    """

    max_side: int
    framing: Framing

    @property
    def usual_side(self) -> int:
        """The side in pixels of a square canvas for all photos but those much longer than the image's shape."""
        return min(self.max_side, math.ceil(4 * LEAST_DETAIL * max(self.framing.image_size)))


# A photo, decoded once for each of several settings: uint8 [h, w, 3], RGB, upright.
Prepared = dict[DecodeSettings, np.ndarray]


def decode_photo(photo: bytes | Image.Image, settings: DecodeSettings) -> np.ndarray:
    """Returns uint8 [h, w, 3], as conversion and input path process it: upright, reduced, decoded at a DCT ratio.

    Args:
      photo: a file in any format that the converter reads, or an image in memory.
      settings: what decides the size.

    Raises:
      carclf.data.validation.UnusableError: it cannot be read; the message says why.
    """
    if isinstance(photo, Image.Image):
        stored = validate_image(photo, max_side=settings.max_side)
    else:
        stored = validate_photo(photo, max_side=settings.max_side)
    return decode_for(stored.encoded, framing=settings.framing)


def as_batch(photos: Sequence[np.ndarray], *, side: int, batch_size: int) -> dict[str, np.ndarray]:
    """Returns canvas uint8 [B, S, S, 3] and extent float32 [B, 2] of at most B photos, padded with empty ones.

    Args:
      photos: each uint8 [h, w, 3].
      side: usual side of the canvas in pixels; for longer photos S is twice as long, and so on, so that few shapes are
        compiled.
      batch_size: B.
    """
    while side < max(max(photo.shape) for photo in photos):
        side *= 2
    canvas = np.zeros((batch_size, side, side, 3), np.uint8)
    extent = np.ones((batch_size, 2), np.float32)
    for index, photo in enumerate(photos):
        height, width, _ = photo.shape
        canvas[index, :height, :width] = photo
        extent[index] = height, width
    return {"canvas": canvas, "extent": extent}


class PhotoPredictor:
    """Predicts photos with a run or an ensemble of runs, on one device, in one thread at a time.

    Attributes:
      class_names: the K classes in the order of the columns.
      settings: a photo is decoded once for each.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        run_weights: Sequence[float] | None = None,
        views: Sequence[View] = CLEAN,
        tta_mean: str = "probabilities",
        batch_size: int = 8,
        jit: bool = False,
        engines: Engines | None = None,
        photos: int = 0,
    ) -> None:
        """Loads the runs' best weights; the first prediction compiles.

        Args:
          runs: at least one, all with the same classes (`carclf.runs.load_runs`).
          run_weights: weight of each run in the mean; None means equal weights.
          views: the views of each photo.
          tta_mean: 'probabilities' or 'logits': the values that the views' mean averages.
          batch_size: photos per step; smaller batches are padded, so that only one shape is compiled.
          jit: whether to compile with XLA (`Device.jit`).
          engines: the ones that may take over from Keras; None leaves everything to Keras.
          photos: how many will be predicted, as far as known; decides whether an engine pays off.

        Raises:
          UserError: weights are missing or cannot be loaded.
        """
        self.class_names = runs[0].class_names
        self._runs, self._views, self._batch_size = tuple(runs), tuple(views), batch_size
        self._tta_mean = tta_mean
        weights = np.ones(len(runs)) if run_weights is None else np.asarray(run_weights, np.float64)
        self._run_weights = weights / weights.sum()
        self._runners = [
            [ProgramRunner(program, engines=engines or Engines(), photos=photos) for program in programs]
            for programs in (build_programs(run, views=views, jit=jit) for run in runs)
        ]
        self.settings = dict.fromkeys(
            DecodeSettings(run.max_side, runner.program.view_set.framing)
            for run, runners in zip(self._runs, self._runners, strict=True)
            for runner in runners
        )

    @classmethod
    def of_members(
        cls, members: Sequence[Member], *, weights: Sequence[float] | np.ndarray | None = None, **how: Any
    ) -> Self:
        """Returns the predictor of the weighted mean of members, each the mean of its runs.

        Args:
          members: from `carclf.runs.load_members`.
          weights: of the members, float [M]; None means equal weights.
          **how: the other arguments of the class.

        Raises:
          UserError: weights are missing or cannot be loaded.
        """
        given = np.ones(len(members)) if weights is None else weights
        each = [w / len(member.runs) for member, w in zip(members, given, strict=True) for _ in member.runs]
        return cls([run for member in members for run in member.runs], run_weights=each, **how)

    def prepare(self, photo: bytes | Image.Image) -> Prepared:
        """Returns the decoded photo, from a file's bytes or an image in memory, for `predict_prepared`.

        Raises:
          carclf.data.validation.UnusableError: it cannot be read; the message says why.
        """
        return {settings: decode_photo(photo, settings) for settings in self.settings}

    def predict(self, photos: Sequence[bytes]) -> np.ndarray:
        """Returns probabilities float64 [N, K] of N files.

        Raises:
          carclf.data.validation.UnusableError: one cannot be read; to find out which, `prepare` them one by one.
        """
        return self.predict_prepared([self.prepare(raw) for raw in photos])

    def predict_prepared(self, photos: Sequence[Prepared], *, batch_size: int | None = None) -> np.ndarray:
        """Returns probabilities float64 [N, K] of N prepared photos, `batch_size` at a time.

        Args:
          photos: from `prepare`.
          batch_size: photos per step, if not the predictor's own; each size is compiled once.
        """
        size = batch_size or self._batch_size
        starts = range(0, len(photos), size)
        parts = [self._predict_batch(photos[start : start + size], batch_size=size) for start in starts]
        return np.concatenate([np.zeros((0, len(self.class_names))), *parts])

    def _predict_batch(self, photos: Sequence[Prepared], *, batch_size: int) -> np.ndarray:
        count = len(photos)
        # All photos draw as row 0, so that none depends on its neighbours; −1 is padding.
        rows = np.where(np.arange(batch_size) < count, 0, -1)
        batches = {
            settings: as_batch([photo[settings] for photo in photos], side=settings.usual_side, batch_size=batch_size)
            for settings in self.settings
        }
        on_device = {settings: _on_device(batch) for settings, batch in batches.items()}
        total = np.zeros((count, len(self.class_names)))
        for run, runners, weight in zip(self._runs, self._runners, self._run_weights, strict=True):
            mean = ViewMean(count, len(self.class_names), views=self._views, kind=self._tta_mean)
            for runner in runners:
                program = runner.program
                settings = DecodeSettings(run.max_side, program.view_set.framing)
                draws = _on_device(program.view_set.draw(row=rows, extent=batches[settings]["extent"]))
                given = runner.logits(on_device[settings], draws)
                for view, logits in zip(program.view_indices, given, strict=True):
                    mean.add(view, np.arange(count), to_numpy(logits)[:count])
            total += weight * mean.probabilities()
        return total


def _on_device(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()}
