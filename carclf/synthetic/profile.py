"""The curves of a kind, computed once: corners rounded, bands of the side cut out."""

import dataclasses
import functools

import numpy as np

from carclf.synthetic.camera import Array
from carclf.synthetic.kinds import CAR_KINDS, CarKind

# Heights at which the side darkens towards the sill, as fractions of the belt's height, and the tone below each: the
# sheet metal there faces away from the sky.
TONES: tuple[tuple[float, float], ...] = ((0.92, 1.06), (0.84, 0.97), (0.62, 0.88), (0.42, 0.76))
# Distance in metres from a corner at which its rounding begins.
BODY_REACH, WINDOW_REACH = 0.16, 0.07


@dataclasses.dataclass(frozen=True)
class Profile:
    """The curves of a kind's side, for `draw_car`; every array is float64 [N, 2] in metres.

    Attributes:
      kind: the kind.
      outline: rounded, from the front sill over the roof to the rear sill.
      bands: (tone, closed polygon) of the side, from top to bottom.
      windows: (whole pane, its upper part, which reflects the sky).
      arches: the dark inside of each wheel arch, not below the sill.
      nose: (y, x) of the front's contour for interpolation, y rising.
      tail: (y, x) of the rear's contour.
    """

    kind: CarKind
    outline: Array
    bands: tuple[tuple[float, Array], ...]
    windows: tuple[tuple[Array, Array], ...]
    arches: tuple[Array, ...]
    nose: tuple[Array, Array]
    tail: tuple[Array, Array]

    def half_width(self, x: Array, y: Array) -> Array:
        """Returns metres from the middle of the car to its side: less towards nose and tail, and above the belt."""
        kind = self.kind
        from_end = np.minimum(np.minimum(x, kind.outline[-3][0] - x), 0.5)
        return kind.width / 2 * (1 - 0.12 * (1 - from_end / 0.5) ** 2) - kind.lean * np.maximum(0.0, y - kind.belt)

    def on_side(self, points: Array, *, out: float = 0.0) -> Array:
        """Returns float64 [N, 3]: the points on the near side, `out` metres in front of it."""
        x, y = points[:, 0], points[:, 1]
        return np.stack([x, y, self.half_width(x, y) + out], 1)


@functools.lru_cache(maxsize=len(CAR_KINDS))
def profile_of(number: int) -> Profile:
    """Returns the profile of `CAR_KINDS[number]`."""
    kind = CAR_KINDS[number]
    outline = rounded(np.array(kind.outline), closed=False, reach=BODY_REACH)
    bonnet, tail = kind.outline[3][1], kind.outline[-4][1]
    front = outline[: int(np.argmax(outline[:, 1] >= bonnet)) + 1]
    rear = outline[::-1][: int(np.argmax(outline[::-1, 1] >= min(tail, kind.outline[-3][1]))) + 1]
    panes = [rounded(np.array(window), closed=True, reach=WINDOW_REACH) for window in kind.windows]
    return Profile(
        kind=kind,
        outline=outline,
        bands=((1.0, outline), *((tone, below(outline, height * kind.belt)) for height, tone in TONES)),
        windows=tuple((pane, above(pane, 0.55 * np.max(pane[:, 1]) + 0.45 * np.min(pane[:, 1]))) for pane in panes),
        arches=tuple(above(circle(x, kind.radius, kind.radius * 1.2), kind.outline[0][1]) for x in kind.wheels),
        nose=(np.maximum.accumulate(front[:, 1]), front[:, 0]),
        tail=(np.maximum.accumulate(rear[:, 1]), rear[:, 0]),
    )


def rounded(points: Array, *, closed: bool, reach: float) -> Array:
    """Returns float64 [M, 2]: the line with its corners cut twice, each cut at most `reach` metres from its corner.

    Source: Chaikin, "An algorithm for high-speed curve generation", 1974 (there each cut takes a quarter).
    """
    for cut_reach in (reach, reach / 3):
        after = np.roll(points, -1, axis=0)
        lengths = np.linalg.norm(after - points, axis=1, keepdims=True)
        cut_at = np.minimum(0.25, cut_reach / np.maximum(lengths, 1e-9))
        ends = [points * (1 - cut_at) + after * cut_at, points * cut_at + after * (1 - cut_at)]
        cut = np.stack(ends, 1).reshape(-1, 2)
        points = cut if closed else np.concatenate([points[:1], cut[1:-3], points[-1:]])
    return points


def below(polygon: Array, y: float) -> Array:
    """Returns the part of a closed polygon, float64 [N, 2], at or below height y.

    Source: Sutherland and Hodgman, "Reentrant polygon clipping", 1974, with a single edge.
    """
    kept: list[Array] = []
    for here, there in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if here[1] <= y:
            kept.append(here)
        if (here[1] <= y) != (there[1] <= y):
            kept.append(here + (there - here) * (y - here[1]) / (there[1] - here[1]))
    return np.array(kept)


def above(polygon: Array, y: float) -> Array:
    """Returns the part of a closed polygon, float64 [N, 2], at or above height y."""
    return below(polygon * (1, -1), -y) * (1, -1)


def circle(x: float, y: float, radius: float, *, corners: int = 30) -> Array:
    """Returns float64 [corners, 2]: a circle as a polygon."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
