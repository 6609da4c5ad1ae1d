"""A stage with a model so small that `fit` takes a second, for tests that do not depend on the photos."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from carclf.data.input_clock import InputClock
from carclf.model.schedules import build_schedule
from carclf.training.checkpointing import ModelState
from carclf.training.fit_plan import Display, FitData, FitPlan, FitResult, Saving
from carclf.training.fitting import fit_phase
from carclf.training.phases import Phase

STEPS_PER_EPOCH, EPOCHS, BATCH = 5, 4, 4
IDENTITY = {"options": "o", "classes": "c", "data": "d"}
SETTING = {"device": "1 cpu"}
PHASE = Phase(
    image_size=(32, 32), batch_size=BATCH, learning_rate=0.1, strength=1.0, first_epoch=0, end_epoch=EPOCHS,
    steps_per_epoch=STEPS_PER_EPOCH, ahead_steps=0,
)  # fmt: skip


_MADE: dict[tuple[bool, int], tuple[keras.Model, dict[str, np.ndarray]]] = {}


def small_model(*, ema: bool = True, width: int = 8) -> keras.Model:
    """Returns a compiled model with dropout, batch statistics and AMSGrad, reset; one object, as tracing is slow."""
    if (ema, width) not in _MADE:
        model = _make(ema=ema, width=width)
        _MADE[ema, width] = model, ModelState(model).read()
    model, first = _MADE[ema, width]
    ModelState(model).assign(first)
    return model


def _make(*, ema: bool, width: int) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(width, activation="relu")(inputs)
    x = keras.layers.Dropout(0.4)(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    average = {"use_ema": True, "ema_momentum": 0.8} if ema else {}
    model.compile(
        optimizer=keras.optimizers.Adam(0.1, amsgrad=True, **average),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
        ],
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    empty = keras.ops.zeros((1, 3))
    model.compute_metrics(x=None, y=empty, y_pred=empty, sample_weight=keras.ops.zeros((1,)))
    model.reset_metrics()
    return model


def batch(step: int, *, poison: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step)
    target = np.eye(3, dtype=np.float32)[rng.integers(3, size=BATCH)]
    inputs = (rng.normal(size=(BATCH, 4)) + target @ rng.normal(size=(3, 4))).astype(np.float32)
    return inputs, (target * np.float32("nan") if poison else target)


def data_from(step: int, *, poisoned_step: int | None = None) -> tf.data.Dataset:
    batches = [batch(s, poison=s == poisoned_step) for s in range(step, STEPS_PER_EPOCH * EPOCHS)]
    return tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, zip(*batches, strict=True))))


def train(
    directory: Path,
    *,
    model: keras.Model | None = None,
    resume: bool = True,
    every_steps: int = 2,
    patience: int = 0,
    identity: dict[str, str] = IDENTITY,
    setting: dict[str, Any] = SETTING,
    source: Callable[[int], tf.data.Dataset] = data_from,
    phase: Phase = PHASE,
    step: int = 0,
) -> tuple[keras.Model, FitResult]:
    """Trains the stage; returns the model and how the stage ended."""
    directory.mkdir(exist_ok=True)
    model = model or small_model()
    inputs, target = (np.concatenate(arrays) for arrays in zip(*map(batch, (100, 101, 102)), strict=True))
    result = fit_phase(
        model,
        classifier=model,
        data=FitData(
            training_from=source,
            validation=tf.data.Dataset.from_tensor_slices((inputs, target)).batch(BATCH),
            input_clock=InputClock(),
            rows_of_step=lambda step: {"train": [10 * step, 10 * step + 1]},
        ),
        plan=FitPlan(
            phase=phase,
            epochs=EPOCHS,
            schedule=build_schedule("constant", learning_rate=0.1, steps_per_epoch=STEPS_PER_EPOCH, epochs=EPOCHS),
            patience=patience,
            uses_ema=getattr(model.optimizer, "use_ema", False),
        ),
        saving=Saving(
            directory=directory,
            identity=identity,
            every_steps=every_steps,
            resume=resume,
            setting=setting,
            step=step,
        ),
        display=Display(verbose=0),
    )
    return model, result
