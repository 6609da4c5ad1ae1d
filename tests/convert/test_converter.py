"""From photos to a data set: the same bytes each time, counts that add up, nothing replaced without --overwrite."""

import csv
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf

from carclf import make_tfrecords, storage
from carclf.convert import scan, shards
from carclf.convert.converter import convert
from carclf.convert.folds import order_key
from carclf.convert.options import ConvertOptions
from carclf.convert.summary import summary
from carclf.convert.verify import verify
from carclf.data import pipeline
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from carclf.framing import Framing
from carclf.recipe import parse_recipe
from tests.convert.inputs import (
    class_folders,
    competition,
    converted,
    decoded,
    drawn,
    encoded,
    ids_of,
    opened,
    read_records,
    reasons,
    rejected,
    shard_hashes,
    tree,
    write_files,
    write_zip,
    zipped,
)
from tests.convert.test_sources import with_fields
from tests.data.files_of_kinds import KINDS

ROOT = Path(__file__).parent.parent.parent
BAD = {"train/0/empty.jpg": b"", "train/1/page.jpg": b"<html>", "train/1/cut.jpg": drawn(50)[:-200]}


def mixed(photos: int = 70, *, tests: int = 8) -> dict[str, bytes]:
    """Returns a competition with kept, re-encoded, duplicate and bad photos."""
    files = competition(photos, tests=tests)
    for name in [name for name in files if name.startswith("train/")][::9]:
        files[name] = encoded(opened(files[name]), "PNG")
    return files | BAD | {"train/2/again.jpg": files["train/2/2.jpg"]}


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Returns file → (SHA-256, time of the last change in nanoseconds)."""
    return {name: (digest, (folder / name).stat().st_mtime_ns) for name, digest in tree(folder).items()}


def run_command(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/make_tfrecords.py", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Returns the data set of the unpacked mixed competition, made by one process."""
    folder = tmp_path_factory.mktemp("reference")
    source = write_files(folder / "cars", mixed())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shards, "RECORDS_PER_SHARD", 20)
        return converted(source, folder / "out", on_bad="skip")


def mixed_zip(folder: Path) -> Path:
    files = list(mixed().items())
    random.Random(1).shuffle(files)
    lists = {name: content for name, content in files if name.endswith(".csv")}
    photos = {
        f"{top}.zip": zipped(dict(item for item in files if item[0].startswith(f"{top}/")), deflated=top == "train")
        for top in ("train", "test_upload")
    }
    return write_zip(folder / "cars.zip", photos | lists)


def shuffled_scandir(monkeypatch) -> None:
    """Lists every folder in a different order."""
    scandir = os.scandir

    class Shuffled:
        def __init__(self, path):
            with scandir(path) as found:
                items = list(found)
            random.Random(str(path)).shuffle(items)
            self._items = iter(items)

        def __iter__(self):
            return self._items

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)


@pytest.mark.parametrize("change", ["again", "two workers", "directory order", "old files", "zip"])
def test_the_bytes_depend_on_photos_and_options_only(tmp_path, monkeypatch, reference, change):
    monkeypatch.setattr(shards, "RECORDS_PER_SHARD", 20)
    source = mixed_zip(tmp_path) if change == "zip" else write_files(tmp_path / "elsewhere", mixed())
    if change == "two workers":
        monkeypatch.setattr(scan, "PHOTOS_PER_TASK", 3)  # more tasks than can be in flight at once
    if change == "directory order":
        shuffled_scandir(monkeypatch)
    if change == "old files":
        for path in source.rglob("*"):
            os.utime(path, (0, 0))
    manifest = converted(source, tmp_path / "out", on_bad="skip", workers=2 if change == "two workers" else 1)
    assert len(shard_hashes(manifest)) > 4
    assert shard_hashes(manifest) == shard_hashes(reference)
    if change == "zip":  # the source of each photo is recorded, and differs
        assert manifest.fingerprint == reference.fingerprint
    else:
        assert tree(tmp_path / "out") == tree(Path(reference.directory))


def test_dataset_json_says_what_the_files_are(reference):
    content = json.loads((Path(reference.directory) / "dataset.json").read_text())
    assert content["format_version"] == 2
    assert content["fingerprint"] == reference.fingerprint
    assert [(c["label"], c["category"], c["name"]) for c in content["classes"]] == [
        (n, str(n), str(n)) for n in range(3)
    ]
    assert [c["count"] for c in content["classes"]] == [24, 23, 24]
    assert content["options"]["folds"] == 2
    for shard in content["shards"]:
        raw = (Path(reference.directory) / shard["file"]).read_bytes()
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert sum(shard["count"] for shard in content["shards"]) == 71 + 8
    names = {Path(shard["file"]).name for shard in content["shards"]}
    assert {"train-fold0-00000-of-00002.tfrecord", "train-fold1-00001-of-00002.tfrecord"} <= names
    assert "test-00000-of-00001.tfrecord" in names


def test_a_data_set_holds_what_was_promised_and_nothing_else(reference):
    folder = reference.fingerprint[:16]
    found = {name.replace(folder, "<fingerprint>") for name in tree(Path(reference.directory))}
    lists = {"rejected.csv", "remarks.csv", "duplicates.csv", "ids-train.csv", "ids-test.csv", "sample-submission.csv"}
    assert {name for name in found if not name.endswith(".tfrecord")} == (
        {"dataset.json"} | lists | {f"<fingerprint>/{name}" for name in lists | {"photos.npy"}}
    )


def test_the_data_set_verifies(reference):
    assert verify(reference.directory, workers=1).fingerprint == reference.fingerprint


@pytest.mark.parametrize("split", ["train", "test"])
def test_records_lists_and_photos_agree(reference, split):
    ids, records = reference.read_ids(split), read_records(reference, split)
    assert sorted(record["image/row"] for record in records) == list(range(len(ids)))
    assert ids["id"].tolist() == sorted(ids["id"])
    files = mixed()
    for record in records:
        said = ids.iloc[int(record["image/row"])]
        raw = record["image/encoded"]
        assert record["image/format"] == b"JPEG"
        assert record["image/filename"].decode() == said["id"]
        assert record["image/key/sha256"].decode() == said["sha256"] == hashlib.sha256(raw).hexdigest()
        assert (record["image/height"], record["image/width"]) == (said["height"], said["width"])
        assert decoded(raw).shape == (said["height"], said["width"], 3)
        assert record["image/class/label"] == said["label"] == (int(said["class_name"]) if split == "train" else -1)
        assert record["image/class/text"].decode() == said["class_name"]
        assert (-1 if record["fold"] is None else record["fold"]) == said["fold"]
        source = files[said["source"]]
        assert raw == source if source.startswith(b"\xff\xd8") else opened(raw).size == opened(source).size


def test_records_have_exactly_the_promised_features(reference):
    path = storage.join(reference.directory, reference.shards[0].file)
    example = tf.train.Example.FromString(next(iter(tf.data.TFRecordDataset(path))).numpy())
    assert sorted(example.features.feature) == [
        "image/class/label", "image/class/text", "image/encoded", "image/filename", "image/format", "image/height",
        "image/key/sha256", "image/row", "image/width",
    ]  # fmt: skip


def test_within_a_fold_records_lie_in_the_seeds_random_order(reference):
    for fold in (0, 1):
        ids = [r["image/filename"].decode() for r in read_records(reference, "train") if r["fold"] == fold]
        assert ids == sorted(ids, key=lambda photo_id: order_key(42, photo_id))
        assert ids != sorted(ids)


def test_counts_reconcile_in_every_split_and_class(reference, capsys):
    files = mixed()
    counts = reference.source["counts"]
    assert (counts["train"]["read"], counts["train"]["rejected"]) == (74, 3)
    assert counts["test"] == {"read": 8, "stored": 8, "rejected": 0}
    read = Counter(name.split("/")[1] for name in files if name.startswith("train/"))
    bad = Counter(name.split("/")[1] for name in BAD)
    stored = Counter(reference.read_ids("train")["class_name"])
    assert counts["train"]["categories"] == {
        label: {"read": read[label], "stored": stored[label], "rejected": bad[label]} for label in "012"
    }
    assert all(read[label] == stored[label] + bad[label] for label in "012")


def test_what_was_left_out_is_listed_with_its_reason(reference):
    assert rejected(reference.directory) == [
        {
            "id": name.rpartition("/")[2],
            "split": "train",
            "category": name.split("/")[1],
            "reason": reason,
            "source": name,
        }
        for name, reason in (
            ("train/1/cut.jpg", "refused by the decoder: Premature end of JPEG file"),
            ("train/0/empty.jpg", "empty file"),
            ("train/1/page.jpg", "not an image (begins with b'<html>')"),
        )
    ]


def test_photos_that_deserve_a_look_are_stored_and_listed(tmp_path, capsys):
    whole = drawn(60, size=(160, 120))
    damaged = {  # extra bytes in the middle of a scan
        f"1/damaged{n}.jpg": whole[:900] + bytes(range(1, 200)) + whole[900 + n :] for n in range(2)
    }
    odd = {"2/alpha.bmp": KINDS["BMP alpha of zeros"].raw}
    manifest = converted(write_files(tmp_path / "cars", class_folders(6) | damaged | odd), tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "remarks.csv").read_text(), newline="")))
    assert [(row["id"], row["split"], row["category"], row["source"]) for row in rows] == [
        ("alpha.bmp", "train", "2", "2/alpha.bmp"),
        ("damaged0.jpg", "train", "1", "1/damaged0.jpg"),
        ("damaged1.jpg", "train", "1", "1/damaged1.jpg"),
    ]
    assert all("bytes of its scan are left over" in row["remark"] for row in rows[1:])
    assert manifest.lists["remarks"].count == 3
    assert len(ids_of(manifest)) == 9
    said = capsys.readouterr().err
    assert "Note: look at 2 photos: some bytes of its scan are left over: it may show damage" in said
    assert "Note: look at 1 photo: it says that all of it is transparent: stored with its colours" in said
    assert "3 photos are worth a look: see " in summary(manifest)


def test_a_corrected_header_is_counted_apart(tmp_path, capsys):
    files = class_folders(6) | {"0/slip.jpg": KINDS["JPEG Ss=0 Se=0"].raw, "0/a.png": KINDS["PNG"].raw}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert "6 photos are kept byte for byte, 1 with a corrected header, 1 encoded once" in capsys.readouterr().out
    assert verify(manifest.directory, workers=1).fingerprint == manifest.fingerprint


def test_bad_photos_stop_the_conversion_and_are_all_listed(tmp_path, capsys):
    source = write_files(tmp_path / "cars", mixed())
    with pytest.raises(UserError, match=r"3 photos cannot be used \(first: train/1/cut\.jpg: .*--on_bad=skip"):
        converted(source, tmp_path / "out")
    assert list(tree(tmp_path / "out")) == ["rejected.csv"]
    assert sorted(reasons(tmp_path / "out")) == sorted(BAD)
    assert "train: 74 read = 71 stored + 3 rejected" in capsys.readouterr().out


def test_bad_photos_leave_an_older_data_set_readable(tmp_path):
    old = converted(write_files(tmp_path / "old", class_folders(6)), tmp_path / "out")
    with pytest.raises(UserError, match="3 photos cannot be used"):
        converted(write_files(tmp_path / "cars", mixed()), tmp_path / "out", overwrite=True)
    assert verify(str(tmp_path / "out"), workers=1).fingerprint == old.fingerprint


def test_a_class_of_which_nothing_is_usable_is_no_class(tmp_path):
    source = write_files(tmp_path / "cars", class_folders(6) | {"bad/1.jpg": b""})
    manifest = converted(source, tmp_path / "out", on_bad="skip")
    assert manifest.class_names == ("0", "1", "2")
    assert manifest.source["counts"]["train"]["categories"]["bad"] == {"read": 1, "stored": 0, "rejected": 1}


def test_photos_of_which_none_is_usable_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"None of the training photos of .* can be used: the reasons are above"):
        converted(write_files(tmp_path / "cars", {"0/1.jpg": b"", "1/2.jpg": b"x"}), tmp_path / "out", on_bad="skip")


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"overwrite": True}, {"on_bad": "skip"}], ids=str)
def test_a_finished_data_set_is_left_as_it_is(tmp_path, capsys, options):
    source = write_files(tmp_path / "cars", competition())
    first = converted(source, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    again = converted(source, tmp_path / "out", **({"workers": 1} | options if "workers" not in options else {}))
    assert again.fingerprint == first.fingerprint
    assert snapshot(tmp_path / "out") == before
    assert f"{tmp_path / 'out'} holds this data set already" in capsys.readouterr().out


def test_the_same_photos_from_elsewhere_are_a_finished_data_set(tmp_path, capsys):
    converted(write_files(tmp_path / "cars", competition()), tmp_path / "out")
    converted(write_zip(tmp_path / "cars.zip", competition()), tmp_path / "out")
    assert "nothing to do" in capsys.readouterr().out


OTHER_OPTIONS = {
    "max_side": 32, "folds": 3, "seed": 1, "split": "first_files:0.3", "limit": 6, "near_duplicates": False,
    "classes": "a,b,c",
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_OPTIONS)
def test_other_options_are_refused_unless_told_to_overwrite(tmp_path, name):
    source = write_files(tmp_path / "cars", competition())
    old = converted(source, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    change = {name: OTHER_OPTIONS[name]}
    with pytest.raises(UserError, match="holds a data set of other photos or options: add --overwrite to replace it"):
        converted(source, tmp_path / "out", **change)
    assert snapshot(tmp_path / "out") == before
    new = converted(source, tmp_path / "out", overwrite=True, **change)
    assert new.fingerprint != old.fingerprint
    assert not (tmp_path / "out" / old.fingerprint[:16]).exists()
    assert tree(tmp_path / "out") == tree(Path(converted(source, tmp_path / "fresh", **change).directory))


def one_byte_more(files: dict[str, bytes]) -> None:
    files["train/0/0.jpg"] += b"\0"


OTHER_PHOTOS = {
    "a changed photo": one_byte_more,
    "one more": lambda files: files.update({"train/0/new.jpg": drawn(30)}),
    "one less": lambda files: files.pop("train.csv") and files.pop("train/0/0.jpg"),
    "another label": lambda files: files.update(
        {
            "train/1/0.jpg": files.pop("train/0/0.jpg"),
            "train.csv": files["train.csv"].replace(b"\n0.jpg,0\n", b"\n0.jpg,1\n"),
        }
    ),
    "a test photo": lambda files: files.update({"test_upload/1000.jpg": drawn(31)}),
    "another sample": lambda files: files.update({"sample-submission.csv": files["sample-submission.csv"] + b"\n"}),
}


@pytest.mark.parametrize("change", OTHER_PHOTOS)
def test_other_photos_are_refused_unless_told_to_overwrite(tmp_path, change):
    files = competition()
    old = converted(write_files(tmp_path / "old", files), tmp_path / "out")
    before = snapshot(tmp_path / "out")
    OTHER_PHOTOS[change](files)
    source = write_files(tmp_path / "new", files)
    with pytest.raises(UserError, match="holds a data set of other photos or options"):
        converted(source, tmp_path / "out", on_bad="skip")
    assert snapshot(tmp_path / "out") == before
    new = converted(source, tmp_path / "out", overwrite=True, on_bad="skip")
    assert verify(str(tmp_path / "out"), workers=1).fingerprint == new.fingerprint != old.fingerprint
    assert not (tmp_path / "out" / old.fingerprint[:16]).exists()


def test_a_data_set_without_a_sample_takes_the_old_one_away(tmp_path):
    converted(write_files(tmp_path / "old", competition()), tmp_path / "out")
    assert (tmp_path / "out" / "sample-submission.csv").exists()
    converted(write_files(tmp_path / "new", class_folders(6)), tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "sample-submission.csv").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format_version": 99}'])
def test_a_data_set_that_cannot_be_read_is_replaced_only_if_told(tmp_path, capsys, content):
    source = write_files(tmp_path / "cars", competition())
    first = converted(source, tmp_path / "out")
    whole = tree(tmp_path / "out")
    (tmp_path / "out" / "dataset.json").write_bytes(content)
    with pytest.raises(UserError, match="add --overwrite to replace it"):
        converted(source, tmp_path / "out")
    assert "Note: the data set found there cannot be used: " in capsys.readouterr().err
    assert converted(source, tmp_path / "out", overwrite=True).fingerprint == first.fingerprint
    assert tree(tmp_path / "out") == whole


def test_what_else_lies_in_the_output_is_left_alone(tmp_path):
    write_files(tmp_path / "out", {"notes.txt": b"mine", "0123456789abcdef0/x": b"mine", "runs/a/stage.json": b"{}"})
    before = tree(tmp_path / "out")
    source = write_files(tmp_path / "cars", competition())
    converted(source, tmp_path / "out")
    converted(source, tmp_path / "out", folds=3, overwrite=True)
    assert tree(tmp_path / "out").items() >= before.items()


LISTS = ["sample-submission.csv", "rejected.csv", "remarks.csv", "duplicates.csv", "ids-train.csv", "ids-test.csv"]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_the_users_is_never_replaced(tmp_path, name):
    comp = write_files(tmp_path / "comp", class_folders(6, root="train/") | {name: b"photo,same_as\n1.jpg,2.jpg\n"})
    before = tree(comp)
    for options in ({}, {"overwrite": True}, {"dry_run": True}):
        with pytest.raises(UserError, match=rf"{name} is not from carclf, and a list of the data set has this name: "):
            convert(ConvertOptions(input=f"{comp}/train", output=str(comp), workers=1, **options))
    assert tree(comp) == before
    assert converted(comp / "train", comp / "data").photos("train") == 6  # as advised
    (comp / name).rename(tmp_path / name)
    assert converted(comp / "train", comp).photos("train") == 6


def test_a_sample_beside_a_data_set_that_has_none_is_left_alone(tmp_path):
    source = write_files(tmp_path / "in", class_folders(6))
    converted(source, tmp_path / "out")
    write_files(tmp_path / "out", {"sample-submission.csv": b"mine"})
    converted(source, tmp_path / "out")
    converted(source, tmp_path / "out", folds=3, overwrite=True)
    assert (tmp_path / "out" / "sample-submission.csv").read_bytes() == b"mine"


def test_a_sample_of_the_users_beside_a_data_set_is_not_replaced_by_another(tmp_path):
    source, out = write_files(tmp_path / "in", competition(6, tests=2)), tmp_path / "out"
    sample = (source / "sample-submission.csv").read_bytes()
    (source / "sample-submission.csv").rename(tmp_path / "sample.csv")
    converted(source, out)
    write_files(out, {"sample-submission.csv": b"mine"})
    for options in ({}, {"dry_run": True}):
        said = rf"{out}/sample-submission\.csv is not from carclf, and a list of the data set has this name: move it"
        with pytest.raises(UserError, match=said):
            converted(source, out, overwrite=True, sample=str(tmp_path / "sample.csv"), **options)
    assert (out / "sample-submission.csv").read_bytes() == b"mine"
    (out / "sample-submission.csv").rename(tmp_path / "mine.csv")  # as advised
    assert "sample-submission" in converted(source, out, overwrite=True, sample=str(tmp_path / "sample.csv")).lists
    assert (out / "sample-submission.csv").read_bytes() == sample


@pytest.mark.parametrize("damaged", [False, True])
def test_the_sample_of_a_data_set_is_replaced_by_that_of_the_next(tmp_path, damaged):
    source, out = write_files(tmp_path / "in", competition(6, tests=2)), tmp_path / "out"
    converted(source, out)
    if damaged:
        (out / "dataset.json").write_bytes(b"{")
    sample = (source / "sample-submission.csv").read_bytes() + b"\n"
    (source / "sample-submission.csv").write_bytes(sample)
    converted(source, out, overwrite=True)
    assert (out / "sample-submission.csv").read_bytes() == sample
    converted(source, out, overwrite=True, sample=str(out / "sample-submission.csv"))  # its own


def test_the_list_of_a_conversion_that_failed_does_not_block_the_next_one(tmp_path):
    source = write_files(tmp_path / "in", class_folders(6) | {"0/bad.jpg": b"x"})
    for _ in range(2):
        with pytest.raises(UserError, match="1 photo cannot be used"):
            converted(source, tmp_path / "out")
    assert list(reasons(tmp_path / "out")) == ["0/bad.jpg"]
    (source / "0/bad.jpg").unlink()
    assert converted(source, tmp_path / "out").photos("train") == 6


def test_a_folder_of_the_users_with_the_name_of_one_of_shards_is_left_alone(tmp_path):
    write_files(tmp_path / "out", {"0123456789abcdef/mine.jpg": b"mine"})
    source = write_files(tmp_path / "in", class_folders(6))
    converted(source, tmp_path / "out")
    converted(source, tmp_path / "out", folds=3, overwrite=True)
    assert (tmp_path / "out" / "0123456789abcdef/mine.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": "a,b"}, "--classes names 2 classes and there are 3, 0, 1, 2"),
        ({"classes": "a,b", "min_photos_per_class": 4}, "--classes names 2 classes and there are 3, 0, 1, 2"),
        ({"classes": "a,b,b"}, "--classes=a,b,b names a class twice or none"),
        ({"keep_folds": "old", "folds": 2}, "--keep_folds=old has 3 folds and --folds=2"),
        ({"split": "first_files:0.1"}, "--split=first_files:0.1 holds out no photo, since no class of"),
    ],
)
def test_what_does_not_fit_is_told_before_the_photos_are_read(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    converted(write_files(tmp_path / "cars", class_folders(9)), "old", folds=3, near_duplicates=False)
    source = write_files(tmp_path / "in", class_folders(10))
    monkeypatch.setattr(scan, "validate_photos", lambda *_: pytest.fail("photos are validated"))
    with pytest.raises(UserError, match=re.escape(said)):
        converted(source, "out", **options)


def test_names_of_the_classes_that_are_left_once_bad_photos_are_left_out_are_taken(tmp_path):
    source = write_files(tmp_path / "in", class_folders(9) | {"7/bad.jpg": b"x"})
    assert converted(source, tmp_path / "out", classes="a,b,c", on_bad="skip").class_names == ("a", "b", "c")
    source = write_files(tmp_path / "more", class_folders(9) | {"7/7.jpg": drawn(70)})
    named = converted(source, tmp_path / "least", classes="a,b,c,d", min_photos_per_class=2)
    assert named.class_names == ("a", "b", "c")


def test_a_photo_that_changes_meanwhile_is_named(tmp_path, monkeypatch):
    source = write_files(tmp_path / "cars", competition())
    validate_photos = scan.validate_photos

    def validated_then_changed(*arguments):
        checks = validate_photos(*arguments)
        (source / "train/0/0.jpg").write_bytes(drawn(60))
        return checks

    with monkeypatch.context() as patch:
        patch.setattr(scan, "validate_photos", validated_then_changed)
        with pytest.raises(
            UserError, match=r"train/0/0\.jpg changed while it was converted: run the same command again"
        ):
            converted(source, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()
    converted(source, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(Path(converted(source, tmp_path / "fresh").directory))


@pytest.mark.parametrize(
    ("limit", "stored", "tests"), [(12, 12, 4), (13, 13, 5), (3, 3, 1), (30, 30, 10), (99, 30, 10)]
)
def test_a_limit_takes_every_class_in_proportion(tmp_path, capsys, limit, stored, tests):
    source = write_files(tmp_path / "cars", competition(30, tests=10))
    manifest = converted(source, tmp_path / "out", limit=limit)
    assert (manifest.photos("train"), manifest.photos("test")) == (stored, tests)
    counts = [entry.count for entry in manifest.classes]
    assert max(counts) - min(counts) <= 1
    assert manifest.sample_submission is None
    assert "The sample submission was left out" in capsys.readouterr().err
    assert set(ids_of(manifest)) <= {f"{number}.jpg" for number in range(30)}


@pytest.mark.parametrize("output", ["out", ""])
def test_a_dry_run_validates_and_writes_nothing(tmp_path, capsys, monkeypatch, output):
    source = write_files(tmp_path / "cars", mixed())
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(UserError, match="3 photos cannot be used"):
        convert(ConvertOptions(input=str(source), output=output, dry_run=True, workers=1))
    options = ConvertOptions(input=str(source), output=output, dry_run=True, workers=1, on_bad="skip")
    assert convert(options) is None
    assert tree(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["cars"]
    said = capsys.readouterr()
    assert "train: 74 read = 71 stored + 3 rejected" in said.out
    assert "rejected: train/0/empty.jpg: empty file" in said.err


def test_a_dry_run_leaves_a_data_set_alone(tmp_path):
    source = write_files(tmp_path / "cars", competition())
    converted(source, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    options = {"input": str(source), "output": str(tmp_path / "out"), "folds": 4, "dry_run": True, "workers": 1}
    with pytest.raises(UserError, match="add --overwrite"):
        convert(ConvertOptions(**options))
    assert convert(ConvertOptions(**options, overwrite=True)) is None
    assert snapshot(tmp_path / "out") == before


FRAMING = Framing(image_size=(32, 32))


def canvases(batches) -> set[bytes]:
    found = set()
    for inputs, _, weight in batches.as_numpy_iterator():
        found |= {canvas.tobytes() for canvas, used in zip(inputs["canvas"], weight, strict=True) if used}
    return found


def test_external_photos_are_trained_on_and_never_held_out(tmp_path):
    source = write_files(tmp_path / "cars", competition())
    external = write_files(tmp_path / "more", class_folders(6, first=200) | {"0/0.jpg": drawn(300), "1/bad.jpg": b""})
    plain = converted(source, tmp_path / "plain")
    manifest = converted(source, tmp_path / "out", external=str(external), on_bad="skip")
    extra = [shard for shard in manifest.shards if shard.split == "extra"]
    assert [Path(shard.file).name for shard in extra] == ["train-extra-00000-of-00001.tfrecord"]
    assert (extra[0].count, extra[0].fold) == (7, None)
    assert [s.sha256 for s in manifest.shards if s.split != "extra"] == shard_hashes(plain)
    ids = manifest.read_ids("train")
    assert ids["id"].tolist()[:12] == plain.read_ids("train")["id"].tolist()
    assert sorted(ids["id"].tolist()[12:]) == ["200.jpg", *(f"{n}.jpg" for n in range(201, 206)), "external/0/0.jpg"]
    assert set(ids["fold"][12:]) == {-1}
    assert [entry.count for entry in manifest.classes] == [4, 4, 4]
    assert manifest.source["counts"]["extra"]["categories"]["1"] == {"read": 3, "stored": 2, "rejected": 1}
    recipe = parse_recipe("")
    for fold in (0, 1):
        held_out = canvases(
            pipeline.validation_batches(manifest=manifest, folds=[fold], framing=FRAMING, batch_size=4, recipe=recipe)
        )
        trained_on = canvases(
            pipeline.training_batches(
                manifest=manifest, folds=[1 - fold], framing=FRAMING, recipe=recipe, batch_size=1, epochs=1, seed=1
            )
        )
        assert len(held_out) == 6
        assert len(trained_on) == 6 + 7
        assert not held_out & trained_on


def test_external_photos_of_other_classes_are_refused(tmp_path):
    source = write_files(tmp_path / "cars", competition())
    external = write_files(tmp_path / "more", {"0/a.jpg": drawn(1), "truck/b.jpg": drawn(2)})
    with pytest.raises(UserError, match=r"--external=.* has classes that the training photos lack \(truck\)"):
        converted(source, tmp_path / "out", external=str(external))


def test_a_hostile_member_among_external_photos_counts_there(tmp_path):
    raw = with_fields(zipped({"0/a.jpg": drawn(70), "0/b.jpg": drawn(71)}), "0/b.jpg", flags=1)
    (tmp_path / "more.zip").write_bytes(raw)
    source = write_files(tmp_path / "cars", competition())
    manifest = converted(source, tmp_path / "out", external=str(tmp_path / "more.zip"), on_bad="skip")
    assert manifest.source["counts"]["extra"]["categories"] == {"0": {"read": 2, "stored": 1, "rejected": 1}}
    assert manifest.source["counts"]["train"]["rejected"] == 0


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(b"Id,Category\r\n1001.jpg,0\r\n1000.jpg,0\r\n", id="CRLF"),
        pytest.param(b"\xef\xbb\xbfId,Category\n1001.jpg,0\n1000.jpg,0", id="BOM and no last newline"),
        pytest.param(b'"Id";"Category"\n"1001.jpg";"2"\n"1000.jpg";"2"\n', id="semicolons and quotes"),
        pytest.param(b"Id\n1001.jpg\n1000.jpg\n", id="Ids alone"),
    ],
)
def test_the_sample_submission_is_kept_verbatim(tmp_path, sample):
    files = competition(tests=2) | {"sample-submission.csv": sample}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert (tmp_path / "out" / "sample-submission.csv").read_bytes() == sample
    assert Path(manifest.sample_submission).read_bytes() == sample
    assert sorted(ids_of(manifest, "test")) == ["1000.jpg", "1001.jpg"]


def test_a_conversion_to_another_file_system_gives_the_same_bytes(tmp_path, capsys):
    source = write_files(tmp_path / "cars", competition())
    local = converted(source, tmp_path / "out")
    output = f"ram://{tmp_path.name}/cars"
    manifest = converted(source, output)
    assert shard_hashes(manifest) == shard_hashes(local)
    loaded = load_manifest(output)
    assert loaded.fingerprint == local.fingerprint
    for name in tree(tmp_path / "out"):
        assert storage.read_bytes(f"{output}/{name}") == (tmp_path / "out" / name).read_bytes()
    assert ids_of(loaded) == ids_of(local)
    assert [r["image/filename"] for r in read_records(loaded, "train")] == [
        r["image/filename"] for r in read_records(local, "train")
    ]
    assert verify(output, workers=1).fingerprint == local.fingerprint
    capsys.readouterr()
    converted(source, output)
    assert "nothing to do" in capsys.readouterr().out
    new = converted(source, output, folds=3, overwrite=True)
    assert load_manifest(output).fingerprint == new.fingerprint
    assert not storage.is_folder(f"{output}/{local.fingerprint[:16]}")


def test_the_command_converts_and_a_second_time_has_nothing_to_do(tmp_path):
    source = write_files(tmp_path / "cars", competition())
    flags = (f"--input={source}", f"--output={tmp_path / 'out'}", "--folds=2", "--workers=1")
    answer = run_command(*flags)
    assert answer.returncode == 0, answer.stderr
    assert "recognised: competition folder, 12 training and 4 test photos in 3 classes" in answer.stdout
    assert "Next: python -m carclf.train --stage=" in answer.stdout
    assert f" --data={tmp_path / 'out'}" in answer.stdout
    before = snapshot(tmp_path / "out")
    answer = run_command(*flags)
    assert answer.returncode == 0, answer.stderr
    assert "nothing to do" in answer.stdout
    assert snapshot(tmp_path / "out") == before


def test_the_command_refuses_in_one_sentence(tmp_path):
    source = write_files(tmp_path / "cars", mixed())
    answer = run_command(f"--input={source}", f"--output={tmp_path / 'out'}", "--workers=1")
    assert answer.returncode == 2
    assert answer.stderr.strip().splitlines()[-1].startswith("Error: 3 photos cannot be used (first: train/1/cut.jpg: ")
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": ""}, "--input is missing"),
        ({"output": ""}, "--output is missing"),
        ({"folds": 1}, "--folds=1 is not possible: it must be between 2 and 1000"),
        ({"max_side": 0}, "--max_side=0 is not possible"),
        ({"limit": -1}, "--limit=-1 is not possible: it must be at least 0"),
        ({"workers": -1}, "--workers=-1 is not possible"),
        ({"seed": -1}, "--seed=-1 is not possible"),
    ],
)
def test_options_that_no_conversion_could_have_are_refused(change, said):
    with pytest.raises(UserError, match=said):
        ConvertOptions(**({"input": "in", "output": "out"} | change))


def test_converting_and_verifying_need_no_tensorflow(tmp_path):
    """Holds for every process: sitecustomize passes the block on to children."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    source = write_files(tmp_path / "cars", class_folders(6))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "blocked")}
    for arguments in ([f"--input={source}", f"--output={tmp_path / 'out'}"], [f"--verify={tmp_path / 'out'}"]):
        answer = subprocess.run(
            [sys.executable, str(ROOT / "tools/make_tfrecords.py"), "--workers=2", *arguments],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert (answer.returncode, answer.stderr.count("Traceback")) == (0, 0), answer.stderr
    assert "is whole: every hash, every count and every photo was checked" in answer.stdout


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"runner": "beam", "dry_run": True}, "--dry_run writes nothing for Beam's workers to meet in"),
        ({"runner": "beam", "verify": "out"}, "--verify writes nothing for Beam's workers to meet in"),
        (
            {"beam_options": "--runner=FlinkRunner"},
            "--beam_options=--runner=FlinkRunner is for --runner=beam: add that",
        ),
    ],
)
def test_what_beam_cannot_do_is_refused(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        ConvertOptions(input="cars", output="out", **flags)


def test_without_beam_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "carclf.convert.beam", raising=False)
    source = write_files(tmp_path / "cars", competition())
    with pytest.raises(UserError, match=r"Apache Beam, which is not installed: pip install -e \S+\[beam\]"):
        converted(source, tmp_path / "out", runner="beam")


def test_each_worker_calculates_in_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")  # so that it is restored
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    folder = write_files(tmp_path / "photos", class_folders(6))
    make_tfrecords.main(ConvertOptions(input=str(folder), dry_run=True, folds=2))
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    make_tfrecords.main(ConvertOptions(input=str(folder), dry_run=True, folds=2))
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
