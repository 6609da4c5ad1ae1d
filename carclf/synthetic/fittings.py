"""Draws the fittings of a body: wheels, lamps, bumpers, plates, handles, mirror, rails."""

import numpy as np

from carclf.synthetic.painter import Painter
from carclf.synthetic.palette import Colour, shade
from carclf.synthetic.profile import circle

TYRE: Colour = (26, 26, 28)
LENS: Colour = (240, 240, 226)
TAIL_LIGHT: Colour = (186, 24, 28)
PLATE: Colour = (236, 236, 230)


def draw_far_wheels(car: Painter) -> None:
    """Draws the wheels of the far side, which are mostly hidden, and the dark axles between them."""
    kind = car.kind
    for x in kind.wheels:
        disc = circle(x, kind.radius, kind.radius)
        car.add(np.column_stack([disc, np.full(len(disc), 0.12 - kind.width / 2)]), TYRE)
    low, high, z = car.sill * 0.8, car.sill + 0.15, kind.width / 2 - 0.3
    ends = (kind.wheels[0], kind.wheels[1])
    corners = [(ends[0], low, z), (ends[0], high, z), (ends[1], high, z), (ends[1], low, z)]
    car.add(np.array(corners), (20, 20, 22))


def draw_wheels(car: Painter) -> None:
    """Draws the wheels of the near side."""
    kind, finish = car.kind, car.finish
    z = kind.width / 2
    for x in kind.wheels:
        for out, radius, fill in (
            (-0.22, 1.0, TYRE), (-0.03, 1.0, (33, 33, 35)), (-0.03, 0.68, (18, 18, 20)), (-0.02, 0.64, finish.rim),
        ):  # fmt: skip
            disc = circle(x, kind.radius, kind.radius * radius)
            car.add(np.column_stack([disc, np.full(len(disc), z + out)]), fill)
        _spokes(car, x, z - 0.02)


def _spokes(car: Painter, x: float, z: float) -> None:
    radius, finish = car.kind.radius, car.finish
    dark = shade(finish.rim, 0.35)
    rings: tuple[tuple[float, Colour], ...]
    if not finish.spokes:
        rings = ((0.42, shade(finish.rim, 0.78)), (0.34, finish.rim), (0.10, dark))
    else:
        rings = ((0.14, dark),)
        for angle in (np.arange(finish.spokes) + 0.5) * 2 * np.pi / finish.spokes:
            half = 1.7 / finish.spokes
            wedge = np.array([(0.24, angle - 0.1), (0.56, angle - half), (0.56, angle + half), (0.24, angle + 0.1)])
            hole = wedge[:, :1] * radius * np.column_stack([np.cos(wedge[:, 1]), np.sin(wedge[:, 1])])
            car.add(np.column_stack([hole + np.array([x, radius]), np.full(4, z)]), dark)
    for fraction, fill in rings:
        disc = circle(x, radius, radius * fraction, corners=16)
        car.add(np.column_stack([disc, np.full(len(disc), z)]), fill)


def draw_face(car: Painter) -> None:
    """Draws grille, headlamps, number plate and bumper of the nose."""
    sill, tall, nose = car.sill, car.bonnet - car.sill, car.profile.nose
    car.add(car.across(nose, y=(sill + 0.06, sill + 0.36 * tall), z=(-1.08, 1.08)), car.finish.trim)
    car.add(car.across(nose, y=(sill + 0.48 * tall, sill + 0.82 * tall), z=(-0.5, 0.5)), (30, 30, 33))
    for y in (0.58, 0.70):
        bar = car.across(nose, y=(sill + y * tall, sill + (y + 0.03) * tall), z=(-0.48, 0.48))
        car.add(bar, (150, 152, 156))
    car.add(car.across(nose, y=(sill + 0.13 * tall, sill + 0.32 * tall), z=(-0.27, 0.27)), PLATE)
    for z in (-1, 1):
        lamp = car.across(nose, y=(sill + 0.50 * tall, sill + 0.82 * tall), z=(z * 0.58, z * 1.02))
        if car.finish.round_lamps:
            middle, radius = lamp.mean(0), 0.19 * tall + 0.02
            angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            lamp = middle + np.column_stack([0 * angles, np.cos(angles) * radius, np.sin(angles) * radius])
        car.add(lamp, LENS)


def draw_rear(car: Painter) -> None:
    """Draws tail lights, number plate, bumper and spare wheel of the tail."""
    if car.kind.cargo:
        return
    top = min(car.kind.outline[-3][1], car.kind.belt)
    sill, tall, tail = car.sill, top - car.sill, car.profile.tail
    car.add(car.across(tail, y=(sill + 0.06, sill + 0.36 * tall), z=(-1.08, 1.08)), car.finish.trim)
    car.add(car.across(tail, y=(sill + 0.48 * tall, sill + 0.66 * tall), z=(-0.28, 0.28)), PLATE)
    for z in (-1, 1):
        light = car.across(tail, y=(sill + 0.50 * tall, sill + 0.88 * tall), z=(z * 0.68, z * 1.05))
        car.add(light, TAIL_LIGHT)
    if car.kind.spare_wheel:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        for out, fraction, fill in (
            (0.02, 0.9, TYRE),
            (0.09, 0.9, TYRE),
            (0.16, 0.86, (36, 36, 38)),
            (0.16, 0.5, car.finish.rim),
        ):
            disc = car.kind.radius * fraction * np.column_stack([0 * angles, np.cos(angles), np.sin(angles)])
            car.add(disc + np.array([car.kind.length + out, top - 0.05, 0.0]), fill)


def draw_side_details(car: Painter) -> None:
    """Draws joints, handles, wrap-around lamps, bumpers, mouldings, mirror and roof rails."""
    kind, finish, sill, belt = car.kind, car.finish, car.sill, car.kind.belt
    tone = car.tone((0.0, 0.0, 1.0))
    joint = shade(finish.paint, tone * 0.52)
    for number, x in enumerate(kind.doors):
        car.add_on_side([(x, belt - 0.01), (x, sill + 0.10)], joint, thickness=0.016)
        if number:
            car.add_on_side([(x - 0.24, belt - 0.10), (x - 0.10, belt - 0.10)], joint, thickness=0.035)
    if kind.doors:
        car.add_on_side([(kind.doors[0], sill + 0.10), (kind.doors[-1], sill + 0.10)], joint, thickness=0.016)
    back = float(car.profile.tail[1][len(car.profile.tail[1]) // 2])
    tall = car.bonnet - sill
    car.add_on_side([(0.03, sill + 0.10), (0.34, sill + 0.12), (0.34, sill + 0.30), (0.02, sill + 0.30)],
                  shade(finish.trim, 0.9))  # fmt: skip
    lamp = [(0.02, sill + 0.56 * tall), (0.20, sill + 0.62 * tall), (0.18, sill + 0.80 * tall),
            (0.06, sill + 0.82 * tall)]  # fmt: skip
    car.add_on_side(lamp, shade(LENS, 0.9))
    if not kind.cargo:
        top = min(kind.outline[-3][1], belt)
        high = top - sill
        car.add_on_side([(back - 0.02, sill + 0.10), (back - 0.34, sill + 0.12), (back - 0.34, sill + 0.30),
                       (back, sill + 0.30)], shade(finish.trim, 0.9))  # fmt: skip
        car.add_on_side([(back - 0.01, sill + 0.54 * high), (back - 0.16, sill + 0.56 * high),
                       (back - 0.16, sill + 0.86 * high), (back - 0.04, sill + 0.86 * high)],
                      shade(TAIL_LIGHT, 0.85))  # fmt: skip
    if finish.moulding:
        y = sill + 0.45 * (belt - sill)
        car.add_on_side([(0.30, y), (back - 0.2, y)], shade(finish.trim, 0.75), thickness=0.05)
    _mirror_and_rails(car)


def _mirror_and_rails(car: Painter) -> None:
    kind, trim = car.kind, shade(car.finish.trim, 0.8)
    x, y = kind.windscreen[0][0] + 0.30, kind.belt + 0.06
    z = kind.width / 2
    car.add(np.array([(x, y, z + 0.02), (x, y + 0.14, z + 0.02), (x + 0.06, y + 0.14, z + 0.2),
                        (x + 0.06, y, z + 0.2)]), trim)  # fmt: skip
    if kind.rails:
        top = kind.height + 0.05
        x0, x1 = kind.windscreen[1][0] + 0.25, kind.outline[-4][0] - 0.15
        z -= 0.28
        car.add(np.array([(x0, top - 0.06, z), (x0 + 0.08, top, z), (x1 - 0.08, top, z), (x1, top - 0.06, z)]),
                  (44, 44, 47), thickness=0.035)  # fmt: skip
