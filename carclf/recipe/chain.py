"""A recipe: a chain of operations bound to their arguments, and how it draws for a batch."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import numpy.typing as npt

from carclf.arguments import checked
from carclf.errors import UserError
from carclf.framing import Rendering
from carclf.recipe import counter, geometry
from carclf.recipe.draws import Accumulator, Array, Draws
from carclf.recipe.grammar import Term, parse_terms, unknown_name
from carclf.recipe.operation import Argument, Frame, Operation, Value, bind_arguments, usage
from carclf.recipe.operations import NAMED_RECIPES, RECIPES

_CHANCE = Argument(low=0.0, high=1.0)
# Blocks of one operation's first, second, … use in a recipe start this far apart.
_BLOCKS_PER_USE = 1 << 16
# Epochs use the lower half of a 32-bit counter word, the streams of random views the upper half.
MAX_EPOCH = 1 << 31


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation of a recipe with its arguments.

    Attributes:
      name: its key in `RECIPES`.
      arguments: (name, value) of every argument except `p`.
      chance: fraction of the photos it changes.
      use: how many operations of the same name come before it in the recipe.
    """

    name: str
    arguments: tuple[tuple[str, Value], ...]
    chance: float
    use: int

    @property
    def operation(self) -> Operation:
        """Its row in `RECIPES`."""
        return RECIPES[self.name]

    @property
    def lanes(self) -> int:
        """Uniforms per photo: the chance, then the operation's own, then the priority of a mixing operation."""
        return 1 + self.operation.uniforms + (self.operation.kind == "mix")

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(stream, block) of every block of uniforms that belongs to this step."""
        stream, first = counter.stream_of(self.name), self.use * _BLOCKS_PER_USE
        return [(stream, first + index) for index in range(-(-self.lanes // counter.UNIFORMS_PER_BLOCK))]

    def draw(self, uniform: Array, frame: Frame) -> object:
        """Returns what the operation draws from its uniforms [operation.uniforms, B]."""
        return self.operation.draw(uniform, frame, **dict(self.arguments))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A compiled recipe, made by `parse_recipe`.

    Attributes:
      spec: the text it was parsed from.
      steps: its operations, in the order in which they act on the photo.
    """

    spec: str
    steps: tuple[Step, ...]

    @property
    def mixes(self) -> bool:
        """True if it mixes pairs of photos; that needs an even batch and mixed targets."""
        return any(step.operation.kind == "mix" for step in self.steps)

    @property
    def erases(self) -> bool:
        """True if it erases boxes of photos."""
        return any(step.operation.kind == "erase" for step in self.steps)

    @property
    def not_axis_aligned(self) -> tuple[str, ...]:
        """The names of its operations that rotate, shear or project: a row of pixels need not stay a row."""
        return tuple(
            step.name for step in self.steps if step.operation.is_geometric and not step.operation.axis_aligned
        )

    @property
    def affine(self) -> bool:
        """True if no draw has a perspective."""
        geometric = (step.operation for step in self.steps if step.operation.is_geometric)
        return all(operation.axis_aligned or operation.affine for operation in geometric)

    @property
    def per_channel(self) -> bool:
        """True if every draw multiplies each channel of colour by itself alone, and adds to it."""
        return all(step.operation.per_channel for step in self.steps if step.operation.is_chromatic)

    def fitted(self, rendering: Rendering) -> Rendering:
        """Returns the rendering with what the layer Render must do for this recipe, and no more."""
        return dataclasses.replace(
            rendering, mixing=self.mixes, erasing=self.erases, affine=self.affine, per_channel=self.per_channel
        )

    def draw(
        self,
        *,
        seed: int,
        epoch: int,
        row: npt.NDArray[np.integer],
        extent: npt.NDArray[np.floating],
        image_size: tuple[int, int],
        fit: str = "squash",
        strength: float = 1.0,
    ) -> Draws:
        """Returns the draws of a batch, each a pure function of (seed, epoch, row) and of the photo's own extent.

        Neither the rest of the batch nor the recipe's other operations can change a number. How a pair is mixed
        depends on the row of its first photo.

        Args:
          seed: any integer; its lowest 64 bits count.
          epoch: 0 or more.
          row: integer [B], index of each photo in its split; -1 is padding and gets the identity.
          extent: float32 [B, 2], (height, width) of the photos in pixels. Only the ratio matters.
          image_size: (height, width) of the output in pixels.
          fit: resize mode, a key of `carclf.framing.RESIZE_MODES`.
          strength: 0..1, scales the size of every operation (its chance if it has no size); 0 is the identity.

        Raises:
          UserError: the recipe mixes and B is odd.
          ValueError: epoch or strength is out of range, or fit is unknown.
        """
        if not 0 <= epoch < MAX_EPOCH:
            raise ValueError(f"epoch must be 0 or more, and below 2^31. Received: epoch={epoch}")
        return self.draw_stream(
            seed=seed, stream=epoch, row=row, extent=extent, image_size=image_size, fit=fit, strength=strength
        )

    def draw_stream(
        self,
        *,
        seed: int,
        stream: int,
        row: npt.NDArray[np.integer],
        extent: npt.NDArray[np.floating],
        image_size: tuple[int, int],
        fit: str,
        strength: float = 1.0,
    ) -> Draws:
        """Returns the draws for a stream: the epoch, or a number from 2^31 on for random views.

        Raises:
          UserError: the recipe mixes and B is odd.
          ValueError: strength is out of range, or fit is unknown.
        """
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"strength must lie in 0..1. Received: strength={strength}")
        if self.mixes and len(row) % 2:
            raise UserError(
                f"recipe {self.spec!r} mixes photos in pairs, but a batch holds {len(row)}: use an even batch size."
            )
        rows = np.asarray(row, np.int64)
        frame = Frame(image_size=image_size, strength=strength)
        drawn = Accumulator(geometry.fitting(extent, aspect=frame.aspect, fit=fit))
        if self.steps and strength > 0.0:
            self._apply(drawn, self._uniforms(seed=seed, stream=stream, row=rows), frame)
        return drawn.finish(padding=rows < 0)

    def _apply(self, drawn: Accumulator, uniforms: list[Array], frame: Frame) -> None:
        for step, uniform in zip(self.steps, uniforms, strict=True):
            operation = step.operation
            chance = step.chance * (frame.strength if operation.scales_chance else 1.0)
            fires = None if chance >= 1.0 else uniform[0] < chance
            result = step.draw(uniform[1 : 1 + operation.uniforms], frame)
            drawn.add(operation.kind, result, fires=fires, priority=uniform[step.lanes - 1])

    def _uniforms(self, *, seed: int, stream: int, row: npt.NDArray[np.int64]) -> list[Array]:
        """Returns one float64 [at least step.lanes, B] per step, from a single call of the generator."""
        blocks, counts, by_pair = self._layout
        rows = np.broadcast_to(row, (len(blocks), len(row)))
        if self.mixes:
            rows = np.where(by_pair[:, None], np.repeat(row[0::2], 2), rows)
        words = counter.uniforms(seed=seed, epoch=stream, row=rows, blocks=blocks)
        lanes = words.reshape(-1, len(row))
        ends = np.cumsum(counts) * counter.UNIFORMS_PER_BLOCK
        return [lanes[end - count * counter.UNIFORMS_PER_BLOCK : end] for end, count in zip(ends, counts, strict=True)]

    @cached_property
    def _layout(self) -> tuple[list[tuple[int, int]], list[int], npt.NDArray[np.bool_]]:
        blocks = [block for step in self.steps for block in step.blocks]
        counts = [len(step.blocks) for step in self.steps]
        return blocks, counts, np.repeat([step.operation.kind == "mix" for step in self.steps], counts)


@checked
def parse_recipe(text: str) -> Recipe:
    """Returns the recipe written as `name|name(1, 2)|name(3, p=0.5)`; an empty text is the identity.

    The first operation acts on the photo first. `p` is the fraction of photos that an operation changes. If a recipe
    has several mixing operations, each pair gets one of those that fire, at random.

    Raises:
      UserError: a name or an argument is unknown (the message lists the known ones) or out of range, or two
          operations erase.
    """
    steps: list[Step] = []
    for term in _expanded(text):
        if term.name not in RECIPES:
            raise unknown_name(term.name, what="augmentation", known=[*RECIPES, *NAMED_RECIPES])
        uses = sum(step.name == term.name for step in steps)
        steps.append(_bind(term, RECIPES[term.name], use=uses))
    if sum(step.operation.kind == "erase" for step in steps) > 1:
        raise UserError(f"recipe {text!r} erases twice, but a photo has one erased box: keep one of the two.")
    return Recipe(spec=text.strip(), steps=tuple(steps))


def check_feature_views(views: int, *, augment: str) -> None:
    """Checks that features can be kept of what the recipe draws: they are of single photos.

    Raises:
        UserError: there are to be some and the recipe mixes photos, or it is none.
    """
    if views and parse_recipe(augment).mixes:
        raise UserError(
            f"--feature_views={views} keeps features of single photos, and --augment={augment} mixes photos: leave "
            "one of the two out."
        )


def _expanded(text: str) -> list[Term]:
    terms: list[Term] = []
    for term in parse_terms(text):
        if term.name not in NAMED_RECIPES:
            terms.append(term)
        elif term.positional or term.keywords:
            meaning = NAMED_RECIPES[term.name] or "no operation at all"
            raise UserError(
                f"{term.text!r} has arguments, but a named recipe takes none: write {term.name}, which is {meaning}."
            )
        else:
            terms.extend(parse_terms(NAMED_RECIPES[term.name]))
    return terms


def _bind(term: Term, operation: Operation, *, use: int) -> Step:
    allowed = {**operation.arguments, "p": dataclasses.replace(_CHANCE, default=operation.chance)}
    arguments = bind_arguments(term, allowed)
    chance = arguments.pop("p")
    assert isinstance(chance, float)
    step = Step(term.name, tuple(arguments.items()), chance, use)
    try:
        step.draw(np.full((operation.uniforms, 1), 0.5), Frame(image_size=(8, 8)))
    except ValueError as error:
        raise UserError(f"{term.text!r} cannot be drawn: {error}; {usage(term.name, allowed)}.") from error
    return step
