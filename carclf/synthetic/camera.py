"""Where the photographer stands: metres of the car → pixels of the photo."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from carclf.synthetic.kinds import Kind

Array = npt.NDArray[np.float64]

# Adverts show a car from the side or a quarter, held nearly level. Measured: wider ranges only ask for more photos.
YAW_DEGREES = (-24.0, 24.0)
PITCH_DEGREES = (2.0, 9.0)
ROLL_DEGREES = (-3.0, 3.0)
# Share of the frame's width that the car fills, upright photos apart, and the most of its height.
FILL = (0.76, 0.95)
UPRIGHT_FILL = (0.86, 0.98)
TALLEST = 0.72


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera in front of a car's near side.

    Attributes:
      turn: float64 [3, 3], rotation of the car: yaw, pitch, roll.
      centre: float64 [3], the point of the car (metres) that the camera looks at.
      distance: metres from there to the lens.
      origin: float64 [2], pixel where that point lands.
      scale: pixels a metre there.
      mirror: −1 where the car faces right, else 1.
      pitch: radians that the camera looks down.
    """

    turn: Array
    centre: Array
    distance: float
    origin: Array
    scale: float
    mirror: float
    pitch: float

    def view(self, points: Array) -> Array:
        """float64 [N, 2] in metres on the image plane, x right and y up, of points float64 [N, 3]."""
        seen = (points - self.centre) @ self.turn.T
        return seen[:, :2] * (self.distance / (self.distance - seen[:, 2:]))

    def project(self, points: Array) -> Array:
        """float64 [N, 2] pixels of points float64 [N, 3] in metres."""
        return self.view(points) * (self.mirror * self.scale, -self.scale) + self.origin

    @property
    def horizon(self) -> float:
        """y of the horizon in pixels."""
        return float(self.origin[1] - self.scale * self.distance * math.tan(self.pitch))

    @property
    def shows_front(self) -> bool:
        """Whether the nose, not the tail, is turned towards the lens."""
        return bool(self.turn[2, 0] < 0)


def place_camera(rng: np.random.Generator, kind: Kind, *, width: float, height: float) -> Camera:
    """A camera that sees the whole car from somewhere between the front and the rear quarter.

    The car fills about the same share of the frame's width whatever its kind, unless it would be too tall: size and
    place of a car must not tell its kind.

    Args:
      rng: the photo's generator.
      kind: of the car.
      width: of the frame, in pixels.
      height: of the frame, in pixels.
    """
    yaw = math.radians(rng.uniform(*YAW_DEGREES))
    pitch = math.radians(rng.uniform(*PITCH_DEGREES))
    roll = math.radians(rng.uniform(*ROLL_DEGREES))
    turn = _rotation_z(roll) @ _rotation_x(pitch) @ _rotation_y(yaw)
    camera = Camera(
        turn=turn,
        centre=np.array([kind.length / 2, kind.height * 0.45, 0.0]),
        distance=kind.length * rng.uniform(1.9, 3.6),
        origin=np.zeros(2),
        scale=1.0,
        mirror=float(rng.choice([-1.0, 1.0])),
        pitch=pitch,
    )
    corners = camera.project(_corners(kind))
    low, high = corners.min(0), corners.max(0)
    fill = rng.uniform(*(FILL if width > height else UPRIGHT_FILL))
    scale = min(fill * width / (high[0] - low[0]), TALLEST * height / (high[1] - low[1]))
    free = np.array([width, height]) - scale * (high - low)
    # Anywhere in the frame across, never at its upper edge: adverts show the car on the ground before it.
    place = free * (rng.uniform(0.06, 0.94), rng.uniform(0.42, 0.94))
    return dataclasses.replace(camera, origin=place - scale * low, scale=scale)


def _corners(kind: Kind) -> Array:
    body = [(x, y, z) for x, y in kind.outline for z in (-kind.width / 2, kind.width / 2)]
    road = [(x, 0.0, z) for x in kind.wheels for z in (-kind.width / 2, kind.width / 2)]
    x0, x1, y0, y1 = kind.cargo or (1.0, 1.0, 1.0, 1.0)
    cargo = [(x, y, z) for x in (x0, x1) for y in (y0, y1) for z in (-kind.width / 2, kind.width / 2)]
    return np.array(body + road + cargo)


def _rotation_x(angle: float) -> Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _rotation_y(angle: float) -> Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def _rotation_z(angle: float) -> Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
