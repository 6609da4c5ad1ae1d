"""Which part of the backbone learns, from when on, and how fast: the strategies behind `--unfreeze`."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from carclf.errors import UserError
from carclf.model.backbones import Backbone, find_backbone, split_blocks
from carclf.model.schedules import Factor

if TYPE_CHECKING:  # `parse_unfreeze` checks a flag, which must not wait for Keras
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unfreezing:
    """What `--unfreeze` asks for. The head always learns.

    Attributes:
      fraction: of the backbone's layers, counted from its end, in 0..1; None where whole blocks are meant.
      blocks: the blocks that learn in the end, from the top down; empty where a fraction is meant.
      epochs_per_block: epochs between two blocks that begin to learn, the first of them after as many epochs of the
        head alone; 0 where everything learns from the start.
    """

    fraction: float | None = None
    blocks: tuple[str, ...] = ()
    epochs_per_block: float = 0.0


def block_names(row: Backbone) -> tuple[str, ...]:
    """The blocks as users name them, from the top down: EfficientNet's are top, block7, …, block1, stem."""
    return tuple(prefix.rstrip("_") for prefix in reversed(row.blocks))


def parse_unfreeze(text: str, row: Backbone) -> Unfreezing:
    """What `text` asks for: one of

    - `head`: nothing but the head;
    - `all`;
    - a fraction such as `0.5`: that part of the backbone's layers, counted from its end;
    - a block such as `block4`: it and everything above it;
    - `gradual(2)`: the head, and after every 2 epochs one block more, from the top down.

    Raises:
      UserError: it is none of these; the blocks of the backbone are listed.

    Source: gradual unfreezing is Howard & Ruder 2018 (ULMFiT), section 3.3, with one epoch a block.
    """
    blocks = block_names(row)
    word = text.strip().lower()
    if word in ("head", "all"):
        return Unfreezing(fraction=float(word == "all"))
    lowered = [name.lower() for name in blocks]
    if (name := word.rstrip("_")) in lowered:
        return Unfreezing(blocks=blocks[: lowered.index(name) + 1])
    gradual = re.fullmatch(r"gradual\((.*)\)", word)
    value = _positive(gradual.group(1) if gradual else word)
    if gradual and value:
        return Unfreezing(blocks=blocks, epochs_per_block=value)
    if not gradual and 0.0 < value <= 1.0:
        return Unfreezing(fraction=value)
    raise UserError(
        f"--unfreeze is {text!r}: give head, all, a fraction of the layers such as 0.5, gradual(2) for a block every 2 "
        f"epochs, or the lowest block of {row.name} to learn: {', '.join(reversed(blocks))}."
    )


def check_unfreeze(text: str, *, backbone: str) -> None:
    """Checks that `text` says what of the backbone learns.

    Raises:
      UserError: as for `parse_unfreeze` and `find_backbone`.
    """
    parse_unfreeze(text, find_backbone(backbone))


def _positive(text: str) -> float:
    """The number that `text` is, or 0.0 where it is none, not finite, or not above 0."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0.0 < value < math.inf else 0.0


def opening_epochs(unfreezing: Unfreezing) -> dict[str, float]:
    """The epoch, counted from 0, at which each of `unfreezing.blocks` begins to learn, from the top down."""
    return {name: unfreezing.epochs_per_block * number for number, name in enumerate(unfreezing.blocks, start=1)}


def describe_opening(unfreezing: Unfreezing, *, epochs: int) -> str:
    """A line for people: at which epoch, counted from 1, each block begins; empty where nothing is gradual."""
    if not unfreezing.epochs_per_block:
        return ""
    openings = opening_epochs(unfreezing)
    begun = [f"{name} at {math.floor(epoch + 1e-9) + 1}" for name, epoch in openings.items() if epoch < epochs]
    never = [name for name, epoch in openings.items() if epoch >= epochs]
    line = "unfreezing: the head at epoch 1" + "".join(f", {words}" for words in begun)
    return f"{line}; not within {epochs} epochs: {', '.join(never)}" if never else line


def learning_factors(
    model: "keras.Model", *, unfreeze: str, step_at: Callable[[float], int], lr_decay_by_block: float = 1.0
) -> dict[str, Factor]:
    """How the backbone's trainable variables follow the learning rate, by path: `factors` of `build_optimizer`.

    The head learns at the learning rate, the backbone's uppermost block at the rate times the decay, the one below it
    at the rate times the decay squared, and so on, whatever `unfreeze` says. With gradual unfreezing a variable waits
    for the first step of its block.

    Args:
      model: what `build_classifier` gave, after `set_trainable` with the same `unfreeze`.
      unfreeze: as for `parse_unfreeze`.
      step_at: the optimizer's step at the beginning of an epoch, counted from 0, which may be a fraction.
      lr_decay_by_block: in (0, 1].

    Raises:
      UserError: the decay is out of range, or `unfreeze` is not understood.

    Source: discriminative fine-tuning, Howard & Ruder 2018 (ULMFiT), section 3.1: from layer to layer the rate is
      divided by 2.6, which is a decay of 0.38.
    """
    if not 0.0 < lr_decay_by_block <= 1.0:
        raise UserError(f"--lr_decay_by_block is {lr_decay_by_block}: give a factor above 0 and at most 1.")
    backbone = model.get_layer("backbone")
    unfreezing = parse_unfreeze(unfreeze, backbone.row)
    openings = opening_epochs(unfreezing)
    factors: dict[str, Factor] = {}
    blocks = zip(block_names(backbone.row), reversed(split_blocks(backbone, backbone.row)), strict=True)
    for number, (name, layers) in enumerate(blocks, start=1):
        first_step = step_at(openings.get(name, 0.0))
        factor = Factor(lr_decay_by_block**number, first_step)
        if factor != Factor():
            factors |= {variable.path: factor for layer in layers for variable in layer.trainable_variables}
    return factors
