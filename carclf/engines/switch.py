"""A network that Keras computes at first, timed, and another engine once that pays off."""

import time
from collections.abc import Callable, Sequence
from typing import Any

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

    def run_batch(
        self,
        by_keras: Callable[[], Sequence[Any]],
        images: Callable[[int], np.ndarray],
        *,
        views: int = 1,
        to_numpy: Callable[[Any], np.ndarray] = np.asarray,
    ) -> Sequence[Any]:
        """Returns the outputs for each view of a batch, float32 [B, …], by the engine that has taken over or by Keras.

        Args:
          by_keras: returns what Keras computes for each view; once it is timed no more, that need not be ready.
          images: returns those of a view, float32 [B, H, W, 3].
          views: how many the batch has.
          to_numpy: waits for the outputs of Keras for a view.
        """
        if self._taken is not None:
            return [self._compute(images(view)) for view in range(views)]
        if self._decided:  # Keras's batches need no timing any more
            self._engines.note(KERAS)
            return by_keras()
        started = time.perf_counter()
        outputs = [to_numpy(one) for one in by_keras()]
        seconds = time.perf_counter() - started
        if self._record_batch(sum(map(len, outputs)), seconds, images=lambda: images(0), expected=outputs[0]):
            return [self._compute(images(view)) for view in range(views)]
        self._engines.note(KERAS)
        return outputs

    def _compute(self, images: np.ndarray) -> np.ndarray:
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

    def _record_batch(
        self, count: int, seconds: float, *, images: Callable[[], np.ndarray], expected: np.ndarray
    ) -> bool:
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
