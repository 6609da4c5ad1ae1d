"""A schedule for Keras, computed inside the train step from the optimizer's own step counter."""

import dataclasses
from typing import Any

import keras

from carclf.model.schedules import Schedule


@keras.saving.register_keras_serializable(package="carclf")
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """float32 [] learning rate of an optimizer's integer step, equal to `Schedule.at` to float32 precision."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        """Returns the rate of optimizer step `step`."""
        factor = self.schedule.factor(keras.ops.cast(step, "int32") + self.schedule.ahead_steps, keras.ops)
        return keras.ops.cast(self.schedule.learning_rate * factor, "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the attributes of the schedule."""
        return dataclasses.asdict(self.schedule)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearningRate":
        """Returns the schedule with these attributes."""
        return cls(Schedule(**config))
