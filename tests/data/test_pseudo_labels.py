"""Test photos with pseudo-labels are trained on with their confidence, and change nothing else."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from carclf import hashed_json
from carclf.data import lists, loaded_batches, loader, pipeline, view_batches
from carclf.data.batches import HostSlice
from carclf.data.index import photo_weights, read_index, read_photo, select
from carclf.data.manifest import PSEUDO, ListFile, load_manifest
from carclf.data.pseudo_labels import (
    Provenance,
    Teacher,
    apply_pseudo_labels,
    provenance_file,
    read_pseudo_labels,
    write_pseudo_labels,
)
from carclf.errors import DamagedShardError, UserError
from carclf.framing import Framing
from carclf.recipe import parse_recipe, parse_views
from carclf.train import label_notes
from carclf.train_options import TrainOptions

FRAMING = Framing(image_size=(32, 32))
SURE = {"test001.jpg": ("class 2", 0.75), "test004.jpg": ("class 0", 1.0), "test003.jpg": ("class 1", 0.5)}


def provenance(dataset, **changes) -> Provenance:
    teacher = Teacher("runs/a", "0" * 64, dataset.fingerprint, 0)
    whole = Provenance("", dataset.fingerprint, (teacher,), "clean", confidence=0.5, temperature=1.5)
    return dataclasses.replace(whole, **changes)


def written(path, dataset, sure=SURE, **changes):
    classes, confidences = zip(*sure.values(), strict=True)
    write_pseudo_labels(
        path, ids=list(sure), classes=classes, confidences=confidences, provenance=provenance(dataset, **changes)
    )
    return path


@pytest.fixture(scope="module")
def labelled(dataset, tmp_path_factory):
    return apply_pseudo_labels(
        str(written(tmp_path_factory.mktemp("pseudo") / "pseudo.csv", dataset)), dataset, val_fold=0
    )


def training(manifest, **changes):
    arguments = {
        "manifest": manifest, "folds": [1, 2], "framing": FRAMING, "recipe": parse_recipe("flip"), "batch_size": 4,
        "epochs": 3, "seed": 7,
    }  # fmt: skip
    return list(pipeline.training_batches(**(arguments | changes)).as_numpy_iterator())


def test_the_photos_join_those_to_train_on_with_label_and_confidence(dataset, labelled):
    shards = pipeline.training_shards(labelled, [1, 2])
    assert sum(shard.count for shard in shards) == 16 + 3
    index = read_index(labelled)
    entries = index[select(labelled, index, shards)]
    added = entries[16:]
    assert dict(zip(added["row"].tolist(), added["label"].tolist(), strict=True)) == {24 + 1: 2, 24 + 3: 1, 24 + 4: 0}
    assert photo_weights(labelled, entries).tolist() == [1.0] * 16 + [0.75, 0.5, 1.0]
    assert len(set(entries["row"].tolist())) == 19  # draws belong to a row
    assert pipeline.photos_per_class(labelled, [1, 2]).sum() == 19


def test_the_rows_of_a_step_are_those_of_the_lists_that_the_photos_stand_in(labelled):
    how = {"manifest": labelled, "folds": [1, 2], "batch_size": 19, "seed": 7, "steps_per_epoch": 1}
    rows = pipeline.training_rows(**how, step=1)
    assert (sorted(rows["train"]), sorted(rows["test"])) == (list(range(8, 24)), [1, 3, 4])


def test_a_damaged_photo_is_named_by_its_row_among_the_test_photos(labelled, monkeypatch):
    shards = [shard for shard in labelled.shards if shard.split == PSEUDO]
    entries = read_index(labelled)[select(labelled, read_index(labelled), shards)]
    with pytest.raises(DamagedShardError, match=r"test-0.tfrecord is damaged at row 1 \(its checksum differs\)"):
        read_photo(labelled, entries[0], read=lambda path, start, size: bytes(size))
    loaded, _ = loaded_batches.open_loader(labelled, shards, framing=FRAMING, cache=None)

    def broken(*_, **__):
        raise ValueError("cut")

    monkeypatch.setattr(loader, "decode", broken)
    with pytest.raises(DamagedShardError, match=r"^The photo at row 3 of .*test-0.tfrecord cannot be decoded \(cut\)"):
        loaded.load(np.array([1]))


def test_nothing_else_changes(dataset, labelled):
    def validation(manifest):
        batches = pipeline.validation_batches(
            manifest=manifest, folds=[0], framing=FRAMING, batch_size=5, recipe=parse_recipe("")
        )
        return list(batches.as_numpy_iterator())

    def tests(manifest):
        views = view_batches.ViewSet(parse_views("clean|flip"), FRAMING, seed=0)
        batches = view_batches.view_batches(manifest=manifest, split="test", batch_size=2, view_sets=[views])
        return list(batches.as_numpy_iterator())

    tf.nest.map_structure(np.testing.assert_array_equal, validation(labelled), validation(dataset))
    tf.nest.map_structure(np.testing.assert_array_equal, tests(labelled), tests(dataset))
    assert labelled.read_ids("test").equals(dataset.read_ids("test"))
    assert apply_pseudo_labels("", dataset, val_fold=0) is dataset
    assert dataset.shards_of(PSEUDO) == ()


def test_a_batch_has_their_pixels_labels_and_weights(dataset, labelled):
    numbers = {f"test{row:03d}.jpg": row for row in range(5)}
    index = read_index(labelled)
    loader, entries = loaded_batches.open_loader(labelled, labelled.shards_of("test"), framing=FRAMING, cache=None)
    canvases, _ = loader.load(np.arange(5))
    known = {canvases[entries["row"].tolist().index(row)].tobytes(): SURE.get(name) for name, row in numbers.items()}
    seen = {}
    class_weights = np.array([1.0, 2.0, 4.0], np.float32)
    for inputs, target, weight in training(labelled, batch_size=19, epochs=1, class_weights=class_weights):
        for canvas, own, counted in zip(inputs["canvas"], target, weight, strict=True):
            expected = known.get(canvas.tobytes())
            label = int(own.argmax())
            assert counted == pytest.approx(class_weights[label] * (expected[1] if expected else 1.0))
            if expected:
                seen[expected] = label
    assert seen == {("class 2", 0.75): 2, ("class 0", 1.0): 0, ("class 1", 0.5): 1}
    assert len(index) == 24 + 5 + 3


def test_a_mixed_photo_counts_by_the_confidence_of_both(labelled):
    (inputs, target, weight), *_ = training(labelled, recipe=parse_recipe("mixup(0.4)"), batch_size=18, epochs=1)
    (_, plain, alone), *_ = training(labelled, recipe=parse_recipe(""), batch_size=18, epochs=1)
    share, pairs = inputs["mix"][:, 0], np.arange(18) ^ 1
    assert (alone < 1).any()
    np.testing.assert_allclose(target, share[:, None] * plain + (1 - share)[:, None] * plain[pairs], rtol=1e-5)
    np.testing.assert_allclose(weight, share * alone + (1 - share) * alone[pairs], rtol=1e-5)


@pytest.mark.parametrize("start_step", [1, 4, 7])
def test_a_start_in_the_middle_continues_the_same_run(labelled, start_step):
    whole, rest = training(labelled), training(labelled, start_step=start_step)
    assert len(whole) == 12
    tf.nest.map_structure(np.testing.assert_array_equal, whole[start_step:], rest)


def test_the_hosts_together_read_what_one_reads(labelled):
    whole = training(labelled)
    parts = [training(labelled, host_slice=HostSlice(host, 2)) for host in range(2)]
    for both, *halves in zip(whole, *parts, strict=True):
        joined = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *halves)
        tf.nest.map_structure(np.testing.assert_array_equal, joined, both)


def test_they_are_identified_by_both_files(dataset, tmp_path):
    first = read_pseudo_labels(written(tmp_path / "a.csv", dataset), dataset)
    assert read_pseudo_labels(written(tmp_path / "b.csv", dataset), dataset).sha256 == first.sha256
    other = read_pseudo_labels(written(tmp_path / "c.csv", dataset, temperature=2.0), dataset)
    more = read_pseudo_labels(
        written(tmp_path / "d.csv", dataset, sure={**SURE, "test000.jpg": ("class 1", 0.9)}), dataset
    )
    assert len({first.sha256, other.sha256, more.sha256}) == 3
    assert first.teacher_folds == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_fingerprint": "f" * 64}, r"are of the data set ffffffffffff, but .* on this data set"),
        ({"teachers": (Teacher("runs/b", "0" * 64, "e" * 64, 0),)},
         r"The run runs/b, .* was trained on the data set eeeeeeeeeeee and may have seen the photos' own labels"),
        ({"sure": {"train001.jpg": ("class 1", 1.0)}}, r"line 2: the data set has no test photo 'train001.jpg'"),
        ({"sure": {**SURE, "test000.jpg": ("class 9", 1.0)}}, r"line 5: there is no class 'class 9'"),
        ({"sure": {"test000.jpg": ("class 1", 0.0)}}, r"line 2: '0.000000' is not a confidence above 0"),
        ({"sure": {"test000.jpg": ("class 1", 1.5)}}, r"line 2: '1.500000' is not a confidence above 0"),
    ],
    ids=["data", "teacher", "photo", "class", "zero", "above"],
)  # fmt: skip
def test_labels_that_do_not_belong_here_are_one_sentence(dataset, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        apply_pseudo_labels(str(written(tmp_path / "pseudo.csv", dataset, **changes)), dataset, val_fold=0)


def test_a_photo_named_twice_is_one_sentence(dataset, tmp_path):
    path = tmp_path / "pseudo.csv"
    write_pseudo_labels(
        path,
        ids=["test001.jpg"] * 2,
        classes=["class 1", "class 2"],
        confidences=[1, 1],
        provenance=provenance(dataset),
    )
    with pytest.raises(UserError, match=r"line 3: the photo 'test001.jpg' has an earlier line"):
        apply_pseudo_labels(str(path), dataset, val_fold=0)


def test_damage_is_one_sentence(dataset, tmp_path):
    path = written(tmp_path / "pseudo.csv", dataset)
    content, beside = path.read_bytes(), provenance_file(path).read_bytes()
    path.write_bytes(content.replace(b"class 2", b"class 1"))
    with pytest.raises(UserError, match=r"pseudo.csv were changed after carclf.predict wrote them: write them again"):
        apply_pseudo_labels(str(path), dataset, val_fold=0)
    assert apply_pseudo_labels(str(written(tmp_path / "pseudo.csv", dataset)), dataset, val_fold=0).pseudo_labels
    path.write_bytes(content)
    for changed in (beside.replace(b"1.5", b"2.5"), beside[:-9], b"{}", beside.replace(b'"views"', b'"vistas"')):
        provenance_file(path).write_bytes(changed)
        with pytest.raises(UserError, match=r"pseudo.csv.json is damaged \(.*\): copy it again, or write them again"):
            apply_pseudo_labels(str(path), dataset, val_fold=0)
    provenance_file(path).unlink()
    with pytest.raises(
        UserError, match=r"pseudo.csv.json of the pseudo-labels cannot be read .*: keep the CSV and its"
    ):
        apply_pseudo_labels(str(path), dataset, val_fold=0)
    empty = b"id,class,confidence\n"
    path.write_bytes(empty)
    whole = dataclasses.asdict(provenance(dataset, csv_sha256=hashlib.sha256(empty).hexdigest()))
    hashed_json.write(provenance_file(path), whole)
    with pytest.raises(UserError, match=r"name no photo: .* and a lower --pseudo_confidence"):
        apply_pseudo_labels(str(path), load_manifest(dataset.directory), val_fold=0)


@pytest.fixture
def with_copies(dataset, tmp_path):
    """The data set in which test001.jpg is a copy of a photo of fold 0, and test004.jpg shows the scene of another."""
    rows = [
        (0, "near", "train", "train002.jpg", "class 2", 0, "train/test leak"),
        (0, "near", "test", "test001.jpg", "", "", "train/test leak"),
        (1, "scene", "train", "train003.jpg", "class 0", 0, ""),
        (1, "scene", "test", "test004.jpg", "", "", ""),
        (2, "exact", "train", "train010.jpg", "class 1", 1, "train/test leak"),
        (2, "exact", "test", "test003.jpg", "", "", "train/test leak"),
    ]
    folder = shutil.copytree(dataset.directory, tmp_path / "copied")
    content = lists.to_csv(lists.DUPLICATE_COLUMNS, rows)
    (folder / "duplicates.csv").write_bytes(content)
    entry = ListFile("duplicates.csv", len(rows), hashlib.sha256(content).hexdigest())
    return dataclasses.replace(load_manifest(str(folder)), lists={lists.DUPLICATES: entry})


@pytest.mark.parametrize(
    ("val_fold", "kept"), [(0, ["test003.jpg", "test004.jpg"]), (1, ["test001.jpg", "test004.jpg"]), (2, list(SURE))]
)
def test_copies_of_held_out_photos_are_not_trained_on(with_copies, tmp_path, val_fold, kept):
    path = written(tmp_path / "pseudo.csv", with_copies)
    labelled = apply_pseudo_labels(str(path), with_copies, val_fold=val_fold)
    names = with_copies.read_ids("test")["id"]
    expected = {names.tolist().index(name): SURE[name] for name in kept}
    pseudo = labelled.pseudo_labels
    assert pseudo.labels == {row: int(name[-1]) for row, (name, _) in expected.items()}
    assert pseudo.confidences == {row: confidence for row, (_, confidence) in expected.items()}
    assert pseudo.copies == 3 - len(kept)
    assert labelled.photos(PSEUDO) == len(kept)
    options = TrainOptions(data=with_copies.directory, pseudo_labels=str(path), val_fold=val_fold)
    said = f"Note: 1 more is left out, a copy of held-out photos (fold {val_fold})."
    assert (said in label_notes(options, labelled)) == (len(kept) < 3)


def test_pseudo_labels_of_copies_alone_are_refused(with_copies, tmp_path):
    path = written(tmp_path / "pseudo.csv", with_copies, sure={"test001.jpg": ("class 2", 0.75)})
    with pytest.raises(UserError, match=r"pseudo.csv is a copy of a photo that is held out \(fold 0\): train without"):
        apply_pseudo_labels(str(path), with_copies, val_fold=0)
