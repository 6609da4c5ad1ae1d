"""Collects the polygons of a car in metres, then projects and draws them all at once."""

import numpy as np
from PIL import ImageDraw

from carclf.synthetic.camera import Array, Camera
from carclf.synthetic.finish import Finish
from carclf.synthetic.palette import Colour
from carclf.synthetic.profile import Profile


class Painter:
    """One car in front of one camera; later shapes cover earlier ones.

    Everything is projected in one call, because NumPy's calls cost more than the work in them.

    Attributes:
      profile: profile of the car's kind.
      kind: its row of `KINDS`.
      camera: the camera that sees it.
      finish: its colours and extras.
      sill: height of the body's lower edge in metres.
      bonnet: height of the bonnet's front edge in metres.
    """

    def __init__(self, profile: Profile, camera: Camera, finish: Finish) -> None:
        self.profile, self.camera, self.finish = profile, camera, finish
        self.kind = profile.kind
        self.sill, self.bonnet = self.kind.outline[0][1], self.kind.outline[3][1]
        self._shapes: list[Array] = []
        self._fills: list[tuple[Colour, float]] = []

    def paint(self, canvas: ImageDraw.ImageDraw) -> None:
        """Draws the collected shapes in their order."""
        pixels = self.camera.project(np.concatenate(self._shapes) * self.finish.stretch).ravel().tolist()
        start = 0
        for shape, (fill, thickness) in zip(self._shapes, self._fills, strict=True):
            end = start + 2 * len(shape)
            if thickness:
                canvas.line(pixels[start:end], fill=fill, width=max(1, round(thickness * self.camera.scale)))
            else:
                canvas.polygon(pixels[start:end], fill=fill)
            start = end

    def add(self, points: Array, fill: Colour, *, thickness: float = 0.0) -> None:
        """Adds points float64 [N, 3]: a polygon, or with a thickness (metres) a line."""
        self._shapes.append(points)
        self._fills.append((fill, thickness))

    def add_on_side(self, points: list[tuple[float, float]], fill: Colour, *, thickness: float = 0.0) -> None:
        """Adds points (x, y) on the near side of the body."""
        self.add(self.profile.on_side(np.array(points)), fill, thickness=thickness)

    def across(self, end: tuple[Array, Array], *, y: tuple[float, float], z: tuple[float, float]) -> Array:
        """Returns a patch on nose or tail between two heights y and two fractions z of the half width."""
        x = np.interp(y, *end)
        half = self.kind.width / 2 * 0.88
        (x0, x1), (y0, y1), (z0, z1) = x.tolist(), y, (z[0] * half, z[1] * half)
        return np.array([(x0, y0, z0), (x1, y1, z0), (x1, y1, z1), (x0, y0, z1)])

    def tone(self, normal: tuple[float, float, float]) -> float:
        """Brightness of a surface: sky light from above, and the sun."""
        x, y, z = self.finish.sun
        return 0.62 + 0.14 * normal[1] + 0.42 * max(0.0, normal[0] * x + normal[1] * y + normal[2] * z)

    def faces_lens(self, polygon: Array) -> bool:
        """Returns whether the lens sees the outside of float64 [N, 3], with corners counterclockwise from outside."""
        seen = self.camera.view(polygon)
        x, y = seen[:, 0], seen[:, 1]
        return bool(x @ np.roll(y, -1) - np.roll(x, -1) @ y > 0)
