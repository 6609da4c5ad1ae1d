"""Suite-wide rules: quiet frameworks, no unlisted skip, and a lane in which TensorFlow cannot be imported."""

import gc
import importlib.abc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from carclf import preemption

hypothesis.settings.register_profile("suite", deadline=None)  # a busy machine is not a failure
hypothesis.settings.load_profile("suite")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the suite proves the CPU; GPUs have benchmarks

# Under nohup and in the background these signals are ignored, which every process that a test starts would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
HOST_ONLY = ("tests/convert", "tests/data", "tests/training", "tests/inference", "tests/report")


class _NoTensorFlow(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in ("tensorflow", "tensorflow_cpu"):
            raise ModuleNotFoundError(f"No module named {fullname!r} (made unimportable by this lane)", name=fullname)
        return


if os.environ.get("CARCLF_TEST_WITHOUT_TENSORFLOW"):
    sys.meta_path.insert(0, _NoTensorFlow())


@pytest.fixture(autouse=True)
def _signals_as_before():
    """Ends what a command that a test has run in this process leaves to the end of its process."""
    yield
    preemption.end()


_skipped: list[tuple[str, str]] = []


def allowed_skips() -> list[str]:
    lines = ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Not while a report is made: with several processes that happens in theirs, and this is called here too.
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason))


def pytest_collection_finish() -> None:
    # The modules imported by now stay: no later collection of garbage need look at their million objects again.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    unlisted = [(test, reason) for test, reason in _skipped if not test.startswith(tuple(allowed_skips()))]
    for test, reason in unlisted:
        print(f"\nUnlisted skip (tests/allowed_skips.txt): {test}: {reason}")
    if unlisted and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


CLASS_COLOURS = ((210, 60, 60), (60, 200, 60), (60, 60, 210))


def write_dataset(
    directory: Path,
    *,
    folds: int = 3,
    photos_a_fold: int = 8,
    test_photos: int = 5,
    max_side: int = 64,
    label_of: Callable[[int], int] = lambda row: row % 3,
):
    """A committed data set of small noise photos whose colour is their class; written without the converter."""
    import hashlib
    import io

    import numpy as np
    from PIL import Image

    from carclf.data import index, manifest, records

    rng = np.random.default_rng(0)
    sizes = [(48, 64), (64, 48), (64, 64), (30, 40)]
    directory.mkdir(parents=True)
    shards, entries, lists, counts = [], [], {"train": [], "test": []}, [0, 0, 0]

    def write(name: str, *, split: str, fold: int | None, count: int) -> None:
        written = []
        with open(directory / name, "wb") as file:
            for _ in range(count):
                row = len(lists[split])
                label, (height, width) = label_of(row), sizes[row % 4]
                pixels = rng.normal(CLASS_COLOURS[label], 25, (height, width, 3)).clip(0, 255).astype(np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
                encoded = buffer.getvalue()
                sha256 = hashlib.sha256(encoded).hexdigest()
                known = split == "train"
                photo = f"{split}{row:03d}.jpg"
                example = records.build_example(
                    encoded=encoded,
                    height=height,
                    width=width,
                    filename=photo,
                    sha256=sha256,
                    row=row,
                    label=label if known else -1,
                    class_name=f"class {label}" if known else "",
                )
                file.write(records.frame(example))
                fields = {"height": height, "width": width, "row": row, "label": label if known else -1}
                written.append((example, encoded, fields))
                counts[label] += known
                fold_number, shown = (fold, label) if known else (-1, -1)
                lists[split].append(f"{photo},{shown},class {label},{fold_number},{height},{width},{sha256},{photo}")
        content = (directory / name).read_bytes()
        entries.append(index.index_shard(written))
        shards.append(manifest.Shard(name, split, fold, count, len(content), hashlib.sha256(content).hexdigest()))

    for fold in range(folds):
        half = photos_a_fold // 2
        write(f"train-fold{fold}-0.tfrecord", split="train", fold=fold, count=half)
        write(f"train-fold{fold}-1.tfrecord", split="train", fold=fold, count=photos_a_fold - half)
    if test_photos:
        write("test-0.tfrecord", split="test", fold=None, count=test_photos)

    def write_list(name: str, text: str) -> "manifest.ListFile":
        (directory / name).write_text(text)
        return manifest.ListFile(name, text.count("\n") - 1, hashlib.sha256(text.encode()).hexdigest())

    (directory / "photos.npy").write_bytes(index.to_npy(entries))
    places = hashlib.sha256((directory / "photos.npy").read_bytes()).hexdigest()
    header = "id,label,class_name,fold,height,width,sha256,source"
    sample = "Id,Category\n" + "".join(f"{line.split(',')[0]},0\n" for line in reversed(lists["test"]))
    made = manifest.Manifest(
        directory=str(directory),
        fingerprint=hashlib.sha256(repr((folds, photos_a_fold, test_photos, counts)).encode()).hexdigest(),
        classes=tuple(manifest.ClassEntry(k, str(k * 5), f"class {k}", counts[k]) for k in range(3)),
        shards=tuple(shards),
        ids={
            split: write_list(f"ids-{split}.csv", "\n".join([header, *lines]) + "\n") for split, lines in lists.items()
        },
        lists={"sample-submission": write_list("sample-submission.csv", sample)},
        index=manifest.ListFile("photos.npy", sum(counts) + test_photos, places),
        options={"max_side": max_side},
        source={},
    )
    (directory / manifest.MANIFEST_FILE).write_bytes(manifest.to_json(made))
    return manifest.load_manifest(str(directory))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory):
    """Three folds of 8 photos and 5 test photos in 3 classes; read only."""
    return write_dataset(tmp_path_factory.mktemp("data") / "set")
