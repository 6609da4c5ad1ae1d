"""What training with carclf costs beside the bare network: the same classifier fed with ready images in a plain loop.

The control neither reads, decodes, augments nor watches; both train every layer on the same cores, in turns.
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

import numpy as np
from measuring import scratch_folder

from carclf.config import option
from carclf.door import run_door
from carclf.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "make_tfrecords.py"
RECIPE = "notebook"


@dataclasses.dataclass(frozen=True)
class TrainBenchmarkOptions:
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of photos.")
    backbone: str = option("efficientnet_b0", "A row of carclf.model.backbones.BACKBONES.")
    image_size: int = option(224, "Pixels a side.")
    batch_size: int = option(16, "Photos a step.")
    steps: int = option(8, "Steps a measurement.")
    repeats: int = option(3, "Measurements of each way, in turn.")
    first_step: str = option("", "Used by the benchmark itself: measure the first step of one way.")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Refuses a call without photos."""
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of photos.")


def main(options: TrainBenchmarkOptions) -> None:
    """Measures and prints."""
    from carclf.training.device import select_device

    device = select_device("cpu")
    if options.first_step:
        print(f"{first_step(options, device):.3f}")
        return
    with scratch_folder() as scratch:
        data = scratch / "data"
        command = [sys.executable, str(TOOL), f"--input={options.photos}", f"--output={data}", "--folds=5"]
        subprocess.run(command, check=True, capture_output=True)
        figures = measure(options, str(data), device)
        figures["first_step_seconds"] = {way: first_steps(options, str(data), way) for way in ("carclf", "Keras")}
    print(table(options, figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(options: TrainBenchmarkOptions, data: str, device: Any) -> dict[str, Any]:
    """Seconds a step of both ways, and how often ours was traced in the first fit and after it."""
    ours, control = OurFit(options, data, device), BareLoop(options, device)
    traced = [ours.run(options.steps)[1]]  # the first run compiles
    control.run(2)
    seconds: dict[str, list[float]] = {"carclf": [], "bare loop": []}
    for _ in range(options.repeats):
        seconds["bare loop"].append(control.run(options.steps))
        one, traces = ours.run(options.steps)
        seconds["carclf"].append(one)
        traced.append(traces)
    return {"seconds_a_step": seconds, "traces": traced}


class OurFit:
    """carclf's own fit: shards, decoding, draws, Render, callbacks."""

    def __init__(self, options: TrainBenchmarkOptions, data: str, device: Any) -> None:
        from carclf.data.manifest import load_manifest
        from carclf.data.pipeline import Framing, canvas_side, training_batches
        from carclf.model.render import Render
        from carclf.recipe import parse_recipe
        from carclf.training.stage import build_training_model

        manifest = load_manifest(data)
        size = (options.image_size, options.image_size)
        framing = Framing(image_size=size, canvas_size=canvas_side(image_size=size, max_side=manifest.max_side))
        self._traces = 0
        call = Render.call

        def counted(layer: Any, inputs: Any) -> Any:
            self._traces += 1  # Python runs it only while a step is traced
            return call(layer, inputs)

        setattr(Render, "call", counted)  # noqa: B010 - a type checker forbids the plain assignment
        self._model = build_training_model(
            make_classifier(options, manifest.class_count),
            framing=framing,
            fill="edge",
            mixing=False,
            erasing=False,
            optimizer=make_optimizer(),
            device=device,
        )
        self._batches = training_batches(
            manifest=manifest,
            folds=manifest.folds,
            framing=framing,
            recipe=parse_recipe(RECIPE),
            batch_size=options.batch_size,
            epochs=10_000,
            seed=1,
        )
        self._batch_size = options.batch_size

    def run(self, steps: int) -> tuple[float, int]:
        """(seconds a step, traces) of one fit."""
        from carclf.training.callbacks import StopOnNonFiniteLoss, TimingCallback
        from carclf.training.saving import Position

        timing = TimingCallback(images_per_epoch=steps * self._batch_size, learning_rate_at=lambda _: 1e-3)
        position = Position(steps_per_epoch=steps)
        before = self._traces
        self._model.fit(
            self._batches,
            steps_per_epoch=steps,
            callbacks=[position, timing, StopOnNonFiniteLoss(position=position, rows_of_step=lambda _: [])],
            shuffle=False,
            verbose=0,
        )
        return timing.seconds[-1] / steps, self._traces - before


class BareLoop:
    """The control: `train_on_batch` on images that lie ready."""

    def __init__(self, options: TrainBenchmarkOptions, device: Any, class_count: int = 8) -> None:
        import keras

        self._model = make_classifier(options, class_count)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        self._model.compile(optimizer=make_optimizer(), loss=loss, jit_compile=device.jit)
        shape = (options.batch_size, options.image_size, options.image_size, 3)
        rng = np.random.default_rng(0)
        self._images = keras.ops.convert_to_tensor(rng.uniform(0, 255, shape).astype(np.float32))
        targets = np.eye(class_count, dtype=np.float32)[rng.integers(0, class_count, options.batch_size)]
        self._targets = keras.ops.convert_to_tensor(targets)

    def run(self, steps: int) -> float:
        """Seconds a step."""
        started = time.perf_counter()
        for _ in range(steps):
            self._model.train_on_batch(self._images, self._targets)
        return (time.perf_counter() - started) / steps


def make_classifier(options: TrainBenchmarkOptions, class_count: int) -> Any:
    """The classifier with random weights, all of it trainable."""
    from carclf.model.classifier import build_classifier, set_trainable

    classifier = build_classifier(
        backbone=options.backbone,
        weights="none",
        class_count=class_count,
        image_size=(options.image_size, options.image_size),
    )
    set_trainable(classifier, unfreeze="all", train_batch_norm=False)
    return classifier


def make_optimizer() -> Any:
    """The notebook's."""
    from carclf.model.optimizers import build_optimizer

    return build_optimizer("adam", schedule=1e-4, amsgrad=True)


def first_steps(options: TrainBenchmarkOptions, data: str, way: str) -> float:
    """Seconds from building the model to the end of its first step, in a fresh process."""
    flags = [f"--{name}={getattr(options, name)}" for name in ("backbone", "image_size", "batch_size")]
    command = [sys.executable, __file__, f"--photos={data}", f"--first_step={way}", *flags]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(answer.stdout.split()[-1])


def first_step(options: TrainBenchmarkOptions, device: Any) -> float:
    """What `first_steps` asks for; `options.photos` is the data set here."""
    import keras  # noqa: F401 - imported before the clock starts, by both

    started = time.perf_counter()
    if options.first_step == "Keras":
        BareLoop(options, device).run(1)
    else:
        OurFit(options, options.photos, device).run(1)
    return time.perf_counter() - started


def table(options: TrainBenchmarkOptions, figures: dict[str, Any]) -> str:
    """The figures as people read them."""
    median = {way: statistics.median(times) for way, times in figures["seconds_a_step"].items()}
    lines = [
        f"{options.backbone} at {options.image_size} px, batch {options.batch_size}, on {os.cpu_count()} CPU cores"
    ]
    for way, times in figures["seconds_a_step"].items():
        lines.append(
            f"  {way:<12}{median[way]:>8.3f} s a step ({min(times):.3f} to {max(times):.3f}), "
            f"{options.batch_size / median[way]:.1f} images a second"
        )
    lines.append(f"  carclf takes {median['carclf'] / median['bare loop'] - 1:+.1%} beside the bare loop")
    first = figures["first_step_seconds"]
    lines.append(
        f"  until the first step has ended: carclf {first['carclf']:.1f} s, Keras alone {first['Keras']:.1f} s "
        f"({first['carclf'] / first['Keras']:.2f})"
    )
    lines.append(f"  traces of the train step in each fit: {figures['traces']}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_door(main, TrainBenchmarkOptions, description=__doc__ or "")
