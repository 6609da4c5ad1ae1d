"""Does an exported file say what the run says? Measured on photos that the run never trained on."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from carclf.data.decoder import decode
from carclf.data.manifest import Manifest
from carclf.data.photos import read_photos
from carclf.errors import UserError
from carclf.exporting.formats import Predict
from carclf.framing import PaddingMode
from carclf.inference.photo_predictor import FramedPhoto, PhotoPredictor

TOLERANCE = 1e-3  # of a probability, on identical pixels

PAD_MODES: dict[PaddingMode, Literal["edge", "symmetric", "constant"]] = {
    "edge": "edge",
    "reflect": "symmetric",
    "constant": "constant",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Validation photos.

    Attributes:
      encoded: N stored JPEGs.
      labels: int64 [N], in 0..K−1.
    """

    encoded: Sequence[bytes]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Change:
    """How probabilities differ from those of the run.

    Attributes:
      photos: N, how many were compared.
      mean: difference of the probability of the run's likeliest class, the mean over the photos.
      largest: difference of any probability of any photo.
      same_class: photos whose likeliest class stays.
      accuracy: share of photos whose likeliest class is the label.
      run_accuracy: the same of the run itself.
    """

    photos: int
    mean: float
    largest: float
    same_class: int
    accuracy: float
    run_accuracy: float

    @property
    def within_tolerance(self) -> bool:
        """Whether no probability differs by more than TOLERANCE (or is not a number)."""
        return self.largest <= TOLERANCE


@dataclasses.dataclass(frozen=True)
class Resizing:
    """How photos become the one size that a format takes, by Pillow.

    Attributes:
      photo_size: (h, w) in pixels.
      fit: 'squash', 'crop' or 'pad'.
      fill: what a padded photo is padded with.
    """

    photo_size: tuple[int, int]
    fit: str
    fill: PaddingMode

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 [h, w, 3] of a photo uint8 [any, any, 3]."""
        photo, (height, width) = Image.fromarray(pixels), self.photo_size
        if self.fit == "crop":
            return np.asarray(ImageOps.fit(photo, (width, height), Image.Resampling.BILINEAR))
        if self.fit == "squash":
            return np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR))
        inside = np.asarray(ImageOps.contain(photo, (width, height), Image.Resampling.BILINEAR))
        spare = (height - inside.shape[0], width - inside.shape[1])
        pads = [(side // 2, side - side // 2) for side in spare]
        return np.pad(inside, [*pads, (0, 0)], mode=PAD_MODES[self.fill])


def read_sample(manifest: Manifest, *, fold: int, photos: int) -> Sample:
    """At most so many photos of a fold, evenly spaced in its order.

    Raises:
      UserError: the fold holds none.
    """
    listed = manifest.read_ids("train")
    rows = listed.index[listed["fold"] == fold].to_numpy()
    if not len(rows):
        raise UserError(f"Fold {fold} of {manifest.directory} holds no photo to check the export on: give --data.")
    chosen = rows[np.linspace(0, len(rows) - 1, min(photos, len(rows))).round().astype(int)]
    found = read_photos(manifest, split="train", folds=[fold], rows=chosen.tolist())
    return Sample([found[row] for row in chosen.tolist()], listed["label"].loc[chosen].to_numpy(np.int64))


def on_identical_pixels(
    predict: Predict, predictor: PhotoPredictor, sample: Sample, *, resize: Resizing | None
) -> Change:
    """The exported model and the run on the very same pixels: those that training decodes, resized where need be."""
    prepared = [predictor.prepare(encoded) for encoded in sample.encoded]
    pixels = [_photo(next(iter(photo.values()))) for photo in prepared]  # of one run there is one canvas
    if resize is not None:
        pixels = [resize(photo) for photo in pixels]
        (key,) = prepared[0]
        prepared = [{key: _framed(photo, canvas_size=key[1])} for photo in pixels]
    expected = predictor.predict_prepared(prepared)
    return compare(_each(predict, pixels), expected, sample.labels)


def on_full_decoding(predict: Predict, predictor: PhotoPredictor, sample: Sample, *, resize: Resizing | None) -> Change:
    """The exported model on photos as any other decoder gives them, against the run on what it decodes itself."""
    pixels = [decode(encoded) for encoded in sample.encoded]
    pixels = pixels if resize is None else [resize(photo) for photo in pixels]
    return compare(_each(predict, pixels), predictor.predict(sample.encoded), sample.labels)


def compare(probabilities: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> Change:
    """How probabilities [N, K] differ from the run's `expected` [N, K]."""
    photos, likeliest = np.arange(len(labels)), expected.argmax(axis=1)
    difference = np.abs(probabilities - expected)
    return Change(
        photos=len(labels),
        mean=float(difference[photos, likeliest].mean()),
        largest=float(difference.max()),
        same_class=int((probabilities.argmax(axis=1) == likeliest).sum()),
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        run_accuracy=float((likeliest == labels).mean()),
    )


def _each(predict: Predict, pixels: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([predict(np.ascontiguousarray(photo[None])) for photo in pixels]).astype(np.float64)


def _photo(framed: FramedPhoto) -> np.ndarray:
    height, width = framed.extent.astype(int)
    return framed.canvas[:height, :width]


def _framed(pixels: np.ndarray, *, canvas_size: int) -> FramedPhoto:
    height, width, _ = pixels.shape
    canvas = np.zeros((canvas_size, canvas_size, 3), np.uint8)
    canvas[:height, :width] = pixels
    return FramedPhoto(canvas, np.array([height, width], np.float32))
