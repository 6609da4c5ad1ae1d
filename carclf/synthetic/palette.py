"""Colours, and the random generator of a photo."""

import colorsys
import hashlib

import numpy as np

Colour = tuple[int, int, int]


def generator(seed: int, name: str) -> np.random.Generator:
    """Returns a generator that depends only on (seed, name): Philox, keyed by their SHA-256."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def random_colour(rng: np.random.Generator, *, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Returns a colour of any hue, with saturation and value (0..1) drawn from the ranges."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return round(red * 255), round(green * 255), round(blue * 255)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...], *, spread: float) -> Colour:
    """Returns one of `colours`, each channel multiplied by up to 1 ± spread."""
    red, green, blue = colours[int(rng.integers(len(colours)))]
    a, b, c = rng.uniform(1 - spread, 1 + spread, 3).tolist()
    return _clip(red * a), _clip(green * b), _clip(blue * c)


def shade(colour: Colour, factor: float) -> Colour:
    """Returns `colour`, lighter (factor above 1) or darker."""
    return _clip(colour[0] * factor), _clip(colour[1] * factor), _clip(colour[2] * factor)


def blend(colour: Colour, other: Colour, fraction: float) -> Colour:
    """Returns `colour` with a fraction (0..1) of `other` blended in."""
    keep = 1 - fraction
    return (
        _clip(colour[0] * keep + other[0] * fraction),
        _clip(colour[1] * keep + other[1] * fraction),
        _clip(colour[2] * keep + other[2] * fraction),
    )


def luma(colour: Colour) -> float:
    """Returns the brightness, 0..255. Source: ITU-R BT.601, section 2.5.1."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _clip(value: float) -> int:
    return min(255, max(0, int(value)))
