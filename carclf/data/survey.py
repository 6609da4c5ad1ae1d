"""Surveys every photo of a data set: its brightness, its contrast, and the average photo of each class."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from carclf.data.decoder import decode
from carclf.data.index import read_index
from carclf.data.manifest import Manifest, load_manifest
from carclf.data.read_ahead import read_each
from carclf.workers import Workers, worker_count

# Photos are decoded at an eighth of their size: enough for brightness and contrast, in a fifth of the time.
RATIO = 8
PHOTOS_PER_TASK = 128
PHOTOS_PER_WORKER = 2000  # with fewer, starting a process takes longer than it saves
AVERAGE_SIZE = (48, 64)  # height and width in pixels of an average photo, for photos of any shape
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of RGB. Source: ITU-R BT.601


@dataclasses.dataclass(frozen=True, eq=False)
class Survey:
    """The result of `survey_photos`.

    Attributes:
      index: ENTRY [N] of `carclf.data.index`: every photo, in the order of the shards.
      brightness: float32 [N], mean luma of each, 0..255.
      contrast: float32 [N], standard deviation of its luma, 0..127.5.
      averages: by label the mean of its photos, squashed to one size, uint8 [48, 64, 3]; test photos have label −1.
    """

    index: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    averages: dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """(brightness, contrast) of some photos, float32 [n, 2], and sums of pixels by label, float64 [48, 64, 3]."""

    light: np.ndarray
    sums: dict[int, np.ndarray]


def survey_photos(
    manifest: Manifest, *, workers: int = 0, on_photos: Callable[[int], object] = lambda count: None
) -> Survey:
    """Returns the survey of every photo, the same for any number of workers.

    Memory does not grow with the photos' pixels.

    Args:
      manifest: the data set.
      workers: number of processes; 0 means one per CPU, or fewer for few photos.
      on_photos: called with the number of photos surveyed since the last call.

    Raises:
      DamagedShardError: a shard does not have its photos.
      UserError: a worker was killed.
    """
    index = read_index(manifest)
    light, sums = [np.zeros((0, 2), np.float32)], dict[int, np.ndarray]()
    for part in _parts(manifest, photos=len(index), workers=workers):
        light.append(part.light)
        for label, total in part.sums.items():
            sums[label] = sums.get(label, 0.0) + total
        on_photos(len(part.light))
    brightness, contrast = np.concatenate(light).T
    labels, counts = np.unique(index["label"], return_counts=True)
    averages = {
        int(label): np.rint(sums[int(label)] / count).astype(np.uint8)
        for label, count in zip(labels, counts, strict=True)
    }
    return Survey(index, brightness, contrast, averages)


def _parts(manifest: Manifest, *, photos: int, workers: int) -> Iterator[_Part]:
    count = worker_count(workers, photos=photos, photos_per_worker=PHOTOS_PER_WORKER)
    with Workers(count, _open, manifest.directory) as pool:
        yield from pool.map(
            _survey, (range(photos)[start : start + PHOTOS_PER_TASK] for start in range(0, photos, PHOTOS_PER_TASK))
        )


def _open(directory: str) -> tuple[Manifest, np.ndarray]:
    manifest = load_manifest(directory)
    return manifest, read_index(manifest)


def _survey(opened: tuple[Manifest, np.ndarray], numbers: range) -> _Part:
    manifest, index = opened
    light, sums = [], dict[int, np.ndarray]()
    entries = index[numbers.start : numbers.stop]
    for entry, encoded in zip(entries, read_each(manifest, entries), strict=True):
        pixels = decode(encoded, ratio=RATIO)
        luma = pixels @ LUMA
        light.append((luma.mean(), luma.std()))
        label = int(entry["label"])
        sums[label] = sums.get(label, 0.0) + _squashed(pixels)
    return _Part(np.array(light, np.float32).reshape(-1, 2), sums)


def _squashed(pixels: np.ndarray) -> np.ndarray:
    """Returns the nearest pixels on a grid of AVERAGE_SIZE, as good as an interpolation for a mean of many photos."""
    height, width, _ = pixels.shape
    rows = (2 * np.arange(AVERAGE_SIZE[0]) + 1) * height // (2 * AVERAGE_SIZE[0])
    columns = (2 * np.arange(AVERAGE_SIZE[1]) + 1) * width // (2 * AVERAGE_SIZE[1])
    return pixels[rows[:, None], columns].astype(np.float64)
