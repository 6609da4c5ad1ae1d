"""Photos, canvases and a reference of Render in NumPy, shared by its tests."""

import functools

import keras
import numpy as np

from carclf.model.compile import compiled_on_jax
from carclf.model.render import Render, render

CANVAS = 48
IMAGE_SIZE = (50, 64)
FILLS = ("edge", "reflect", "constant")
FILL_VALUE = 50.0
IDENTITY = np.eye(3, dtype=np.float32)[None]
PLAIN = np.eye(3, 4, dtype=np.float32)[None]


def some(cases):
    """Returns all cases on TensorFlow, and every third on JAX, which compiles every operation for each shape."""
    return list(cases) if keras.backend.backend() == "tensorflow" else list(cases)[::3]


def photo_like(height, width, *, seed=0):
    """uint8 [height, width, 3] with the 1/f spectrum of photos."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    spectrum = np.fft.fft2(rng.standard_normal((3, height, width))) / np.maximum(frequency, 1 / max(height, width))
    waves = np.fft.ifft2(spectrum).real
    scaled = 127.5 + 45 * waves / np.maximum(waves.std(axis=(1, 2), keepdims=True), 1e-9)
    return np.clip(scaled, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def smooth(height, width):
    """float64 [height, width, 3], slow waves well within gamut."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + phase) * np.cos(y / 7 - phase) for phase in (0.0, 1.0, 2.0)]
    return 127.5 + 80 * np.stack(waves, axis=-1)


def on_canvas(*photos, size=CANVAS):
    """Returns the photos on canvases with white noise in the unused part, which must never be visible."""
    noise = np.random.default_rng(1).integers(0, 256, (len(photos), size, size, 3))
    canvas = noise.astype(np.uint8)
    for index, photo in enumerate(photos):
        canvas[index, : photo.shape[0], : photo.shape[1]] = photo
    return canvas, np.float32([photo.shape[:2] for photo in photos])


def run(photo, *, image_size, geometry=IDENTITY, colour=PLAIN, **options):
    """float32 [H, W, 3]: one photo, at any size, without XLA."""
    canvas, extent = on_canvas(photo, size=max(2, *photo.shape[:2]))
    return np.asarray(renderer(image_size, **options)(canvas, extent, geometry, colour))[0]


@functools.cache
def renderer(image_size, **options):
    """`render` of one image size, on JAX one program for each shape of its arguments: else each call compiles anew."""
    return compiled_on_jax(functools.partial(render, image_size=image_size, **options))


@functools.cache
def compiled(fill, stretch):  # without a default: the cache would keep what has one twice
    return Render(image_size=IMAGE_SIZE, fill=fill, fill_value=FILL_VALUE, stretch=stretch)


def rendered(photo, *, geometry=IDENTITY, colour=PLAIN, fill="edge", stretch=False):
    """float32 [50, 64, 3]: one photo of up to 48x48, by a kernel that XLA compiles once per padding mode."""
    canvas, extent = on_canvas(photo)
    inputs = {"canvas": canvas, "extent": extent, "geometry": geometry, "colour": colour}
    return np.asarray(compiled(fill, stretch)(inputs))[0]


def pillow_resized(photo, *, image_size):
    from PIL import Image

    channels = [Image.fromarray(photo[..., channel].astype(np.float32)) for channel in range(3)]
    return np.stack([np.asarray(channel.resize(image_size[::-1], Image.BILINEAR)) for channel in channels], axis=-1)


def psnr(left, right):
    return 10 * np.log10(255**2 / np.maximum(np.mean((left - right) ** 2), 1e-12))


def to_photo_pixels(points, geometry, extent):
    """float64 [..., 2], (x, y) of output points [..., 2] in (u, v)."""
    mapped = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ np.asarray(geometry, np.float64).T
    height, width = extent
    return (mapped[..., :2] / mapped[..., 2:] + 1) / 2 * [width, height] - 0.5


def reductions(geometry, extent, *, image_size):
    """float64 [2]: photo pixels per output pixel in the middle of the output, along its x and y."""
    step = np.diag([2 / image_size[1], 2 / image_size[0]])
    ahead, behind = (to_photo_pixels(sign * 1e-4 * step, geometry, extent) for sign in (1.0, -1.0))
    return np.linalg.norm(ahead - behind, axis=1) / 2e-4


def reference(photo, geometry, colour, *, image_size, fill, fill_value=FILL_VALUE):
    """float64 [H, W, 3]: one photo rendered as defined, pixel by pixel."""
    rows, columns = image_size
    v, u = np.meshgrid((2 * np.arange(rows) + 1) / rows - 1, (2 * np.arange(columns) + 1) / columns - 1, indexing="ij")
    centres = np.stack([u, v], axis=-1)
    # If an output pixel covers more than 1.5 photo pixels, it is the mean of 2x2 samples, 3/8 pixel off its centre.
    step = (reductions(geometry, photo.shape[:2], image_size=image_size) > 1.5) * 0.375 * 2 / np.array([columns, rows])
    corners = [centres + step * [x, y] for x in (-1, 1) for y in (-1, 1)]
    samples = [
        sampled(photo, to_photo_pixels(corner, geometry, photo.shape[:2]), fill=fill, fill_value=fill_value)
        for corner in corners
    ]
    matrix = np.asarray(colour, np.float64)
    return np.clip(np.mean(samples, axis=0) @ matrix[:, :3].T + matrix[:, 3], 0, 255)


def sampled(photo, positions, *, fill, fill_value):
    """float64 [H, W, 3]: the photo interpolated at (x, y) [H, W, 2]."""
    height, width = photo.shape[:2]

    def pixel(row, column):
        if fill == "reflect":
            row, column = (
                np.minimum(index % (2 * size), 2 * size - 1 - index % (2 * size))
                for index, size in ((row, height), (column, width))
            )
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        values = photo[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)].astype(np.float64)
        return np.where(inside[..., None], values, fill_value) if fill == "constant" else values

    x, y = positions[..., 0], positions[..., 1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    upper = pixel(top, left) * (1 - fx) + pixel(top, left + 1) * fx
    lower = pixel(top + 1, left) * (1 - fx) + pixel(top + 1, left + 1) * fx
    return upper * (1 - fy) + lower * fy
