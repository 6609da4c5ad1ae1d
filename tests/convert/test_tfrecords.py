"""TFRecords of others: photos by their bytes, roles of features by name, splits by folder or file."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.convert.examples import parse_example
from carclf.data.records import frame, serialize_example
from carclf.errors import UserError
from tests.convert.inputs import converted, csv_of, drawn, encoded, ids_of, opened, reasons, write_files, zipped
from tests.data.tiff_writer import Page, tiff

NAMES = ["rose", "tulip"]


def photos(count=6, *, first=0, **features):
    """Returns records of photos: an Id, a label and whatever functions of the number are given."""
    make = {"image": drawn, "id": lambda n: b"p%d" % n, "class": lambda n: n % 2} | features
    return [{k: f(n) for k, f in make.items() if f} for n in range(first, first + count)]


def tfrecord(records):
    return b"".join(frame(serialize_example(record)) for record in records)


def made(tmp_path, files, **options):
    return converted(write_files(tmp_path / "in", files), tmp_path / "out", **options)


LABELLED = {f"p{n}": str(n % 2) for n in range(6)}


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"image": None, "image/encoded": drawn, "id": None, "image/filename": lambda n: b"p%d" % n},
        {"image": None, "image_raw": drawn, "id": None, "image_name": lambda n: b"p%d" % n},
        {"class": None, "target": lambda n: n % 2},
        {"class": None, "image/class/label": lambda n: n % 2},
        {"class": None, "label": lambda n: b"%d" % (n % 2)},
        {"image": None, "anything": drawn},
        {"image": lambda n: encoded(opened(drawn(n)), "PNG")},
        {"image": lambda n: encoded(opened(drawn(n)), "PPM")},
        {"image": lambda n: tiff(Page(np.asarray(opened(drawn(n)))), big=True, order=">")},
        {"width": lambda n: 64, "source": lambda n: b"web"},
        {"about": lambda n: b"BM in gold, GIF89a"},
    ],
    ids=[
        *("usual", "TF-Slim", "raw", "target", "class/label", "text", "any name", "PNG", "PPM", "BigTIFF", "more"),
        "like a photo",
    ],
)
def test_features_are_known_by_their_names_and_photos_by_their_bytes(tmp_path, features):
    manifest = made(tmp_path, {"train.tfrec": tfrecord(photos(**features))})
    assert manifest.source["layout"] == "folder of records that hold photos"
    assert ids_of(manifest) == LABELLED


def test_names_of_classes_and_words_as_labels(tmp_path):
    texts = {"image/class/text": lambda n: NAMES[n % 2].encode()}
    manifest = made(tmp_path / "names", {"train.tfrec": tfrecord(photos(**texts))})
    assert (manifest.class_labels, manifest.class_names) == (("0", "1"), ("rose", "tulip"))
    manifest = made(
        tmp_path / "words", {"train.tfrec": tfrecord(photos(label=texts["image/class/text"], **{"class": None}))}
    )
    assert manifest.class_labels == ("rose", "tulip")


def test_a_label_that_begins_as_a_photo_does_is_a_label(tmp_path):
    cars = ["BMW X5 with four doors and a roof", "P1 911 991"]
    manifest = made(tmp_path, {"a.tfrec": tfrecord(photos(**{"class": lambda n: cars[n % 2].encode()}))})
    assert list(manifest.class_labels) == cars


def test_a_flag_names_the_feature_of_the_labels(tmp_path):
    files = {"train.tfrec": tfrecord(photos(grade=lambda n: n // 2))}
    assert made(tmp_path / "flag", files, label_column="grade").class_labels == ("0", "1", "2")
    assert made(tmp_path / "usual", files).class_labels == ("0", "1")
    with pytest.raises(UserError, match="--label_column=grades is a column of no CSV"):
        made(tmp_path / "wrong", files, label_column="grades")
    for used in ({}, {"label_column": "grade"}):  # no flag beside it is ignored
        with pytest.raises(UserError, match="--id_column=x is a column of no CSV"):
            made(tmp_path / "idle", files, id_column="x", **used)


@pytest.mark.parametrize("words", [False, True], ids=["labels", "names"])
def test_external_records_have_the_classes_that_they_say(tmp_path, words):
    own = {f"{NAMES[n % 2] if words else n % 2}/{n}.jpg": drawn(100 + n) for n in range(6)}
    texts = {"image/class/text": lambda n: NAMES[n % 2].encode()}
    more = [
        *photos(4, first=4, **texts),
        *photos(1, first=8, id=lambda n: b"p4"),
        *photos(1, first=9, **{"class": None}),
    ]
    write_files(tmp_path / "more", {"train/more.tfrec": tfrecord(more)})
    manifest = made(tmp_path, own, external=str(tmp_path / "more"))
    ids = manifest.read_ids("train")
    classes = {
        photo: label for photo, label, fold in zip(ids["id"], ids["class_name"], ids["fold"], strict=True) if fold < 0
    }
    places = {"train/more/0/p4": 0, "p5": 1, "p6": 0, "p7": 1, "train/more/4/p4": 0}
    assert classes == {photo: NAMES[kind] if words else str(kind) for photo, kind in places.items()}
    (note,) = [note for note in manifest.source["notes"] if "external" in note]
    assert note == "1 external photo has no label in the records, left out: train/more/5/p9."


def test_external_records_of_other_classes_are_refused(tmp_path):
    write_files(tmp_path / "more", {"more.tfrec": tfrecord(photos(2, first=4, **{"class": lambda n: n}))})
    with pytest.raises(UserError, match=r"--external=.* has classes that the training photos lack \(4, 5\)"):
        made(tmp_path, {f"{n % 2}/{n}.jpg": drawn(n) for n in range(6)}, external=str(tmp_path / "more"))


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train/a.tfrec", "val/a.tfrec", "test/a.tfrec"),
        ("train.tfrecord", "validation.tfrecord", "test.tfrecord"),
        ("ld_train00-6.tfrec", "ld_val00-2.tfrec", "ld_test00-2.tfrec"),
        ("x-train-00000-of-00001.tfrecords", "x-valid-0.tfrecords", "x-test-0.tfrecords"),
        ("x-train.tfrecord-00000-of-00001", "x-validation.TFRecord-00000-of-00001", "x-test.tfrecord-00000-of-00001"),
    ],
)
def test_splits_are_those_of_folders_or_files(tmp_path, train, val, test):
    files = {train: tfrecord(photos()), val: tfrecord(photos(2, first=6)), test: tfrecord(photos(2, first=8))}
    manifest = made(tmp_path, files)
    assert ids_of(manifest) == {f"p{n}": str(n % 2) for n in range(8)}
    assert sorted(ids_of(manifest, "test")) == ["p8", "p9"]


def test_records_without_labels_or_ids(tmp_path):
    files = {"a.tfrec": tfrecord(photos(id=None)), "b.tfrec": tfrecord(photos(2, first=6, **{"class": None}))}
    files["c.tfrec"] = tfrecord(photos(1, first=8, **{"class": lambda n: -1}))
    manifest = made(tmp_path, files)
    assert ids_of(manifest) == {f"a-{n}": str(n % 2) for n in range(6)}
    assert sorted(ids_of(manifest, "test")) == ["p6", "p7", "p8"]


def float_example(name: str, value: float) -> bytes:
    """Returns a tf.train.Example with one float, which may follow another one to add to it."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    feature = field(2, field(1, struct.pack("<f", value)))
    return field(1, field(1, field(1, name.encode()) + field(2, feature)))


@pytest.mark.parametrize("label", [-1, -1.0, float("nan")])
def test_the_text_of_a_record_with_a_negative_label_is_no_class(tmp_path, label):
    def records(count, first, label, text):
        names = {"class": None, "image/class/text": text} | ({"image/class/label": label} if label else {})
        return photos(count, first=first, **names)

    train = records(6, 0, lambda n: n % 2, lambda n: NAMES[n % 2].encode())
    if isinstance(label, int):
        test = tfrecord(records(1, 6, lambda n: label, lambda n: b"unknown"))
    else:
        (record,) = records(1, 6, None, lambda n: b"unknown")
        test = frame(serialize_example(record) + float_example("image/class/label", label))
    manifest = made(tmp_path, {"a.tfrec": tfrecord(train), "b.tfrec": test})
    assert (manifest.class_names, list(ids_of(manifest, "test"))) == (("rose", "tulip"), ["p6"])
    own = {f"{n % 2}/{n}.jpg": drawn(n) for n in range(7, 13)}
    external = made(tmp_path / "more", own, external=str(tmp_path / "in"))
    assert "1 external photo has no label in the records, left out: b/0/p6." in external.source["notes"]


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["x.tfrecord-00000-of-00002", "x.tfrecord-00001-of-00002"], ["x-00000-of-00002", "x-00001-of-00002"]),
        (["x.0.tfrecord", "x.1.tfrecord"], ["x.0", "x.1"]),
        (["x.v2.tfrec.gz", "y.tfrecords-0-of-1.gz"], ["x.v2", "y-0-of-1"]),
        (["x.v2.tfrec", "x-v2.tfrec"], ["x.v2", "x-v2"]),
        (["x.tfrec", "x.tfrecord"], ["x.tfrec/{}/x", "x.tfrecord/{}/x"]),
        (["train.tfrec", "train/train.tfrec"], ["train/train.tfrec/{}/train", "train/train/train.tfrec/{}/train"]),
    ],
)
def test_photos_of_numbered_files_have_ids_of_their_own(tmp_path, names, stems):
    pack = {True: gzip.compress, False: bytes}
    raw = {name: tfrecord(photos(3, first=3 * n, id=None)) for n, name in enumerate(names)}
    manifest = made(tmp_path, {name: pack[name.endswith(".gz")](content) for name, content in raw.items()})
    assert ids_of(manifest) == {
        f"{stem.format(n)}-{n}": str((n + first) % 2)
        for stem, first in zip(stems, (0, 3), strict=True)
        for n in range(3)
    }
    ids = manifest.read_ids("train")
    places = dict(zip(ids["id"], ids["source"], strict=True))
    assert all(places[f"{stem.format(2)}-2"].startswith(f"{name}/2/") for stem, name in zip(stems, names, strict=True))


def test_an_id_with_a_dot_names_one_record_alone(tmp_path):
    files = {"x.v2.tfrec": tfrecord(photos(id=None)), "list.csv": csv_of((f"x.v2-{n}", n % 2) for n in range(6))}
    assert ids_of(made(tmp_path / "named", files)) == {f"x.v2-{n}": str(n % 2) for n in range(6)}
    files["list.csv"] = csv_of([("x", 0), ("y", 1)])
    with pytest.raises(UserError, match=r"No photo has one of the 2 Ids .*\(such as x; a photo is x\.v2/0/x\.v2-0\)"):
        made(tmp_path / "file", files, labels=str(tmp_path / "file" / "in" / "list.csv"))


@pytest.mark.parametrize("name", ["fold0_aug.tfrec", "fold0_aug.v2.tfrec"])
def test_records_without_ids_are_no_copies_by_the_name_of_their_file(tmp_path, name):
    manifest = made(tmp_path, {name: tfrecord(photos(id=None))})
    assert not [note for note in manifest.source["notes"] if "copies" in note]
    own = made(tmp_path / "own", {name: tfrecord(photos(id=lambda n: b"p7_aug_%d" % n))})
    assert [note for note in own.source["notes"] if note.startswith("6 photos are copies of 2 pictures by their names")]


def test_ids_that_repeat_are_replaced_by_places(tmp_path):
    files = {"all.tfrec": tfrecord(photos(id=lambda n: b"p%d" % (n // 2))), "cover.jpg": drawn(50)}
    assert len(set(ids_of(made(tmp_path, files)))) == 6  # and the loose photo is none of them


def test_packed_files_and_files_in_zips_are_the_same(tmp_path):
    raw = tfrecord(photos())
    plain = made(tmp_path / "plain", {"train.tfrec": raw})
    for name, files in {
        "gzip": {"train.tfrec": gzip.compress(raw)},
        "gz": {"train.tfrecord.gz": gzip.compress(raw)},
        "zip": {"flowers.zip": zipped({"train.tfrec": raw}, deflated=True)},
        "zip of zips": {
            "in.zip": zipped({"notes.txt": b"x", "flowers.zip": zipped({"a.txt": b"x", "train.tfrec": raw})})
        },
    }.items():
        if name == "zip of zips":
            write_files(tmp_path / name, files)
            manifest = converted(tmp_path / name / "in.zip", tmp_path / name / "out")
        else:
            manifest = made(tmp_path / name, files)
        assert [shard.sha256 for shard in manifest.shards] == [shard.sha256 for shard in plain.shards]
    one = converted(tmp_path / "plain" / "in" / "train.tfrec", tmp_path / "one")
    assert ids_of(one) == LABELLED


def test_the_largest_of_several_resolutions_is_taken_and_photos_beat_records(tmp_path, capsys):
    files = {
        f"jpeg-{side}x{side}/train/00-{side}x{side}-6.tfrec": tfrecord(
            photos(image=lambda n, side=side: drawn(n, size=(side, side)))
        )
        for side in (64, 128)
    }
    manifest = made(tmp_path / "sizes", files)
    assert set(manifest.read_ids("train")["width"]) == {128}
    said = capsys.readouterr().err
    assert "Of the same files in several sizes jpeg-128x128/ was taken, the largest; not jpeg-64x64." in said
    folders = {f"train/{n % 2}/p{n}.jpg": drawn(n) for n in range(6)}
    manifest = made(tmp_path / "beside", {"train_tfrecords/00.tfrec": tfrecord(photos())} | folders)
    assert list(ids_of(manifest)) == [f"p{n}.jpg" for n in range(6)]
    assert "1 files of records were left out, since photos lie beside them" in capsys.readouterr().err


def test_a_list_gives_the_labels_that_records_lack_and_a_sample_the_test_ids(tmp_path):
    files = {"all.tfrec": tfrecord(photos(8, **{"class": None}))}
    files["labels.csv"] = csv_of(((f"p{n}", NAMES[n % 2]) for n in range(6)), "id,label")
    files["sample_submission.csv"] = csv_of(((f"p{n}", "rose") for n in (7, 6)), "id,label")
    manifest = made(tmp_path, files)
    assert ids_of(manifest) == {f"p{n}": NAMES[n % 2] for n in range(6)}
    assert sorted(ids_of(manifest, "test")) == ["p6", "p7"]
    assert manifest.form.kind == "label"


def damaged(at):
    raw = bytearray(tfrecord(photos()))
    raw[at] ^= 1
    return bytes(raw)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (damaged(1000), r"train\.tfrec is no TFRecord file, or damaged at its start: download it again"),
        (damaged(8), r"train\.tfrec is no TFRecord file, or damaged at its start: download it again"),
        (damaged(-10), r"train\.tfrec is damaged or cut off at record 6: download it again"),
        (tfrecord(photos())[:-300], r"damaged or cut off at record 6"),
        (gzip.compress(tfrecord(photos()))[:-300], r"train\.tfrec is damaged or cut off .*: download it again"),
        (b"<html>" * 10, r"train\.tfrec is no TFRecord file"),
        (frame(b"\xff" * 30), r"train\.tfrec holds records that are not tf\.train\.Example messages"),
        (
            tfrecord(photos(image=lambda n: bytes(100))),
            r"holds a record without a photo \(its features: class, id, image\)",
        ),
    ],
    ids=["first CRC", "CRC of a length", "last CRC", "cut", "cut gzip", "HTML", "no Example", "raw pixels"],
)
def test_a_damaged_file_is_one_sentence(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        made(tmp_path, {"train.tfrec": content})


def test_a_damaged_file_beside_others_is_left_out_if_told(tmp_path):
    files = {"a.tfrec": tfrecord(photos()), "b.tfrec": tfrecord(photos(3, first=6))[:-300]}
    with pytest.raises(UserError, match=r"b\.tfrec is damaged .*; to go on without it, remove it or give --on_b"):
        made(tmp_path, files)
    assert ids_of(made(tmp_path, files, on_bad="skip")) == LABELLED
    assert reasons(tmp_path / "out") == {"b.tfrec": "is damaged or cut off at record 3"}


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({"train.tfrec": photos(6)[:4] + photos(2, first=4, **{"class": None})}, "train/train/4/p4"),
        ({"train.tfrec": photos(4), "val.tfrec": photos(2, first=4, **{"class": None})}, "validation/val/0/p4"),
    ],
)
def test_training_photos_without_a_label_are_told(tmp_path, files, path):
    manifest = made(tmp_path, {name: tfrecord(records) for name, records in files.items()})
    assert ids_of(manifest) == {f"p{n}": str(n % 2) for n in range(4)}
    (note,) = [note for note in manifest.source["notes"] if "label" in note]
    assert note.startswith(f"2 photos have no label in the records, left out: {path}, ")


def test_records_without_any_label_are_refused_and_get_theirs_as_advised(tmp_path):
    files = {name: tfrecord(photos(3, first=n, **{"class": None})) for name, n in (("a.tfrec", 0), ("b.tfrec", 3))}
    said = r"The records give none of their photos a label \(such as a/0/p0\): give --labels=CSV, or --label_pattern"
    with pytest.raises(UserError, match=said):
        made(tmp_path, files)
    assert set(ids_of(made(tmp_path / "named", files, label_pattern="^([ab])/")).values()) == {"a", "b"}
    (tmp_path / "list.csv").write_bytes(csv_of(LABELLED.items()))
    assert ids_of(made(tmp_path / "listed", files, labels=str(tmp_path / "list.csv"))) == LABELLED


@settings(max_examples=100, deadline=None)
@given(record=st.binary(max_size=80), cut=st.integers(0, 60))
def test_whatever_a_record_holds_it_is_parsed_or_a_value_error(record, cut):
    for content in (record, serialize_example({"a": record, "b": 7})[cut:]):
        try:
            parse_example(content)
        except ValueError:
            continue


def test_features_come_back_as_they_were_written():
    record = serialize_example({"id": b"p1", "class": 3, "less": -1, "empty": b""})
    found = parse_example(record)
    start, end = found["id"][0]
    assert record[start:end] == b"p1"
    assert (found["class"], found["less"]) == ([3], [-1])
    assert [end - start for start, end in found["empty"]] == [0]
