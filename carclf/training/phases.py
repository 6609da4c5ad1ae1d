"""Progressive resizing: the epochs of a stage in phases, each of one image size, batch and learning rate."""

import dataclasses
from collections.abc import Sequence

from carclf.framing import parse_image_sizes
from carclf.model.optimizers import scaled_learning_rate
from carclf.train_options import TrainOptions

GRID_PX = 8  # sizes between the first and the last are multiples of this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """The epochs of a stage that share an image size; without progressive resizing, a stage has one phase.

    Each phase counts steps as if all epochs of the stage had its own batches: an epoch begins at step
    epoch · steps_per_epoch. Batches never grow from phase to phase, so the numbers of two phases do not overlap.

    Attributes:
      image_size: (height, width) in pixels.
      batch_size: photos per step, over all devices.
      learning_rate: the schedule's maximum.
      strength: strength of the augmentation, 0..1.
      first_epoch: counted from 0.
      end_epoch: the first epoch after the phase.
      steps_per_epoch: batches in an epoch.
      ahead_steps: this phase's step number minus the optimizer's, which counts the steps actually taken.
    """

    image_size: tuple[int, int]
    batch_size: int
    learning_rate: float
    strength: float
    first_epoch: int
    end_epoch: int
    steps_per_epoch: int
    ahead_steps: int

    @property
    def last_step(self) -> int:
        """Number of its last step, counted from 1."""
        return self.end_epoch * self.steps_per_epoch

    def __str__(self) -> str:
        """Returns a line for people."""
        height, width = self.image_size
        epochs = f"{self.first_epoch + 1}" + (f" to {self.end_epoch}" if self.end_epoch > self.first_epoch + 1 else "")
        return (
            f"epoch {epochs} at {height}x{width} px, {self.steps_per_epoch} steps of {self.batch_size} photos, "
            f"learning rate {self.learning_rate:.3g}, augmentation {self.strength:.0%}"
        )


def plan_phases(options: TrainOptions, *, train_photos: int) -> list[Phase]:
    """Returns the phases of a stage, in order.

    Sizes and the strength of the augmentation rise evenly from the first phase to the last. Epochs are divided as
    evenly as whole ones allow: their numbers differ by at most one, and none is larger than that of the last size. With
    `scale_batch`, a phase uses the largest multiple of the batch size that has no more pixels than a batch at the last
    size, and the rate from `scaled_learning_rate`.

    Source: Tan & Le 2021, "EfficientNetV2: Smaller Models and Faster Training", section 4.2 and algorithm 1.
    """
    sizes = image_sizes(options)
    phases: list[Phase] = []
    taken_steps = 0
    for number, size in enumerate(sizes):
        batch_size = options.batch_size * _batches(size, sizes[-1], options=options, train_photos=train_photos)
        steps = options.steps or train_photos // batch_size
        first, end = (options.epochs * bound // len(sizes) for bound in (number, number + 1))
        share = number / (len(sizes) - 1) if len(sizes) > 1 else 1.0
        phases.append(
            Phase(
                image_size=size,
                batch_size=batch_size,
                learning_rate=scaled_learning_rate(
                    options.learning_rate,
                    batch_size=batch_size,
                    reference_batch_size=options.batch_size,
                    optimizer=options.optimizer,
                ),
                strength=options.first_strength + (1.0 - options.first_strength) * share,
                first_epoch=first,
                end_epoch=end,
                steps_per_epoch=steps,
                ahead_steps=first * steps - taken_steps,
            )
        )
        taken_steps += (end - first) * steps
    return phases


def image_sizes(options: TrainOptions) -> list[tuple[int, int]]:
    """Returns (height, width) of each phase: at most `size_count`, at most one per epoch, all different."""
    first, last = parse_image_sizes(options.image_size)
    gaps = min(options.size_count, options.epochs) - 1
    if first == last or not gaps:
        return [last]

    def between(share: float) -> tuple[int, int]:
        height, width = (a + (b - a) * share for a, b in zip(first, last, strict=True))
        return _on_grid(height, first[0], last[0]), _on_grid(width, first[1], last[1])

    return list(dict.fromkeys([first, *(between(number / gaps) for number in range(1, gaps)), last]))


def _on_grid(side: float, low: int, high: int) -> int:
    return min(max(round(side / GRID_PX) * GRID_PX, low), high)


def phase_of_step(phases: Sequence[Phase], step: int) -> int:
    """Returns the index of the phase that a step, counted from 1, belongs to; step 0 belongs to the first phase."""
    return next(index for index, phase in enumerate(phases) if step <= phase.last_step)


def optimizer_step(phases: Sequence[Phase], epoch: float) -> int:
    """Returns the optimizer's step at the start of `epoch`, which is counted from 0 and may be fractional."""
    phase = next((phase for phase in phases if epoch < phase.end_epoch), phases[-1])
    return round(epoch * phase.steps_per_epoch) - phase.ahead_steps


def _batches(size: tuple[int, int], last: tuple[int, int], *, options: TrainOptions, train_photos: int) -> int:
    """Returns the factor of the batch size; it leaves at least one step per epoch."""
    if not options.scale_batch:
        return 1
    fitting = (last[0] * last[1]) // (size[0] * size[1])
    return max(1, min(fitting, train_photos // options.batch_size))
