"""Runs a program batch by batch, by Keras or by an engine that takes over from it."""

from collections.abc import Mapping, Sequence

from carclf.engines.choice import Engines
from carclf.engines.switch import Switch
from carclf.inference.programs import Program, Tensor, to_numpy
from carclf.model.photo_classifier import network_of


class ProgramRunner:
    """Runs a program on batches, in one thread."""

    def __init__(self, program: Program, *, engines: Engines, photos: int) -> None:
        """A program that Keras computes at first.

        Args:
          program: the classifier with its views.
          engines: the ones that may take over.
          photos: how many will be predicted.
        """
        self.program = program
        self._switch = Switch(engines, network_of(program.photo_classifier), images=photos * len(program.view_indices))

    def logits(self, photos: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Returns the logits float32 [B, K] of each view; see `Program.logits` and `to_numpy`.

        Images are always rendered by the same program, so an engine sees the pixels that Keras sees.
        """
        return self._switch.run_batch(
            lambda: self.program.logits(photos, draws),
            lambda view: self.program.images(photos, draws, view),
            views=len(self.program.view_set.views),
            to_numpy=to_numpy,
        )
