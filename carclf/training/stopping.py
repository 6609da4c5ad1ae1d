"""Stops a validation outside `fit` when the process has been told to stop."""

from typing import Any

import keras

from carclf import preemption


class StopWhenPreempted(keras.callbacks.Callback):
    """Ends `evaluate` after a batch if the process has been told to stop (`carclf.preemption`)."""

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks for the note.

        Raises:
          Preempted: the process has been told to stop.
        """
        preemption.check()
