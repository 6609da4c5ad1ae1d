"""Draws one photo of a car: a street scene in which everything varies, and only the car's shape reveals its kind.

All random numbers come from a generator keyed by (seed, Id), so a photo depends neither on other photos nor on order.
"""

import functools
import io
import statistics

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from carclf.synthetic.camera import place_camera
from carclf.synthetic.car import draw_car
from carclf.synthetic.finish import draw_finish
from carclf.synthetic.kinds import CAR_KINDS
from carclf.synthetic.palette import generator, pick
from carclf.synthetic.scenery import GROUNDS, SKIES, draw_background, draw_occluder

OVERSAMPLING = 2  # the car is drawn at twice the size and averaged: Pillow's polygons are not antialiased
PORTRAIT_FRACTION = 0.08  # the competition has a few portraits, too
BLUR_FRACTION = 0.12
QUALITIES = (82, 94)  # of the JPEG files: 30–90 kB at 640x480, as in adverts


def draw_jpeg(*, kind: int, photo_id: str, seed: int, size: tuple[int, int]) -> bytes:
    """Returns the JPEG bytes of the photo `photo_id` with a car of `CAR_KINDS[kind]`.

    Args:
      kind: index into `CAR_KINDS`.
      photo_id: the photo's Id; with the seed it determines the scene.
      seed: of the data set.
      size: (width, height) in pixels; one photo in twelve is upright instead.
    """
    rng = generator(seed, photo_id)
    image = _photograph(_draw_scene(rng, number=kind, size=_upright(rng, size)), rng)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(*QUALITIES)))
    return buffer.getvalue()


def _upright(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int]:
    return (min(size), max(size)) if rng.random() < PORTRAIT_FRACTION else size


def _draw_scene(rng: np.random.Generator, *, number: int, size: tuple[int, int]) -> Image.Image:
    width, height = size[0] * OVERSAMPLING, size[1] * OVERSAMPLING
    kind, sky = CAR_KINDS[number], pick(rng, SKIES, spread=0.12)
    camera = place_camera(rng, kind, width=width, height=height)
    ground = pick(rng, GROUNDS, spread=0.15)
    background = draw_background(rng, size=size, camera=camera, sky=sky, ground=ground, length=kind.length)
    image = background.resize((width, height), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(image)
    draw_car(canvas, number=number, camera=camera, finish=draw_finish(rng, sky=sky, ground=ground))
    draw_occluder(canvas, rng, width=width, height=height)
    return image.reduce(OVERSAMPLING)


def _photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Returns the image with uneven light, exposure, white balance, contrast, sometimes a blur, and sensor noise."""
    if rng.random() < BLUR_FRACTION:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.4, 1.2))))
    size = image.size
    light = rng.integers(int(rng.integers(150, 240)), 256, (3, 4), np.uint8)  # sun and shade, cloudy and even
    shades = Image.fromarray(light).resize(size, Image.Resampling.BILINEAR)
    image = ImageChops.multiply(image, Image.merge("RGB", (shades, shades, shades)))
    exposure, contrast = rng.uniform(0.8, 1.4), rng.uniform(0.8, 1.15)
    balance = rng.uniform(0.86, 1.14, 3).tolist()
    levels = np.arange(256)
    tables = [np.clip((levels * exposure * gain - 110) * contrast + 110, 0, 255) for gain in balance]
    image = image.point(np.concatenate(tables).astype(int).tolist())
    grain = Image.frombytes("L", size, rng.bytes(size[0] * size[1])).point(_grain_table(int(rng.integers(1, 7))))
    return ImageChops.add(image, Image.merge("RGB", (grain, grain, grain)), 1, -128)


@functools.lru_cache(maxsize=16)
def _grain_table(deviation: int) -> list[int]:
    """Returns the table that maps uniform random bytes to Gaussian noise of that deviation around 128."""
    normal = statistics.NormalDist(128, deviation)
    return [round(normal.inv_cdf((byte + 0.5) / 256)) for byte in range(256)]
