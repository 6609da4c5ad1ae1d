"""Compares the predictions of an exported file with the run's, on photos that the run never trained on."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from carclf.data.decoder import decode
from carclf.data.manifest import Manifest
from carclf.data.photos import read_photos
from carclf.data.validation import MAX_PIXELS
from carclf.exporting.formats import Predict
from carclf.framing import RESIZE_MODES, PaddingMode
from carclf.inference.photo_predictor import PhotoPredictor

TOLERANCE = 1e-3  # of a probability, on identical pixels
ENLARGED = 8  # photos

PAD_MODES: dict[PaddingMode, Literal["edge", "symmetric", "constant"]] = {
    "edge": "edge",
    "reflect": "symmetric",
    "constant": "constant",
}


@dataclasses.dataclass(frozen=True, eq=False)
class ValidationSample:
    """Validation photos.

    Attributes:
      encoded: N stored JPEGs.
      labels: int64 [N], in 0..K−1.
    """

    encoded: Sequence[bytes]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Deviation:
    """How probabilities differ from those of the run.

    Attributes:
      photos: N, the number of compared photos.
      mean: mean difference of the probability of the run's likeliest class.
      largest: largest difference of any probability of any photo.
      same_class: number of photos with the same likeliest class.
      accuracy: fraction of photos with the right likeliest class.
      run_accuracy: the same for the run itself.
      longest: longest side of an enlarged photo in pixels; 0 where none was enlarged.
    """

    photos: int
    mean: float
    largest: float
    same_class: int
    accuracy: float
    run_accuracy: float
    longest: int = 0

    @property
    def within_tolerance(self) -> bool:
        """True if no probability differs by more than TOLERANCE or is NaN."""
        return self.largest <= TOLERANCE


@dataclasses.dataclass(frozen=True)
class Resizing:
    """Resizes photos with Pillow for a format that takes only one size.

    Attributes:
      photo_size: (h, w) in pixels.
      fit: resize mode, a key of `carclf.framing.RESIZE_MODES`.
      fill: padding mode.
    """

    photo_size: tuple[int, int]
    fit: str
    fill: PaddingMode

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the resized photo, uint8 [h, w, 3], of one of any size, uint8 [?, ?, 3]."""
        photo, (height, width) = Image.fromarray(pixels), self.photo_size
        wider = np.asarray(photo.width * height / (photo.height * width))
        across, down = (float(side) for side in RESIZE_MODES[self.fit].span(wider, np))
        left, top = (photo.width * (1 - min(across, 1.0)) / 2, photo.height * (1 - min(down, 1.0)) / 2)
        size = (max(1, round(width / max(across, 1.0))), max(1, round(height / max(down, 1.0))))
        window = (left, top, photo.width - left, photo.height - top)
        inside = np.asarray(photo.resize(size, Image.Resampling.BILINEAR, box=window))
        spare = (height - inside.shape[0], width - inside.shape[1])
        pads = [(side // 2, side - side // 2) for side in spare]
        return np.pad(inside, [*pads, (0, 0)], mode=PAD_MODES[self.fill])


def read_validation_sample(manifest: Manifest, *, fold: int, photos: int) -> ValidationSample:
    """Returns at most this many photos of a fold, evenly spaced in its order."""
    listed = manifest.read_ids("train")
    rows = listed.index[listed["fold"] == fold].to_numpy()
    chosen = rows[np.linspace(0, len(rows) - 1, min(photos, len(rows))).round().astype(int)]
    found = read_photos(manifest, split="train", folds=[fold], rows=chosen.tolist())
    return ValidationSample([found[row] for row in chosen.tolist()], listed["label"].loc[chosen].to_numpy(np.int64))


def compare_on_identical_pixels(
    predict: Predict, predictor: PhotoPredictor, sample: ValidationSample, *, resize: Resizing | None
) -> Deviation:
    """Returns how the exported model differs from the run on the same pixels, decoded as in training and resized."""
    (settings,) = predictor.settings  # a single run has one framing
    pixels = [predictor.prepare(encoded)[settings] for encoded in sample.encoded]
    pixels = pixels if resize is None else [resize(photo) for photo in pixels]
    expected = predictor.predict_prepared([{settings: photo} for photo in pixels])
    return deviation(_each(predict, pixels), expected, sample.labels)


def compare_on_full_decoding(
    predict: Predict, predictor: PhotoPredictor, sample: ValidationSample, *, resize: Resizing | None
) -> Deviation:
    """Returns how the exported model on fully decoded photos differs from the run on photos it decodes itself."""
    pixels = [decode(encoded) for encoded in sample.encoded]
    pixels = pixels if resize is None else [resize(photo) for photo in pixels]
    return deviation(_each(predict, pixels), predictor.predict(sample.encoded), sample.labels)


def compare_on_larger_photos(
    predict: Predict, predictor: PhotoPredictor, sample: ValidationSample, *, resize: Resizing | None
) -> Deviation:
    """Returns how the exported model differs from the run on photos that conversion would reduce.

    They are the first photos of the sample, enlarged to twice the longest side that a stored photo has, or to as many
    pixels as a photo may have.
    """
    (settings,) = predictor.settings
    photos = enlarged_photos(sample, max_side=settings.max_side)
    longest = max(max(photo.shape) for photo in photos)
    expected = predictor.predict_prepared([predictor.prepare(Image.fromarray(photo)) for photo in photos])
    photos = photos if resize is None else [resize(photo) for photo in photos]
    return dataclasses.replace(deviation(_each(predict, photos), expected, sample.labels[:ENLARGED]), longest=longest)


def enlarged_photos(sample: ValidationSample, *, max_side: int) -> list[np.ndarray]:
    """Returns the first photos of the sample, uint8 [h, w, 3], twice as long as `max_side` or as large as possible."""
    return [_enlarged(decode(encoded), longest=2 * max_side + 1) for encoded in sample.encoded[:ENLARGED]]


def _enlarged(pixels: np.ndarray, *, longest: int) -> np.ndarray:
    height, width, _ = pixels.shape
    scale = min(longest / max(height, width), math.sqrt(MAX_PIXELS / (height * width)))
    size = (max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def deviation(probabilities: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> Deviation:
    """Returns how probabilities [N, K] differ from the run's `expected` [N, K]."""
    photos, likeliest = np.arange(len(labels)), expected.argmax(axis=1)
    difference = np.abs(probabilities - expected)
    return Deviation(
        photos=len(labels),
        mean=float(difference[photos, likeliest].mean()),
        largest=float(difference.max()),
        same_class=int((probabilities.argmax(axis=1) == likeliest).sum()),
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        run_accuracy=float((likeliest == labels).mean()),
    )


def _each(predict: Predict, pixels: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([predict(np.ascontiguousarray(photo[None])) for photo in pixels]).astype(np.float64)
