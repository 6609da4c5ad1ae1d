"""The operations a recipe can name. A new one is a function here and its row in `RECIPES`.

Every function takes uniforms [n, B] in (0, 1), the frame and its arguments by name. Its docstring states the
distribution it draws from; the `kind` of its row says what it returns.
"""

from __future__ import annotations

import numpy as np

from carclf.recipe import colour, geometry, mixing
from carclf.recipe.operation import Argument, Array, Frame, Operation
from carclf.recipe.policies import MAX_POLICY_STEPS, randaugment, trivial


def _symmetric(uniform: Array, half_width: float) -> Array:
    return (2.0 * uniform - 1.0) * half_width


def _span(low: float, high: float | None, strength: float) -> tuple[float, float]:
    """Returns the range of a factor: (low, high), or 1 ± low if only one number is given."""
    if high is None:
        low, high = 1.0 - low, 1.0 + low
    if not 0.0 <= low <= high:
        raise ValueError(f"the factors must be 0 <= low <= high, not {low:g} to {high:g}")
    return 1.0 + (low - 1.0) * strength, 1.0 + (high - 1.0) * strength


def _factor(uniform: Array, low: float, high: float | None, strength: float) -> Array:
    first, last = _span(low, high, strength)
    return first + (last - first) * uniform


# --- geometry ------------------------------------------------------------------------------------------------


def flip(uniform: Array, frame: Frame) -> Array:
    """Mirrors left and right."""
    return geometry.scaling(-1.0, 1.0, batch=uniform.shape[1])


def vflip(uniform: Array, frame: Frame) -> Array:
    """Mirrors top and bottom."""
    return geometry.scaling(1.0, -1.0, batch=uniform.shape[1])


def rotate(uniform: Array, frame: Frame, *, degrees: float) -> Array:
    """Rotates about the centre by an angle uniform in ±degrees; positive is counter-clockwise."""
    return geometry.rotation(_symmetric(uniform[0], np.deg2rad(degrees * frame.strength)), aspect=frame.aspect)


def shift(uniform: Array, frame: Frame, *, x: float, y: float | None) -> Array:
    """Moves by independent uniform fractions, within ±x of the width and ±y (default x) of the height."""
    across = _symmetric(uniform[0], x * frame.strength)
    down = _symmetric(uniform[1], (x if y is None else y) * frame.strength)
    return geometry.translation(across, down, batch=uniform.shape[1])


def zoom(uniform: Array, frame: Frame, *, x: float, y: float | None) -> Array:
    """Magnifies by a factor uniform in 1 ± x, the same in both directions; with y, width and height separately."""
    across = _factor(uniform[0], x, None, frame.strength)
    down = across if y is None else _factor(uniform[1], y, None, frame.strength)
    return geometry.scaling(1.0 / across, 1.0 / down, batch=uniform.shape[1])


def shear(uniform: Array, frame: Frame, *, x: float, y: float) -> Array:
    """Shears by angles uniform in ±x degrees horizontally, then in ±y degrees vertically."""
    across, down = (_symmetric(uniform[index], np.deg2rad(size * frame.strength)) for index, size in ((0, x), (1, y)))
    return geometry.shearing(np.tan(across), np.tan(down), aspect=frame.aspect)


def perspective(uniform: Array, frame: Frame, *, distortion: float) -> Array:
    """Moves the point shown at each corner, in u and in v, by a uniform ±distortion of half the picture."""
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return geometry.homography(square + _symmetric(uniform.T.reshape(-1, 4, 2), distortion * frame.strength))


def crop(uniform: Array, frame: Frame, *, low: float, high: float, ratio: float) -> Array:
    """Enlarges a window: area uniform in low..high, width/height log-uniform in 1/ratio..ratio, position uniform.

    Area and shape are relative to the fitted picture; a side longer than the picture's is cut to it.
    """
    if low > high:
        raise ValueError(f"the areas must be low <= high, not {low:g} to {high:g}")
    area = 1.0 - frame.strength * (1.0 - (low + (high - low) * uniform[0]))
    stretch = np.exp(_symmetric(uniform[1], np.log(ratio) * frame.strength))
    width, height = np.minimum(np.sqrt(area * stretch), 1.0), np.minimum(np.sqrt(area / stretch), 1.0)
    centre_x, centre_y = (
        _symmetric(uniform[2], 1.0) * (1.0 - width),
        _symmetric(uniform[3], 1.0) * (1.0 - height),
    )
    return geometry.window(centre_x, centre_y, width, height, batch=uniform.shape[1])


# --- colour --------------------------------------------------------------------------------------------------


def brightness(uniform: Array, frame: Frame, *, low: float | None, high: float | None, add: float) -> Array:
    """Multiplies by a factor uniform in low..high (one number d: 1 ± d) and adds a uniform ±add (0..255)."""
    if low is None and (high is not None or not add):
        raise ValueError("give low, low and high, or add")
    offset = _symmetric(uniform[1], add * frame.strength)
    return colour.gain(_factor(uniform[0], low or 0.0, high, frame.strength), offset[:, None])


def contrast(uniform: Array, frame: Frame, *, low: float, high: float | None) -> Array:
    """Stretches about 127.5 by a factor uniform in low..high (one number d: 1 ± d)."""
    return colour.contrast(_factor(uniform[0], low, high, frame.strength))


def saturation(uniform: Array, frame: Frame, *, low: float, high: float | None) -> Array:
    """Multiplies the distance from grey by a factor uniform in low..high (one number d: 1 ± d)."""
    return colour.saturation(_factor(uniform[0], low, high, frame.strength))


def hue(uniform: Array, frame: Frame, *, degrees: float) -> Array:
    """Rotates the colours in YIQ by an angle uniform in ±degrees."""
    return colour.hue(_symmetric(uniform[0], np.deg2rad(degrees * frame.strength)))


def grayscale(uniform: Array, frame: Frame) -> Array:
    """Removes colour with the weights of tf.image.rgb_to_grayscale."""
    return colour.grayscale(uniform.shape[1])


def channel_shift(uniform: Array, frame: Frame, *, add: float) -> Array:
    """Adds a uniform ±add (0..255) to each channel independently."""
    return colour.gain(np.ones(uniform.shape[1]), _symmetric(uniform.T, add * frame.strength))


# --- erasing and mixing --------------------------------------------------------------------------------------


def _filled(box: Array, uniform: Array, fill: float | str) -> Array:
    rgb = uniform.T * 255.0 if fill == "random" else np.full((len(box), 3), fill)
    return np.concatenate([box, rgb], axis=1)


def erase(uniform: Array, frame: Frame, *, low: float, high: float, ratio: float, fill: float | str) -> Array:
    """Covers a box: area uniform in low..high, log of its shape in pixels uniform in ±log(ratio), position uniform.

    The box lies inside the picture (a side longer than the picture's is cut to it) and has one colour: `fill`, or
    one drawn uniformly from the RGB cube.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2017, section 3.
    """
    if low > high:
        raise ValueError(f"the areas must be low <= high, not {low:g} to {high:g}")
    area = low + (high - low) * uniform[0]
    stretch = np.exp(_symmetric(uniform[1], np.log(ratio))) / frame.aspect
    width, height = np.minimum(np.sqrt(area * stretch), 1.0), np.minimum(np.sqrt(area / stretch), 1.0)
    centre_x, centre_y = 0.5 + (uniform[2] - 0.5) * (1.0 - width), 0.5 + (uniform[3] - 0.5) * (1.0 - height)
    box = mixing.boxes(centre_y, centre_x, height, width, image_size=frame.image_size)
    return _filled(box, uniform[4:7], fill)


def cutout(uniform: Array, frame: Frame, *, size: float, fill: float | str) -> Array:
    """Covers a square, `size` times the shorter side wide, its centre uniform, cut at the picture's edges.

    Source: DeVries, Taylor, "Improved Regularization of CNNs with Cutout", 2017, section 3.2.
    """
    sides = [np.full(uniform.shape[1], size * min(frame.image_size) / side) for side in frame.image_size]
    box = mixing.boxes(uniform[0], uniform[1], *sides, image_size=frame.image_size)
    return _filled(box, uniform[2:5], fill)


def mixup(uniform: Array, frame: Frame, *, alpha: float) -> Array:
    """Blends the photos of a pair; the weight lambda of one's own is Beta(alpha, alpha).

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017, section 2.
    """
    share = 1.0 - frame.strength * (1.0 - mixing.symmetric_beta(uniform[0], uniform[1], alpha=alpha))
    return np.concatenate([share[:, None], np.zeros((len(share), 4))], axis=1)


def cutmix(uniform: Array, frame: Frame, *, alpha: float) -> Array:
    """Pastes a box of the partner: area 1 - Beta(alpha, alpha), the picture's shape, centre uniform, cut at edges.

    Lambda is exactly the fraction of one's own pixels that remain.

    Source: Yun et al., "CutMix", 2019, section 3.1.
    """
    share = mixing.symmetric_beta(uniform[0], uniform[1], alpha=alpha)
    side = np.sqrt(frame.strength * (1.0 - share))
    box = mixing.boxes(uniform[2], uniform[3], side, side, image_size=frame.image_size)
    return np.concatenate([1.0 - mixing.areas(box)[:, None], box], axis=1)


_LOW = Argument(low=0.0, high=10.0)
_HIGH = Argument(low=0.0, high=10.0, default=None)
_FACTORS = {"low": _LOW, "high": _HIGH}
_FILL = Argument(low=0.0, high=255.0, default="random", words=("random",))
_RATIO = Argument(low=1.0, high=100.0, default=4 / 3)

RECIPES: dict[str, Operation] = {
    "flip": Operation(kind="geometry", draw=flip, example="flip", chance=0.5, scales_chance=True, axis_aligned=True),
    "vflip": Operation(kind="geometry", draw=vflip, example="vflip", chance=0.5, scales_chance=True, axis_aligned=True),
    "rotate": Operation(
        kind="geometry",
        draw=rotate,
        example="rotate(30)",
        uniforms=1,
        affine=True,
        arguments={"degrees": Argument(low=0.0, high=180.0)},
    ),
    "shift": Operation(
        kind="geometry",
        draw=shift,
        example="shift(0.2)",
        uniforms=2,
        axis_aligned=True,
        arguments={"x": Argument(low=0.0, high=1.0), "y": Argument(low=0.0, high=1.0, default=None)},
    ),
    "zoom": Operation(
        kind="geometry",
        draw=zoom,
        example="zoom(0.3)",
        uniforms=2,
        axis_aligned=True,
        arguments={"x": Argument(low=0.0, high=0.9), "y": Argument(low=0.0, high=0.9, default=None)},
    ),
    "shear": Operation(
        kind="geometry",
        draw=shear,
        example="shear(20)",
        uniforms=2,
        affine=True,
        arguments={"x": Argument(low=0.0, high=60.0), "y": Argument(low=0.0, high=60.0, default=0.0)},
    ),
    "perspective": Operation(
        kind="geometry",
        draw=perspective,
        example="perspective(0.2)",
        uniforms=8,
        arguments={"distortion": Argument(low=0.0, high=0.45)},
    ),
    "crop": Operation(
        kind="geometry",
        draw=crop,
        example="crop(0.2,0.8)",
        uniforms=4,
        axis_aligned=True,
        arguments={
            "low": Argument(low=0.01, high=1.0, default=0.08),
            "high": Argument(low=0.01, high=1.0, default=1.0),
            "ratio": _RATIO,
        },
    ),
    "brightness": Operation(
        kind="colour",
        draw=brightness,
        example="brightness(0.4,1.6)",
        uniforms=2,
        per_channel=True,
        arguments={
            "low": Argument(low=0.0, high=10.0, default=None),
            "high": _HIGH,
            "add": Argument(low=0.0, high=255.0, default=0.0),
        },
    ),
    "contrast": Operation(
        kind="colour", draw=contrast, example="contrast(0.3,1.7)", uniforms=1, per_channel=True, arguments=_FACTORS
    ),
    "saturation": Operation(kind="colour", draw=saturation, example="saturation(0,2)", uniforms=1, arguments=_FACTORS),
    "hue": Operation(
        kind="colour", draw=hue, example="hue(60)", uniforms=1, arguments={"degrees": Argument(low=0.0, high=180.0)}
    ),
    "grayscale": Operation(kind="colour", draw=grayscale, example="grayscale(p=0.5)", chance=0.2, scales_chance=True),
    "channel_shift": Operation(
        kind="colour",
        draw=channel_shift,
        example="channel_shift(50)",
        uniforms=3,
        per_channel=True,
        arguments={"add": Argument(low=0.0, high=255.0)},
    ),
    "erase": Operation(
        kind="erase",
        draw=erase,
        example="erase(p=1)",
        uniforms=7,
        chance=0.5,
        scales_chance=True,
        arguments={
            "low": Argument(low=0.0, high=1.0, default=0.02),
            "high": Argument(low=0.0, high=1.0, default=0.33),
            "ratio": Argument(low=1.0, high=100.0, default=10 / 3),
            "fill": _FILL,
        },
    ),
    "cutout": Operation(
        kind="erase",
        draw=cutout,
        example="cutout(0.4)",
        uniforms=5,
        scales_chance=True,
        arguments={
            "size": Argument(low=0.0, high=2.0),
            "fill": Argument(low=0.0, high=255.0, default=0.0, words=("random",)),
        },
    ),
    "mixup": Operation(
        kind="mix",
        draw=mixup,
        example="mixup(1)",
        uniforms=2,
        arguments={"alpha": Argument(low=0.01, high=100.0, default=0.2)},
    ),
    "cutmix": Operation(
        kind="mix",
        draw=cutmix,
        example="cutmix",
        uniforms=4,
        arguments={"alpha": Argument(low=0.01, high=100.0, default=1.0)},
    ),
    "randaugment": Operation(
        kind="both",
        draw=randaugment,
        example="randaugment(2,9)",
        uniforms=2 * MAX_POLICY_STEPS,
        affine=True,
        arguments={
            "n": Argument(low=0.0, high=MAX_POLICY_STEPS, default=2.0),
            "m": Argument(low=0.0, high=10.0, default=9.0),
        },
    ),
    "trivial": Operation(kind="both", draw=trivial, example="trivial", uniforms=2, affine=True),
}

# Recipes with a name of their own, usable alone and inside a chain.
NAMED_RECIPES: dict[str, str] = {
    "none": "",
    "clean": "",
    # Source: the 2020 notebook's ImageDataGenerator (rotation 10, width and height shift 0.1, brightness 0.5 to
    # 1.5, horizontal flip), in the order in which Keras 2 applied them.
    "notebook": "rotate(10)|shift(0.1)|flip|brightness(0.5,1.5)",
}
