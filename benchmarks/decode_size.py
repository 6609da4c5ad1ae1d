"""Compares the sizes at which photos are decoded, and libjpeg's two DCTs: time, pixels, and accuracy of a classifier.

Every way decodes the same photos and renders them to one image size; the control decodes each photo in full. `halved
to fit` is the rule of version 0.1.0: a canvas of an eighth, a quarter, a half or all of the longest stored side, and
photos halved until they fit it. The classifier is a logistic regression on the features of a frozen MobileNetV2; the
same folds for every way, so that McNemar's test applies.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

FOLDS = 5
ROUNDS = 5
BATCH = 32
Decode = Callable[[bytes], np.ndarray]


@dataclasses.dataclass(frozen=True)
class DecodeSizeOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of JPEG photos.", path=True)
    weights: str = option("", "Weights of MobileNetV2 without its top; empty leaves out the classifier.", path=True)
    stored: str = option("", "WIDTHxHEIGHT that photos are resized to first; empty only reduces those over 640 pixels.")
    image_size: int = option(224, "Side of the rendered image in pixels.", low=8)
    most: int = option(2000, "Maximum number of photos.", low=1)

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of JPEG photos.")


def main(options: DecodeSizeOptions) -> None:
    """Measures and prints."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from carclf.device import select_device

    select_device("cpu")
    encoded, labels = read_photos(options)
    from scipy.stats import binomtest

    ways = decoders(options.image_size)
    seconds = time_decoders(ways, encoded)
    reference = render(encoded, ways["in full, accurate DCT"], size=options.image_size)
    extract = feature_extractor(Path(options.weights), size=options.image_size) if options.weights else None
    features = np.zeros((0, 0)) if extract is None else extract(reference)
    correct: dict[str, np.ndarray] = {}
    print(f"{len(encoded)} photos, image {options.image_size} px, medians of {ROUNDS} alternating rounds, one thread")
    for name, way in ways.items():
        images = render(encoded, way, size=options.image_size)
        cells = [f"{1e3 * seconds[name] / len(encoded):6.2f} ms", f"{signal_to_noise(images, reference):5.1f} dB"]
        cells.append("RGB bias " + " ".join(f"{bias:+.2f}" for bias in (images - reference).mean(axis=(0, 1, 2))))
        if extract is not None:
            found = extract(images)
            cells.append(f"cosine {cosine(found, features):.4f}")
            correct[name] = hits(found, labels)
            cells.append(f"accuracy {correct[name].mean():.3f}")
        print(f"{name:24} {'  '.join(cells)}", flush=True)
    if correct:
        before, after = correct["halved to fit"], correct["to the framing"]
        gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
        p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        print(f"to the framing against halved to fit: {gained} gained, {lost} lost, McNemar p = {p:.2g}")


def decoders(size: int) -> dict[str, Decode]:
    """Returns the ways to decode a photo."""
    from carclf.data.decoder import decode, decode_for
    from carclf.framing import Framing

    framing = Framing((size, size))
    return {
        "in full, accurate DCT": accurately,
        "in full": decode,
        "halved to fit": lambda encoded: decode(encoded, ratio=halving_ratio(encoded, size=size)),
        "to the framing": lambda encoded: decode_for(encoded, framing=framing),
    }


def accurately(encoded: bytes) -> np.ndarray:
    """Returns the photo in full, by the accurate integer DCT."""
    import simplejpeg

    pixels: np.ndarray = simplejpeg.decode_jpeg(encoded, fastdct=False, fastupsample=False)
    return pixels


def halving_ratio(encoded: bytes, *, size: int) -> int:
    """Returns the ratio of version 0.1.0."""
    import simplejpeg

    height, width, _, _ = simplejpeg.decode_jpeg_header(encoded)
    return next(ratio for ratio in (1, 2, 4, 8) if -(-max(height, width) // ratio) <= halving_canvas(size))


def halving_canvas(size: int, *, max_side: int = 640) -> int:
    """Returns the side of the canvas of version 0.1.0 in pixels, for square images of a size."""
    return next((max_side // ratio for ratio in (8, 4, 2) if max_side // ratio >= 1.25 * size), max_side)


def read_photos(options: DecodeSizeOptions) -> tuple[list[bytes], np.ndarray]:
    """Returns JPEGs of quality 90 as conversion stores them, and their labels, int64 [N]."""
    classes = sorted(folder for folder in Path(options.photos).iterdir() if folder.is_dir())
    paths = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.glob("*.jp*g"))]
    paths = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))[: options.most]]
    return [_stored(path, options.stored) for path, _ in paths], np.array([label for _, label in paths])


def _stored(path: Path, size: str) -> bytes:
    image = Image.open(path).convert("RGB")
    if size:
        width, height = map(int, size.split("x"))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    else:
        image.thumbnail((640, 640), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def time_decoders(ways: dict[str, Decode], encoded: list[bytes]) -> dict[str, float]:
    """Returns the median seconds that each way takes for all photos, in alternating rounds."""
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            for photo in encoded:
                way(photo)
            rounds[name].append(time.perf_counter() - started)
    return {name: float(np.median(seconds)) for name, seconds in rounds.items()}


def render(encoded: list[bytes], way: Decode, *, size: int) -> np.ndarray:
    """Returns the images, float32 [N, size, size, 3] in 0..255."""
    from carclf.model.render import Render

    layer = Render(image_size=size, jit=False)
    images = []
    for photo in encoded:
        pixels = way(photo)
        inputs = {
            "canvas": pixels[None],
            "extent": np.array([pixels.shape[:2]], np.float32),
            "geometry": np.eye(3, dtype=np.float32)[None],
            "colour": np.eye(3, 4, dtype=np.float32)[None],
        }
        images.append(np.asarray(layer(inputs))[0])
    return np.stack(images)


def feature_extractor(weights: Path, *, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from images to features, float32 [N, 1280]."""
    import keras

    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    )
    network.load_weights(weights)
    return lambda images: np.asarray(network.predict(images / 127.5 - 1, batch_size=BATCH, verbose=0))


def hits(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns bool [N]: whether a regression that never saw the photo names its class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return np.asarray(cross_val_predict(model, features, labels, cv=folds) == labels)


def signal_to_noise(images: np.ndarray, reference: np.ndarray) -> float:
    """Returns the mean PSNR of the photos, in dB; identical ones count as 99."""
    errors = np.square(images - reference).mean(axis=(1, 2, 3))
    return float(np.minimum(10 * np.log10(255**2 / np.maximum(errors, 1e-9)), 99).mean())


def cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the mean cosine of pairs of rows."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).mean())


if __name__ == "__main__":
    run_command(main, DecodeSizeOptions, description=__doc__ or "")
