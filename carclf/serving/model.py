"""The model behind the page: the same probabilities as from other commands, and the heat map of the likeliest class."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from carclf.data.view_batches import ViewSet
from carclf.engines.choice import Engines
from carclf.engines.switch import TIMED_BATCHES
from carclf.inference.photo_predictor import CLEAN, DecodeSettings, PhotoPredictor, Prepared, as_batch
from carclf.inference.programs import Program, load_classifier, to_numpy
from carclf.model.grad_cam import build_grad_cam, heat_map
from carclf.model.photo_classifier import build_photo_classifier
from carclf.recipe.geometry import fitting
from carclf.runs import Member, Run

EXPECTED_PHOTOS = 2000  # that a server answers in its life: whether an engine pays
BATCH_SIZES = (1, 4, 8)  # batches are padded to one of these sizes, so that nothing is compiled after the start


class Task(NamedTuple):
    """A photo to classify.

    Attributes:
      photo: from `ServedModel.prepare`.
      with_heat: whether to return the heat map of its likeliest class.
    """

    photo: Prepared
    with_heat: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Heat:
    """The heat map of a photo's likeliest class.

    Attributes:
      values: float32 [h, w] in 0..1, from the network's feature map.
      box: (y0, x0, y1, x1), the part of the photo that the map covers, in fractions of its sides: less than a cropped
        photo, more than a padded one.
    """

    values: np.ndarray
    box: tuple[float, float, float, float]


class Answer(NamedTuple):
    """The answer to a task.

    Attributes:
      probabilities: float64 [K].
      heat: the heat map, or None if it was not requested.
    """

    probabilities: np.ndarray
    heat: Heat | None


class ServedModel:
    """A run, or an ensemble of several, ready to answer. Any thread may call `prepare`, only one may call `answer`.

    Attributes:
      class_names: the K classes in the order of the probabilities.
    """

    def __init__(self, members: Sequence[Member], *, jit: bool, engines: Engines | None = None) -> None:
        """Loads the weights; `warm_up` compiles.

        Args:
          members: at least one, from `carclf.runs.load_members`; they weigh the same. The heat map comes from the
            first run.
          jit: whether to compile with XLA (`Device.jit`).
          engines: the ones that may take over from Keras while the model warms up; heat maps stay with Keras.

        Raises:
          UserError: weights are missing or cannot be loaded.
        """
        self._run = members[0].runs[0]
        self.class_names = self._run.class_names
        self._engines = engines or Engines()
        self._predictor = PhotoPredictor.of_members(members, jit=jit, engines=self._engines, photos=EXPECTED_PHOTOS)
        self._grad_cam = _grad_cam_program(self._run, jit=jit)

    def warm_up(self) -> None:
        """Compiles everything that answering needs, and chooses the engines."""
        sides = {settings: settings.usual_side for settings in self._predictor.settings}
        blank = {settings: np.zeros((side, side, 3), np.uint8) for settings, side in sides.items()}
        self._engines.rehearsing = True
        if self._engines.candidates:
            for _ in range(TIMED_BATCHES):
                self._predictor.predict_prepared([blank] * max(BATCH_SIZES), batch_size=max(BATCH_SIZES))
        for size in BATCH_SIZES:
            self.answer([Task(blank, with_heat=True)] * size)
        self._engines.rehearsing = False

    def prepare(self, raw: bytes) -> Prepared:
        """Returns the decoded photo.

        Raises:
          carclf.data.validation.UnusableError: it cannot be read; the message says why.
        """
        return self._predictor.prepare(raw)

    def answer(self, tasks: Sequence[Task]) -> list[Answer]:
        """Returns the answers to at most max(BATCH_SIZES) tasks."""
        size = next(size for size in BATCH_SIZES if size >= len(tasks))
        probabilities = self._predictor.predict_prepared([task.photo for task in tasks], batch_size=size)
        return [
            Answer(row, self._heat(task.photo, label=int(row.argmax())) if task.with_heat else None)
            for task, row in zip(tasks, probabilities, strict=True)
        ]

    def _heat(self, photo: Prepared, *, label: int) -> Heat:
        """Returns the heat map of one photo. One at a time: heat maps are rare, and only one more shape is compiled."""
        program = self._grad_cam
        settings = DecodeSettings(self._run.max_side, program.view_set.framing)
        batch = as_batch([photo[settings]], side=settings.usual_side, batch_size=1)
        draws = program.view_set.draw(row=np.zeros(1, np.int64), extent=batch["extent"])
        on_device = [
            {name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()} for arrays in (batch, draws)
        ]
        evidence = to_numpy(program.logits(*on_device)[0]["evidence"])
        return Heat(heat_map(evidence[0, :, :, label]), self._box(batch["extent"]))

    def _box(self, extent: np.ndarray) -> tuple[float, float, float, float]:
        framing = self._grad_cam.view_set.framing
        height, width = framing.image_size
        (matrix,) = fitting(extent, aspect=width / height, fit=framing.fit)
        across, down = float(matrix[0, 0]), float(matrix[1, 1])
        return ((1 - down) / 2, (1 - across) / 2, (1 + down) / 2, (1 + across) / 2)


def _grad_cam_program(run: Run, *, jit: bool) -> Program:
    classifier, framing = load_classifier(run)
    rendering = dataclasses.replace(run.rendering, affine=True, per_channel=True)
    model = build_photo_classifier(build_grad_cam(classifier), framing=framing, rendering=rendering)
    return Program(model, ViewSet(CLEAN, framing=framing, seed=run.options.seed), (0,), jit)
