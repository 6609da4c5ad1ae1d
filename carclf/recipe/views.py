"""Views: fixed or random transforms of a photo; prediction averages the probabilities of all views."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from carclf.arguments import checked
from carclf.errors import UserError
from carclf.recipe import geometry
from carclf.recipe.chain import MAX_EPOCH, Recipe, parse_recipe
from carclf.recipe.draws import Draws
from carclf.recipe.grammar import Term, parse_term, split_outside, unknown_name
from carclf.recipe.operation import Argument, bind_arguments

Array = npt.NDArray[np.float64]
MAX_RANDOM_VIEWS = 1000
MAX_WEIGHT = 1000.0


@dataclasses.dataclass(frozen=True)
class Part:
    """What one name of a chain does to a view.

    Attributes:
      suffix: distinguishes the views that one name stands for.
      map: returns the map of the output, [1, 3, 3], for an aspect (width / height).
      image_size: (height, width) in pixels at which the view is rendered; None leaves that open.
    """

    suffix: str
    map: Callable[[float], Array]
    image_size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class ViewKind:
    """One row of `VIEWS`.

    Attributes:
      parts: called with the arguments by name; returns one part per view that the name stands for.
      arguments: in the order in which they can be written.
    """

    parts: Callable[..., list[Part]]
    arguments: Mapping[str, Argument] = dataclasses.field(default_factory=dict)


def _named(suffix: str, matrix: Array) -> Part:
    return Part(suffix, lambda aspect: matrix)


def _one(matrix: Array) -> list[Part]:
    return [_named("", matrix)]


def clean() -> list[Part]:
    """Returns the unchanged photo."""
    return _one(geometry.identity(1))


def flip() -> list[Part]:
    """Returns the photo mirrored left and right."""
    return _one(geometry.scaling(-1.0, 1.0, batch=1))


def vflip() -> list[Part]:
    """Returns the photo mirrored top and bottom."""
    return _one(geometry.scaling(1.0, -1.0, batch=1))


def rotate(*, degrees: float) -> list[Part]:
    """Returns the photo rotated counter-clockwise."""
    return [Part("", lambda aspect: geometry.rotation(np.deg2rad([degrees]), aspect=aspect))]


def zoom(*, factor: float) -> list[Part]:
    """Returns the photo magnified about its centre."""
    return _one(geometry.scaling(1.0 / factor, 1.0 / factor, batch=1))


def shift(*, x: float, y: float) -> list[Part]:
    """Returns the photo moved right and down by fractions of its size."""
    return _one(geometry.translation(x, y, batch=1))


def five_crop(*, fraction: float) -> list[Part]:
    """Five views: windows of this fraction of both sides, in the four corners and the centre."""
    edge = 1.0 - fraction
    centres = {
        "top-left": (-edge, -edge),
        "top-right": (edge, -edge),
        "bottom-left": (-edge, edge),
        "bottom-right": (edge, edge),
        "centre": (0.0, 0.0),
    }
    return [_named(f"/{name}", geometry.window(x, y, fraction, fraction, batch=1)) for name, (x, y) in centres.items()]


def size(*, height: float, width: float | None) -> list[Part]:
    """Returns the photo rendered at a size other than the run's, in pixels; a square unless a width is given."""
    sides = (int(height), int(height if width is None else width))
    return [Part("", lambda aspect: geometry.identity(1), image_size=sides)]


_SIDE = Argument(low=-1.0, high=1.0)
_PIXELS = Argument(low=8, high=4096)

VIEWS: dict[str, ViewKind] = {
    "clean": ViewKind(clean),
    "flip": ViewKind(flip),
    "vflip": ViewKind(vflip),
    "rotate": ViewKind(rotate, {"degrees": Argument(low=-180.0, high=180.0)}),
    "zoom": ViewKind(zoom, {"factor": Argument(low=0.1, high=10.0)}),
    "shift": ViewKind(shift, {"x": _SIDE, "y": dataclasses.replace(_SIDE, default=0.0)}),
    "five_crop": ViewKind(five_crop, {"fraction": Argument(low=0.1, high=1.0, default=0.875)}),
    "size": ViewKind(size, {"height": _PIXELS, "width": dataclasses.replace(_PIXELS, default=None)}),
}


@dataclasses.dataclass(frozen=True)
class View:
    """One pass over the photos at prediction.

    Attributes:
      name: unique among the views that `parse_views` returned with it.
      maps: the maps of its fixed parts, in the order in which they act on the photo, after its random part.
      recipe: the recipe that a random view draws from; None for a fixed view.
      index: number of a random view among the random ones.
      weight: weight in the mean over the views, relative to the others.
      image_size: (height, width) in pixels at which it is rendered; None means the run's own.
    """

    name: str
    maps: tuple[Callable[[float], Array], ...] = ()
    recipe: Recipe | None = None
    index: int = 0
    weight: float = 1.0
    image_size: tuple[int, int] | None = None

    @property
    def axis_aligned(self) -> bool:
        """True if it maps every row of pixels to a row and every column to a column."""
        off_axis = np.any(self._fixed_map[~np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)])
        return not off_axis and (self.recipe is None or not self.recipe.not_axis_aligned)

    @property
    def affine(self) -> bool:
        """True if it has no perspective."""
        return not np.any(self._fixed_map[2, :2]) and (self.recipe is None or self.recipe.affine)

    @property
    def per_channel(self) -> bool:
        """True if it multiplies each channel of colour by itself alone, and adds to it."""
        return self.recipe is None or self.recipe.per_channel

    @property
    def _fixed_map(self) -> Array:
        """The map of its fixed parts, [3, 3], for a square photo."""
        return functools.reduce(np.matmul, (step(1.0) for step in self.maps), geometry.identity(1))[0]

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
          fit: resize mode, a key of `carclf.framing.RESIZE_MODES`.
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


@checked
def parse_views(text: str) -> tuple[View, ...]:
    """Returns the views written as `clean|flip|zoom(1.1)|flip+zoom(1.1)|five_crop|size(448)|random(10)`.

    `+` chains transforms; the first one acts on the photo first. `random(n)` is n draws of the notebook's recipe,
    `random(n, recipe)` of another one; it comes first in a chain. `flip*0.5` gives a view (each view, if the part
    stands for several) half the weight of one without. An empty text is the clean view.

    Raises:
      UserError: a name is unknown, an argument or a weight is bad, a view is given twice, a chain has two sizes, or
          a random recipe mixes photos.
    """
    views: dict[str, View] = {}
    for part in split_outside(text if text.strip() else "clean", "|"):
        found = _views_of(part, first=sum(view.recipe is not None for view in views.values()))
        if any(view.name in views for view in found):
            chain = split_outside(part, "*")[0]
            raise UserError(f"view {chain!r} appears twice in {text!r}: to make it count double, write {chain}*2.")
        views |= {view.name: view for view in found}
    return tuple(views.values())


def _views_of(part: str, *, first: int) -> list[View]:
    """Returns the views of one part; random ones are numbered from `first`."""
    chain, weight = _weighted(part)
    terms = [parse_term(factor) for factor in split_outside(chain, "+")]
    starts = [View("")]
    if terms[0].name == "random":
        starts, terms = _random_views(terms[0], first=first), terms[1:]
    choices = [[(term.text + choice.suffix, choice) for choice in _parts(term)] for term in terms]
    views = []
    for start, chosen in itertools.product(starts, list(itertools.product(*choices))):
        sizes = [choice.image_size for _, choice in chosen if choice.image_size]
        if len(sizes) > 1:
            raise UserError(f"{part!r} has two sizes, but a view has one: separate them by '|'.")
        views.append(
            dataclasses.replace(
                start,
                name="+".join([*filter(None, [start.name]), *(name for name, _ in chosen)]),
                maps=tuple(choice.map for _, choice in chosen),
                weight=weight,
                image_size=sizes[0] if sizes else None,
            )
        )
    return views


def _weighted(part: str) -> tuple[str, float]:
    chain, *weights = split_outside(part, "*")
    try:
        (weight,) = [float(text) for text in weights] or [1.0]
    except ValueError:
        weight = float("nan")
    if not 0.0 < weight <= MAX_WEIGHT:
        raise UserError(f"{part!r} needs a weight above 0 and up to {MAX_WEIGHT:g} after its '*', such as {chain}*0.5.")
    return chain, weight


def _parts(term: Term) -> list[Part]:
    if term.name == "random":
        raise UserError(f"{term.text!r} follows another view: write the random view first in the chain.")
    if term.name not in VIEWS:
        raise unknown_name(term.name, what="view", known=[*VIEWS, "random"])
    kind = VIEWS[term.name]
    return kind.parts(**bind_arguments(term, kind.arguments))


def _random_views(term: Term, *, first: int) -> list[View]:
    if len(term.positional) not in (1, 2) or term.keywords or not term.positional[0].isdecimal():
        raise UserError(f"{term.text!r} is not a random view: write random(10) or random(10, recipe).")
    count = int(term.positional[0])
    if not 1 <= count <= MAX_RANDOM_VIEWS:
        raise UserError(f"{term.text!r} asks for {count} views: ask for 1 to {MAX_RANDOM_VIEWS}.")
    recipe = parse_recipe(term.positional[1] if len(term.positional) == 2 else "notebook")
    if recipe.mixes:
        raise UserError(f"{term.text!r} mixes photos, which no prediction can: remove mixup and cutmix.")
    return [View(f"{term.text}/{index}", recipe=recipe, index=first + index) for index in range(count)]
