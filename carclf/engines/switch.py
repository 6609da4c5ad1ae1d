"""A network that Keras computes at first, timed, and another engine once that pays off."""

from collections.abc import Callable

import keras
import numpy as np

from carclf.engines.agreement import probability_difference
from carclf.engines.choice import AUTO, KERAS, Engines, Taken, Work, agrees, warn_of

TIMED_BATCHES = 3  # of Keras, before an engine is chosen; the first one compiles


class Switch:
    """Decides when an engine takes over from Keras."""

    def __init__(
        self,
        engines: Engines,
        network: keras.Model,
        *,
        images: int,
        difference: Callable[[np.ndarray, np.ndarray], float] = probability_difference,
    ) -> None:
        """A network that Keras computes.

        Args:
          engines: the ones that may take over.
          network: image float32 [B, H, W, 3] → float32 [B, …].
          images: how many will be computed.
          difference: of the outputs of two engines (`carclf.engines.agreement`).
        """
        self._taken: Taken | None = None
        self._rehearsed = False
        self._engines, self._network, self._difference = engines, network, difference
        self._left = images
        self._seconds: list[float] = []
        self._decided = not engines.candidates

    @property
    def taken_over(self) -> bool:
        """Whether an engine computes the network now."""
        return self._taken is not None

    @property
    def decided(self) -> bool:
        """Whether Keras's batches need no timing any more."""
        return self._decided

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Returns the outputs of the engine that has taken over, float32 [B, …].

        If it took over while rehearsing, Keras computes the first photos, too.
        Where they disagree, or the engine fails, Keras continues.
        """
        assert self._taken is not None
        name, forward, by_keras = self._taken
        again = self._rehearsed and not self._engines.rehearsing
        try:
            found = forward(images)
            agreed = not again or agrees(self._difference(found, by_keras(images)), self._engines.candidates[name])
        except Exception as error:  # the engines' errors have no base in common
            warn_of(error, self._engines.candidates[name])
            agreed = False
        self._rehearsed = self._rehearsed and not again
        if not agreed:
            name, found = KERAS, by_keras(images)
            self._taken = Taken(KERAS, by_keras, by_keras)
        self._engines.note(name)
        return found

    def answered(self, count: int, seconds: float, *, images: Callable[[], np.ndarray], expected: np.ndarray) -> bool:
        """Records a batch that Keras has computed; after a few of them an engine is chosen.

        Returns whether the engine was asked for and has taken over, so that this batch is its own, too.

        Args:
          count: images in the batch, in all views.
          seconds: how long it took.
          images: returns those of one view, float32 [B, H, W, 3].
          expected: what Keras computed from them, float32 [B, …].
        """
        self._left -= count
        self._seconds.append(seconds)
        automatic = self._engines.asked == AUTO
        if len(self._seconds) < (TIMED_BATCHES if automatic else 1):
            return False
        self._decided = True
        if automatic and self._left <= 0:
            return False
        work = Work(
            left=self._left,
            first_seconds=self._seconds[0],
            image_seconds=min(self._seconds) / count,
            images=images,
            expected=expected,
        )
        self._taken = self._engines.load(self._network, work, difference=self._difference)
        self._rehearsed = self._engines.rehearsing
        return self._taken is not None and not automatic
