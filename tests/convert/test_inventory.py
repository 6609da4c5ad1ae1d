"""Every layout is recognised, named, and gives the same shards if photos and labels are the same."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from carclf.convert.inventory import take_inventory
from carclf.convert.options import ConvertOptions
from carclf.errors import UserError
from tests.convert.inputs import (
    Files,
    class_folders,
    competition,
    converted,
    csv_of,
    drawn,
    ids_of,
    reasons,
    shard_hashes,
    tree,
    write_files,
    write_zip,
    zipped,
)

COMPETITION = competition()
CSV_FILES = {name: content for name, content in COMPETITION.items() if name.endswith(".csv")}
TRAIN = {name: content for name, content in COMPETITION.items() if name.startswith("train/")}
TEST = {name: content for name, content in COMPETITION.items() if name.startswith("test_upload/")}

Written = tuple[Path, dict[str, str]]  # the input, and the options that it needs


def below(files: Files, folder: str) -> Files:
    return {f"{folder}/{name}": content for name, content in files.items()}


def without_top(files: Files, levels: int = 1) -> Files:
    return {name.split("/", levels)[levels]: content for name, content in files.items()}


def only_names(files: Files) -> Files:
    return {name.rpartition("/")[2]: content for name, content in files.items()}


def listed(folder: Path, files: Files) -> Written:
    """Writes the photos to one folder and the CSV files elsewhere."""
    lists = write_files(folder / "lists", CSV_FILES)
    options = {"labels": str(lists / "train.csv"), "test_csv": str(lists / "sample-submission.csv")}
    return write_files(folder / "photos", files), options


AS_COMPETITION: dict[str, tuple[Callable[[Path], Written], str]] = {
    "unpacked": (lambda at: (write_files(at / "cars", COMPETITION), {}), "competition folder"),
    "one zip": (lambda at: (write_zip(at / "cars.zip", COMPETITION), {}), "competition zip"),
    "deflated zip": (lambda at: (write_zip(at / "cars.zip", COMPETITION, deflated=True), {}), "competition zip"),
    "zip of zips": (
        lambda at: (write_zip(at / "c.zip", CSV_FILES | {"train.zip": zipped(TRAIN), "test.zip": zipped(TEST)}), {}),
        "competition zip with nested zips",
    ),
    "zip of zips, deflated": (
        lambda at: (
            write_zip(at / "c.zip", CSV_FILES | {"train.zip": zipped(TRAIN), "test.zip": zipped(TEST)}, deflated=True),
            {},
        ),
        "competition zip with nested zips",
    ),
    "zip of zips without their own folders": (
        lambda at: (
            write_zip(
                at / "cars.zip",
                CSV_FILES | {"train.zip": zipped(without_top(TRAIN)), "test.zip": zipped(without_top(TEST))},
            ),
            {},
        ),
        "competition zip with nested zips",
    ),
    "folder of zips": (
        lambda at: (write_files(at / "in", CSV_FILES | {"train.zip": zipped(TRAIN), "test.zip": zipped(TEST)}), {}),
        "competition folder with nested zips",
    ),
    "wrapped in a folder": (lambda at: (write_files(at / "in", below(COMPETITION, "sf-dl")), {}), "competition folder"),
    "zip wrapped in two folders": (
        lambda at: (write_zip(at / "cars.zip", below(COMPETITION, "input/sf-dl")), {}),
        "competition zip",
    ),
    "no class folders": (
        lambda at: (write_files(at / "cars", CSV_FILES | below(only_names(TRAIN), "train") | TEST), {}),
        "competition folder",
    ),
    "photos and lists apart": (
        lambda at: listed(at, below(only_names(TRAIN), "train") | TEST),
        "folder of photos with train.csv",
    ),
    "all photos in one folder": (
        lambda at: listed(at, only_names(TRAIN | TEST)),
        "folder of photos with train.csv",
    ),
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Returns the data set of the unpacked competition."""
    folder = tmp_path_factory.mktemp("reference")
    return converted(write_files(folder / "cars", COMPETITION), folder / "out")


@pytest.mark.parametrize("name", AS_COMPETITION)
def test_the_competition_is_the_same_data_set_in_every_layout(tmp_path, capsys, reference, name):
    write, layout = AS_COMPETITION[name]
    source, options = write(tmp_path)
    manifest = converted(source, tmp_path / "out", **options)
    assert f"recognised: {layout}, 12 training and 4 test photos in 3 classes\n" in capsys.readouterr().out
    assert manifest.source["layout"] == layout
    assert shard_hashes(manifest) == shard_hashes(reference)
    assert manifest.fingerprint == reference.fingerprint
    assert ids_of(manifest) == ids_of(reference)
    assert ids_of(manifest, "test") == ids_of(reference, "test")


def test_what_is_mounted_read_only_is_left_as_it_was(tmp_path, reference):
    files = CSV_FILES | {"train.zip": zipped(TRAIN, deflated=True), "test.zip": zipped(TEST)}
    folder = write_files(tmp_path / "input", files)
    before, changed = tree(folder), folder.stat().st_mtime_ns
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        manifest = converted(folder, tmp_path / "out")
    finally:
        folder.chmod(0o755)
    assert (tree(folder), folder.stat().st_mtime_ns) == (before, changed)
    assert shard_hashes(manifest) == shard_hashes(reference)


AS_CLASSES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "folder": (lambda at: write_files(at / "cars", class_folders(9)), "folder of class folders"),
    "zip": (lambda at: write_zip(at / "cars.zip", class_folders(9)), "zip of class folders"),
    "wrapped": (lambda at: write_files(at / "in", class_folders(9, root="my cars/")), "folder of class folders"),
    "zip, wrapped": (lambda at: write_zip(at / "c.zip", class_folders(9, root="my cars/")), "zip of class folders"),
    "folders in classes": (
        lambda at: write_files(at / "cars", {name.replace("/", "/new/"): c for name, c in class_folders(9).items()}),
        "folder of class folders",
    ),
    "train only": (
        lambda at: write_files(at / "cars", class_folders(9, root="train/")),
        "train and test class folders in a folder",
    ),
}


@pytest.mark.parametrize("name", AS_CLASSES)
def test_class_folders_are_the_same_data_set_in_every_layout(tmp_path, name):
    write, layout = AS_CLASSES[name]
    manifest = converted(write(tmp_path), tmp_path / "out")
    plain = converted(write_files(tmp_path / "plain", class_folders(9)), tmp_path / "plain out")
    assert manifest.source["layout"] == layout
    assert shard_hashes(manifest) == shard_hashes(plain)
    assert ids_of(manifest) == {f"{number}.jpg": str(number % 3) for number in range(9)}
    assert manifest.photos("test") == 0


@pytest.mark.parametrize(
    ("train", "validation", "test"), [("train", "val", "test"), ("Training", "validation", "testing")]
)
def test_train_validation_and_test_folders(tmp_path, capsys, train, validation, test):
    files = class_folders(6, root=f"{train}/") | class_folders(3, first=6, root=f"{validation}/")
    files |= class_folders(3, first=9, root=f"{test}/")
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert "train and test class folders in a folder, 9 training and 3 test photos in 3" in capsys.readouterr().out
    assert ids_of(manifest) == {f"{number}.jpg": str(number % 3) for number in range(9)}
    assert sorted(ids_of(manifest, "test")) == ["10.jpg", "11.jpg", "9.jpg"]
    assert set(manifest.read_ids("test")["label"]) == {-1}


def test_photos_of_one_name_in_several_classes_are_told_apart_by_their_folder(tmp_path):
    files = {"a/1.jpg": drawn(1), "b/1.jpg": drawn(2), "b/2.jpg": drawn(3)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert ids_of(manifest) == {"a/1.jpg": "a", "b/1.jpg": "b", "2.jpg": "b"}


def test_photos_of_one_name_in_train_and_validation_are_told_apart(tmp_path):
    files = {"train/a/1.jpg": drawn(1), "val/a/1.jpg": drawn(2), "train/b/1.jpg": drawn(3)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert ids_of(manifest) == {"train/a/1.jpg": "a", "val/a/1.jpg": "a", "b/1.jpg": "b"}


def test_the_same_id_may_be_a_training_and_a_test_photo(tmp_path):
    files = {"train/a/1.jpg": drawn(1), "train/b/2.jpg": drawn(3), "test/1.jpg": drawn(2)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert (ids_of(manifest), ids_of(manifest, "test")) == ({"1.jpg": "a", "2.jpg": "b"}, {"1.jpg": ""})


def test_loose_photos_with_a_list_beside_them(tmp_path):
    files = {f"{number}.jpg": drawn(number) for number in range(4)}
    files["train.csv"] = csv_of((f"{number}.jpg", number % 2) for number in range(4))
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert manifest.source["layout"] == "folder of photos with train.csv"
    assert ids_of(manifest) == {f"{number}.jpg": str(number % 2) for number in range(4)}


def test_an_archive_beside_its_own_unpacked_folder_is_read_once(tmp_path, capsys, reference):
    files = COMPETITION | {"train.zip": zipped(TRAIN), "test.zip": zipped(TEST)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    said = capsys.readouterr().err
    assert "train.zip was ignored: train/ is the unpacked copy next to it." in said
    assert "test.zip was ignored: test_upload/ is the unpacked copy next to it." in said
    assert shard_hashes(manifest) == shard_hashes(reference)


def test_photos_in_no_class_folder_are_counted_and_named(tmp_path, capsys):
    files = class_folders(6) | {f"loose{number}.jpg": drawn(10 + number) for number in range(6)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert len(ids_of(manifest)) == 6
    assert (
        "6 photos lie in no class folder, left out: loose0.jpg, loose1.jpg, loose2.jpg, loose3.jpg, "
        "loose4.jpg, …" in capsys.readouterr().err
    )


def test_a_test_photo_that_the_sample_names_and_nobody_has_is_rejected(tmp_path):
    files = {name: content for name, content in COMPETITION.items() if name != "test_upload/1001.jpg"}
    folder = write_files(tmp_path / "cars", files)
    with pytest.raises(UserError, match=r"1001\.jpg: named in sample-submission\.csv, but there is no such photo"):
        converted(folder, tmp_path / "out")
    manifest = converted(folder, tmp_path / "out", on_bad="skip")
    assert list(reasons(tmp_path / "out")) == ["1001.jpg"]
    assert manifest.source["counts"]["test"] == {"read": 4, "stored": 3, "rejected": 1}


def test_a_test_photo_that_the_sample_does_not_name_is_left_out_and_named(tmp_path, capsys, reference):
    folder = write_files(tmp_path / "cars", COMPETITION | {"test_upload/2000.jpg": drawn(2000)})
    manifest = converted(folder, tmp_path / "out")
    assert "1 photo is not in sample-submission.csv, left out: test_upload/2000.jpg" in capsys.readouterr().err
    assert shard_hashes(manifest) == shard_hashes(reference)


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        ({}, {}, "was read as folder of class folders and has no training photos"),
        (
            {"a.txt": b"x"},
            {},
            r"has no training photos; 1 file is not a photo, left out: a\.txt: give class folders",
        ),
        (
            {"a.jpg": drawn(1)},
            {},
            r"no training photos; 1 photo lies in no class folder, left out: a\.jpg: give class",
        ),
        ({"train/1.jpg": drawn(1)}, {}, r"lie in no class folders and no train\.csv is beside it: give --labels=CSV"),
        (
            class_folders(3)
            | {f"{name}.csv": csv_of((f"{n}.jpg", f"{n} {name}") for n in range(3)) for name in ("train", "labels")},
            {},
            r"holds labels\.csv, train\.csv side by side, .* say which one counts with --labels=CSV",
        ),
        ({"0/1.jpg": drawn(1)}, {"labels": "nowhere.csv"}, r"There is no file --labels=nowhere\.csv"),
    ],
    ids=["nothing", "no photo", "loose photo", "train without classes", "two lists", "no list"],
)
def test_an_input_that_is_not_understood_is_one_sentence(tmp_path, files, options, said):
    with pytest.raises(UserError, match=said):
        converted(write_files(tmp_path / "cars", files), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_input_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"There is nothing at --input=.*nowhere: give an existing folder or zip"):
        converted(tmp_path / "nowhere", tmp_path / "out")


def test_an_inventory_reads_no_photo(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "cars", COMPETITION)
    for name in TRAIN | TEST:
        (folder / name).write_bytes(b"")
        os.truncate(folder / name, 2**33)  # 8 GB that take no space
    inventory = take_inventory(ConvertOptions(input=str(folder), output="out"), spool=str(tmp_path / "spool"))
    assert len(inventory.photos) == 16
