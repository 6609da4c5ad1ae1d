"""Measures carclf on a GPU in bfloat16: training step, Render, prediction, and ten views of photos (TTA).

For comparison: the card's own rates, bare forward passes on ready images, and timm's EfficientNet of the same size with
torch.compile, channels_last and bfloat16, if both are installed.

It needs no TensorFlow on JAX. timm gets ready images; carclf renders photos inside the step.
Example: KERAS_BACKEND=jax python benchmarks/gpu.py --json=gpu.json"""

import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

CLASSES = 10
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 0.01
RECIPE = "notebook"
VIEWS = 10
RENDERED = ("canvas", "extent", "geometry", "colour")


@dataclasses.dataclass(frozen=True)
class Case:
    """One network at one size.

    Attributes:
      backbone: a row of `carclf.model.backbones.BACKBONES`.
      image_size: side in pixels.
      canvas_size: side of the canvas in pixels.
      batch_sizes: photos per step.
      timm: the same network's name in timm; empty if there is none.
    """

    backbone: str
    image_size: int
    canvas_size: int
    batch_sizes: tuple[int, ...]
    timm: str = ""


CASES = {
    "b0_224": Case("efficientnet_b0", 224, 320, (64, 128, 256), timm="efficientnet_b0"),
    "b3_300": Case("efficientnet_b3", 300, 640, (32, 64, 128), timm="efficientnet_b3"),
    "b3_512": Case("efficientnet_b3", 512, 640, (16, 32, 64), timm="efficientnet_b3"),
    "tiny_32": Case("tiny", 32, 40, (4,)),  # proves on a CPU that all of this runs
}
SIDES = ("carclf", "timm")


@dataclasses.dataclass(frozen=True)
class GpuOptions(Options):
    """Every option of this benchmark."""

    cases: str = option("b0_224,b3_300,b3_512", f"Of {', '.join(CASES)}.")
    batch_sizes: str = option("", "Photos per step, separated by commas, instead of each case's own.")
    steps: int = option(30, "Steps per measurement.", low=1)
    repeats: int = option(5, "Measurements; the median is printed.", low=1)
    train_batch_norm: bool = option(True, "Train BatchNorm as timm does; carclf's own default leaves it frozen.")
    measure: str = option("", "Used by the benchmark itself: which side to measure.", choices=("", "card", *SIDES))
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if unknown := [name for name in self.cases.split(",") if name not in CASES]:
            raise UserError(f"--cases={self.cases}: there is no {unknown[0]}; choose of {', '.join(CASES)}.")
        if not all(size.isdecimal() and int(size) for size in self.batch_sizes.split(",") if self.batch_sizes):
            raise UserError(f"--batch_sizes={self.batch_sizes} is not possible: write 32,64,128.")

    def batches(self, case: Case) -> list[int]:
        """Returns the batch sizes to measure."""
        return [int(size) for size in self.batch_sizes.split(",")] if self.batch_sizes else list(case.batch_sizes)


def main(options: GpuOptions) -> None:
    """Measures every side of every case in a process of its own, and prints the table."""
    if options.measure:
        print(json.dumps(MEASURES[options.measure](options)))
        return
    card = measured(options, side="card")
    print(
        f"{card['name']}, {card['versions']}: {card['matmul_flops'] / 1e12:.0f} TFLOP/s in bfloat16 products, "
        f"{card['copy_bytes'] / 1e9:.0f} GB/s copied",
        flush=True,
    )
    print(TITLE, flush=True)
    rows = []
    for name in options.cases.split(","):
        for batch_size in options.batches(CASES[name]):
            row = {"case": name, "batch_size": batch_size}
            for side in SIDES if CASES[name].timm and timm_installed() else SIDES[:1]:
                row[side] = measured(options, side=side, case=name, batch_size=batch_size)
            rows.append(row)
            print(line(row, card), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"card": card, "rows": rows}, indent=2) + "\n", encoding="utf-8")


def timm_installed() -> bool:
    """Returns whether there is a peer to measure against."""
    return all(importlib.util.find_spec(name) for name in ("torch", "timm"))


def measured(options: GpuOptions, *, side: str, case: str = "", batch_size: int = 0) -> dict[str, Any]:
    """Returns the figures of one side, from a process of its own, so that memory and peaks are its own.

    If a side runs out of memory, it returns {"error": its last message}.
    """
    command = [
        sys.executable,
        __file__,
        f"--measure={side}",
        f"--steps={options.steps}",
        f"--repeats={options.repeats}",
    ]
    command += [f"--cases={case}", f"--batch_sizes={batch_size}"] if case else []
    command += [f"--{'' if options.train_batch_norm else 'no'}train_batch_norm"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        if side == "card":
            raise UserError(f"The card could not be measured: {answer.stderr.strip()[-1500:]}")
        return {"error": (answer.stderr.strip().splitlines() or ["no message"])[-1]}
    return dict(json.loads(answer.stdout.splitlines()[-1]))


TITLE = (
    f"{'':<8}{'batch':>6}{'train img/s':>12}{'timm':>8}{'ratio':>7}{'TFLOP/s':>9}{'of card':>8}"
    f"{'Render ms':>11}{'share':>7}{'of copy':>8}{'predict img/s':>15}{'views/s':>9}{'by bare':>8}"
    f"{'memory GB':>11}{'timm':>6}"
)


def line(row: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """Returns a row of the table."""
    ours, peer, batch_size = row["carclf"], row.get("timm", {}), row["batch_size"]
    head = f"{row['case']:<8}{batch_size:>6}"
    if "error" in ours:
        return f"{head}  carclf: {ours['error']}"
    rate = batch_size / ours["train_seconds"]
    theirs = batch_size / peer["train_seconds"] if "train_seconds" in peer else None
    flops = 3 * ours["flops"] * rate  # forward once, backward twice
    return (
        f"{head}{rate:>12.0f}{_number(theirs, '8.0f')}{_number(rate / theirs if theirs else None, '7.2f')}"
        f"{flops / 1e12:>9.1f}{flops / card['matmul_flops']:>8.1%}"
        f"{1000 * ours['render_seconds']:>11.2f}{ours['render_seconds'] / ours['train_seconds']:>7.1%}"
        f"{ours['render_bytes'] / ours['render_seconds'] / card['copy_bytes']:>8.1%}"
        f"{batch_size / ours['predict_seconds']:>15.0f}{VIEWS * batch_size / ours['views_seconds']:>9.0f}"
        f"{ours['views_seconds'] / ours['bare_seconds']:>8.3f}{ours['peak_bytes'] / 1e9:>11.1f}"
        f"{_number(peer['peak_bytes'] / 1e9 if 'peak_bytes' in peer else None, '6.1f')}"
        + (f"  timm: {peer['error']}" if "error" in peer else "")
    )


def _number(value: float | None, form: str) -> str:
    width = int(form.split(".")[0])
    return f"{'–':>{width}}" if value is None else f"{value:{form}}"


def measure_card(options: GpuOptions) -> dict[str, Any]:
    """Returns the card's own rates: of large matrix products and of copies."""
    import keras

    from carclf.model.compile import xla

    name, is_gpu = device_name()
    side, large = (8192, 1 << 29) if is_gpu else (512, 1 << 20)
    rng = np.random.default_rng(0)
    matrix = keras.ops.cast(rng.standard_normal((side, side), np.float32), "bfloat16")
    product = xla(lambda a: keras.ops.matmul(a, a))
    vector = keras.ops.convert_to_tensor(rng.integers(0, 9, large, np.int32))
    copy = xla(lambda a: a + 1)
    return {
        "name": name,
        "versions": f"{keras.backend.backend()} with Keras {keras.__version__}",
        "matmul_flops": 2 * side**3 / seconds_a_call(lambda: product(matrix), options),
        "copy_bytes": 8 * large / seconds_a_call(lambda: copy(vector), options),
    }


def device_name() -> tuple[str, bool]:
    """Returns (what the backend computes on, whether that is a GPU)."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        device = jax.local_devices()[0]
        return device.device_kind, device.platform == "gpu"
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return (tf.config.experimental.get_device_details(gpus[0])["device_name"], True) if gpus else ("CPU", False)


def seconds_a_call(call: Callable[[], Any], options: GpuOptions) -> float:
    """Returns the median seconds of a call that returns a tensor, waiting only for the last of many calls."""
    import keras

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            result = call()
        keras.ops.convert_to_numpy(keras.ops.ravel(result)[:1])
        return (time.perf_counter() - started) / count

    run(2)
    return statistics.median(run(options.steps) for _ in range(options.repeats))


def measure_carclf(options: GpuOptions) -> dict[str, Any]:
    """Returns the seconds of a training step, of a prediction (Keras's `fit` and `predict`), of Render and of TTA."""
    import keras

    from carclf.framing import Framing, Rendering
    from carclf.model.classifier import build_classifier, set_trainable
    from carclf.model.compile import xla
    from carclf.model.optimizers import build_optimizer
    from carclf.model.photo_classifier import build_photo_classifier
    from carclf.model.render import Render

    case = CASES[options.cases]
    (batch_size,) = options.batches(case)
    size = (case.image_size, case.image_size)
    keras.config.set_dtype_policy("mixed_bfloat16")
    classifier = build_classifier(backbone=case.backbone, weights="none", class_count=CLASSES, image_size=size)
    set_trainable(classifier, unfreeze="all", train_batch_norm=options.train_batch_norm)
    framing = Framing(size)
    model = build_photo_classifier(classifier, framing=framing, rendering=Rendering())
    model.compile(
        optimizer=build_optimizer("adamw", schedule=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
        jit_compile=device_name()[1] or keras.backend.backend() == "jax",
    )
    inputs, target = ready_photos(case, batch_size)
    layer = Render(image_size=size, mixing=False, erasing=False)
    # As a training step calls it: compiled, without what Keras does around the call of a layer.
    render = xla(lambda *arrays: layer(dict(zip(RENDERED, arrays, strict=True))))
    arrays = [inputs[name] for name in RENDERED]
    clock = EpochClock()
    # The first epoch compiles.
    epochs = 1 + options.repeats
    model.fit(
        endless((inputs, target)), epochs=epochs, steps_per_epoch=options.steps, callbacks=[clock.callback()], verbose=0
    )
    return {
        "train_seconds": clock.median() / options.steps,
        "render_seconds": seconds_a_call(lambda: render(*arrays), options),
        "render_bytes": batch_size * 3 * (case.canvas_size**2 + 4 * case.image_size**2),  # uint8 in, float32 out
        "predict_seconds": predict_seconds(model, inputs, options),
        **view_seconds(model, classifier, case, inputs, options),
        "flops": forward_flops(classifier),
        "peak_bytes": peak_bytes(),
    }


def ready_photos(case: Case, batch_size: int) -> tuple[dict[str, Any], Any]:
    """Returns (inputs, target) of one batch on the device: 4:3 photos of noise that fill the canvas, with draws."""
    import keras

    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (batch_size, case.canvas_size, case.canvas_size, 3), np.uint8)
    extent = np.tile(np.array([case.canvas_size * 3 // 4, case.canvas_size], np.float32), (batch_size, 1))
    arrays = {"canvas": canvas, "extent": extent} | drawn(case, extent, epoch=0)
    target = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, batch_size)]
    return {k: keras.ops.convert_to_tensor(v) for k, v in arrays.items()}, keras.ops.convert_to_tensor(target)


def drawn(case: Case, extent: np.ndarray, *, epoch: int) -> dict[str, np.ndarray]:
    """Returns the recipe's draws for a batch of photos of that extent."""
    from carclf.recipe import parse_recipe

    draws = parse_recipe(RECIPE).draw(
        seed=1,
        epoch=epoch,
        row=np.arange(len(extent)),
        extent=extent,
        image_size=(case.image_size, case.image_size),
        fit="squash",
    )
    return {name: getattr(draws, name) for name in ("geometry", "colour", "mix", "erase")}


def endless(batch: Any) -> Any:
    """Returns a data set of one batch, again and again, without leaving the device."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.data.Dataset.from_tensors(batch).repeat().prefetch(2)

    def again() -> Iterator[Any]:
        while True:
            yield batch

    return again()


class EpochClock:
    """Seconds of each epoch, up to when its metrics have come back from the device."""

    def __init__(self) -> None:
        """A clock that has not started."""
        self.seconds: list[float] = []
        self._started = 0.0

    def callback(self) -> Any:
        """Returns the callback for `fit`."""
        import keras

        return keras.callbacks.LambdaCallback(on_epoch_begin=self._begin, on_epoch_end=self._end)

    def median(self) -> float:
        """Returns the median without the first epoch."""
        return statistics.median(self.seconds[1:])

    def _begin(self, epoch: int, logs: Any = None) -> None:
        self._started = time.perf_counter()

    def _end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def predict_seconds(model: Any, inputs: Any, options: GpuOptions) -> float:
    """Returns median seconds that `predict` takes for a batch."""

    def run() -> float:
        started = time.perf_counter()
        model.predict(endless((inputs,)), steps=options.steps, verbose=0)
        return (time.perf_counter() - started) / options.steps

    run()
    return statistics.median(run() for _ in range(options.repeats))


def view_seconds(model: Any, classifier: Any, case: Case, photos: Any, options: GpuOptions) -> dict[str, float]:
    """Returns the median seconds of all views of a batch as in `carclf.predict`, and of as many bare forward passes."""
    import keras

    from carclf.model.compile import compiled_prediction
    from carclf.model.photo_classifier import view_inputs

    extent = keras.ops.convert_to_numpy(photos["extent"])
    by_view = [drawn(case, extent, epoch=view) for view in range(VIEWS)]
    draws = {k: keras.ops.convert_to_tensor(np.stack([one[k] for one in by_view], axis=1)) for k in by_view[0]}
    size = (len(extent), case.image_size, case.image_size, 3)
    ready = keras.ops.convert_to_tensor(np.random.default_rng(0).uniform(0, 255, size).astype(np.float32))
    one_view = compiled_prediction(model, view_inputs)
    bare = compiled_prediction(classifier, lambda images: images)
    passes = {
        "views_seconds": lambda: [one_view(photos, draws, np.int32(view)) for view in range(VIEWS)][-1],
        "bare_seconds": lambda: [bare(ready) for _ in range(VIEWS)][-1],
    }
    return {name: seconds_a_call(call, options) for name, call in passes.items()}


def forward_flops(classifier: Any) -> int:
    """Returns floating-point operations of one image's forward pass, a multiplication and an addition being two.

    Convolutions and dense layers are counted, as papers do.
    """
    import keras

    total = 0
    for layer in classifier._flatten_layers():
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            height, width, channels = layer.output.shape[1:]
            total += 2 * height * width * channels * int(np.prod(layer.kernel_size))
        elif isinstance(layer, keras.layers.Conv2D):
            height, width, _ = layer.output.shape[1:]
            total += 2 * height * width * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * int(np.prod(layer.kernel.shape))
    return total


def peak_bytes() -> int:
    """Returns the most device memory that this process held at one moment; 0 on a CPU."""
    import keras

    if not device_name()[1]:
        return 0
    if keras.backend.backend() == "jax":
        import jax

        return int(jax.local_devices()[0].memory_stats()["peak_bytes_in_use"])
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def measure_timm(options: GpuOptions) -> dict[str, Any]:
    """Returns seconds of a training step of timm's network, on images that are ready on the card."""
    import timm
    import torch

    case = CASES[options.cases]
    (batch_size,) = options.batches(case)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = timm.create_model(case.timm, num_classes=CLASSES).to(device, memory_format=torch.channels_last).train()
    if not options.train_batch_norm:
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        fused=device.type == "cuda",
    )
    images = torch.rand(batch_size, 3, case.image_size, case.image_size, device=device)
    images = images.to(memory_format=torch.channels_last)
    target = torch.nn.functional.one_hot(torch.arange(batch_size, device=device) % CLASSES, CLASSES).float()
    compiled = torch.compile(model)

    def step() -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(compiled(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            loss = step()
        loss.item()
        return (time.perf_counter() - started) / count

    run(5)
    seconds = statistics.median(run(options.steps) for _ in range(options.repeats))
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return {"train_seconds": seconds, "peak_bytes": peak}


MEASURES: dict[str, Callable[[GpuOptions], dict[str, Any]]] = {
    "card": measure_card,
    "carclf": measure_carclf,
    "timm": measure_timm,
}

if __name__ == "__main__":
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    run_command(main, GpuOptions, description=__doc__ or "")
