"""The arrays a recipe draws for a batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from carclf.recipe import colour, geometry

Float32 = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

DRAW_SHAPES = {"geometry": (3, 3), "colour": (3, 4), "mix": (5,), "erase": (7,)}  # of one photo, all float32


@dataclasses.dataclass(frozen=True)
class Draws:
    """Everything that Render needs for a batch except its photos.

    Attributes:
      geometry: float32 [B, 3, 3], maps homogeneous output (u, v, 1) to photo (u, v, 1), both in [-1, 1] from edge
          to edge, x right and y down.
      colour: float32 [B, 3, 4], affine map of RGB in 0..255.
      mix: float32 [B, 5], lambda of one's own photo and the pasted box (y0, x0, y1, x1) in fractions; an empty
          box means mixup, lambda 1 no mixing. The partner of photo 2k is photo 2k + 1.
      erase: float32 [B, 7], box (y0, x0, y1, x1) in fractions and its RGB in 0..255; an empty box erases nothing.
    """

    geometry: Float32
    colour: Float32
    mix: Float32
    erase: Float32


class Accumulator:
    """The arrays of a batch while a recipe applies its steps to them."""

    def __init__(self, base: Array) -> None:
        batch = len(base)
        self.geometry = base
        self.colour: Array | None = None
        self.mix = np.tile(np.array([1.0, 0.0, 0.0, 0.0, 0.0]), (batch, 1))
        self.mix_priority = np.zeros(batch)
        self.erase = np.zeros((batch, 7))

    def add(self, kind: str, result: object, *, fires: npt.NDArray[np.bool_] | None, priority: Array) -> None:
        """Applies one step's result to the photos where it fires (None: everywhere)."""
        if kind == "both":
            assert isinstance(result, tuple)
            moved, coloured = result
            self.add("geometry", moved, fires=fires, priority=priority)
            self.add("colour", coloured, fires=fires, priority=priority)
            return
        assert isinstance(result, np.ndarray)
        batch = len(self.geometry)
        where = None if fires is None else fires.reshape(-1, *(1,) * (result.ndim - 1))
        if kind == "geometry":
            step = result if where is None else np.where(where, result, geometry.identity(batch))
            self.geometry = self.geometry @ step
        elif kind == "colour":
            step = result if where is None else np.where(where, result, colour.identity(batch))
            self.colour = step if self.colour is None else step @ self.colour
        elif kind == "erase":
            self.erase = result if where is None else np.where(where, result, self.erase)
        else:
            wins = priority > self.mix_priority
            wins = wins if fires is None else wins & fires
            self.mix = np.where(wins[:, None], result, self.mix)
            self.mix_priority = np.where(wins, priority, self.mix_priority)

    def finish(self, *, padding: npt.NDArray[np.bool_]) -> Draws:
        """Returns the draws, with the identity in padding rows and no mixing in pairs that have one."""
        batch = len(padding)
        matrices = colour.identity(batch) if self.colour is None else self.colour
        if padding.any():
            self.geometry = np.where(padding[:, None, None], geometry.identity(batch), self.geometry)
            matrices = np.where(padding[:, None, None], colour.identity(batch), matrices)
            self.erase = np.where(padding[:, None], 0.0, self.erase)
            in_pair = padding if batch % 2 else np.repeat(padding.reshape(-1, 2).any(axis=1), 2)
            self.mix = np.where(in_pair[:, None], np.array([1.0, 0.0, 0.0, 0.0, 0.0]), self.mix)
        return Draws(
            geometry=self.geometry.astype(np.float32),
            colour=matrices[:, :3].astype(np.float32),
            mix=self.mix.astype(np.float32),
            erase=self.erase.astype(np.float32),
        )
