"""The ten kinds of cars: side profiles in metres, x from nose to tail, y up from the road."""

import dataclasses

Point = tuple[float, float]
Line = tuple[Point, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CarKind:
    """One row of `CAR_KINDS`.

    Attributes:
      name: its common name.
      width: of the body.
      lean: how far the sides lean inwards above the belt, in metres per metre.
      belt: height at which the windows begin.
      outline: the body from the front sill over bonnet, roof and tail to the rear sill.
      windscreen: its lower and upper end, both on the outline.
      rear_window: its upper and lower end; None if there is no glass.
      windows: of the side.
      doors: x of the door joints.
      wheels: x of the axles.
      radius: of the wheels.
      opening: (x0, x1) of an open top or a load bed with a visible inside.
      seats: x of the backs of the seats in an open top.
      cargo: (x0, x1, y0, y1) of a box body behind the cab.
      rails: whether it has a roof rack.
      spare_wheel: whether it has one on the tail.
    """

    name: str
    width: float = 1.70
    lean: float = 0.28
    belt: float
    outline: Line
    windscreen: tuple[Point, Point]
    rear_window: tuple[Point, Point] | None = None
    windows: tuple[Line, ...]
    doors: tuple[float, ...] = ()
    wheels: tuple[float, float]
    radius: float
    opening: tuple[float, float] | None = None
    seats: tuple[float, ...] = ()
    cargo: tuple[float, float, float, float] | None = None
    rails: bool = False
    spare_wheel: bool = False

    @property
    def length(self) -> float:
        """Metres from the nose to the last part of the tail."""
        ends = [x for x, _ in self.outline] + ([self.cargo[1]] if self.cargo else [])
        return max(ends)

    @property
    def height(self) -> float:
        """Metres from the road to the highest part."""
        tops = [y for _, y in self.outline] + [self.windscreen[1][1]] + ([self.cargo[3]] if self.cargo else [])
        return max(tops)


# Measured on common cars of each kind and rounded to a centimetre. Saloon and hatchback are the same up to the rear
# door: the hard pair of this set, like Lada 2109 and 21099 in the competition.
_SALOON_FRONT: Line = (
    (0.05, 0.22), (0.00, 0.44), (0.03, 0.64), (0.14, 0.74), (0.62, 0.85), (1.14, 0.91), (1.80, 1.38), (2.30, 1.43),
)  # fmt: skip
_SALOON_SCREEN = ((1.14, 0.91), (1.80, 1.38))
_SALOON_DOOR_WINDOW: Line = ((1.42, 0.96), (1.90, 1.32), (2.26, 1.35), (2.26, 0.97))

CAR_KINDS: tuple[CarKind, ...] = (
    CarKind(
        name="saloon",
        belt=0.92,
        outline=(
            *_SALOON_FRONT, (2.84, 1.38), (3.36, 0.98), (4.20, 0.95), (4.32, 0.86), (4.36, 0.52), (4.30, 0.24),
        ),
        windscreen=_SALOON_SCREEN,
        rear_window=((2.84, 1.38), (3.36, 0.98)),
        windows=(_SALOON_DOOR_WINDOW, ((2.33, 0.97), (2.33, 1.35), (2.74, 1.31), (3.08, 1.04), (3.04, 0.98))),
        doors=(1.30, 2.295, 3.06),
        wheels=(0.80, 3.30),
        radius=0.30,
    ),
    CarKind(
        name="hatchback",
        belt=0.92,
        outline=(*_SALOON_FRONT, (3.26, 1.38), (3.70, 0.94), (3.78, 0.84), (3.82, 0.52), (3.76, 0.24)),
        windscreen=_SALOON_SCREEN,
        rear_window=((3.26, 1.38), (3.70, 0.94)),
        windows=(_SALOON_DOOR_WINDOW, ((2.33, 0.97), (2.33, 1.35), (3.10, 1.31), (3.40, 1.06), (3.36, 0.98))),
        doors=(1.30, 2.295, 3.06),
        wheels=(0.80, 3.30),
        radius=0.30,
    ),
    CarKind(
        name="estate",
        belt=0.90,
        outline=(
            (0.05, 0.20), (0.00, 0.40), (0.04, 0.60), (0.18, 0.70), (1.30, 0.89), (1.96, 1.37), (2.50, 1.43),
            (4.36, 1.41), (4.60, 0.96), (4.68, 0.84), (4.70, 0.50), (4.64, 0.22),
        ),
        windscreen=((1.30, 0.89), (1.96, 1.37)),
        rear_window=((4.36, 1.41), (4.60, 0.96)),
        windows=(
            ((1.58, 0.95), (2.06, 1.31), (2.42, 1.34), (2.42, 0.96)),
            ((2.50, 0.96), (2.50, 1.34), (3.26, 1.33), (3.26, 0.97)),
            ((3.36, 0.97), (3.36, 1.33), (4.22, 1.32), (4.38, 1.00)),
        ),
        doors=(1.46, 2.46, 3.31),
        wheels=(0.86, 3.56),
        radius=0.31,
        rails=True,
    ),
    CarKind(
        name="coupe",
        width=1.78,
        belt=0.82,
        outline=(
            (0.08, 0.17), (0.00, 0.34), (0.06, 0.50), (0.26, 0.60), (0.80, 0.71), (1.74, 0.80), (2.40, 1.18),
            (2.74, 1.23), (3.06, 1.19), (4.02, 0.86), (4.24, 0.83), (4.34, 0.76), (4.38, 0.46), (4.30, 0.20),
        ),
        windscreen=((1.74, 0.80), (2.40, 1.18)),
        rear_window=((3.06, 1.19), (4.02, 0.86)),
        windows=(((2.02, 0.85), (2.48, 1.14), (2.80, 1.16), (3.08, 1.12), (3.42, 0.94), (3.00, 0.87)),),
        doors=(1.84, 2.92),
        wheels=(0.86, 3.50),
        radius=0.33,
    ),
    CarKind(
        name="cabriolet",
        width=1.72,
        belt=0.83,
        outline=(
            (0.07, 0.18), (0.00, 0.36), (0.05, 0.56), (0.22, 0.67), (1.36, 0.83), (1.60, 0.86), (2.96, 0.87),
            (3.60, 0.86), (3.82, 0.76), (3.86, 0.46), (3.80, 0.20),
        ),
        windscreen=((1.36, 0.83), (1.80, 1.27)),
        windows=(),
        doors=(1.52, 2.56),
        wheels=(0.74, 3.10),
        radius=0.31,
        opening=(1.56, 2.92),
        seats=(2.12, 2.74),
    ),
    CarKind(
        name="off-roader",
        width=1.74,
        lean=0.12,
        belt=1.10,
        outline=(
            (0.10, 0.40), (0.00, 0.52), (0.00, 0.90), (0.08, 1.02), (1.18, 1.10), (1.46, 1.66), (1.62, 1.74),
            (3.52, 1.75), (3.66, 1.68), (3.74, 1.06), (3.76, 0.52), (3.68, 0.40),
        ),
        windscreen=((1.18, 1.10), (1.46, 1.66)),
        rear_window=((3.66, 1.68), (3.74, 1.06)),
        windows=(
            ((1.44, 1.16), (1.64, 1.60), (2.12, 1.62), (2.12, 1.16)),
            ((2.22, 1.16), (2.22, 1.62), (2.86, 1.62), (2.86, 1.16)),
            ((2.96, 1.16), (2.96, 1.62), (3.50, 1.60), (3.54, 1.18)),
        ),
        doors=(1.36, 2.17, 2.91),
        wheels=(0.72, 2.98),
        radius=0.40,
        rails=True,
        spare_wheel=True,
    ),
    CarKind(
        name="pickup",
        width=1.80,
        lean=0.20,
        belt=1.06,
        outline=(
            (0.08, 0.36), (0.00, 0.50), (0.00, 0.82), (0.12, 0.95), (1.30, 1.06), (1.86, 1.60), (2.10, 1.66),
            (2.62, 1.66), (2.76, 1.58), (2.86, 1.08), (4.90, 1.06), (4.98, 1.00), (5.00, 0.56), (4.94, 0.40),
        ),
        windscreen=((1.30, 1.06), (1.86, 1.60)),
        rear_window=((2.76, 1.58), (2.86, 1.08)),
        windows=(((1.58, 1.11), (1.98, 1.54), (2.62, 1.56), (2.70, 1.13)),),
        doors=(1.48, 2.74),
        wheels=(0.86, 3.92),
        radius=0.37,
        opening=(2.98, 4.88),
    ),
    CarKind(
        name="panel van",
        width=1.95,
        lean=0.08,
        belt=1.22,
        outline=(
            (0.06, 0.26), (0.00, 0.42), (0.02, 0.86), (0.16, 1.02), (0.78, 1.20), (1.44, 2.02), (1.74, 2.20),
            (4.98, 2.24), (5.14, 2.14), (5.20, 1.10), (5.20, 0.44), (5.16, 0.28),
        ),
        windscreen=((0.78, 1.20), (1.44, 2.02)),
        rear_window=((5.16, 1.98), (5.19, 1.40)),
        windows=(((1.02, 1.26), (1.50, 1.86), (1.96, 1.90), (1.96, 1.24)),),
        doors=(0.92, 2.06, 3.40),
        wheels=(0.88, 4.10),
        radius=0.33,
    ),
    CarKind(
        name="minibus",
        width=1.86,
        lean=0.10,
        belt=1.10,
        outline=(
            (0.05, 0.26), (0.00, 0.42), (0.02, 0.86), (0.10, 1.08), (0.58, 1.82), (0.90, 1.96), (4.40, 1.98),
            (4.60, 1.86), (4.70, 1.06), (4.72, 0.44), (4.66, 0.28),
        ),
        windscreen=((0.10, 1.08), (0.58, 1.82)),
        rear_window=((4.60, 1.86), (4.70, 1.06)),
        windows=(
            ((0.42, 1.14), (0.74, 1.70), (1.20, 1.76), (1.20, 1.14)),
            ((1.32, 1.14), (1.32, 1.76), (2.30, 1.76), (2.30, 1.14)),
            ((2.42, 1.14), (2.42, 1.76), (3.36, 1.76), (3.36, 1.14)),
            ((3.48, 1.14), (3.48, 1.76), (4.34, 1.74), (4.42, 1.14)),
        ),
        doors=(0.36, 1.26, 2.36),
        wheels=(0.92, 3.40),
        radius=0.31,
    ),
    CarKind(
        name="box truck",
        width=2.00,
        lean=0.10,
        belt=1.30,
        outline=(
            (0.06, 0.34), (0.00, 0.50), (0.00, 0.98), (0.08, 1.24), (0.36, 2.00), (0.56, 2.12), (1.46, 2.12),
            (1.58, 2.00), (1.62, 0.60), (1.60, 0.44),
        ),
        windscreen=((0.08, 1.24), (0.36, 2.00)),
        windows=(((0.40, 1.30), (0.58, 1.88), (1.26, 1.90), (1.26, 1.28)),),
        doors=(0.28, 1.36),
        wheels=(0.78, 4.10),
        radius=0.40,
        cargo=(1.74, 5.70, 0.84, 2.96),
    ),
)  # fmt: skip
