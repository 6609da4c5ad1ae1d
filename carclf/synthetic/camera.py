"""The camera: from metres of the car to pixels of the photo."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from carclf.synthetic.kinds import CarKind

Array = npt.NDArray[np.float64]

# Adverts show a car from the side or a quarter, nearly level. Measured: wider ranges only need more photos.
YAW_DEGREES = (-24.0, 24.0)
PITCH_DEGREES = (2.0, 9.0)
ROLL_DEGREES = (-3.0, 3.0)
# Fraction of the frame's width that the car fills (in upright photos another), and the largest of its height.
FILL = (0.76, 0.95)
UPRIGHT_FILL = (0.86, 0.98)
MAX_HEIGHT = 0.72


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera in front of a car's near side.

    Attributes:
      rotation: float64 [3, 3], of the car: yaw, pitch, roll.
      centre: float64 [3], the point of the car (metres) at which the camera is aimed.
      distance: metres from that point to the lens.
      origin: float64 [2], the point's pixel.
      scale: pixels per metre at that point.
      mirror: −1 if the car faces right, else 1.
      pitch: downward angle of the camera in radians.
    """

    rotation: Array
    centre: Array
    distance: float
    origin: Array
    scale: float
    mirror: float
    pitch: float

    def view(self, points: Array) -> Array:
        """Returns float64 [N, 2] in metres on the image plane, x right and y up, for points float64 [N, 3]."""
        seen = (points - self.centre) @ self.rotation.T
        return seen[:, :2] * (self.distance / (self.distance - seen[:, 2:]))

    def project(self, points: Array) -> Array:
        """Returns float64 [N, 2], the pixels of points float64 [N, 3] in metres."""
        return self.view(points) * (self.mirror * self.scale, -self.scale) + self.origin

    @property
    def horizon(self) -> float:
        """y of the horizon in pixels."""
        return float(self.origin[1] - self.scale * self.distance * math.tan(self.pitch))

    @property
    def shows_front(self) -> bool:
        """True if the nose, not the tail, points towards the lens."""
        return bool(self.rotation[2, 0] < 0)


def place_camera(rng: np.random.Generator, kind: CarKind, *, width: float, height: float) -> Camera:
    """Returns a camera that sees the whole car, from between the front and the rear quarter.

    Every kind of car fills about the same fraction of the frame's width, unless it would be too tall: the size and the
    position of a car must not reveal its kind.

    Args:
      rng: the photo's generator.
      kind: kind of the car.
      width: of the frame, in pixels.
      height: of the frame, in pixels.
    """
    yaw = math.radians(rng.uniform(*YAW_DEGREES))
    pitch = math.radians(rng.uniform(*PITCH_DEGREES))
    roll = math.radians(rng.uniform(*ROLL_DEGREES))
    rotation = _rotation_z(roll) @ _rotation_x(pitch) @ _rotation_y(yaw)
    camera = Camera(
        rotation=rotation,
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
    scale = min(fill * width / (high[0] - low[0]), MAX_HEIGHT * height / (high[1] - low[1]))
    free = np.array([width, height]) - scale * (high - low)
    # At any horizontal position, but never at the upper edge: adverts show the ground in front of the car.
    position = free * (rng.uniform(0.06, 0.94), rng.uniform(0.42, 0.94))
    return dataclasses.replace(camera, origin=position - scale * low, scale=scale)


def _corners(kind: CarKind) -> Array:
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
