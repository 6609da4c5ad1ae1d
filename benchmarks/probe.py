"""What a probe costs: its features beside a bare forward pass, and the whole command beside fine-tuning one backbone.

The features of all training photos and of their mirror images are computed as `carclf.probe` does; the control sends as
many ready images through the same network, alternating with it, each with its own compilation. Then the commands: the
probe of --backbones, with nothing kept, and head and all layers of the first of them, both timed to their end.
Example: python benchmarks/probe.py --data=data/cars --backbones=efficientnet_lite0,efficientnet_lite2@224"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import Measured, run_measured, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.device import Device
    from carclf.probing.extractors import Extractor

SHARE_TARGET, RATE_TARGET = 0.1, 0.95
HEAD_EPOCHS = 2  # of the fine-tuning's epochs; the backbone learns in the rest
EPOCH_RATE = {"head": 1e-3, "all": 3e-4}


@dataclasses.dataclass(frozen=True)
class ProbeBenchmarkOptions(Options):
    """Every option of this benchmark."""

    data: str = same_option(TrainOptions, "data")
    backbones: str = option("efficientnet_lite0", "As in carclf.probe; the first is fine-tuned.")
    batch_size: int = option(32, "Photos per step.", low=1)
    epochs: int = option(14, "Epochs of the fine-tuning.", low=HEAD_EPOCHS + 1)
    repeats: int = option(3, "How often features and bare passes are timed, alternately.", low=1)
    commands: bool = option(True, "Also run the commands; else only features and bare passes.")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and that no required one is missing."""
        super().__post_init__()
        if not self.data:
            raise UserError("--data is missing: give a folder that tools/make_tfrecords.py wrote.")


def main(options: ProbeBenchmarkOptions) -> None:
    """Measures and prints."""
    from carclf.data.manifest import load_manifest
    from carclf.device import select_device
    from carclf.probing.extractors import parse_extractors

    manifest, extractor = load_manifest(options.data), parse_extractors(options.backbones)[0]
    with scratch_folder() as scratch:
        commands = measure_commands(extractor, scratch, options=options) if options.commands else {}
        rates = measure_rates(extractor, manifest, scratch, device=select_device("cpu"), options=options)
    figures = {"commands": {name: dataclasses.asdict(measured) for name, measured in commands.items()}, "rates": rates}
    print(table(figures, extractor=extractor.name, options=options))
    if options.json:
        content = {"options": dataclasses.asdict(options)} | figures
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure_commands(extractor: "Extractor", scratch: Path, *, options: ProbeBenchmarkOptions) -> dict[str, Measured]:
    """Returns how the probe ran, and the two stages of the fine-tuning."""
    import sys

    same = [f"--data={Path(options.data).resolve()}", f"--batch_size={options.batch_size}", "--device=cpu"]
    stage = [*same, f"--backbone={extractor.backbone}", f"--image_size={extractor.size}", "--patience=0"]
    head, whole = scratch / "head", scratch / "all"
    flags = {
        "probe": ["carclf.probe", *same, f"--backbones={options.backbones}", f"--output={scratch / 'probe'}"],
        "head": [
            *("carclf.train", *stage, f"--run={head}", f"--weights={extractor.weights_path}", "--unfreeze=head"),
            *(f"--epochs={HEAD_EPOCHS}", f"--learning_rate={EPOCH_RATE['head']}"),
        ],
        "all": [
            *("carclf.train", *stage, f"--run={whole}", f"--init_from={head}", "--unfreeze=all", "--augment=flip"),
            *(f"--epochs={options.epochs - HEAD_EPOCHS}", f"--learning_rate={EPOCH_RATE['all']}"),
        ],
    }
    return {name: run_measured([sys.executable, "-m", *words]) for name, words in flags.items()}


def measure_rates(
    extractor: "Extractor",
    manifest: "Manifest",
    scratch: Path,
    *,
    device: "Device",
    options: ProbeBenchmarkOptions,
) -> dict[str, dict[str, list[float]]]:
    """Returns for features and bare passes their seconds, and their processor seconds, at each repeat."""
    ways = {
        "features": features(extractor, manifest, scratch, device=device, options=options),
        "bare": bare_passes(extractor, manifest, options=options),
    }
    times: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "busy": []} for name in ways}
    for repeat in range(options.repeats):
        for name, way in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            way(repeat)
            times[name]["seconds"].append(time.perf_counter() - started)
            times[name]["busy"].append(time.process_time() - busy)
    return times


def features(
    extractor: "Extractor",
    manifest: "Manifest",
    scratch: Path,
    *,
    device: "Device",
    options: ProbeBenchmarkOptions,
) -> Callable[[int], None]:
    """Returns a function that computes all features by Keras, as `carclf.probe` does."""
    from carclf.engines.choice import plan_engines
    from carclf.probing.kept import VIEWS, keep_features

    def compute(repeat: int) -> None:
        keep_features(
            extractor,
            manifest=manifest,
            views=list(VIEWS),
            fit="squash",
            batch_size=options.batch_size,
            jit=device.jit,
            engines=plan_engines("keras", device),
            directory=scratch / f"features-{repeat}",
        )

    return compute


def bare_passes(
    extractor: "Extractor", manifest: "Manifest", *, options: ProbeBenchmarkOptions
) -> Callable[[int], None]:
    """Returns a function that sends as many ready images through the same network."""
    import keras
    import tensorflow as tf

    from carclf.model.classifier import build_classifier

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (options.batch_size, *extractor.image_size, 3)).astype(np.float32)
    batches = 2 * -(-manifest.photos("train") // options.batch_size)

    def passes(repeat: int) -> None:
        del repeat
        classifier = build_classifier(
            backbone=extractor.backbone,
            weights=extractor.weights,
            class_count=manifest.class_count,
            image_size=extractor.image_size,
        )
        pooled = keras.Model(classifier.input, classifier.get_layer("head_pool").output)
        forward = tf.function(lambda batch: pooled(batch, training=False), jit_compile=False, autograph=False)
        for _ in range(batches):
            forward(images).numpy()

    return passes


def table(figures: dict[str, Any], *, extractor: str, options: ProbeBenchmarkOptions) -> str:
    """Returns the figures as a printable table."""
    lines = []
    if commands := figures["commands"]:
        probe = commands["probe"]
        fine_tuning = commands["head"]["seconds"] + commands["all"]["seconds"]
        lines += [
            f"probe of {options.backbones}: {probe['seconds']:.0f} s, {probe['process_mb']:.0f} MB",
            f"{options.epochs} epochs of {extractor}: {fine_tuning:.0f} s",
            f"ratio {probe['seconds'] / fine_tuning:.3f} (wanted: at most {SHARE_TARGET})",
        ]
    median = {
        name: {what: statistics.median(values) for what, values in times.items()}
        for name, times in figures["rates"].items()
    }
    for name, what in (("features", "features"), ("bare", "bare forward passes")):
        lines.append(f"{what}: {median[name]['seconds']:.1f} s, {median[name]['busy']:.1f} s of processors")
    seconds, busy = (median["bare"][what] / median["features"][what] for what in ("seconds", "busy"))
    lines.append(
        f"features at {seconds:.3f} of the bare speed (wanted: {RATE_TARGET}); by processor seconds {busy:.3f}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, ProbeBenchmarkOptions, description=__doc__ or "")
