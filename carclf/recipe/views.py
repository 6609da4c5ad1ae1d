"""Views: the fixed or random transforms of a photo whose probabilities are averaged at prediction."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from carclf.errors import UserError
from carclf.recipe import geometry
from carclf.recipe.chain import MAX_EPOCH, Recipe, parse_recipe
from carclf.recipe.draws import Draws
from carclf.recipe.grammar import Term, parse_term, split_outside, unknown_name
from carclf.recipe.operation import Argument, bind_arguments

Array = npt.NDArray[np.float64]
# A named part of a view and the map of the output it stands for: called with the aspect, gives [1, 3, 3].
Part = tuple[str, Callable[[float], Array]]

MAX_RANDOM_VIEWS = 1000


@dataclasses.dataclass(frozen=True)
class ViewKind:
    """One row of `VIEWS`.

    Attributes:
        parts: called with the arguments by name; gives the (suffix, map) of every view that the name stands for.
        arguments: in the order in which they can be written.
    """

    parts: Callable[..., list[Part]]
    arguments: Mapping[str, Argument] = dataclasses.field(default_factory=dict)


def _named(suffix: str, matrix: Array) -> Part:
    return suffix, lambda aspect: matrix


def _one(matrix: Array) -> list[Part]:
    return [_named("", matrix)]


def clean() -> list[Part]:
    """The photo as it is."""
    return _one(geometry.identity(1))


def flip() -> list[Part]:
    """The photo mirrored left and right."""
    return _one(geometry.scaling(-1.0, 1.0, batch=1))


def vflip() -> list[Part]:
    """The photo mirrored top and bottom."""
    return _one(geometry.scaling(1.0, -1.0, batch=1))


def rotate(*, degrees: float) -> list[Part]:
    """The photo turned counter-clockwise."""
    return [("", lambda aspect: geometry.rotation(np.deg2rad([degrees]), aspect=aspect))]


def zoom(*, factor: float) -> list[Part]:
    """The photo magnified about its centre."""
    return _one(geometry.scaling(1.0 / factor, 1.0 / factor, batch=1))


def shift(*, x: float, y: float) -> list[Part]:
    """The photo moved right and down by fractions of its size."""
    return _one(geometry.translation(x, y, batch=1))


def five_crop(*, fraction: float) -> list[Part]:
    """Five views: windows of this share of either side, in the four corners and the centre."""
    edge = 1.0 - fraction
    places = {
        "top-left": (-edge, -edge),
        "top-right": (edge, -edge),
        "bottom-left": (-edge, edge),
        "bottom-right": (edge, edge),
        "centre": (0.0, 0.0),
    }
    return [_named(f"/{place}", geometry.window(x, y, fraction, fraction, batch=1)) for place, (x, y) in places.items()]


_SIDE = Argument(low=-1.0, high=1.0)

VIEWS: dict[str, ViewKind] = {
    "clean": ViewKind(clean),
    "flip": ViewKind(flip),
    "vflip": ViewKind(vflip),
    "rotate": ViewKind(rotate, {"degrees": Argument(low=-180.0, high=180.0)}),
    "zoom": ViewKind(zoom, {"factor": Argument(low=0.1, high=10.0)}),
    "shift": ViewKind(shift, {"x": _SIDE, "y": dataclasses.replace(_SIDE, default=0.0)}),
    "five_crop": ViewKind(five_crop, {"fraction": Argument(low=0.1, high=1.0, default=0.875)}),
}


@dataclasses.dataclass(frozen=True)
class View:
    """One pass over the photos at prediction.

    Attributes:
        name: unique within what `parse_views` returned.
        maps: the maps of a fixed view, the first one acting on the photo first.
        recipe: what a random view draws from; None for a fixed one.
        index: number of a random view among the random ones.
    """

    name: str
    maps: tuple[Callable[[float], Array], ...] = ()
    recipe: Recipe | None = None
    index: int = 0

    @property
    def turns(self) -> bool:
        """Whether it may map a row of pixels to something else than a row."""
        matrix = functools.reduce(np.matmul, (step(1.0) for step in self.maps), geometry.identity(1))[0]
        moved = np.any(matrix[~np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)])
        return bool(moved) or (self.recipe is not None and bool(self.recipe.turning))

    def draw(
        self,
        *,
        seed: int,
        row: npt.NDArray[np.integer],
        extent: npt.NDArray[np.floating],
        image_size: tuple[int, int],
        fit: str = "squash",
    ) -> Draws:
        """Returns the draws of a batch; those of a random view are a pure function of (seed, view, row).

        Args:
            seed: any integer; a fixed view ignores it.
            row: integer [B]; -1 is padding and gets the identity.
            extent: float32 [B, 2], (height, width) of the photos in pixels.
            image_size: (height, width) of the output in pixels.
            fit: squash, crop or pad.
        """
        recipe = self.recipe or Recipe(spec="", steps=())
        draws = recipe.draw_stream(
            seed=seed, stream=MAX_EPOCH + self.index, row=row, extent=extent, image_size=image_size, fit=fit
        )
        if not self.maps:
            return draws
        matrix = draws.geometry.astype(np.float64)
        for step in self.maps:
            matrix = matrix @ step(image_size[1] / image_size[0])
        matrix[np.asarray(row) < 0] = np.eye(3)
        return dataclasses.replace(draws, geometry=matrix.astype(np.float32))


def parse_views(text: str) -> tuple[View, ...]:
    """Returns the views written as `clean|flip|zoom(1.1)|flip+zoom(1.1)|five_crop|random(10)`.

    `+` chains fixed views, the first one acting on the photo first. `random(n)` is n draws of the notebook's
    recipe, `random(n, recipe)` of another one. An empty text is the clean view.

    Raises:
        UserError: an unknown name, a bad argument, a view given twice, or a random recipe that mixes photos.
    """
    views: list[View] = []
    for part in split_outside(text if text.strip() else "clean", "|"):
        drawn = sum(view.recipe is not None for view in views)
        views.extend(_random_views(part, first=drawn) if part.startswith("random") else _fixed_views(part))
    names = [view.name for view in views]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"view {name!r} appears twice in {text!r}: it would count double, so remove one.")
    return tuple(views)


def _fixed_views(part: str) -> list[View]:
    terms = [parse_term(factor) for factor in split_outside(part, "+")]
    choices = [[(term.text + suffix, step) for suffix, step in _parts(term)] for term in terms]
    return [
        View("+".join(name for name, _ in chosen), tuple(step for _, step in chosen))
        for chosen in itertools.product(*choices)
    ]


def _parts(term: Term) -> list[Part]:
    if term.name not in VIEWS:
        raise unknown_name(term.name, what="view", known=[*VIEWS, "random"])
    kind = VIEWS[term.name]
    return kind.parts(**bind_arguments(term, kind.arguments))


def _random_views(part: str, *, first: int) -> list[View]:
    term = parse_term(part)
    if term.name != "random":
        raise unknown_name(term.name, what="view", known=[*VIEWS, "random"])
    if len(term.positional) not in (1, 2) or term.keywords or not term.positional[0].isdigit():
        raise UserError(f"{part!r} is not a random view: write random(10) or random(10, recipe).")
    count = int(term.positional[0])
    if not 1 <= count <= MAX_RANDOM_VIEWS:
        raise UserError(f"{part!r} asks for {count} views: ask for 1 to {MAX_RANDOM_VIEWS}.")
    recipe = parse_recipe(term.positional[1] if len(term.positional) == 2 else "notebook")
    if recipe.mixes:
        raise UserError(f"{part!r} mixes photos, which no prediction can: remove mixup and cutmix.")
    return [View(f"{part}/{index}", recipe=recipe, index=first + index) for index in range(count)]
