"""Policies: operations chosen at random among the matrix operations."""

from __future__ import annotations

import numpy as np

from carclf.recipe import colour, geometry
from carclf.recipe.operation import Array, Frame

# Sizes at magnitude 10, for the operations that are matrices. Source: Cubuk et al., "RandAugment", 2019, and its
# reference implementation (tensorflow/tpu, models/official/efficientnet/autoaugment.py: rotate 30 degrees, shear
# 0.3, translate 100 of 224 pixels, enhance 1 ± 0.9).
_POLICY = {
    "identity": 0.0,
    "rotate": np.deg2rad(30.0),
    "shear_x": 0.3,
    "shear_y": 0.3,
    "shift_x": 100 / 224,
    "shift_y": 100 / 224,
    "brightness": 0.9,
    "contrast": 0.9,
    "saturation": 0.9,
}


def _policy_step(choice: Array, level: Array, frame: Frame) -> tuple[Array, Array]:
    """Returns geometry [B, 3, 3] and colour [B, 4, 4] of the one operation chosen for each photo.

    Args:
      choice: [B], uniform in (0, 1), selects a row of the policy.
      level: [B], signed fraction of its size at magnitude 10.
      frame: the output.
    """
    chosen = np.minimum((choice * len(_POLICY)).astype(int), len(_POLICY) - 1)
    size = {name: np.where(chosen == index, level * top, 0.0) for index, (name, top) in enumerate(_POLICY.items())}
    # At most one of the sizes isn't zero, so the order of these products does not matter.
    moved = (
        geometry.rotation(size["rotate"], aspect=frame.aspect)
        @ geometry.shearing(size["shear_x"], size["shear_y"], aspect=frame.aspect)
        @ geometry.translation(size["shift_x"], size["shift_y"], batch=len(choice))
    )
    coloured = (
        colour.gain(1.0 + size["brightness"])
        @ colour.contrast(1.0 + size["contrast"])
        @ colour.saturation(1.0 + size["saturation"])
    )
    return moved, coloured


MAX_POLICY_STEPS = 8


def randaugment(uniform: Array, frame: Frame, *, n: float, m: float) -> tuple[Array, Array]:
    """Applies n operations in a row, each uniform among 9 matrix operations, at magnitude m of 10 and a random sign.

    The operations: identity, rotate, shear x and y, shift x and y, brightness, contrast, saturation.

    Raises:
      ValueError: n is not whole.
    """
    if n != int(n):
        raise ValueError(f"n counts operations, so it must be whole, not {n:g}")
    moved, coloured = geometry.identity(uniform.shape[1]), colour.identity(uniform.shape[1])
    for step in range(int(n)):
        sign = np.where(uniform[2 * step + 1] < 0.5, -1.0, 1.0)
        step_moved, step_coloured = _policy_step(uniform[2 * step], sign * (m / 10.0 * frame.strength), frame)
        moved, coloured = moved @ step_moved, step_coloured @ coloured
    return moved, coloured


def trivial(uniform: Array, frame: Frame) -> tuple[Array, Array]:
    """Applies one of the operations of `randaugment` at a magnitude uniform in -10..10.

    Source: Müller, Hutter, "TrivialAugment", 2021, section 3 (its RandAugment space).
    """
    return _policy_step(uniform[0], (2.0 * uniform[1] - 1.0) * frame.strength, frame)
