"""Measures the overhead of carclf's fit against a bare loop of `train_on_batch` on the same model and one ready batch.

carclf reads, decodes, draws, reports and saves; the control does none of it. Both train every layer on the same cores,
alternating. The time until the end of the first step, from building the model on, is measured in separate processes;
the control is Keras's own compile.
Example: python benchmarks/train.py --photos=data/cars --backbone=efficientnet_b0 --json=train.json"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "make_tfrecords.py"
RECIPE = "notebook"
LEARNING_RATE = 1e-4
SAVE_EVERY = 200  # the flag's default
CARCLF, CONTROL = "carclf", "bare loop"
OVERHEAD, FIRST_STEP = 0.05, 1.2  # at most


@dataclasses.dataclass(frozen=True)
class TrainBenchmarkOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of photos.")
    backbone: str = same_option(TrainOptions, "backbone", default="efficientnet_b0")
    image_size: int = option(224, "Pixels per side.", low=1)
    batch_size: int = option(16, "Photos per step.", low=1)
    steps: int = option(30, "Steps per measurement; with few steps the start of an epoch has too much weight.", low=1)
    repeats: int = option(3, "Number of measurements of each way, alternating.", low=1)
    first_step: str = option("", "Used by the benchmark itself: measure the first step of one way.")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of photos.")


def main(options: TrainBenchmarkOptions) -> None:
    """Measures and prints."""
    from carclf.device import select_device

    device = select_device("cpu")
    if options.first_step:
        print(f"{first_step(options, device):.3f}")
        return
    with scratch_folder() as scratch:
        data = scratch / "data"
        command = [sys.executable, str(TOOL), f"--input={options.photos}", f"--output={data}", "--folds=5"]
        subprocess.run(command, check=True, capture_output=True)
        figures = measure(Trainee(options, str(data), device), options, scratch / "runs")
        figures["first_step_seconds"] = {way: first_steps(options, str(data), way) for way in (CARCLF, CONTROL)}
    print(table(options, figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(trainee: "Trainee", options: TrainBenchmarkOptions, runs: Path) -> dict[str, Any]:
    """Returns seconds per step of both ways, and how often a step was traced in the first fit and in each after it."""
    trainee.compile()
    traced = [trainee.fit(options.steps, runs / "first")[1]]  # the first run compiles
    trainee.loop(2)
    seconds: dict[str, list[float]] = {CARCLF: [], CONTROL: []}
    for repeat in range(options.repeats):
        seconds[CONTROL].append(trainee.loop(options.steps))
        one, traces = trainee.fit(options.steps, runs / str(repeat))
        seconds[CARCLF].append(one)
        traced.append(traces)
    overhead = statistics.median(seconds[CARCLF]) / statistics.median(seconds[CONTROL]) - 1
    return {"seconds_a_step": seconds, "overhead": overhead, "traces": traced}


class Trainee:
    """A photo classifier with all layers trainable, and its training photos."""

    def __init__(self, options: TrainBenchmarkOptions, data: str, device: Any) -> None:
        from carclf.data.manifest import load_manifest
        from carclf.framing import Framing

        self._options, self._device = options, device
        self._manifest = load_manifest(data)
        size = (options.image_size, options.image_size)
        self._framing = Framing(size)
        (self._ready,) = self.batches(0).take(1)

    def batches(self, start_step: int) -> Any:
        """Returns the augmented batches of training, from a step on."""
        from carclf.data.pipeline import training_batches
        from carclf.recipe import parse_recipe

        return training_batches(
            manifest=self._manifest,
            folds=self._manifest.folds,
            framing=self._framing,
            recipe=parse_recipe(RECIPE),
            batch_size=self._options.batch_size,
            epochs=10_000,
            seed=1,
            start_step=start_step,
        )

    def _classifier(self) -> Any:
        from carclf.model.classifier import build_classifier, set_trainable

        classifier = build_classifier(
            backbone=self._options.backbone,
            weights="none",
            class_count=self._manifest.class_count,
            image_size=self._framing.image_size,
        )
        set_trainable(classifier, unfreeze="all", train_batch_norm=False)
        return classifier

    def compile(self) -> None:
        """Builds and compiles the model as carclf does."""
        from carclf.framing import Rendering
        from carclf.training.stage_models import build_training_model

        self._trained = self._classifier()
        self.model = build_training_model(
            self._trained,
            framing=self._framing,
            rendering=Rendering(),
            optimizer=make_optimizer(),
            device=self._device,
        )

    def compile_with_keras(self) -> None:
        """Compiles the same model with Keras alone, with the same loss and metrics."""
        import keras

        from carclf.framing import Rendering
        from carclf.model.photo_classifier import build_photo_classifier

        self.model = build_photo_classifier(self._classifier(), framing=self._framing, rendering=Rendering())
        self.model.compile(
            optimizer=make_optimizer(),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            weighted_metrics=[
                keras.metrics.CategoricalAccuracy(name="accuracy"),
                keras.metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
            ],
            jit_compile=self._device.jit,
        )

    def loop(self, steps: int) -> float:
        """Returns seconds per step of the control: one batch that is ready, over and over."""
        inputs, target, weight = self._ready
        started = time.perf_counter()
        for _ in range(steps):
            self.model.train_on_batch(inputs, target, sample_weight=weight)
        return (time.perf_counter() - started) / steps

    def fit(self, steps: int, run: Path) -> tuple[float, int]:
        """Returns (seconds per step, traces) of an epoch of carclf's own fit, complete except for validation."""
        from carclf.data.input_clock import InputClock
        from carclf.model.render import Render
        from carclf.model.schedules import build_schedule
        from carclf.training.fit_plan import Display, FitData, FitPlan, Saving
        from carclf.training.fitting import fit_phase, setting_of
        from carclf.training.phases import Phase

        options, clock, traces, call = self._options, InputClock(), [], Render.call

        def counted(layer: Any, inputs: Any) -> Any:
            traces.append(layer)  # Python runs it only while a step is traced
            return call(layer, inputs)

        setattr(Render, "call", counted)  # noqa: B010 - a type checker forbids the plain assignment
        run.mkdir(parents=True)
        phase = Phase(
            image_size=self._framing.image_size,
            batch_size=options.batch_size,
            learning_rate=LEARNING_RATE,
            strength=1.0,
            first_epoch=0,
            end_epoch=1,
            steps_per_epoch=steps,
            ahead_steps=0,
        )
        result = fit_phase(
            self.model,
            classifier=self._trained,
            data=FitData(
                training_from=lambda step: self._device.prefetched(clock.timed(self.batches(step))),
                validation=self.batches(0).take(1),
                input_clock=clock,
                rows_of_step=lambda _: {},
            ),
            plan=FitPlan(
                phase=phase,
                epochs=1,
                schedule=build_schedule("constant", learning_rate=LEARNING_RATE, steps_per_epoch=steps, epochs=1),
            ),
            saving=Saving(
                directory=run,
                identity={"options": "", "classes": "", "data": ""},
                every_steps=SAVE_EVERY,
                resume=False,
                setting=setting_of(self._device),
            ),
            display=Display(tensorboard=True, verbose=0),
        )
        setattr(Render, "call", call)  # noqa: B010
        return options.batch_size / float(result.history["images_per_second"].iloc[-1]), len(traces)


def make_optimizer() -> Any:
    """Returns the notebook's."""
    from carclf.model.optimizers import build_optimizer

    return build_optimizer("adam", schedule=LEARNING_RATE, amsgrad=True)


def first_steps(options: TrainBenchmarkOptions, data: str, way: str) -> float:
    """Returns seconds from building the model to the end of its first step, in a fresh process."""
    flags = [f"--{name}={getattr(options, name)}" for name in ("backbone", "image_size", "batch_size")]
    command = [sys.executable, __file__, f"--photos={data}", f"--first_step={way}", *flags]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(answer.stdout.split()[-1])


def first_step(options: TrainBenchmarkOptions, device: Any) -> float:
    """Returns the seconds for `first_steps`; `options.photos` is the data set here."""
    import keras

    trainee, ended = Trainee(options, options.photos, device), []

    class FirstStep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            ended.append(time.perf_counter())

    started = time.perf_counter()
    if options.first_step == CONTROL:
        trainee.compile_with_keras()
        trainee.loop(1)
        ended.append(time.perf_counter())
    else:
        trainee.compile()
        trainee.model.fit(trainee.batches(0), steps_per_epoch=1, callbacks=[FirstStep()], shuffle=False, verbose=0)
    return ended[0] - started


def table(options: TrainBenchmarkOptions, figures: dict[str, Any]) -> str:
    """Returns the figures as a printable table."""
    median = {way: statistics.median(times) for way, times in figures["seconds_a_step"].items()}
    lines = [
        f"{options.backbone} at {options.image_size} px, batch {options.batch_size}, on {os.cpu_count()} CPU cores"
    ]
    for way, times in figures["seconds_a_step"].items():
        lines.append(
            f"  {way:<12}{median[way]:>8.3f} s per step ({min(times):.3f} to {max(times):.3f}), "
            f"{options.batch_size / median[way]:.1f} images per second"
        )
    lines.append(f"  carclf takes {figures['overhead']:+.1%} against the bare loop (at most {OVERHEAD:+.0%})")
    first = figures["first_step_seconds"]
    lines.append(
        f"  until the end of the first step: carclf {first[CARCLF]:.1f} s, Keras's own compile {first[CONTROL]:.1f} s "
        f"({first[CARCLF] / first[CONTROL]:.2f}, at most {FIRST_STEP})"
    )
    lines.append(f"  traces of a step, trained or tested, in each fit: {figures['traces']}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, TrainBenchmarkOptions, description=__doc__ or "")
