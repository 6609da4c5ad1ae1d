"""Stored features equal the network's output for the photos of each epoch."""

import shutil

import keras
import numpy as np
import pytest

from carclf.data.features import feature_batches, ordered_feature_batches
from carclf.data.pipeline import training_batches, validation_batches
from carclf.errors import UserError
from carclf.framing import Framing, Rendering
from carclf.model.classifier import build_classifier
from carclf.model.photo_classifier import build_photo_classifier
from carclf.recipe import parse_recipe
from carclf.training import feature_files
from carclf.training import features as kept_features
from carclf.training.features import build_head_model, check_room_of_head, compute_features

FRAMING = Framing(image_size=(32, 32))
RECIPE = parse_recipe("flip|shift(0.1)|brightness(0.5,1.5)")
RENDERING = Rendering(method="separable")  # traces in a tenth of the time of gathers


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(32, 32))


def compute(classifier, dataset, directory, *, views=2, **changes):
    named = {f"train-{draw}": draw for draw in range(views)}
    train, val = dataset.shards_of("train", folds=[0, 2]), dataset.shards_of("train", folds=[1])
    arguments = {
        "manifest": dataset, "train_shards": train, "val_shards": val, "framing": FRAMING,
        "rendering": RENDERING, "recipe": RECIPE, "views": named, "seed": 7, "batch_size": 5,
        "jit": False, "directory": directory,
    }  # fmt: skip
    return compute_features(classifier, **(arguments | changes))


@pytest.fixture(scope="module")
def computed(classifier, dataset, tmp_path_factory):
    """Returns the features of two draws of the training photos, and of the validation photos."""
    return compute(classifier, dataset, tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def attentive() -> keras.Model:
    """A classifier whose pooling learns, so that feature maps are kept."""
    keras.utils.set_random_seed(0)
    made = build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(32, 32), head="attention")
    pool = made.get_layer("head_pool")
    pool.kernel.assign(np.random.default_rng(0).normal(size=pool.kernel.shape))
    return made


def photo_classifier(classifier) -> keras.Model:
    return build_photo_classifier(classifier, framing=FRAMING, rendering=RENDERING)


def test_the_head_on_features_says_what_the_classifier_says_of_the_photos(classifier, dataset, computed):
    training, validation = computed
    head, whole = build_head_model(classifier), photo_classifier(classifier)
    shards = dataset.shards_of("train", folds=[0, 2])
    stored = feature_batches(training, manifest=dataset, shards=shards, batch_size=4, epochs=2, seed=7)
    drawn = training_batches(
        manifest=dataset, folds=[0, 2], framing=FRAMING, recipe=RECIPE, batch_size=4, epochs=2, seed=7
    )
    for (features, target, weight), (inputs, wanted, wanted_weight) in zip(stored, drawn, strict=True):
        np.testing.assert_allclose(head(features), whole(inputs), atol=1e-5)
        np.testing.assert_array_equal(target, wanted)
        np.testing.assert_array_equal(weight, wanted_weight)
    ordered = ordered_feature_batches(
        validation, manifest=dataset, shards=dataset.shards_of("train", folds=[1]), batch_size=5
    )
    clean = validation_batches(manifest=dataset, folds=[1], framing=FRAMING, batch_size=5, recipe=parse_recipe(""))
    for (features, target, weight), (inputs, wanted, wanted_weight) in zip(ordered, clean, strict=True):
        real = np.asarray(weight) > 0
        np.testing.assert_array_equal(weight, wanted_weight)
        np.testing.assert_allclose(np.asarray(head(features))[real], np.asarray(whole(inputs))[real], atol=1e-5)
        np.testing.assert_array_equal(np.asarray(target)[real], np.asarray(wanted)[real])


def test_a_pooling_that_learns_has_whole_feature_maps(attentive, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_features, "PART_BYTES", 1)  # a batch at a time
    (training,), validation = compute(attentive, dataset, tmp_path, views=1)
    assert (training.dtype, training.shape, validation.shape) == (np.float16, (16, 2, 2, 192), (8, 2, 2, 192))
    head, whole = build_head_model(attentive), photo_classifier(attentive)
    ordered = ordered_feature_batches(
        validation, manifest=dataset, shards=dataset.shards_of("train", folds=[1]), batch_size=5
    )
    clean = validation_batches(manifest=dataset, folds=[1], framing=FRAMING, batch_size=5, recipe=parse_recipe(""))
    for (kept, _, weight), (inputs, *_) in zip(ordered, clean, strict=True):
        real = np.asarray(weight) > 0
        np.testing.assert_allclose(np.asarray(head(kept))[real], np.asarray(whole(inputs))[real], atol=2e-3)


def test_a_disk_without_room_is_told_before_the_first_photo(attentive, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 20_000))
    photos = {"train-undrawn": 16, "validation": 8}
    with pytest.raises(UserError, match=r"features of 24 photos need 3.69e-05 GB and .* has 2e-05 GB free: make room"):
        check_room_of_head(attentive, photos=photos, directory=tmp_path / "run" / "features")
    (tmp_path / "train-undrawn.npy").touch()
    check_room_of_head(attentive, photos=photos, directory=tmp_path)


def test_a_file_claims_no_room_before_its_features_are_computed(classifier, dataset, tmp_path, monkeypatch):
    computed, claimed = [0], []

    def predict(model, data, **_):
        claimed.append([path.stat().st_size for path in tmp_path.glob(".*.npy")])
        found = np.zeros((sum(len(batch["canvas"]) for batch in data), *model.output_shape[1:]), np.float32)
        computed.append(found.nbytes)
        return found

    monkeypatch.setattr(keras.Model, "predict", predict)
    monkeypatch.setattr(kept_features, "PART_BYTES", 1)  # a batch at a time
    compute(classifier, dataset, tmp_path, views=1)
    header = 128
    for (size,), done in zip(claimed[:4], np.cumsum(computed), strict=False):  # of the training photos
        assert size <= header + done


def test_values_that_16_bits_do_not_hold_are_refused_and_nothing_is_kept(attentive, dataset, tmp_path, monkeypatch):
    def huge(model, data, **_):
        return np.full((sum(len(batch["canvas"]) for batch in data), *model.output_shape[1:]), 1e6, np.float32)

    monkeypatch.setattr(keras.Model, "predict", huge)
    with pytest.raises(
        UserError,
        match=r"^The backbone.s feature maps .* --feature_views=0, in another --run, or here with --overwrite\.$",
    ):
        compute(attentive, dataset, tmp_path, views=1)
    assert not list(tmp_path.glob("*.npy"))


def test_draws_come_round(dataset, computed):
    training, _ = computed
    assert not np.array_equal(training[0], training[1])
    shards = dataset.shards_of("train", folds=[0, 2])
    batches = feature_batches(training, manifest=dataset, shards=shards, batch_size=16, epochs=3, seed=7)
    epochs = [np.sort(np.asarray(features), axis=0) for features, _, _ in batches]
    np.testing.assert_array_equal(epochs[0], epochs[2])
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_start_in_the_middle_continues_the_same_run(dataset, computed):
    training, _ = computed
    shards = dataset.shards_of("train", folds=[0, 2])
    arguments = {"manifest": dataset, "shards": shards, "batch_size": 4, "epochs": 2, "seed": 7}
    whole = list(feature_batches(training, **arguments).as_numpy_iterator())
    rest = list(feature_batches(training, **arguments, start_step=5).as_numpy_iterator())
    assert len(rest) == 3
    for one, other in zip(whole[5:], rest, strict=True):
        for array, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, same)


def test_what_is_there_is_not_computed_again(classifier, dataset, tmp_path, capsys):
    first, validation = compute(classifier, dataset, tmp_path, views=1)
    assert capsys.readouterr().out.count("the backbone looks at") == 2
    again, validation_again = compute(classifier, dataset, tmp_path, views=2)
    assert capsys.readouterr().out.count("the backbone looks at") == 1  # the second draw
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(validation, validation_again)
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["train-0.npy", "train-1.npy", "validation.npy"]


def test_a_damaged_file_of_features_is_computed_again(classifier, dataset, tmp_path, capsys):
    first, _ = compute(classifier, dataset, tmp_path, views=2)
    whole = [np.array(view) for view in first]
    path = min(tmp_path.rglob("*.npy"))
    content = bytearray(path.read_bytes())
    content[-3] ^= 64
    path.unlink()  # the arrays are mapped
    path.write_bytes(content)
    again, _ = compute(classifier, dataset, tmp_path, views=2)
    for view, expected in zip(again, whole, strict=True):
        np.testing.assert_array_equal(view, expected)
    said = f"Note: {path} was changed after it was written (its SHA-256 differs): it is made again."
    assert said in capsys.readouterr().err.splitlines()


def test_training_the_head_trains_the_classifier(classifier, dataset, computed):
    head = build_head_model(classifier)
    head.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    training, _ = computed
    before = classifier.get_layer("logits").kernel.numpy().copy()
    shards = dataset.shards_of("train", folds=[0, 2])
    data = feature_batches(training, manifest=dataset, shards=shards, batch_size=4, epochs=1, seed=0)
    head.fit(data, epochs=1, verbose=0, shuffle=False)
    assert not np.array_equal(before, classifier.get_layer("logits").kernel.numpy())
