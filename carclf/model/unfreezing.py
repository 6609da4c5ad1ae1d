"""Which part of the backbone learns, from which epoch on, and how fast: the strategies of `--unfreeze`."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from carclf.errors import UserError
from carclf.model.backbones import Backbone, find_backbone, split_blocks
from carclf.model.schedules import Factor

if TYPE_CHECKING:  # `parse_unfreeze` checks a flag and must not wait for Keras
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unfreezing:
    """A parsed `--unfreeze`. The head always learns.

    Attributes:
      fraction: of the backbone's layers, counted from its end, in 0..1; None if `blocks` are given.
      blocks: the blocks that learn in the end, from the top down; empty if a `fraction` is given.
      epochs_per_block: epochs before each further block starts to learn, also before the first; 0 if everything learns
        from the start.
    """

    fraction: float | None = None
    blocks: tuple[str, ...] = ()
    epochs_per_block: float = 0.0


def block_names(row: Backbone) -> tuple[str, ...]:
    """Returns the blocks under their user-facing names, from the top down, such as top, block7, …, block1, stem."""
    return tuple(prefix.rstrip("_") for prefix in reversed(row.blocks))


def parse_unfreeze(text: str, row: Backbone) -> Unfreezing:
    """Returns the meaning of `text`, one of:

    - `head`: only the head;
    - `all`: everything;
    - a fraction such as `0.5`: that part of the backbone's layers, counted from its end;
    - a block such as `block4`: this block and everything above it;
    - `gradual(2)`: the head, and after every 2 epochs one more block, from the top down.

    Raises:
      UserError: it is none of these; the message lists the backbone's blocks.

    Source: gradual unfreezing is Howard & Ruder 2018 (ULMFiT), section 3.3, with one epoch per block.
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
        f"--unfreeze is {text!r}: give head, all, a fraction of the layers such as 0.5, gradual(2) for one more block "
        f"every 2 epochs, or the lowest block of {row.name} to learn: {', '.join(reversed(blocks))}."
    )


def check_unfreeze(text: str, *, backbone: str) -> None:
    """Checks that `text` is a strategy of `--unfreeze`.

    Raises:
      UserError: as for `parse_unfreeze` and `find_backbone`.
    """
    parse_unfreeze(text, find_backbone(backbone))


def _positive(text: str) -> float:
    """Returns the number in `text`, or 0.0 if it is not a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0.0 < value < math.inf else 0.0


def unfreezing_epochs(unfreezing: Unfreezing) -> dict[str, float]:
    """Returns the epoch, counted from 0, at which each of `unfreezing.blocks` starts to learn, from the top down."""
    return {name: unfreezing.epochs_per_block * number for number, name in enumerate(unfreezing.blocks, start=1)}


def describe_unfreezing(unfreezing: Unfreezing, *, epochs: int) -> str:
    """Returns a line to print: the epoch, counted from 1, at which each block starts; empty if nothing is gradual."""
    if not unfreezing.epochs_per_block:
        return ""
    first_epochs = unfreezing_epochs(unfreezing)
    starts = [f"{name} at {math.floor(epoch + 1e-9) + 1}" for name, epoch in first_epochs.items() if epoch < epochs]
    never = [name for name, epoch in first_epochs.items() if epoch >= epochs]
    line = "unfreezing: the head at epoch 1" + "".join(f", {start}" for start in starts)
    return f"{line}; not within {epochs} epochs: {', '.join(never)}" if never else line


def learning_factors(
    model: "keras.Model", *, unfreeze: str, step_at: Callable[[float], int], lr_decay_by_block: float = 1.0
) -> dict[str, Factor]:
    """Returns how each trainable variable of the backbone follows the learning rate, by path, for `build_optimizer`.

    These are layer-wise learning rates: the head learns at the learning rate, the backbone's top block at that rate
    times the decay, the block below it at the rate times the decay squared, and so on, for every `unfreeze`. With
    gradual unfreezing a variable waits for the first step of its block.

    Args:
      model: from `build_classifier`, after `set_trainable` with the same `unfreeze`.
      unfreeze: as for `parse_unfreeze`.
      step_at: returns the optimizer's step at the start of an epoch, which is counted from 0 and may be a fraction.
      lr_decay_by_block: in (0, 1].

    Raises:
      UserError: the decay is out of range, or `unfreeze` is not valid.

    Source: discriminative fine-tuning, Howard & Ruder 2018 (ULMFiT), section 3.1: the rate is divided by 2.6 per layer,
      a decay of 0.38.
    """
    if not 0.0 < lr_decay_by_block <= 1.0:
        raise UserError(f"--lr_decay_by_block is {lr_decay_by_block}: give a factor above 0 and at most 1.")
    backbone = model.get_layer("backbone")
    unfreezing = parse_unfreeze(unfreeze, backbone.row)
    first_epochs = unfreezing_epochs(unfreezing)
    factors: dict[str, Factor] = {}
    blocks = zip(block_names(backbone.row), reversed(split_blocks(backbone, backbone.row)), strict=True)
    for number, (name, layers) in enumerate(blocks, start=1):
        first_step = step_at(first_epochs.get(name, 0.0))
        factor = Factor(lr_decay_by_block**number, first_step)
        if factor != Factor():
            factors |= {variable.path: factor for layer in layers for variable in layer.trainable_variables}
    return factors
