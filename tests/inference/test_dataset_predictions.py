"""Every photo, in every view, by every run, exactly once: equal to plain forward passes of single photos."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from carclf import runs
from carclf.data import loader
from carclf.data.decoder import decode
from carclf.data.photos import read_photos
from carclf.inference import dataset_predictions, programs
from carclf.inference.ensemble import softmax
from carclf.inference.programs import build_programs, load_classifier
from carclf.model import photo_classifier
from carclf.model.render import render
from carclf.recipe import parse_views
from tests.conftest import write_dataset
from tests.inference.made_runs import colour_classifier, make_run

ROOT = Path(__file__).parent.parent.parent
BATCH = 4
COUNTS = (1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 1)  # the photos of one are the first of the next
TEN_VIEWS = "clean|flip|zoom(1.1)|flip+zoom(1.1)|shift(0.05)|rotate(5)|random(4)"


@pytest.fixture(scope="module", autouse=True)
def render_not_compiled():
    """XLA takes seconds per Render and gives the same images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_classifier, "Render", functools.partial(photo_classifier.Render, jit=False))
        yield


@pytest.fixture
def quick_classifiers(monkeypatch):
    """Replaces classifiers by ones that only use colours."""
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one", dataset)


def plain(run: runs.Run, manifest, *, views: str) -> np.ndarray:
    """Returns probabilities of the test photos: each decoded, rendered and classified alone, eagerly, view by view."""
    classifier, framing = load_classifier(run)
    photos = read_photos(manifest, split="test", rows=range(manifest.photos("test")))
    probabilities = []
    for row, encoded in sorted(photos.items()):
        pixels = decode(encoded)
        canvas = np.zeros((1, 64, 64, 3), np.uint8)
        canvas[0, : pixels.shape[0], : pixels.shape[1]] = pixels
        extent = np.float32([pixels.shape[:2]])
        logits = []
        for view in parse_views(views):
            draws = view.draw(
                seed=run.options.seed, row=np.array([row]), extent=extent, image_size=framing.image_size, fit="squash"
            )
            image = render(canvas, extent, draws.geometry, draws.colour, image_size=framing.image_size)
            logits.append(keras.ops.convert_to_numpy(classifier(image, training=False))[0])
        probabilities.append(softmax(np.array(logits)).mean(axis=0))
    return np.array(probabilities)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Returns a data set for each number of test photos, with its shards."""
    folder = tmp_path_factory.mktemp("sets")
    return {count: write_dataset(folder / str(count), photos_a_fold=2, test_photos=count) for count in COUNTS}


@pytest.mark.parametrize(
    "views",
    ["clean|flip+zoom(1.1)|random(1)", *(pytest.param(v, marks=pytest.mark.slow) for v in ("clean", TEN_VIEWS))],
)
def test_any_number_of_photos_equals_a_plain_forward_pass(run, sets, views):
    programs = build_programs(run, views=parse_views(views), jit=False)  # one for all counts: tracing is slow
    expected = plain(run, sets[COUNTS[-1]], views=views)
    for count, manifest in sets.items():
        (predicted,) = dataset_predictions.predict_programs(
            [programs], manifest=manifest, split="test", views=parse_views(views), batch_size=BATCH
        )
        assert predicted.rows.tolist() == list(range(count))
        np.testing.assert_allclose(predicted.probabilities, expected[:count], atol=1e-5)


# Runs in a process of its own, because TensorFlow can only split the CPU before its first use.
TWO_REPLICAS = """
import json, sys
from pathlib import Path
from carclf import runs
from carclf.device import select_device
device = select_device("cpu", cpu_devices=2)
from carclf.data.manifest import load_manifest
from carclf.inference import dataset_predictions
from carclf.inference.programs import build_programs
from carclf.recipe import parse_views
folder, sets, views, batch_size = json.loads(sys.argv[1])
views = parse_views(views)
with device.scope():
    programs = build_programs(runs.load_run(Path(folder)), views=views, jit=device.jit)
    for directory in sets:
        (predicted,) = dataset_predictions.predict_programs(
            [programs], manifest=load_manifest(directory), split="test", views=views, batch_size=batch_size
        )
        print(json.dumps([predicted.rows.tolist(), predicted.probabilities.tolist()]))
"""


def on_two_replicas(run, sets, views: str) -> list[tuple[list[int], np.ndarray]]:
    folders = [manifest.directory for manifest in sets.values()]
    answer = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS, json.dumps([str(run.directory), folders, views, BATCH])],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    assert answer.returncode == 0, answer.stderr
    lines = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("[")]
    return [(rows, np.array(probabilities)) for rows, probabilities in lines]


@pytest.mark.slow
@pytest.mark.parametrize("views", ["clean", TEN_VIEWS], ids=["1 view", "10 views"])
def test_two_replicas_equal_a_plain_forward_pass(run, sets, views):
    expected = plain(run, sets[COUNTS[-1]], views=views)
    for count, (rows, probabilities) in zip(sets, on_two_replicas(run, sets, views), strict=True):
        assert rows == list(range(count))
        np.testing.assert_allclose(probabilities, expected[:count], atol=1e-5)


def test_a_photo_is_decoded_once_for_all_views_sizes_and_runs(run, dataset, tmp_path, monkeypatch, quick_classifiers):
    decoded = []
    monkeypatch.setattr(loader, "decode", lambda *a, **k: decoded.append(1) or decode(*a, **k))
    other = make_run(tmp_path / "other", dataset, seed=2, image_size="28")
    views = parse_views("clean|flip|size(30)")
    both = dataset_predictions.predict_runs(
        [run, other], manifest=dataset, split="test", views=views, batch_size=2, jit=False
    )
    assert len(decoded) == 5  # all these sizes have the same canvas
    (alone,) = dataset_predictions.predict_runs(
        [other], manifest=dataset, split="test", views=views, batch_size=5, jit=False
    )
    np.testing.assert_allclose(both[1].probabilities, alone.probabilities, atol=1e-6)
    assert abs(both[0].probabilities - both[1].probabilities).max() > 0.01


def test_shuffled_shards_give_the_same_rows(run, dataset, quick_classifiers):
    views = parse_views("clean|random(1)")
    programs = build_programs(run, views=views, jit=False)

    def predicted(manifest):
        how = {"manifest": manifest, "split": "train", "folds": [0, 1], "views": views, "batch_size": 3}
        return dataset_predictions.predict_programs([programs], **how)[0]

    straight, turned = predicted(dataset), predicted(reordered(dataset))
    np.testing.assert_array_equal(straight.rows, turned.rows)
    np.testing.assert_allclose(straight.probabilities, turned.probabilities, atol=1e-6)


def reordered(manifest):
    """Returns the same data set with its shards, and their index, in reverse order."""
    import dataclasses
    import hashlib

    from carclf.data import index

    entries = index.read_index(manifest)
    by_shard = [entries[entries["shard"] == number] for number in range(len(manifest.shards))][::-1]
    content = index.to_npy(by_shard)
    path = Path(manifest.directory) / "reordered.npy"
    path.write_bytes(content)
    place = dataclasses.replace(manifest.index, file=path.name, sha256=hashlib.sha256(content).hexdigest())
    return dataclasses.replace(manifest, shards=manifest.shards[::-1], index=place)


def test_a_photo_predicted_twice_or_never_is_an_error(run, dataset, monkeypatch, quick_classifiers):
    views = parse_views("clean")
    batches = dataset_predictions.view_batches
    how = {"manifest": dataset, "split": "test", "views": views, "batch_size": 5}
    programs = build_programs(run, views=views, jit=False)
    for broken in (lambda data: data.concatenate(data), lambda data: data.take(0)):
        monkeypatch.setattr(
            dataset_predictions, "view_batches", lambda broken=broken, **given: broken(batches(**given))
        )
        with pytest.raises(RuntimeError, match="5 photos were not predicted once in each of 1 views"):
            dataset_predictions.predict_programs([programs], **how)


def test_all_folds_together_predict_each_photo_by_the_run_that_held_it_out(dataset, tmp_path, quick_classifiers):
    for fold in (0, 1):
        make_run(tmp_path / "k" / f"fold{fold}", dataset, seed=fold, val_fold=fold)
    members = runs.load_members("k", runs=str(tmp_path))
    how = {"manifest": dataset, "views": parse_views("clean"), "batch_size": 4, "jit": False}
    (together,) = dataset_predictions.predict_held_out(members, folds=[0, 1], keep_views=True, **how)
    assert together.rows.tolist() == list(range(16))
    for fold, run in enumerate(members[0].runs):
        (alone,) = dataset_predictions.predict_runs([run], split="train", folds=[fold], **how)
        own = np.isin(together.rows, alone.rows)
        np.testing.assert_allclose(together.probabilities[own], alone.probabilities, atol=1e-6)
    np.testing.assert_allclose(softmax(together.view_logits[0]), together.probabilities, atol=1e-6)
