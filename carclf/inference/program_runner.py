"""Runs a program batch by batch, by Keras or by an engine that takes over from it."""

import time
from collections.abc import Mapping, Sequence

from carclf.engines.choice import KERAS, Engines
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
        self._engines = engines
        self._switch = Switch(engines, network_of(program.photo_classifier), images=photos * len(program.view_indices))

    def logits(self, photos: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Returns the logits float32 [B, K] of each view; see `Program.logits` and `to_numpy`.

        Images are always rendered by the same program, so an engine sees the pixels that Keras sees.
        """
        if self._switch.taken_over:
            return self._by_engine(photos, draws)
        if self._switch.decided:
            self._engines.note(KERAS)
            return self.program.logits(photos, draws)
        started = time.perf_counter()
        logits = [to_numpy(one) for one in self.program.logits(photos, draws)]
        again = self._switch.answered(
            sum(map(len, logits)),
            time.perf_counter() - started,
            images=lambda: self.program.images(photos, draws, 0),
            expected=logits[0],
        )
        if again:
            return self._by_engine(photos, draws)
        self._engines.note(KERAS)
        return logits

    def _by_engine(self, photos: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Sequence[Tensor]:
        views = range(len(self.program.view_set.views))
        return [self._switch.compute(self.program.images(photos, draws, view)) for view in views]
