"""The oracle: what TensorFlow Addons 0.23.0 makes of a few small cases.

`python tests/oracle/addons.py FILE.npz` computes every case below and writes the results; run so, the output
`tests/oracle/goldens.npz` is what the tests read. It needs the extra `tfa`, hence Python 3.11. Importing this module
needs NumPy only, so that the tests share the cases wherever they run.

Addons ended in May 2024 and imports parts of Keras 2 by the name `keras`. They live on as `tf_keras`, to which this
process points that name; nothing else of the process may need Keras 3, so the script runs in a process of its own.

Keys of the file, `PHOTO` being a key of `PHOTOS` and `FILL` one of its fills:
    rotate/PHOTO/FILL      [len(ANGLES), H, W, 3] in the photo's dtype
    translate/PHOTO/FILL   [len(SHIFTS), H, W, 3] likewise
    cutout/PHOTO/NUMBER    [len(offsets), H, W, 3] uint8, the case of that number in `CUTOUTS`
    random_cutout/PHOTO    [RANDOM_CUTOUTS, H, W, 3] uint8
    schedule/NAME/NUMBER   [len(STEPS)] float64, the case of that number in `CYCLES`
    focal/GAMMA            [2, len(FOCAL_LOGITS)] float32, the loss of each logit for the label 0 and for the label 1
"""

import dataclasses
import os
import sys
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photo:
    """A picture of noise: no two neighbours are alike, so a wrong position cannot hide in a flat area.

    Attributes:
      height: pixels; the two photos have odd and even sides, wider than high and higher than wide.
      width: pixels.
      dtype: what Addons is given. It interpolates in float32 and truncates where it is given uint8.
      fills: fill modes of Addons that are tried. Float32 results do not compress, so only one has them all.
    """

    height: int
    width: int
    dtype: str
    fills: tuple[str, ...]

    def pixels(self) -> np.ndarray:
        """Returns uint8 [height, width, 3] in 1..255, 0 being left to mark what a cutout covers.

        From the raw words of Philox, which NumPy promises never to change; its distributions may.
        """
        words = np.random.Philox(key=self.height).random_raw(self.height * self.width * 3)
        return (words % 255 + 1).astype(np.uint8).reshape(self.height, self.width, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cutout:
    """One call of `tfa.image.cutout`.

    Attributes:
      mask_size: (height, width) in pixels, even as Addons demands.
      offsets: (row, column) of the pixel below and right of the mask's centre, one for each result.
      value: what covers the mask, 0..255.
    """

    mask_size: tuple[int, int]
    offsets: tuple[tuple[int, int], ...]
    value: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cycle:
    """The arguments of a cyclical learning rate.

    Attributes:
      lowest: initial learning rate.
      highest: maximal learning rate.
      step_size: steps of half a cycle; Addons allows a fraction.
      gamma: factor per step of `exp_range`.
    """

    lowest: float
    highest: float
    step_size: float
    gamma: float


PHOTOS = {
    "wide": Photo(height=24, width=32, dtype="float32", fills=("nearest",)),
    "tall": Photo(height=33, width=25, dtype="uint8", fills=("nearest", "reflect", "constant")),
}
FILL_VALUE = 96.0  # of `constant`; a grey, so that it differs from what a forgotten argument gives

# Four cases in every batch, so that the tests compile Render once for a photo and a fill.
ANGLES = (10.0, -10.0, 37.5, 135.0)  # degrees, counter-clockwise: the notebook's range, then far beyond it
SHIFTS = ((3.0, 0.0), (0.0, -2.0), (-5.0, 4.0), (2.25, -6.5))  # (right, down) in pixels: whole ones and fractions

CUTOUTS = (
    Cutout(mask_size=(8, 8), offsets=((12, 9), (4, 4), (0, 0), (23, 24))),  # inside, at and over the edges
    Cutout(mask_size=(6, 14), offsets=((11, 13), (22, 3), (1, 23), (18, 18)), value=200),
    Cutout(mask_size=(48, 48), offsets=((12, 12), (0, 0), (23, 24), (5, 20))),  # larger than either photo
)
RANDOM_CUTOUTS = 4
RANDOM_MASK = 10  # pixels; Addons draws only centres that leave the whole mask inside
SEED = 7

CYCLES = (
    Cycle(lowest=1e-4, highest=1e-3, step_size=20.0, gamma=0.99),
    Cycle(lowest=3e-6, highest=2e-2, step_size=17.5, gamma=0.9997),
    Cycle(lowest=0.0, highest=0.1, step_size=3.0, gamma=1.0),
)
STEPS = (*range(200), 1_000, 1_001, 4_999)

FOCAL_GAMMAS = (0.0, 0.5, 2.0, 5.0)
FOCAL_LOGITS = (-30.0, -8.0, -2.0, -0.5, 0.0, 0.25, 1.0, 4.0, 12.0, 25.0)


def alias_keras() -> None:
    """Points the name `keras` and every name below it at tf_keras.

    Raises:
      ModuleNotFoundError: the extra `tfa` is not installed.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # so that `tf.keras`, which Addons uses too, is the same library
    import tf_keras

    for name, module in list(sys.modules.items()):
        if name == tf_keras.__name__ or name.startswith(tf_keras.__name__ + "."):
            sys.modules[name.removeprefix("tf_")] = module


def warped(tf: Any, tfa: Any) -> dict[str, np.ndarray]:
    """Returns the results of rotate and translate, bilinear, by key."""
    results = {}
    for name, photo in PHOTOS.items():
        pixels = photo.pixels().astype(photo.dtype)
        for fill in photo.fills:
            options = {"interpolation": "bilinear", "fill_mode": fill, "fill_value": FILL_VALUE}
            images = tf.constant(np.stack([pixels] * len(ANGLES)))
            results[f"rotate/{name}/{fill}"] = tfa.image.rotate(images, np.deg2rad(ANGLES), **options)
            images = tf.constant(np.stack([pixels] * len(SHIFTS)))
            results[f"translate/{name}/{fill}"] = tfa.image.translate(images, np.float32(SHIFTS), **options)
    return {key: result.numpy() for key, result in results.items()}


def covered(tf: Any, tfa: Any) -> dict[str, np.ndarray]:
    """Returns the results of cutout and random_cutout by key."""
    results = {}
    for name, photo in PHOTOS.items():
        for number, case in enumerate(CUTOUTS):
            images = tf.constant(np.stack([photo.pixels()] * len(case.offsets)))
            offsets = tf.constant(case.offsets, tf.int32)
            results[f"cutout/{name}/{number}"] = tfa.image.cutout(images, case.mask_size, offsets, case.value)
        tf.random.set_seed(SEED)
        images = tf.constant(np.stack([photo.pixels()] * RANDOM_CUTOUTS))
        results[f"random_cutout/{name}"] = tfa.image.random_cutout(images, (RANDOM_MASK, RANDOM_MASK), seed=SEED)
    return {key: result.numpy() for key, result in results.items()}


def learning_rates(tf: Any, tfa: Any) -> dict[str, np.ndarray]:
    """Returns the learning rates by key.

    Addons computes in the dtype of its initial learning rate; float64 leaves the comparison to the formulas.
    """
    results = {}
    steps = tf.constant(STEPS, tf.float64)
    for number, cycle in enumerate(CYCLES):
        arguments = {
            "initial_learning_rate": tf.constant(cycle.lowest, tf.float64),
            "maximal_learning_rate": tf.constant(cycle.highest, tf.float64),
            "step_size": tf.constant(cycle.step_size, tf.float64),
        }
        gamma = tf.constant(cycle.gamma, tf.float64)
        schedules = {
            "triangular": tfa.optimizers.TriangularCyclicalLearningRate(**arguments),
            "triangular2": tfa.optimizers.Triangular2CyclicalLearningRate(**arguments),
            "exp_range": tfa.optimizers.ExponentialCyclicalLearningRate(**arguments, gamma=gamma),
        }
        for name, schedule in schedules.items():
            results[f"schedule/{name}/{number}"] = schedule(steps).numpy()
    return results


def focal_losses(tf: Any, tfa: Any) -> dict[str, np.ndarray]:
    """Returns the focal losses by key: of one class against the rest, not weighted by α.

    Addons gives one number a photo, summed over its outputs, so that every logit is here a photo with one output.
    """
    results = {}
    logits = tf.constant(FOCAL_LOGITS, tf.float32)[:, None]
    for gamma in FOCAL_GAMMAS:
        loss = tfa.losses.SigmoidFocalCrossEntropy(from_logits=True, alpha=0.0, gamma=gamma)
        labels = (tf.zeros_like(logits), tf.ones_like(logits))
        results[f"focal/{gamma}"] = np.stack([loss(label, logits).numpy() for label in labels])
    return results


def main(path: str) -> None:
    """Writes the results of every case to `path`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    alias_keras()
    import tensorflow as tf
    import tensorflow_addons as tfa

    results = warped(tf, tfa) | covered(tf, tfa) | learning_rates(tf, tfa) | focal_losses(tf, tfa)
    with open(path, "wb") as file:
        np.savez_compressed(file, **results)


if __name__ == "__main__":
    main(sys.argv[1])
