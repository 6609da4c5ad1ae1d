"""Draws one car: a profile swept across its width, seen by a camera, from the farthest part to the nearest."""

from PIL import ImageDraw

from carclf.synthetic import bodywork, fittings
from carclf.synthetic.camera import Camera
from carclf.synthetic.finish import Finish
from carclf.synthetic.painter import Painter
from carclf.synthetic.profile import profile_of


def draw_car(canvas: ImageDraw.ImageDraw, *, number: int, camera: Camera, finish: Finish) -> None:
    """Draws a car of `KINDS[number]` on the canvas, in the camera's pixels."""
    car = Painter(profile_of(number), camera, finish)
    fittings.draw_far_wheels(car)
    if camera.shows_front:
        bodywork.draw_cargo(car)
    bodywork.draw_shell(car)
    bodywork.draw_opening(car)
    if camera.shows_front:
        fittings.draw_face(car)
    else:
        fittings.draw_rear(car)
    bodywork.draw_side(car)
    fittings.draw_side_details(car)
    if not camera.shows_front:
        bodywork.draw_cargo(car)
    fittings.draw_wheels(car)
    car.paint(canvas)
