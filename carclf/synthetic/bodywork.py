"""Draws sheet metal and glass: shell, sides, load bed, open top and cargo box."""

import numpy as np

from carclf.synthetic.painter import Painter
from carclf.synthetic.palette import Colour, blend, shade


def draw_shell(car: Painter) -> None:
    """Draws everything between the two sides: nose, bonnet, windscreen, roof and tail, as strips across the car."""
    line, finish = car.profile.outline, car.finish
    half = car.profile.half_width(line[:, 0], line[:, 1])
    near, far = np.column_stack([line, half]), np.column_stack([line, -half])
    strips = np.stack([near[:-1], near[1:], far[1:], far[:-1]], 1)
    seen = car.camera.view(strips.reshape(-1, 3)).reshape(-1, 4, 2)
    x, y = seen[..., 0], seen[..., 1]
    area = (x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(1)
    depth = (strips.mean(1) @ car.camera.rotation.T)[:, 2]
    for index in np.argsort(depth):
        if area[index] <= 0:
            continue
        run, rise = (line[index + 1] - line[index]).tolist()
        length = max(float(np.hypot(run, rise)), 1e-9)
        normal = (-rise / length, run / length, 0.0)
        colour = shade(finish.paint, car.tone(normal))
        car.add(strips[index], blend(colour, finish.sky, 0.16 * max(0.0, normal[1])))
    if not car.kind.opening or car.kind.rear_window:
        _pane(car, *car.kind.windscreen)
    if car.kind.rear_window:
        _pane(car, *car.kind.rear_window)


def _pane(car: Painter, first: tuple[float, float], last: tuple[float, float]) -> None:
    """Draws glass across the car between two points of the outline, if it faces the lens."""
    a, b = np.array(first), np.array(last)
    ends = np.array([a + (b - a) * 0.07, a + (b - a) * 0.93])
    half = car.profile.half_width(ends[:, 0], ends[:, 1]) - 0.07
    quad = np.array([(*ends[0], half[0]), (*ends[1], half[1]), (*ends[1], -half[1]), (*ends[0], -half[0])])
    if car.faces_lens(quad):
        car.add(quad, blend(car.finish.glass, car.finish.sky, 0.22))
        upper = quad.copy()
        low = 0 if first[1] < last[1] else 1
        for corner, partner in ((0, 1), (3, 2)) if low == 0 else ((1, 0), (2, 3)):
            upper[corner] = 0.5 * (quad[corner] + quad[partner])
        car.add(upper, blend(car.finish.glass, car.finish.sky, 0.38))


def draw_opening(car: Painter) -> None:
    """Draws the load bed, or the inside of a car without a roof: its seats and the frame of its windscreen."""
    kind = car.kind
    if not kind.opening:
        return
    x0, x1 = kind.opening
    y = np.interp([x0, x1], car.profile.outline[:, 0], car.profile.outline[:, 1]).tolist()
    z = kind.width / 2 * 0.86
    car.add(np.array([(x0, y[0], z), (x1, y[1], z), (x1, y[1], -z), (x0, y[0], -z)]), (24, 24, 26))
    frame_first = not car.camera.shows_front
    if kind.seats and frame_first:
        _frame(car)
    leather = shade(car.finish.trim if car.finish.trim != car.finish.paint else (70, 52, 42), 1.1)
    for x in kind.seats:
        for side in (-0.38, 0.38):
            _seat(car, x, y[0] - 0.02, side, leather)
    if kind.seats and not frame_first:
        _frame(car)


def _seat(car: Painter, x: float, base: float, middle: float, leather: Colour) -> None:
    """Draws the back of a seat above the belt: its broad faces, and the edge towards the lens."""
    foot, head, left, right = x, x + 0.10, middle - 0.24, middle + 0.24
    top, thick = base + 0.24, 0.09
    for out in (thick, 0.0) if car.camera.shows_front else (0.0, thick):
        face = [(foot + out, base, right), (head + out, top, right - 0.06), (head + out, top, left + 0.06),
                (foot + out, base, left)]  # fmt: skip
        car.add(np.array(face), shade(leather, 1.0 if out else 0.8))
    edge = [(foot, base, right), (head, top, right - 0.06), (head + thick, top, right - 0.06),
            (foot + thick, base, right)]  # fmt: skip
    car.add(np.array(edge), shade(leather, 1.3))


def _frame(car: Painter) -> None:
    """Draws the windscreen of a car without a roof."""
    (x0, y0), (x1, y1) = car.kind.windscreen
    z0, z1 = car.kind.width / 2 * 0.92, car.kind.width / 2 * 0.78
    points = np.array([(x0, y0, z0), (x1, y1, z1), (x1, y1, -z1), (x0, y0, -z0)])
    car.add(points, blend(car.finish.glass, car.finish.sky, 0.5))
    car.add(points, shade(car.finish.paint, 0.5), thickness=0.05)


def draw_cargo(car: Painter) -> None:
    """Draws the box of a lorry on its frame."""
    if not car.kind.cargo:
        return
    x0, x1, y0, y1 = car.kind.cargo
    z, finish = car.kind.width / 2 * 1.06, car.finish
    beam = [(1.4, y0 - 0.3, 0.7), (1.4, y0, 0.7), (x1 - 0.1, y0, 0.7), (x1 - 0.1, y0 - 0.3, 0.7)]
    car.add(np.array(beam), (34, 34, 37))
    colour = blend(finish.paint, (225, 225, 222), 0.75 if finish.moulding else 0.15)
    for x, sign in ((x0, -1.0), (x1, 1.0)):
        face = np.array([(x, y0, z), (x, y1, z), (x, y1, -z), (x, y0, -z)])[:: int(-sign)]
        if car.faces_lens(face):
            car.add(face, shade(colour, car.tone((sign, 0.0, 0.0))))
    side = np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])
    tone = car.tone((0.0, 0.0, 1.0))
    car.add(side, shade(colour, tone))
    car.add(side * (1, 0, 1) + np.array([[0, y0, 0], [0, y0, 0], [0, y0 + 0.12, 0], [0, y0 + 0.12, 0]]), finish.trim)
    for x in np.linspace(x0, x1, 8)[1:-1].tolist():
        car.add(np.array([(x, y0 + 0.14, z), (x, y1 - 0.03, z)]), shade(colour, tone * 0.88), thickness=0.025)


def draw_side(car: Painter) -> None:
    """Draws the near side: sheet metal from the shoulder to the sill, windows and wheel arches."""
    finish, tone = car.finish, car.tone((0.0, 0.0, 1.0))
    for factor, band in car.profile.bands:
        car.add(car.profile.on_side(band), shade(finish.paint, tone * factor))
    for pane, upper in car.profile.windows:
        car.add(car.profile.on_side(pane, out=0.002), shade(finish.glass, tone))
        car.add(car.profile.on_side(upper, out=0.002), blend(finish.glass, finish.sky, 0.25 * tone))
        closed = np.concatenate([pane, pane[:1]])
        car.add(car.profile.on_side(closed), (26, 26, 28), thickness=0.028)
    for arch in car.profile.arches[: 1 if car.kind.cargo else 2]:  # a lorry's rear wheels are uncovered
        car.add(car.profile.on_side(arch), (18, 18, 20))
