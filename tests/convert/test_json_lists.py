import json

import pytest

from carclf.convert import lists
from carclf.convert.json_lists import read_json
from carclf.convert.list_files import read_list
from carclf.errors import UserError
from tests.convert.inputs import converted, drawn, empty, ids_of, listed, numbered, table, write_files

NAMES = {"7": "Lapsana communis", "9": "Poa annua"}
LABELS = {"0": "7", "1": "9", "2": "7", "3": "9"}


def written(value):
    return json.dumps(value).encode()


def coco(numbers, *, path="{}.jpg", key="id", **image):
    """Returns images, annotations and categories as COCO writes them; an image's Id is not its name."""
    images = [{key: 100 + n, "file_name": path.format(n), "width": 640, "license": 0, **image} for n in numbers]
    boxes = [
        {"id": n, "image_id": 100 + n, "category_id": 7 + n % 2 * 2, "bbox": [0, 0, 9, 9], "iscrowd": n % 2}
        for n in numbers
    ]
    kinds = [{"id": int(number), "name": name, "supercategory": "Plantae"} for number, name in NAMES.items()]
    return {"info": {"year": 2026}, "images": images, "annotations": boxes, "categories": kinds}


SAMPLE = table("id,predicted", [(n, 7) for n in (107, 108)])
TESTS = {"images": [{"id": 100 + n, "file_name": f"test/{n}.jpg"} for n in (7, 8)]}
RECORDS = [{"file_name": f"{n}.jpg", "label": "ab"[n % 2], "tags": ["x"], "size": None} for n in range(4)]
PHOTOS = numbered("train/{}.jpg", range(4)) | numbered("test/{}.jpg", (7, 8))

# Files beside the photos → Id → label of the training photos, the test Ids.
LISTS = {
    "COCO, Ids of the sample in another file": (
        {
            "train2019.json": written(coco(range(4))),
            "test2019.json": written(TESTS),
            "sample_submission.csv": SAMPLE,
        },
        {f"{n}.jpg": label for n, label in LABELS.items()}, ["107", "108"],
    ),
    "COCO without the sample": (
        {"train2019.json": written(coco(range(4))), "test2019.json": written(TESTS)},
        {f"{n}.jpg": label for n, label in LABELS.items()}, ["test/7.jpg", "test/8.jpg"],
    ),
    "COCO of training and validation": (
        {
            "train.json": written(coco(range(2), path="train/{}.jpg")),
            "val.json": written(coco(range(2, 4), path="train/{}.jpg")),
        },
        {f"train/{n}.jpg": label for n, label in LABELS.items()}, ["7.jpg", "8.jpg"],
    ),
    "as Herbarium writes it": (
        {
            "train_metadata.json": written(coco(range(4), path="{}.jpg", key="image_id")),
            "test_metadata.json": written([{"file_name": f"{n}.jpg", "image_id": 100 + n} for n in (7, 8)]),
            "sample_submission.csv": SAMPLE,
        },
        {f"{n}.jpg": label for n, label in LABELS.items()}, ["107", "108"],
    ),
    "records": ({"labels.json": written(RECORDS)}, {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"]),
    "records below a key": (
        {"labels.json": written({"version": 1, "data": RECORDS})},
        {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "JSON Lines": (
        {"train/metadata.jsonl": b"\n".join(map(written, RECORDS)) + b"\n"},
        {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "columns of cells": (
        {"labels.json": written({key: [record[key] for record in RECORDS] for key in ("file_name", "label")})},
        {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "columns as pandas writes them": (
        {"labels.json": written({key: {n: r[key] for n, r in enumerate(RECORDS)} for key in ("file_name", "label")})},
        {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "an object from photo to label": (
        {"labels.json": written({f"{n}.jpg": n % 2 == 1 for n in range(4)})},
        {f"{n}.jpg": str(n % 2) for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "an object from Id to label": (
        {"labels.json": written({str(n): "ab"[n % 2] for n in range(4)})},
        {str(n): "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "an object from Id to record": (
        {"labels.json": written({str(n): {"label": "ab"[n % 2], "year": n} for n in range(4)})},
        {str(n): "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "an object from photo to record": (
        {"labels.json": written({f"{n}.jpg": {"label": "ab"[n % 2]} for n in range(4)})},
        {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_json_gives_labels_and_test_ids(tmp_path, name):
    files, labels, tests = LISTS[name]
    assert listed(tmp_path, PHOTOS | files)[:2] == (labels, tests)


def test_a_list_is_read_once_though_the_sample_is_looked_up_in_it(tmp_path, monkeypatch):
    read = []

    def counted(content, *, shown):
        read.append(shown)
        return read_list(content, shown=shown)

    monkeypatch.setattr(lists, "read_list", counted)
    listed(tmp_path, PHOTOS | LISTS["COCO, Ids of the sample in another file"][0])
    assert sorted(read) == ["test2019.json", "train2019.json"]


def test_categories_name_the_classes_and_the_sample_gets_their_numbers(tmp_path):
    source = write_files(
        tmp_path / "in",
        {f"train/{n}.jpg": drawn(n) for n in range(4)}
        | {f"test/{n}.jpg": drawn(n) for n in (7, 8)}
        | LISTS["COCO, Ids of the sample in another file"][0],
    )
    manifest = converted(source, tmp_path / "out")
    assert [(one.category, one.name) for one in manifest.classes] == list(NAMES.items())
    assert set(ids_of(manifest, "test")) == {"107", "108"}
    assert manifest.form.kind == "label"


def test_ids_of_photos_are_no_names_of_classes(tmp_path):
    files = {f"train/p{n}.jpg": drawn(n) for n in range(4)}
    source = write_files(tmp_path / "in", files | {"labels.json": written({f"p{n}": f"c{n % 2}" for n in range(4)})})
    assert converted(source, tmp_path / "out").class_names == ("c0", "c1")


def test_a_given_list_may_be_json(tmp_path):
    (tmp_path / "given.json").write_bytes(written(coco(range(4))))
    train = listed(tmp_path, PHOTOS, labels=str(tmp_path / "given.json"))[0]
    assert train == {f"{n}.jpg": label for n, label in LABELS.items()}
    (tmp_path / "other.json").write_bytes(b"[1, 2]")
    with pytest.raises(UserError, match=r"other\.json is no list of photos and labels: give such a list as --labels"):
        listed(tmp_path, PHOTOS, labels=str(tmp_path / "other.json"))


def test_a_group_may_be_a_key_of_the_images(tmp_path):
    content = coco(range(4))
    for image in content["images"]:
        image["location"] = image["id"] % 2
    inventory = listed(tmp_path, PHOTOS | {"train.json": written(content)}, group_column="location")[2]
    assert {photo.id: photo.group for photo in inventory.photos if photo.split == "train"} == {
        f"{n}.jpg": str(n % 2) for n in range(4)
    }


def test_boxes_of_several_categories_leave_the_class_folders_their_labels(tmp_path):
    content = coco(range(4))
    content["annotations"].append({"id": 9, "image_id": 100, "category_id": 9})
    files = empty("cat/0.jpg", "cat/1.jpg", "dog/2.jpg", "dog/3.jpg") | {"boxes.json": written(content)}
    train, _, inventory = listed(tmp_path, files)
    assert set(train.values()) == {"cat", "dog"}
    note = "boxes.json gives image 100 several categories, so it is no list of labels, and was left out."
    assert note in inventory.notes


def test_boxes_of_one_category_are_its_label(tmp_path):
    content = coco(range(4))
    content["annotations"].append({"id": 9, "image_id": 100, "category_id": 7})
    assert listed(tmp_path, PHOTOS | {"train.json": written(content)})[0] == {
        f"{n}.jpg": label for n, label in LABELS.items()
    }


def test_an_image_without_annotation_has_no_label(tmp_path):
    content = coco(range(4))
    del content["annotations"][0]
    train, _, inventory = listed(tmp_path, PHOTOS | {"train.json": written(content)})
    assert set(train) == {"1.jpg", "2.jpg", "3.jpg"}
    assert "1 image has no annotation in train.json, and so no label." in inventory.notes


def test_files_beside_each_photo_are_no_lists(tmp_path):
    photos = numbered("cat/{}.jpg", range(30)) | numbered("dog/{}.jpg", range(30, 60))
    beside = {f"{path[:-4]}.json": written([{"file_name": path.split("/")[1], "label": "x"}]) for path in photos}
    train, _, inventory = listed(tmp_path, photos | beside)
    assert set(train.values()) == {"cat", "dog"}
    assert any(note.startswith("60 files are not photos, left out: cat/0.json") for note in inventory.notes)


CLASSES = {"apple_pie": ["apple_pie/1", "apple_pie/2"], "waffles": ["waffles/3", "waffles/4"]}  # as Food-101 has them


def test_other_json_is_no_list():
    others = ({}, [], 3, {"a": 1}, {"images": ["a.jpg"]}, [1, 2], {"a": [{"b": []}]}, {"x.jpg": [1]}, CLASSES, NAMES)
    for value in others:
        assert read_json(written(value), shown="x.json").photos is None, value


@pytest.mark.parametrize("content", [b"{", b'{"a": 1}\n{"b"', b"\xff\xfe\x00", b"[" * 200_000])
def test_what_is_not_json_is_told(tmp_path, content):
    with pytest.raises(UserError, match=r"labels\.json is not JSON \(.*\): correct or remove it\."):
        listed(tmp_path, PHOTOS | {"labels.json": content})
    train, _, inventory = listed(
        tmp_path / "other", numbered("a/{}.jpg", (1, 2)) | numbered("b/{}.jpg", (3, 4)) | {"x.json": content}
    )
    assert set(train.values()) == {"a", "b"}
    assert any(note.startswith("x.json was left out: x.json is not JSON") for note in inventory.notes)


def test_a_record_without_label_is_told_by_its_number(tmp_path):
    with pytest.raises(UserError, match=r"labels\.json record 3 has no label for 2\.jpg"):
        listed(tmp_path, PHOTOS | {"labels.json": written([*RECORDS[:2], {"file_name": "2.jpg", "label": None}])})


def test_cells_are_written_as_a_csv_writes_them():
    record = {"a": True, "b": 2.0, "c": 0.5, "d": None, "e": {}, "f": "x ", "g": float("nan"), "h": 2**70}
    table = read_json(written([record]), shown="x.json").photos
    assert (table.header, table.rows) == (("a", "b", "c", "f", "g", "h"), (("1", "2", "0.5", "x ", "", str(2**70)),))
