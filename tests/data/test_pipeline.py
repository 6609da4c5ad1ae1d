import numpy as np
import pytest
import tensorflow as tf

from carclf.data import batches, pipeline, view_batches
from carclf.data.photos import read_photos
from carclf.framing import Framing
from carclf.recipe import parse_recipe, parse_views
from tests.memory import peak_memory

FRAMING = Framing(image_size=(32, 32))
NOTEBOOK = parse_recipe("notebook")


def training(dataset, **changes):
    arguments = {
        "manifest": dataset, "folds": [0, 1, 2], "framing": FRAMING, "recipe": NOTEBOOK, "batch_size": 5, "epochs": 2,
        "seed": 7,
    }  # fmt: skip
    return list(pipeline.training_batches(**(arguments | changes)).as_numpy_iterator())


def canvases(batches) -> list[bytes]:
    """Returns the pixels of each photo, which identify it."""
    return [canvas.tobytes() for inputs, _, _ in batches for canvas in inputs["canvas"]]


def test_contracts_of_a_training_batch(dataset):
    inputs, target, weight = training(dataset, recipe=parse_recipe("notebook|mixup(0.4)|erase"), batch_size=4)[0]
    shapes = {name: (array.dtype.name, array.shape) for name, array in inputs.items()}
    assert shapes == {
        "canvas": ("uint8", (4, 64, 64, 3)),
        "extent": ("float32", (4, 2)),
        "geometry": ("float32", (4, 3, 3)),
        "colour": ("float32", (4, 3, 4)),
        "mix": ("float32", (4, 5)),
        "erase": ("float32", (4, 7)),
    }
    assert (target.dtype.name, target.shape, weight.tolist()) == ("float32", (4, 3), [1, 1, 1, 1])
    assert target.sum(axis=1) == pytest.approx(np.ones(4))


def test_photos_are_in_the_top_left_corner_with_zeros_elsewhere(dataset):
    inputs, _, _ = training(dataset)[0]
    for canvas, (height, width) in zip(inputs["canvas"], inputs["extent"].astype(int), strict=True):
        assert canvas[:height, :width].any(axis=-1).mean() > 0.99
        assert not canvas[height:].any()
        assert not canvas[:, width:].any()


def test_an_epoch_shows_no_photo_twice_and_drops_another_remainder_each_time(dataset):
    photos = canvases(training(dataset, epochs=6))
    epochs = [photos[20 * e : 20 * (e + 1)] for e in range(6)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) > 1
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_order_and_draws_are_a_function_of_the_seed(dataset):
    first, again, other = training(dataset), training(dataset), training(dataset, seed=8)
    tf.nest.map_structure(np.testing.assert_array_equal, first, again)
    assert canvases(first) != canvases(other)


@pytest.mark.parametrize("start_step", [1, 3, 4, 6])
def test_a_start_in_the_middle_continues_the_same_run(dataset, start_step):
    whole, rest = training(dataset), training(dataset, start_step=start_step)
    tf.nest.map_structure(np.testing.assert_array_equal, whole[start_step:], rest)


def test_draws_belong_to_the_photo_not_to_the_batch(dataset):
    def geometry_by_photo(batch_size):
        batches = training(dataset, batch_size=batch_size, epochs=1)
        return {
            canvas.tobytes(): matrix.tobytes()
            for inputs, _, _ in batches
            for canvas, matrix in zip(inputs["canvas"], inputs["geometry"], strict=True)
        }

    small, large = geometry_by_photo(4), geometry_by_photo(12)
    assert len(small) == len(large) == 24
    assert small == large


def test_the_rows_of_a_step_are_those_of_its_batch(dataset):
    """A photo's class is its row modulo 3, so the targets of a batch reveal that much about its rows."""
    batches = training(dataset, folds=[0, 2])
    for step, (_, target, _) in enumerate(batches):
        rows = pipeline.training_rows(
            manifest=dataset, folds=[0, 2], batch_size=5, seed=7, step=step, steps_per_epoch=3
        )
        assert [row % 3 for row in rows["train"]] == target.argmax(axis=1).tolist()
        assert len(set(rows["train"])) == 5
        assert not set(rows["train"]) & set(range(8, 16))
        assert rows["test"] == []


def test_draws_change_with_the_epoch(dataset):
    batches = training(dataset, batch_size=24, epochs=2)
    by_photo = [
        {c.tobytes(): g.tobytes() for c, g in zip(inputs["canvas"], inputs["geometry"], strict=True)}
        for inputs, _, _ in batches
    ]
    assert all(by_photo[0][photo] != by_photo[1][photo] for photo in by_photo[0])


def test_only_the_requested_folds_are_read(dataset):
    held_out = set(canvases(pipeline_validation(dataset, folds=[1], batch_size=8)))
    assert len(held_out) == 8
    assert not held_out & set(canvases(training(dataset, folds=[0, 2])))


def pipeline_validation(dataset, *, folds, batch_size=5):
    return list(
        pipeline.validation_batches(
            manifest=dataset, folds=folds, framing=FRAMING, batch_size=batch_size, recipe=parse_recipe("")
        ).as_numpy_iterator()
    )


def test_validation_is_complete_clean_and_padded(dataset):
    batches = pipeline_validation(dataset, folds=[1])
    weights = np.concatenate([weight for _, _, weight in batches])
    assert weights.tolist() == [1] * 8 + [0] * 2
    assert all(inputs["canvas"].shape == (5, 64, 64, 3) for inputs, _, _ in batches)
    geometry = np.concatenate([inputs["geometry"] for inputs, _, _ in batches])
    colour = np.concatenate([inputs["colour"] for inputs, _, _ in batches])
    np.testing.assert_array_equal(geometry, np.tile(np.eye(3), (10, 1, 1)))
    np.testing.assert_array_equal(colour, np.tile(np.eye(3, 4), (10, 1, 1)))
    labels = np.concatenate([target for _, target, _ in batches])[:8].argmax(axis=1)
    assert labels.tolist() == dataset.read_ids("train").query("fold == 1")["label"].tolist()


@pytest.mark.parametrize("batch_size", [1, 4, 5, 6, 11])
def test_every_photo_comes_once_with_all_its_views(dataset, batch_size):
    first = view_batches.ViewSet(parse_views("clean|flip|random(2)"), Framing((32, 32)), seed=3)
    second = view_batches.ViewSet(parse_views("clean"), Framing((16, 32), "crop"), seed=3)
    batches = list(
        view_batches.view_batches(
            manifest=dataset, split="test", batch_size=batch_size, view_sets=[first, second]
        ).as_numpy_iterator()
    )
    rows = np.stack([batch["row"] for batch in batches])
    assert rows.shape == (-(-5 // batch_size), batch_size)
    assert rows[rows >= 0].tolist() == [0, 1, 2, 3, 4]
    geometry, cropped = (draws["geometry"] for draws in batches[0]["draws"])
    assert geometry.shape == (batch_size, 4, 3, 3)
    np.testing.assert_array_equal(geometry[0, 0], np.eye(3))
    np.testing.assert_array_equal(geometry[0, 1], np.diag([-1.0, 1.0, 1.0]))
    assert not np.array_equal(geometry[0, 2], geometry[0, 3])
    assert cropped.shape == (batch_size, 1, 3, 3)
    np.testing.assert_allclose(cropped[0, 0], np.diag([1.0, 2 / 3, 1.0]), rtol=1e-6)  # a photo of 48 x 64 in 16 x 32


def test_class_weights_become_sample_weights(dataset):
    batches = training(dataset, class_weights=np.array([1.0, 2.0, 4.0]))
    for _, target, weight in batches:
        np.testing.assert_allclose(weight, target @ [1, 2, 4])


def test_targets():
    targets = batches.label_targets(np.array([2, -1]), class_count=4, label_smoothing=0.2)
    np.testing.assert_allclose(targets, [[0.05, 0.05, 0.85, 0.05], [0.25] * 4], rtol=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_targets_are_one_hot_rows_with_a_part_of_them_spread(label_smoothing):
    labels = np.array([6, 0, -1, 3], np.int32)
    smoothing = np.where(labels < 0, 1.0, label_smoothing)[:, None]
    expected = np.eye(7)[np.maximum(labels, 0)] * (1 - smoothing) + smoothing / 7
    targets = batches.label_targets(labels, class_count=7, label_smoothing=label_smoothing)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, expected.astype(np.float32))


def test_targets_of_many_classes_take_the_memory_of_the_batch():
    labels = np.array([0, 19_999, 777, -1])
    with peak_memory() as peak:
        targets = batches.label_targets(labels, class_count=20_000)
    assert peak.bytes < 2 * targets.nbytes
    assert targets[:3].argmax(axis=1).tolist() == labels[:3].tolist()
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-5)
    assert np.unique(targets[3]).tolist() == [np.float32(1 / 20_000)]


@pytest.mark.parametrize(
    ("batch_size", "classes", "steps"), [(32, 10, 32), (31, 10, 1), (32, 20_000, 6), (512, 20_000, 1)]
)
def test_fewer_batches_of_many_classes_are_drawn_at_once(batch_size, classes, steps):
    assert pipeline._block_steps(batch_size, classes) == steps


def test_stored_photos_are_found_by_row(dataset):
    found = read_photos(dataset, split="train", folds=[1], rows=[9, 14])
    assert sorted(found) == [9, 14]
    assert all(encoded.startswith(b"\xff\xd8") for encoded in found.values())


def test_batches_equal_those_drawn_one_by_one(dataset, monkeypatch):
    def batches(drawn_at_once):
        monkeypatch.setattr(pipeline, "DRAWN_BATCHES", drawn_at_once)
        return training(dataset, batch_size=4, recipe=parse_recipe("notebook|mixup(0.4)|erase"))

    for alone, together in zip(batches(1), batches(3), strict=True):
        for array, same in zip(tf.nest.flatten(alone), tf.nest.flatten(together), strict=True):
            np.testing.assert_array_equal(array, same)
