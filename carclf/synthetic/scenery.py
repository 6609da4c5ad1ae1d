"""Draws what is behind and in front of the car: sky, ground, town or wood, and obstacles."""

import math

import numpy as np
from PIL import Image, ImageDraw

from carclf.synthetic.camera import Camera
from carclf.synthetic.palette import Colour, blend, pick, random_colour, shade

# The background is reduced and enlarged again, which makes its edges smooth, as if out of focus.
REDUCTION = 4

SKIES: tuple[Colour, ...] = (
    (126, 172, 218), (168, 196, 220), (206, 212, 216), (186, 178, 172), (228, 190, 160), (96, 112, 142),
    (150, 160, 172),
)  # fmt: skip
GROUNDS: tuple[Colour, ...] = (
    (112, 112, 114), (88, 90, 94), (136, 130, 122), (148, 128, 100), (96, 116, 66), (206, 210, 216), (74, 70, 72),
    (164, 150, 132),
)  # fmt: skip
WALLS: tuple[Colour, ...] = (
    (176, 156, 130), (150, 90, 70), (196, 186, 168), (120, 124, 130), (206, 178, 120), (156, 166, 160), (104, 78, 66),
    (134, 146, 164),
)  # fmt: skip
LEAVES: tuple[Colour, ...] = (
    (62, 98, 48), (86, 118, 56), (44, 78, 52), (120, 116, 54), (156, 108, 48), (92, 84, 74),
)  # fmt: skip
LINES: tuple[Colour, ...] = ((225, 225, 220), (214, 178, 70))
SKINS: tuple[Colour, ...] = ((224, 178, 148), (190, 140, 108), (128, 88, 66))


def draw_background(
    rng: np.random.Generator, *, size: tuple[int, int], camera: Camera, sky: Colour, ground: Colour, length: float
) -> Image.Image:
    """Returns an RGB image of `size` (width, height): the scene, with the car's shadow on the ground.

    Args:
      rng: the photo's generator.
      size: of the photo; the camera's pixels are half as large.
      camera: the camera that sees the car.
      sky: the sky's colour.
      ground: the ground's colour.
      length: of the car in metres.
    """
    width, height = size
    image = Image.new("RGB", size)
    canvas = ImageDraw.Draw(image)
    horizon = min(max(camera.horizon / 2, 0.06 * height), 0.62 * height)
    _gradient(canvas, width=width, top=0, bottom=horizon, colours=(shade(sky, 0.86), blend(sky, (250, 250, 250), 0.35)))
    if rng.random() < 0.4:
        _clouds(canvas, rng, width=width, horizon=horizon, sky=sky)
    if rng.random() < 0.4:
        _hills(canvas, rng, width=width, horizon=horizon, sky=sky)
    _gradient(canvas, width=width, top=horizon, bottom=height, colours=(blend(ground, sky, 0.3), shade(ground, 0.9)))
    _road_marks(canvas, rng, width=width, height=height, horizon=horizon, ground=ground)
    scene = int(rng.integers(5))
    if scene in (0, 1):
        _town(canvas, rng, width=width, horizon=horizon)
    elif scene == 2:
        _wood(canvas, rng, width=width, horizon=horizon)
    elif scene == 3:
        _wall(canvas, rng, width=width, height=height, horizon=horizon)
    if rng.random() < 0.45:
        _parked_cars(canvas, rng, width=width, height=height, horizon=horizon)
    far = image.reduce(REDUCTION)
    _shadow(ImageDraw.Draw(far, "RGBA"), rng, camera=camera, length=length)
    return far.resize(size, Image.Resampling.BILINEAR)


def _gradient(
    canvas: ImageDraw.ImageDraw, *, width: int, top: float, bottom: float, colours: tuple[Colour, Colour]
) -> None:
    steps = max(1, min(math.ceil(bottom - top), 48))
    for step in range(steps):
        y, end = (top + (bottom - top) * (step + more) / steps for more in (0, 1))
        canvas.rectangle((0, y, width, end), fill=blend(*colours, step / steps))


def _clouds(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, horizon: float, sky: Colour) -> None:
    white = blend(sky, (255, 255, 255), 0.35)
    for x, y, size in rng.random((int(rng.integers(4, 10)), 3)).tolist():
        wide, tall = (0.1 + 0.25 * size) * width, (0.04 + 0.08 * size) * horizon
        canvas.ellipse((x * width - wide, y * horizon - tall, x * width + wide, y * horizon + tall), fill=white)


def _hills(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, horizon: float, sky: Colour) -> None:
    far = blend(pick(rng, LEAVES, spread=0.2), sky, 0.55)
    across = np.linspace(0, width, 24)
    waves = rng.uniform(0.5, 3.0, 2), rng.uniform(0, 6.3, 2)
    ridge = sum(np.sin(across / width * 6.3 * speed + phase) for speed, phase in zip(*waves, strict=True))
    top = horizon * (0.82 - rng.uniform(0.02, 0.09) * ridge)
    canvas.polygon([(0, horizon), *zip(across.tolist(), top.tolist(), strict=True), (width, horizon)], fill=far)


def _town(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, horizon: float) -> None:
    x = -rng.uniform(0, 0.2) * width
    while x < width:
        wide, tall = rng.uniform(0.14, 0.42) * width, rng.uniform(0.35, 1.1) * max(horizon, 0.3 * width)
        wall, top = pick(rng, WALLS, spread=0.2), horizon - tall
        canvas.rectangle((x, top, x + wide, horizon + 1), fill=wall)
        canvas.rectangle((x, top, x + wide, top + 0.012 * width), fill=shade(wall, 0.7))
        pane, gap = rng.uniform(0.018, 0.036) * width, rng.uniform(0.016, 0.034) * width
        glass = [shade((70, 84, 98), tone) for tone in (0.6, 1.0, 1.5)]
        lit = rng.integers(0, 3, 400).tolist()
        count = 0
        for row in np.arange(top + 1.4 * gap, horizon - pane, 1.3 * pane + gap).tolist():
            for column in np.arange(x + gap, x + wide - pane, pane + gap).tolist():
                canvas.rectangle((column, row, column + pane * 0.8, row + 1.3 * pane), fill=glass[lit[count % 400]])
                count += 1
        x += wide + rng.uniform(-0.02, 0.12) * width


def _wood(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, horizon: float) -> None:
    for x in np.sort(rng.uniform(-0.05, 1.05, int(rng.integers(6, 16)))).tolist():
        size = rng.uniform(0.06, 0.15) * width
        trunk, crown = x * width, horizon - rng.uniform(0.8, 2.0) * size
        leaf = pick(rng, LEAVES, spread=0.2)
        canvas.rectangle((trunk - 0.06 * size, crown, trunk + 0.06 * size, horizon + 1), fill=(72, 56, 44))
        for across, up, tone in rng.uniform(-1, 1, (7, 3)).tolist():
            cx, cy, r = trunk + 0.6 * across * size, crown + 0.5 * up * size, 0.55 * size
            canvas.ellipse((cx - r, cy - r, cx + r, cy + r), fill=shade(leaf, 1 + 0.14 * tone - 0.16 * up))


def _wall(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, height: int, horizon: float) -> None:
    wall, foot = pick(rng, WALLS, spread=0.2), horizon + rng.uniform(0.02, 0.12) * height
    top = horizon - rng.uniform(0.1, 0.6) * height
    canvas.rectangle((0, top, width, foot), fill=wall)
    course = rng.uniform(0.03, 0.09) * height
    rows = np.arange(top, foot, course).tolist()
    for number, y in enumerate(rows):
        canvas.line((0, y, width, y), fill=shade(wall, 0.82))
        for x in np.arange((number % 2) * course, width, 2.2 * course).tolist():
            canvas.line((x, y, x, min(y + course, foot)), fill=shade(wall, 0.86))


def _parked_cars(
    canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, height: int, horizon: float
) -> None:
    for x in rng.uniform(-0.1, 1.0, int(rng.integers(1, 5))).tolist():
        wide = rng.uniform(0.08, 0.2) * width
        tall, left = wide * rng.uniform(0.3, 0.42), x * width
        foot = horizon + rng.uniform(0.01, 0.05) * height
        colour = random_colour(rng, saturation=(0.0, 0.7), value=(0.2, 0.9))
        canvas.rounded_rectangle(
            (left + 0.15 * wide, foot - tall, left + 0.85 * wide, foot), tall * 0.3, fill=(52, 58, 64)
        )
        canvas.rounded_rectangle((left, foot - 0.6 * tall, left + wide, foot - 0.1 * tall), tall * 0.2, fill=colour)
        for wheel in (0.2, 0.8):
            r, middle = 0.17 * tall, left + wheel * wide
            canvas.ellipse((middle - r, foot - 2 * r, middle + r, foot), fill=(24, 24, 26))


def _road_marks(
    canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, height: int, horizon: float, ground: Colour
) -> None:
    """Draws lines towards a vanishing point, a kerb along the horizon, patches and puddles."""
    depth = height - horizon
    for x, y, wide in rng.random((int(rng.integers(0, 6)), 3)).tolist():
        middle, low = x * width, horizon + (0.15 + 0.85 * y) * depth
        half = (0.05 + 0.15 * wide) * width * (0.3 + y)
        tone = shade(ground, 0.88 + 0.24 * wide)
        canvas.ellipse((middle - half, low - 0.12 * half, middle + half, low + 0.12 * half), fill=tone)
    if rng.random() < 0.5:
        vanish, paint = rng.uniform(-0.5, 1.5) * width, blend(pick(rng, LINES, spread=0.1), ground, 0.3)
        for x in (rng.uniform(-1.0, 0.0) + np.arange(4) * rng.uniform(0.4, 0.9)).tolist():
            near, far = x * width, vanish + (x * width - vanish) * 0.06
            canvas.polygon([(far, horizon + 0.06 * depth), (near, height), (near + 0.03 * width, height)], fill=paint)
    if rng.random() < 0.5:
        y = horizon + rng.uniform(0.02, 0.25) * depth
        canvas.rectangle((0, y, width, y + 0.02 * height), fill=shade(ground, 1.25))
        canvas.rectangle((0, y + 0.02 * height, width, y + 0.035 * height), fill=shade(ground, 0.7))


def _shadow(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, camera: Camera, length: float) -> None:
    """Draws nested patches, so that the shadow's edge is soft."""
    shift_x, shift_z, strength = rng.uniform(-0.35, 0.35), rng.uniform(-0.2, 0.6), int(rng.integers(22, 50))
    for grow in (0.28, 0.20, 0.12, 0.04, -0.06):
        x0, x1, z0, z1 = -grow, length + grow, -0.85 - grow, 0.85 + grow
        corners = [(x0, z1), (x0 + 0.3, z1 + 0.1), (x1 - 0.3, z1 + 0.1), (x1, z1), (x1, z0), (x0, z0)]
        ground = np.array([(x + shift_x, 0.0, z + shift_z * (grow > 0)) for x, z in corners])
        pixels = camera.project(ground) / (2 * REDUCTION)
        canvas.polygon(pixels.ravel().tolist(), fill=(8, 8, 14, strength))


def draw_occluder(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, height: int) -> None:
    """Draws an obstacle in half of the photos: a pole, bushes, a passer-by, another car."""
    choice = rng.random()
    if choice < 0.14:
        x, thick = rng.uniform(0.02, 0.98) * width, rng.uniform(0.008, 0.022) * width
        metal = shade((120, 122, 126), rng.uniform(0.4, 1.4))
        canvas.rectangle((x, 0, x + thick, height), fill=metal)
        canvas.rectangle((x, 0, x + 0.35 * thick, height), fill=shade(metal, 1.25))
    elif choice < 0.28:
        _bushes(canvas, rng, width=width, height=height)
    elif choice < 0.38:
        _passer_by(canvas, rng, width=width, height=height)
    elif choice < 0.5:
        _near_car(canvas, rng, width=width, height=height)


def _bushes(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, height: int) -> None:
    leaf, middle = pick(rng, LEAVES, spread=0.2), rng.uniform(0, width)
    for across, up, tone in rng.uniform(-1, 1, (26, 3)).tolist():
        x, y, r = middle + 0.22 * across * width, height * (0.99 + 0.06 * up), 0.045 * width
        canvas.ellipse((x - r, y - 0.8 * r, x + r, y + 0.8 * r), fill=shade(leaf, 1 + 0.22 * tone - 0.15 * up))


def _passer_by(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, height: int) -> None:
    x, foot, tall = rng.uniform(0.03, 0.97) * width, height * rng.uniform(0.86, 1.05), rng.uniform(0.34, 0.52) * height
    coat = random_colour(rng, saturation=(0.1, 0.8), value=(0.2, 0.8))
    legs, skin = shade((60, 62, 76), rng.uniform(0.5, 1.3)), pick(rng, SKINS, spread=0.1)
    half, step = 0.085 * tall, rng.uniform(0.02, 0.09) * tall
    hip, neck, head = foot - 0.46 * tall, foot - 0.84 * tall, 0.07 * tall
    for side in (-1, 1):
        canvas.polygon([(x - 0.6 * half, hip), (x + 0.6 * half, hip), (x + side * step + 0.35 * half, foot),
                        (x + side * step - 0.35 * half, foot)], fill=shade(legs, 1 + 0.12 * side))  # fmt: skip
        arm = [(x + side * 0.7 * half, neck + 0.02 * tall), (x + side * 1.1 * half + side * 0.3 * step, hip)]
        canvas.line(arm, fill=shade(coat, 0.8), width=max(1, round(0.05 * tall)))
    canvas.rounded_rectangle((x - half, neck, x + half, hip + 0.08 * tall), 0.5 * half, fill=coat)
    canvas.ellipse((x - head, neck - 2 * head, x + head, neck + 0.1 * head), fill=skin)
    canvas.pieslice(
        (x - head, neck - 2.1 * head, x + head, neck), 180, 360, fill=shade((70, 52, 40), rng.uniform(0.3, 2))
    )


def _near_car(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, *, width: int, height: int) -> None:
    """Draws the end of a nearer car, at the left or right edge."""
    reach, roof = rng.uniform(0.05, 0.15) * width, rng.uniform(0.52, 0.68) * height
    paint = random_colour(rng, saturation=(0.0, 0.7), value=(0.15, 0.9))
    at = (lambda x: x) if rng.random() < 0.5 else (lambda x: width - x)
    waist, foot = roof + 0.12 * height, min(roof + 0.36 * height, 0.98 * height)
    canvas.polygon(
        [(at(0), roof), (at(0.4 * reach), roof), (at(0.8 * reach), waist), (at(0), waist)], fill=(48, 54, 60)
    )
    canvas.polygon([(at(0), waist), (at(0.85 * reach), waist), (at(reach), waist + 0.06 * height),
                    (at(0.97 * reach), foot), (at(0), foot)], fill=paint)  # fmt: skip
    canvas.polygon([(at(0), foot - 0.08 * height), (at(0.98 * reach), foot - 0.08 * height), (at(0.97 * reach), foot),
                    (at(0), foot)], fill=shade(paint, 0.7))  # fmt: skip
    canvas.polygon([(at(0.86 * reach), waist + 0.03 * height), (at(0.97 * reach), waist + 0.05 * height),
                    (at(0.98 * reach), waist + 0.11 * height), (at(0.86 * reach), waist + 0.11 * height)],
                   fill=(176, 30, 30))  # fmt: skip
