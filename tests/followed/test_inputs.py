"""Inputs of the converter that are refused, and what the error advises, done."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from texts import refused

from carclf.convert.inventory import Inventory, take_inventory
from carclf.convert.labels import columns_by_name
from carclf.convert.options import ConvertOptions
from carclf.convert.table import read_table
from carclf.errors import UserError
from carclf.inference.photo_list import list_photos
from tests.convert.inputs import (
    Files,
    class_folders,
    competition,
    converted,
    csv_of,
    drawn,
    read_label_file,
    rejected,
    write_files,
    write_zip,
)


def empty(*paths: str) -> Files:
    return dict.fromkeys(paths, b"")


FOLDERS = empty("cat/0.jpg", "cat/1.jpg", "dog/2.jpg", "dog/3.jpg")
NESTED = empty("0/1/a.jpg", "0/2/b.jpg", "1/1/c.jpg", "1/2/d.jpg")
INSIDE = {f"photos/{path}": b"" for path in FOLDERS}
FLAT = empty("x/0.jpg", "x/1.jpg", "x/2.jpg", "x/3.jpg")
TRAIN = {path.replace("x/", "train/"): b"" for path in FLAT}
STYLES = b"id,season,year\n0,a,2011\n1,b,2011\n2,a,2011\n3,b,2012\n"
DRIVEN = b"id,category,driver,year\n0,b,p,2011\n1,a,p,2012\n"
DRIVERS = b"image,driver,year\n0,p,2011\n1,p,2011\n2,p,2011\n3,p,2011\n"
BREEDS = b"image,species,breed\n0,cat,manx\n1,cat,rex\n2,dog,pug\n3,dog,pug\n"
ONE_LIST = csv_of((f"{n}.jpg", "ab"[n % 2]) for n in range(4))
OTHER_LIST = csv_of((f"{n}.jpg", "ba"[n % 2]) for n in range(4))
SIZES = b"image,width\n0.jpg,640\n1.jpg,641\n2.jpg,640\n3.jpg,641\n"
ROWS = b"a,b,c\nx\\0,x,640\nx\\1,y,641\nx\\2,x,640\nx\\3,y,641\n"
TESTS = empty("test/8.jpg", "test/9.jpg")
SAMPLE = b"Id,Category\n8.jpg,a\n9.jpg,a\n"


LIST, GIVEN = "../list.csv", {"labels": "list.csv"}
MIXED = FOLDERS | {"train.csv": b"Id,Category\n0.jpg,cat\n1.jpg,dog\n"}
MENDED = FOLDERS | {"train.csv": b"Id,Category\n0.jpg,cat\n1.jpg,cat\n"}
SAMPLES = {"sample_submission.csv": SAMPLE, "sample_submission_2.csv": SAMPLE}
OWN_TESTS = empty("own_testset/x/7.jpg", "final-test/final-test/8.jpg")


class Case(NamedTuple):
    """An input that an error with this text refuses; what is taken instead: other files, or other options.

    A path that begins with ../ lies beside the input; the options name the input as `in`.
    """

    text: str
    files: Files
    options: dict[str, Any]
    told_files: Files | None = None
    told_options: dict[str, Any] | None = None


CASES = [
    Case("convert/tree.py: There is nothing at", FOLDERS, {"input": "im"}, None, {"input": "in"}),
    Case("convert/by_folder.py: Photos lie", FOLDERS | empty("dog/new/9.jpg"), {}, FOLDERS),
    Case("convert/by_folder.py: Photos lie", INSIDE | empty("more/8.jpg"), {}, None, {"input": "in/photos"}),
    Case("convert/by_list.py: … names … as", FLAT | {"train.csv": ONE_LIST + b"3,b\n"}, {},
         FLAT | {"train.csv": ONE_LIST}),
    Case("convert/by_list.py: … and the folders above", FOLDERS | {"sizes.csv": SIZES}, {}, None,
         {"label_column": "width"}),
    Case("convert/by_list.py: … and the folders above", FOLDERS | {"sizes.csv": SIZES}, {}, None,
         {"label_pattern": "([^/]+)/[^/]+$"}),
    Case("convert/by_list.py: … in another class's folder", MIXED, {}, None, {"labels": "in/train.csv"}),
    Case("convert/by_list.py: … in another class's folder", MIXED, {}, MENDED),
    Case("convert/columns.py: … has the columns", FLAT | {LIST: STYLES}, GIVEN, None,
         {"label_column": "season"}),
    Case("convert/columns.py: … has no column", FLAT | {LIST: STYLES},
         {"labels": "list.csv", "label_column": "kind"}, None, {"label_column": "season"}),
    Case("convert/labels.py: … has the columns", FLAT | {LIST: ROWS}, GIVEN, None,
         {"label_column": "b"}),
    Case("convert/labels.py: … … … has no Id", FLAT | {LIST: ONE_LIST + b",a\n"}, GIVEN,
         {LIST: ONE_LIST}),
    Case("convert/labels.py: … … … has no label", FLAT | {LIST: ONE_LIST + b"4.jpg,\n"}, GIVEN,
         {LIST: ONE_LIST}),
    Case("convert/json_lists.py: … is not JSON", FLAT | {"labels.json": b"{"}, {}, FLAT | {"train.csv": ONE_LIST}),
    Case("convert/lists.py: … is no list of photos", FLAT | {"../list.json": b"{}", LIST: ONE_LIST},
         {"labels": "list.json"}, None, GIVEN),
    Case("convert/labels.py: …: Ids and labels", FLAT | {LIST: STYLES},
         {"labels": "list.csv", "id_column": "id", "label_column": "id"}, None,
         {"id_column": "id", "label_column": "season"}),
    Case("convert/listed.py: The input holds", FLAT | {"train.csv": ONE_LIST, "labels.csv": OTHER_LIST}, {}, None,
         {"labels": "in/labels.csv"}),
    Case("convert/listed.py: … and … give", FLAT | {"train.csv": ONE_LIST, "val.csv": OTHER_LIST}, {},
         FLAT | {"train.csv": ONE_LIST, "val.csv": ONE_LIST}),
    Case("convert/labels.py: … puts … into the groups", FLAT | {"train.csv": DRIVEN + b"0,b,q,2011\n"},
         {"group_column": "driver"}, FLAT | {"train.csv": DRIVEN}),
    Case("convert/labels.py: … puts … into the groups", FLAT | {"train.csv": DRIVEN + b"0,b,q,2011\n"},
         {"group_column": "driver"}, None, {"group_column": "year"}),
    Case("convert/listed.py: … and … put", FLAT | {"train.csv": DRIVEN, "val.csv": DRIVEN.replace(b"p", b"q")},
         {"group_column": "driver"}, FLAT | {"train.csv": DRIVEN, "val.csv": DRIVEN}),
    Case("convert/lists.py: … has … columns that may hold", FLAT | {"train.csv": BREEDS}, {}, None,
         {"label_column": "breed"}),
    Case("convert/sample_csv.py: There is no file", FLAT | {LIST: ONE_LIST}, {"labels": "lists.csv"}, None,
         GIVEN),
    Case("convert/sample_csv.py: The input holds",
         FOLDERS | TESTS | SAMPLES, {}, None,
         {"sample": "in/sample_submission.csv"}),
    Case("convert/groups.py: … has no column", FLAT | {"train.csv": STYLES},
         {"label_column": "season", "group_column": "driver"}, None,
         {"label_column": "season", "group_column": "year"}),
    Case("convert/groups.py: --group_column", FOLDERS, {"group_column": "driver"},
         FOLDERS | {"drivers.csv": b"image,driver\n0,p\n1,q\n2,p\n3,q\n"}),
    Case("convert/groups.py: --group_column", FOLDERS, {"group_column": "driver"}, None, {"group_column": ""}),
    Case("convert/groups.py: … and another", FOLDERS | {"a.csv": DRIVERS, "b.csv": DRIVERS.replace(b"p", b"q")},
         {"group_column": "driver"}, FOLDERS | {"a.csv": DRIVERS, "b.csv": DRIVERS}),
    Case("convert/lists.py: --…=… is a column of no CSV", FLAT | {LIST: STYLES}, {"label_column": "season"},
         None, {"label_column": "season", "labels": "list.csv"}),
    Case("convert/id_lookup.py: ", empty("a/1.jpg", "b/1.jpg", "b/2.jpg") | {LIST: b"Id,Category\n1,a\n2,b\n"},
         GIVEN, {LIST: b"Id,Category\nb/1.jpg,a\n2,b\n"}),
    Case("convert/inventory.py: --input", empty("a.jpg", "b.jpg"), {}, FOLDERS),
    Case("convert/inventory.py: --input", empty("0.jpg", "1.jpg") | {LIST: ONE_LIST}, {}, None,
         GIVEN),
    Case("convert/inventory.py: --external", FOLDERS | empty("../more/bus/1.jpg"), {"external": "more"}, None,
         {"external": ""}),
    Case("convert/refusals.py: All", empty("all/cat/0.jpg", "all/cat/1.jpg"), {}, FOLDERS),
    Case("convert/refusals.py: …: …", TRAIN | {"styles.csv": STYLES}, {}, None, {"label_column": "season"}),
    Case("convert/refusals.py: …: give --labels=CSV, or if train", empty("bus/0.jpg", "bus/1.jpg", "train/2.jpg"), {},
         None, {"label_pattern": "([^/]+)/[^/]+$"}),
    Case("convert/refusals.py: …: give --labels=CSV, or --label_pattern=REGEX", TRAIN | {LIST: ONE_LIST}, {},
         None, GIVEN),
    Case("convert/refusals.py: Class folders", NESTED, {}, None, {"label_pattern": "([^/]+/[^/]+)/[^/]+$"}),
    Case("convert/refusals.py: Class folders", NESTED, {}, None, {"label_pattern": "([^/]+)/[^/]+$"}),
    Case("convert/refusals.py: The folders above the photos (such", FOLDERS | {"styles.csv": STYLES},
         {}, None, {"label_column": "season"}),
    Case("convert/refusals.py: The folders above the photos (such", FOLDERS | {"styles.csv": STYLES},
         {}, None, {"label_pattern": "([^/]+)/[^/]+$"}),
    Case("convert/refusals.py: The folders above the photos would", empty("images/0.jpg", "masks/0.png"),
         {}, FOLDERS),
    Case("convert/refusals.py: The folders above the photos would", INSIDE | OWN_TESTS, {}, None,
         {"input": "in/photos"}),
    Case("convert/table.py: … is not UTF-8", FLAT | {LIST: ONE_LIST + b"4.jpg,\xe4\n"}, GIVEN,
         {LIST: ONE_LIST}),
    Case("convert/table.py: … is not CSV", FLAT | {LIST: b'"'}, GIVEN, {LIST: ONE_LIST}),
    Case("convert/table.py: … has no rows", FLAT | {LIST: b"Id,Category\n"}, GIVEN,
         {LIST: ONE_LIST}),
    Case("convert/table.py: … line", FLAT | {LIST: ONE_LIST + b"4.jpg\n"}, GIVEN,
         {LIST: ONE_LIST}),
]  # fmt: skip


def inventory(**options: Any) -> Inventory:
    """The inventory of the folder `in`, or of what the options name; no photo is read."""
    return take_inventory(ConvertOptions(**{"input": "in", "output": "out", **options}), spool="spool")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.text}-{case.told_options}")
def test_the_input_is_read_as_advised(case, tmp_path):
    write_files(tmp_path / "in", case.files)
    with refused(case.text):
        inventory(**case.options)
    if case.told_files:
        (tmp_path / "in").rename(tmp_path / "before")
        write_files(tmp_path / "in", case.files | case.told_files if set(case.told_files) & {LIST} else case.told_files)
    found = inventory(**case.options | (case.told_options or {}))
    assert len({photo.category for photo in found.photos if photo.split == "train"}) > 1


def test_the_pattern_that_is_proposed_finds_the_classes(tmp_path):
    write_files(tmp_path / "in", empty(*(f"train/{word}{n}.jpg" for word in ("cloudy", "rain") for n in (1, 2))))
    with refused("convert/refusals.py: …: give --labels=CSV, or --label_pattern='…' if the names"), told() as said:
        inventory()
    found = inventory(label_pattern=re.search("--label_pattern='(.*?)' if", said.getvalue())[1])
    assert {photo.category for photo in found.photos} == {"cloudy", "rain"}


@contextlib.contextmanager
def told():
    """A context that keeps the sentence of an error."""
    said = io.StringIO()
    try:
        yield said
    except UserError as error:
        said.write(str(error))
        raise


def test_a_column_of_a_list_is_one_that_it_has():
    table = read_table(ROWS, shown="list.csv")
    with refused("convert/labels.py: … has no column"):
        columns_by_name(table, id_column="number", label_column="b")
    assert columns_by_name(table, id_column="a", label_column="b") == (0, 1)


def test_an_id_with_two_labels_is_corrected():
    with refused("convert/labels.py: … gives …"):
        read_label_file(ONE_LIST + b"3.jpg,a\n", shown="list.csv")
    assert len(read_label_file(ONE_LIST, shown="list.csv").labels) == 4


def test_a_note_names_the_option_that_takes_another_column(tmp_path):
    write_files(tmp_path / "in", FLAT | {"train.csv": b"id,category,year\n0,a,2011\n1,a,2011\n2,a,2012\n3,a,2012\n"})
    said = "train.csv gives every photo the label a (in the column 'category'): --label_column=NAME takes another."
    assert said in inventory().notes
    assert {photo.category for photo in inventory(label_column="year").photos} == {"2011", "2012"}


# What only the conversion itself finds.


def test_names_of_another_code_page_are_read_with_another_encoding(tmp_path):
    write_zip(tmp_path / "in.zip", {"cat/1.jpg": drawn(1), "dog/2.jpg": drawn(2)})
    content = (tmp_path / "in.zip").read_bytes().replace(b"cat/1", b"\x80at/1")
    (tmp_path / "in.zip").write_bytes(content)
    with refused("convert/sources.py: … has names that are not"):
        inventory(input="in.zip", zip_encoding="utf-8")
    assert {photo.category for photo in inventory(input="in.zip", zip_encoding="cp866").photos} == {"Аat", "dog"}


@pytest.fixture
def photos(tmp_path) -> Path:
    return write_files(tmp_path / "in", class_folders(9))


def test_folds_and_splits_are_those_that_are_advised(photos):
    old = converted(photos, "old", folds=3, near_duplicates=False).directory
    with refused("convert/fold_choice.py: --keep_folds"):
        converted(photos, "new", keep_folds=old, folds=2)
    assert converted(photos, "new", keep_folds=old, folds=3).folds == (0, 1, 2)
    with refused("convert/fold_choice.py: --split"):
        converted(photos, "split", split="first_files:0.05")
    assert converted(photos, "split", split="first_files:0.4").photos("train", [0]) == 3


def test_classes_and_photos_that_cannot_be_used_are_left_out_as_advised(photos):
    write_files(photos, {"7/70.jpg": drawn(70)})
    with refused("convert/rare_classes.py: --min_photos_per_class=… leaves no class"):
        converted(photos, "out", min_photos_per_class=9)
    write_files(photos, {"sample_submission.csv": b"Id,0,1,2,7\n90.jpg,0,0,0,0\n", "test/90.jpg": drawn(90)})
    with refused("convert/rare_classes.py: --min_photos_per_class=… would leave out"):
        converted(photos, "out", min_photos_per_class=2)
    assert converted(photos, "out", min_photos_per_class=1).class_count == 4
    write_files(photos, {"0/bad.jpg": b"x"})
    with refused("convert/validated.py: … cannot be used"):
        converted(photos, "less")
    assert converted(photos, "less", on_bad="skip").class_count == 4


def test_a_damaged_archive_is_left_out_or_removed_as_advised(photos):
    write_files(photos, {"more.zip": b"x"})
    with refused("convert/damaged.py: …; to go on without it"):
        converted(photos, "out")
    assert converted(photos, "out", on_bad="skip").class_count == 3
    with refused("convert/damaged.py: …; to go on without it"):
        list_photos(str(photos), sample=None, spool="", fails_on_bad=True)
    left_out = list_photos(str(photos), sample=None, spool="")
    assert left_out.notes[0].startswith("more.zip and all photos in it were left out: it cannot be read as a zip")
    (photos / "more.zip").unlink()
    assert converted(photos, "removed").class_count == 3
    assert list_photos(str(photos), sample=None, spool="", fails_on_bad=True).ids == left_out.ids


def test_photos_that_cannot_be_used_are_all_listed(tmp_path):
    source = write_files(tmp_path / "in", {"0/1.jpg": b"", "1/2.jpg": b"x"})
    with refused("convert/validated.py: None of the training photos"):
        converted(source, "out", on_bad="skip")
    with refused("convert/validated.py: … cannot be used"):
        converted(source, "out", on_bad="fail")
    assert [row["source"] for row in rejected(tmp_path / "out")] == ["0/1.jpg", "1/2.jpg"]
    write_files(source, {"0/1.jpg": drawn(1), "1/2.jpg": drawn(2)})
    assert converted(source, "out").photos("train") + converted(source, "out").photos("extra") == 2


def test_external_photos_stay_out_if_their_class_has_no_other(tmp_path):
    source = write_files(tmp_path / "in", {"0/1.jpg": drawn(1), "1/2.jpg": drawn(2), "2/3.jpg": b"x"})
    write_files(tmp_path / "more", {"2/4.jpg": drawn(4)})
    with refused("convert/converter.py: No training photo of"):
        converted(source, "out", external="more", on_bad="skip")
    (tmp_path / "more" / "2" / "4.jpg").unlink()
    assert converted(source, "out", external="more", on_bad="skip").class_count == 2
    write_files(source, {"2/3.jpg": drawn(3)})
    assert converted(source, "fixed", external="more").class_count == 3


def test_a_sample_with_several_columns_is_given_with_one(tmp_path):
    source = write_files(tmp_path / "in", competition(6, tests=2))
    (source / "sample-submission.csv").write_bytes(b"Id,first,second\n1000.jpg,0,0.5\n1001.jpg,0,0.5\n")
    with refused("forms/evidence.py: "):
        converted(source, "out")
    (tmp_path / "copy.csv").write_bytes(b"Id,first\n1000.jpg,0\n1001.jpg,0\n")
    assert converted(source, "out", sample="copy.csv").form.header == ("Id", "first")
