"""Colours and extras of a car, independent of its kind."""

import dataclasses

import numpy as np

from carclf.synthetic.camera import Array
from carclf.synthetic.palette import Colour, blend, luma, pick, random_colour, shade

# Common paints of used cars; every second car gets any colour instead.
PAINTS: tuple[Colour, ...] = (
    (236, 236, 232), (176, 180, 184), (98, 102, 108), (34, 36, 40), (150, 26, 30), (28, 54, 110), (24, 78, 58),
    (206, 190, 152), (92, 40, 52), (64, 118, 150), (196, 98, 34), (130, 140, 112),
)  # fmt: skip
# Smallest difference of luma (0..255) between car and road, so that the car is visible.
MIN_CONTRAST = 45.0


@dataclasses.dataclass(frozen=True)
class Finish:
    """Colours and extras of one car, independent of its kind.

    Attributes:
      paint: colour of the body.
      glass: colour of the windows.
      sky: colour that windows and bonnet reflect.
      trim: colour of bumpers, mouldings and rails.
      rim: colour of the wheels.
      spokes: number per wheel; 0 is a plain hub cap.
      sun: float64 [3], direction of the light.
      round_lamps: round headlamps.
      moulding: a strip along the side.
      stretch: float64 [3], factors on the length, height and width of the table.
    """

    paint: Colour
    glass: Colour
    sky: Colour
    trim: Colour
    rim: Colour
    spokes: int
    sun: Array
    round_lamps: bool
    moulding: bool
    stretch: Array


def draw_finish(rng: np.random.Generator, *, sky: Colour, ground: Colour) -> Finish:
    """Returns a finish drawn from the photo's generator."""
    any_colour = random_colour(rng, saturation=(0.2, 0.95), value=(0.2, 0.95))
    paint = pick(rng, PAINTS, spread=0.12) if rng.random() < 0.5 else any_colour
    if abs(luma(paint) - luma(ground)) < MIN_CONTRAST:
        paint = shade(paint, 0.5) if luma(paint) < luma(ground) else blend(paint, (255, 255, 255), 0.5)
    trim = shade((58, 58, 62), rng.uniform(0.5, 1.3))
    sun = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.5, 1.0), rng.uniform(-0.1, 0.9)])
    return Finish(
        paint=paint,
        glass=shade((46, 54, 62), rng.uniform(0.5, 1.5)),
        sky=sky,
        trim=paint if rng.random() < 0.45 else trim,
        rim=shade((160, 163, 168), rng.uniform(0.55, 1.35)),
        spokes=int(rng.choice([0, 0, 5, 6, 8])),
        sun=sun / np.linalg.norm(sun),
        round_lamps=bool(rng.random() < 0.3),
        moulding=bool(rng.random() < 0.4),
        stretch=rng.uniform(0.97, 1.03, 3),
    )
