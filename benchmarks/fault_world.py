"""What benchmarks/faults.py damages, a tiny data set, run, cache, study and flag file, and what reads them."""

import contextlib
import dataclasses
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from carclf import hashed_json, runs
from carclf.command import parse_command_line
from carclf.convert.options import ConvertOptions
from carclf.data.cache import open_cache
from carclf.data.index import read_index, sizes_for
from carclf.data.loader import PhotoLoader
from carclf.data.manifest import Manifest, load_manifest
from carclf.flags import to_dict
from carclf.framing import Framing
from carclf.make_tfrecords import main as make_tfrecords
from carclf.runs.closing import close_run
from carclf.runs.opening import open_run
from carclf.synthetic.draw import draw_jpeg
from carclf.train_options import TrainOptions

CLASSES = 3
PHOTOS = 9
FLAGS = "# a stage\n--epochs=3\n--augment=flip\n--learning_rate=0.001\n--backbone=tiny\n"
OPTIONS = TrainOptions(
    backbone="tiny", weights="none", image_size="32", head_width=8, render="separable", augment="flip|shift(0.1)"
)

Read = Callable[[Path, Path], Any]
"""Takes the damaged part and the folder of the undamaged world; returns the answer, comparable by ==."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """What a command does with a part of the world.

    Attributes:
      read: does it.
      writes: whether it writes to the part; otherwise every file must stay as it is.
      takes_seconds: whether it is left out unless it is asked for.
    """

    read: Read
    writes: bool = False
    takes_seconds: bool = False


def build_world(folder: Path) -> None:
    """Writes the undamaged world: photos, data, run, other_run, cache, study, flags."""
    for number in range(PHOTOS):
        path = folder / "photos" / str(number % CLASSES) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_jpeg(kind=number % CLASSES, photo_id=path.name, seed=3, size=(64, 48)))
    make_tfrecords(_conversion(folder, folder / "data"))
    manifest = load_manifest(str(folder / "data"))
    _build_run(folder / "run", manifest, seed=1)
    names = [dataclasses.replace(entry, name=f"class {entry.label}") for entry in manifest.classes]
    _build_run(folder / "other_run", dataclasses.replace(manifest, classes=tuple(names)), seed=2)
    _cached(folder / "cache", folder)
    (folder / "study").mkdir()
    _studied(folder / "study", folder)
    (folder / "flags").mkdir()
    (folder / "flags" / "x.flags").write_text(FLAGS, encoding="utf-8")


def _conversion(world: Path, output: Path, **changes: Any) -> ConvertOptions:
    return ConvertOptions(input=str(world / "photos"), output=str(output), folds=2, workers=1, **changes)


def _build_run(folder: Path, manifest: Manifest, *, seed: int) -> None:
    """Writes a finished run with random weights."""
    import keras

    from carclf.model.classifier import build_classifier
    from carclf.training.callbacks import save_weights

    keras.utils.set_random_seed(seed)
    classifier = build_classifier(
        backbone="tiny", weights="none", class_count=CLASSES, image_size=(32, 32), head_width=OPTIONS.head_width
    )
    folder.mkdir()
    for name in (runs.BEST_WEIGHTS, runs.LAST_WEIGHTS):
        save_weights(classifier, folder / name)
    data = {
        "directory": manifest.directory,
        "fingerprint": manifest.fingerprint,
        "class_names": list(manifest.class_names),
        "class_map_sha256": manifest.class_map_sha256,
        "max_side": manifest.max_side,
    }
    options = to_dict(dataclasses.replace(OPTIONS, data=manifest.directory))
    stage = {"format_version": 1, "stage": "tiny", "options": options, "data": data, "parent": None}
    hashed_json.write(folder / runs.STAGE_FILE, stage)
    (folder / runs.HISTORY_FILE).write_text("epoch,loss,accuracy\n1,1.5,0.5\n", encoding="utf-8")
    run = runs.load_run(folder)
    close_run(dataclasses.replace(run, metrics={"val_accuracy": 0.5, "best_epoch": 1, "epochs": 1}))


def _read(part: Path, world: Path) -> Any:
    """Reads a data set as training does: lists, index, and every photo."""
    manifest = load_manifest(str(part))
    lists = [manifest.read_ids(split).to_csv() for split in ("train", "test")]
    classes = [dataclasses.astuple(entry) for entry in manifest.classes]
    return manifest.fingerprint, classes, lists, _pixels(manifest)


def _pixels(manifest: Manifest, cache: Any = None) -> str:
    index = read_index(manifest)
    numbers = np.arange(len(index))
    sizes = sizes_for(manifest, framing=Framing(image_size=(32, 32)))
    photos = PhotoLoader(manifest, index, numbers=numbers, sizes=sizes, cache=cache)
    return hashlib.sha256(photos.load(numbers)[0].tobytes()).hexdigest()


def _verified(part: Path, world: Path) -> None:
    make_tfrecords(ConvertOptions(verify=str(part), workers=1))


def _overwritten(part: Path, world: Path) -> Any:
    make_tfrecords(_conversion(world, part, overwrite=True))
    return digests(part)


def _loaded(part: Path, world: Path) -> Any:
    """Loads a run as predict, evaluate, export and serve do; returns its answers for a grey photo."""
    from carclf.inference.compatibility import check_classes
    from carclf.inference.programs import load_classifier

    run = runs.load_run(part)
    check_classes([run], load_manifest(str(world / "data")))
    classifier, _ = load_classifier(run)
    logits = np.asarray(classifier(np.full((1, 32, 32, 3), 127.0, np.float32), training=False))
    return logits.round(5).tolist(), run.history.read_text(encoding="utf-8")


def _opened(part: Path, world: Path) -> Any:
    """Opens a run's folder as train does before it overwrites the run."""
    options = dataclasses.replace(OPTIONS, data=str(world / "data"), overwrite=True)
    with open_run(part, options=options, data=load_manifest(options.data)) as opened:
        return opened.start.name, opened.step


def _cached(part: Path, world: Path) -> Any:
    manifest = load_manifest(str(world / "data"))
    sizes = sizes_for(manifest, framing=Framing(image_size=(32, 32)))
    cache = open_cache(str(part), manifest=manifest, wanted=np.arange(len(sizes.extents)), sizes=sizes)
    return _pixels(manifest, cache)


def _studied(part: Path, world: Path) -> Any:
    import optuna

    from carclf.tuning.study import open_study

    study = open_study(
        "x",
        storage=f"sqlite:///{part / 'study.db'}",
        pruner="none",
        epochs=3,
        identity={"data": "d"},
        heartbeat_seconds=1,
    )
    if not study.trials:
        distribution = optuna.distributions.FloatDistribution(0.0, 1.0)
        for value in (0.25, 0.5):
            params = {"rate": value}
            study.add_trial(optuna.trial.create_trial(params=params, distributions={"rate": distribution}, value=value))
    return [(trial.number, trial.params, trial.value) for trial in study.trials]


def _predicted(data: Path, run: Path, output: Path) -> str:
    """Returns the submission of the whole command."""
    from carclf import predict

    output.unlink(missing_ok=True)
    predict.main(
        predict.PredictOptions(
            run=str(run), data=str(data), output=str(output), split="val", device="cpu", batch_size=4, decision="plain"
        )
    )
    return output.read_text(encoding="utf-8")


def _evaluated(part: Path, world: Path) -> Any:
    """Evaluates a run with the whole command; returns the figures that it writes."""
    from carclf import evaluate

    data = str(world / "data")
    evaluate.main(evaluate.EvaluateOptions(run=str(part), data=data, device="cpu", batch_size=4))
    metrics = runs.load_run(part).metrics or {}
    return metrics["val_accuracy"], metrics["val_loss"]


def _parsed(part: Path, world: Path) -> Any:
    return parse_command_line(TrainOptions, [f"--flagfile={part / 'x.flags'}"], description="")


READERS: dict[str, dict[str, Reader]] = {
    "data": {
        "read": Reader(_read),
        "verify": Reader(_verified),
        "overwrite": Reader(_overwritten, writes=True),
        "predict": Reader(lambda part, world: _predicted(part, world / "run", world / "x.csv"), takes_seconds=True),
    },
    "run": {
        "load": Reader(_loaded),
        "open": Reader(_opened, writes=True),
        "predict": Reader(lambda part, world: _predicted(world / "data", part, world / "x.csv"), takes_seconds=True),
        "evaluate": Reader(_evaluated, writes=True, takes_seconds=True),
    },
    "cache": {"cache": Reader(_cached, writes=True)},
    "study": {"tune": Reader(_studied, writes=True)},
    "flags": {"flags": Reader(_parsed)},
}


def digests(folder: Path) -> dict[str, str]:
    """Returns path → SHA-256 of every file in a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def silently(read: Read, part: Path, world: Path) -> Any:
    """Returns the answer of a reader without its output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return read(part, world)


def fresh_copy(world: Path, part: str, scratch: Path) -> Path:
    """Returns a new copy of a part, beside what its faults need."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(world / part, scratch / part)
    if part == "run":
        (scratch / "other_run").symlink_to(world / "other_run")
    return scratch / part
