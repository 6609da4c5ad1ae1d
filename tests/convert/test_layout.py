"""Labels by list, by folder and by name: how other collections lie, and what is refused with what to do instead."""

import json
import re

import pytest

from carclf.convert.inventory import take_inventory
from carclf.convert.labels import is_group
from carclf.convert.options import ConvertOptions
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from carclf.forms import Form
from carclf.schema import typed
from tests.convert.inputs import (
    converted,
    csv_of,
    drawn,
    empty,
    ids_of,
    listed,
    numbered,
    table,
    write_files,
    write_zip,
    zipped,
)

TWO = ("cat", "dog")


def classes(path, first=0, each=2):
    """Returns empty photos of two classes; `path` has the places {name} and {n}."""
    return empty(*(path.format(name=name, n=first + k * each + i) for k, name in enumerate(TWO) for i in range(each)))


FOLDERS = {
    "prefixed and doubled": (
        classes("seg_train/seg_train/{name}/{n}.jpg") | classes("seg_test/seg_test/{name}/{n}.jpg", 10, 1)
        | empty("seg_pred/seg_pred/90.jpg"), ["10.jpg", "11.jpg"],
    ),
    "deep, with texts": (classes("data/v1/images/{name}/{n}.jpg") | empty("data/README", "data/v1/list.txt"), []),
    "a constant folder inside": (
        classes("train/{name}/images/{n}.jpg") | empty("val/images/7.jpg", "test/images/8.jpg"), ["8.jpg"],
    ),
    "validation joins": (
        empty("train/cat/0.jpg", "val/cat/1.jpg", "train/dog/2.jpg", "valid/dog/3.jpg"), [],
    ),
    "loose photos in the wrapper": (classes("data/{name}/{n}.jpg") | empty("data/example.jpg"), []),
    "annotations": (classes("images/{name}/{n}.jpg") | classes("annotations/{name}/{n}.png"), []),
    "masks beside their photos": (
        classes("{name}/{n}.jpg") | classes("{name}/{n}_mask.png") | empty("dog/3_mask_1.png"), [],
    ),
    "masks in each class folder": (classes("{name}/images/{n}.jpg") | classes("{name}/masks/{n}.png"), []),
    "masks of all classes": (classes("train/{name}/{n}.jpg") | classes("Masks/{name}/{n}_segmentation.png"), []),
    "twice": (classes("{name}/{n}.jpg") | classes("all/{name}/{n}.jpg"), []),
    "twice, in a wrapper": (classes("all/{name}/{n}.jpg") | classes("all/all/{name}/{n}.jpg"), []),
    "other sizes": (classes("jpeg-64x64/{name}/{n}.jpg") | classes("jpeg-512x512/{name}/{n}.jpg"), []),
    "wrapped in a test folder": (classes("test-data/train/{name}/{n}.jpg") | empty("test-data/test/8.jpg"), ["8.jpg"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_the_class_is_the_folder_above_the_photo(tmp_path, name):
    files, tests = FOLDERS[name]
    train, found, inventory = listed(tmp_path, files)
    assert train == {f"{n}.jpg": name for n, name in enumerate(["cat", "cat", "dog", "dog"])}
    assert found == tests
    if name == "other sizes":
        assert all("512x512" in photo.entry.path for photo in inventory.photos)


REFUSED = {
    "one class": (
        numbered("cat/{}.jpg", range(3)), r"All 3 training photos would be of one class, cat \(such as cat/0\.jpg\)",
    ),
    "the class's own folder": (numbered("{}.jpg", range(3)), "3 photos lie in no class folder, left out"),
    "images and masks": (
        numbered("images/{}.jpg", range(3)) | numbered("masks/{}.png", range(3, 6)),
        r"would be the classes, and images, masks are none .*: give the folder directly above the class folders",
    ),
    "images and their masks": (
        numbered("images/{}.jpg", range(3)) | numbered("masks/{}.png", range(3)),
        r"would be the classes, and images is none .*: give the folder directly above the class folders",
    ),
    "a test set among the classes": (
        classes("photos/{name}/{n}.jpg") | empty("own_testset/x/7.jpg", "final-test/final-test/8.jpg"),
        r"and final-test, own_testset are none \(such as \S+\): give the folder photos/ alone",
    ),
    "two depths": (
        classes("{name}/{n}.jpg") | empty("dog/new/9.jpg"),
        r"at different depths below the class folders, such as cat/0\.jpg and dog/new/9\.jpg: give the folder directly",
    ),
    "a class called train": (
        numbered("bus/{}.jpg", range(2)) | numbered("train/{}.jpg", range(2, 4)),
        r"if train is a class such as bus, --label_pattern='\(\[\^/\]\+\)/\[\^/\]\+\$'",
    ),
    "words before numbers": (
        empty("set/cloudy1.jpg", "set/cloudy2.jpg", "set/rain1.jpg", "set/rain2.jpg"),
        r"give --label_pattern='\S+( \]\?\S+)?' if the names of the photos hold the classes \(cloudy, rain\)",
    ),
    "a list without a known column": (
        numbered("img/{}.jpg", range(3)) | {"styles.csv": table("id,season,year", [(n, "x", 2011) for n in range(3)])},
        r"say which column of styles\.csv holds the labels with --label_column=NAME \(season, year\)",
    ),
    "a class called val": (
        numbered("hill/{}.jpg", range(2)) | numbered("river/{}.jpg", range(2, 4)) | numbered("val/{}.jpg", range(4, 6)),
        r"and val is none \(such as val/4\.jpg\)",
    ),
    "sizes beside class folders": (
        classes("{name}/{n}.jpg") | {"sizes.csv": table("image,width", [(f"{n}.jpg", 640 + n % 2) for n in range(4)])},
        r"sizes\.csv and the folders above the photos give different labels \(such as cat/0\.jpg: 640\)",
    ),
    "nothing but test photos": (
        numbered("test/cat/{}.jpg", range(2)), r"has no training photos; all 2 photos lie below test/",
    ),
    "7z": (
        {"train.7z": b"7z", "labels.csv": csv_of([("1", "a")])},
        r"train\.7z is not read \(unpack it and give the folder, such as with 7z x\)",
    ),
    "DICOM": (
        empty("train/1.dcm", "train/2.dcm"),
        r"train/1\.dcm is not read \(write each image as a PNG, such as with pydicom",
    ),
    "pixels": (
        {"train.csv": table("label," + ",".join(f"pixel{n}" for n in range(9)), [range(10)])},
        r"train\.csv holds pixels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_classes_is_refused_with_what_to_give_instead(tmp_path, name):
    files, said = REFUSED[name]
    with pytest.raises(UserError, match=said):
        listed(tmp_path, files)


def test_masks_do_not_make_ids_ambiguous_and_are_told(tmp_path):
    files = numbered("train/images/{}.png", range(4)) | numbered("train/masks/{}.png", range(4))
    files |= empty("test/images/9.png", "test/masks/9.png")
    files["train.csv"] = table("id,label", [(n, "ab"[n % 2]) for n in range(4)])
    files["sample_submission.csv"] = table("id,label", [(9, "a")])
    train, tests, inventory = listed(tmp_path, files)
    assert (train, tests) == ({str(n): "ab"[n % 2] for n in range(4)}, ["9"])
    assert {photo.entry.path.split("/")[1] for photo in inventory.photos} == {"images"}
    assert any(note.startswith("5 photos are annotations such as masks, left out: ") for note in inventory.notes)


def test_photos_of_people_with_masks_are_no_masks(tmp_path):
    kinds = ("with_mask", "without_mask", "mask", "masks", "no mask")
    files = empty(*(f"{kind}/{n}.jpg" for kind in kinds for n in range(2)))
    assert set(listed(tmp_path / "a", files | empty("mask/a_mask.jpg"), label_pattern="(.+)/")[0].values()) == {*kinds}
    both = empty("x/a.jpg", "x/a_mask.jpg") | {"list.csv": table("image,label", [("a", "bare"), ("a_mask", "masked")])}
    assert listed(tmp_path / "b", both)[0] == {"a": "bare", "a_mask": "masked"}


def test_the_folder_above_is_proposed_where_a_class_folder_was_given(tmp_path):
    write_files(tmp_path, classes("cars/{name}/{n}.jpg"))
    options = ConvertOptions(input=str(tmp_path / "cars" / "cat"), output=str(tmp_path / "out"))
    with pytest.raises(UserError, match="no class folder"):
        take_inventory(options, spool=str(tmp_path / "spool"))


TESTS = numbered("test/{}.jpg", (7, 8))
LISTS = {
    "a list of any name": (
        numbered("x/{}.jpg", range(4))
        | {"driver_list.csv": table("who,classname,img", [("p", f"c{n % 2}", f"{n}.jpg") for n in range(4)])},
        {f"{n}.jpg": f"c{n % 2}" for n in range(4)}, [],
    ),
    "one-hot columns of the sample": (
        numbered("x/{}.jpg", range(4)) | TESTS | {
            "train.csv": table("image_id,rust,scab", [(n, int(n < 2), int(n >= 2)) for n in range(4)]),
            "sample_submission.csv": table("image_id,rust,scab", [(n, 0.5, 0.5) for n in (7, 8)]),
        }, {str(n): ("rust", "scab")[n > 1] for n in range(4)}, ["7", "8"],
    ),
    "values that are the sample's columns": (
        numbered("x/{}.jpg", range(4)) | TESTS | {
            "list.csv": table("n,kind,margin", [(n, ("a b", "c")[n % 2], f"0.{n}") for n in range(4)]),
            "sampleSubmission.csv": table("file,A_B,c", [(n, 0.5, 0.5) for n in (7, 8)]),
        }, {str(n): ("a b", "c")[n % 2] for n in range(4)}, ["7", "8"],
    ),
    "values that are the sample's likeliest labels": (
        numbered("x/{}.jpg", range(4)) | TESTS | {
            "list.csv": table("n,side,turtle", [(n, "lr"[n > 1], ("a b", "c")[n % 2]) for n in range(4)]),
            "sampleSubmission.csv": table("file,top1,top2", [(7, "c", "a b"), (8, "a b", "")]),
        }, {str(n): ("a b", "c")[n % 2] for n in range(4)}, ["7", "8"],
    ),
    "the column called Id holds labels": (
        numbered("train/{}.jpg", range(4)) | TESTS | {
            "train.csv": table("Image,Id", [(f"{n}.jpg", f"w{n % 2}") for n in range(4)]),
            "sample_submission.csv": table("Image,Id", [(f"{n}.jpg", "w0 w1") for n in (7, 8)]),
        }, {f"{n}.jpg": f"w{n % 2}" for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "two columns that agree": (
        numbered("train/a{}.jpg", range(4)) | TESTS | {
            "train.csv": table("category_id,file_name,id", [(n % 2, f"a{n}.jpg", f"a{n}") for n in range(4)]),
            "sample_submission.csv": table("Id,Predicted", [(n, n % 2) for n in (7, 8)]),
        }, {f"a{n}": str(n % 2) for n in range(4)}, ["7", "8"],
    ),
    "lists by split": (
        numbered("x/{}.jpg", range(6)) | {
            f"{name}.csv": table("path,label", [(f"x/{n}.jpg", "ab"[n % 2]) for n in numbers])
            for name, numbers in (("train", (0, 1)), ("val", (2, 3)), ("test", (4, 5)))
        }, {f"x/{n}.jpg": "ab"[n % 2] for n in range(4)}, ["x/4.jpg", "x/5.jpg"],
    ),
    "labels of test photos": (
        numbered("train/{}.jpg", range(4)) | TESTS
        | {"all.csv": table("file,label", [(f"{n}.jpg", "ab"[n % 2]) for n in (0, 1, 2, 3, 7, 8)])},
        {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg", "8.jpg"],
    ),
    "annotations of test photos": (
        numbered("train/{}.jpg", range(4)) | empty("test/annotations/7.jpg")
        | {"all.csv": table("file,label", [(f"{n}.jpg", "ab"[n % 2]) for n in (0, 1, 2, 3, 7)])},
        {f"{n}.jpg": "ab"[n % 2] for n in range(4)}, ["7.jpg"],
    ),
    "an unnamed sample": (
        numbered("train/{}.jpg", range(4)) | TESTS | {
            "labels.csv": table("id,label", [(n, "ab"[n % 2]) for n in range(4)]),
            "answers.csv": table("id,label", [(n, "a") for n in (7, 8)]),
        }, {str(n): "ab"[n % 2] for n in range(4)}, ["7", "8"],
    ),
    "folders that are other things": (
        numbered("train/7/{}.jpg", (0, 1)) | numbered("train/9/{}.jpg", (2, 3))
        | {"train.csv": table("image,chain,hotel_id", [(f"{n}.jpg", 7 + n // 2 * 2, 100 + n % 2) for n in range(4)]),
           "sample_submission.csv": table("image,hotel_id", [("8.jpg", "100 101")]), "test/8.jpg": b""},
        {f"{n}.jpg": str(100 + n % 2) for n in range(4)}, ["8.jpg"],
    ),
    "hashed folders": (
        numbered("train/0/{}.jpg", (0, 1)) | numbered("train/1/{}.jpg", (2, 3))
        | {"train.csv": table("id,landmark_id", [(n, 100 + n % 2) for n in range(4)])},
        {str(n): str(100 + n % 2) for n in range(4)}, [],
    ),
    "lists in a folder": (
        numbered("images/{}.jpg", range(4)) | numbered("images/{}.jpg", (7,)) | {
            "lists/train.csv": table("id,label", [(n, "ab"[n % 2]) for n in range(4)]),
            "lists/sample_submission.csv": table("id,label", [(7, "a")]),
        }, {str(n): "ab"[n % 2] for n in range(4)}, ["7"],
    ),
    "ties are settled by folders": (
        numbered("train/{}.jpg", range(4)) | numbered("test/{}.jpg", range(2))
        | {"train.csv": table("id,label", [(n, "ab"[n % 2]) for n in range(4)]),
           "sample_submission.csv": table("id,label", [(n, "a") for n in range(2)])},
        {str(n): "ab"[n % 2] for n in range(4)}, ["0", "1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_known_by_its_content(tmp_path, name):
    files, labels, tests = LISTS[name]
    train, found, inventory = listed(tmp_path, files)
    assert (train, found) == (labels, tests)
    assert (inventory.sample is not None) == (name == "an unnamed sample" or any("sample" in file for file in files))


def test_row_numbers_that_name_photos_too_are_asked_about(tmp_path):
    rows = [(n, f"{(n * 5 + 2) % 8}.jpg", "ab"[n % 2]) for n in range(8)]
    files = numbered("x/{}.jpg", range(8)) | {"train.csv": table(",image_name,label", rows)}
    said = "train.csv has two columns that name photos, but not the same ones in each row, '' and 'image_name'"
    with pytest.raises(UserError, match=said):
        listed(tmp_path, files)
    train, _, _ = listed(tmp_path, files, id_column="image_name")
    assert train == {name: label for _, name, label in rows}
    sample = {"sample_submission.csv": table("image_name,label", [("9.jpg", "a")]), "test/9.jpg": b""}
    assert listed(tmp_path, files | sample)[0] == train  # the sample's own name says it, too


def test_a_column_of_splits_that_is_not_read_is_named(tmp_path):
    parts = ("train", "Train", "test", "val", "train", "test")
    rows = [(f"{n}.jpg", "ab"[n % 2], part) for n, part in enumerate(parts)]
    note = (
        "The column Split of list.csv is not read: 3 rows with test, val in it are trained on, too; remove such rows "
        "to leave their photos out."
    )
    photos = numbered("x/{}.jpg", range(6))
    for name, options in (("in", {}), ("given", {"labels": str(tmp_path / "list.csv")})):
        (tmp_path / "list.csv").write_bytes(table("image,label,Split", rows))
        files = photos | ({} if options else {"list.csv": table("image,label,Split", rows)})
        train, _, inventory = listed(tmp_path / name, files, **options)
        assert (len(train), [text for text in inventory.notes if "Split" in text]) == (6, [note])
    kept = [row for row in rows if row[2].lower() == "train"]
    train, _, inventory = listed(tmp_path / "in", photos | {"list.csv": table("image,label,Split", kept)})
    assert (set(train), "Split" in str(inventory.notes)) == ({"0.jpg", "1.jpg", "4.jpg"}, False)
    apart = empty("train/0.jpg", "train/1.jpg", "test/2.jpg", "train/3.jpg", "train/4.jpg", "test/5.jpg")
    of_folders = [row for row in rows if row[2] != "val"]
    _, tests, inventory = listed(tmp_path / "apart", apart | {"list.csv": table("image,label,Split", of_folders)})
    assert (tests, "Split" in str(inventory.notes)) == (["2.jpg", "5.jpg"], False)


def test_several_ones_in_a_row_are_a_set_with_a_note(tmp_path):
    rows = [(n, 1, int(n % 2)) for n in range(4)]
    files = numbered("x/{}.jpg", range(4)) | {"train.csv": table("image,rust,scab", rows)}
    files["sample_submission.csv"] = table("image,rust,scab", [(9, 0.5, 0.5)])
    train, _, inventory = listed(tmp_path, files | empty("test/9.jpg"))
    assert train == {str(n): ("rust", "rust scab")[n % 2] for n in range(4)}
    assert "2 rows of train.csv have several columns that are 1: the set of them is the class." in inventory.notes


def test_sets_of_columns_that_would_be_one_class_are_refused(tmp_path):
    rows = [(0, 1, 1, 0), (1, 0, 0, 1), (2, 1, 0, 0), (3, 0, 1, 0)]
    files = numbered("x/{}.jpg", range(4)) | empty("test/9.jpg")
    lists = {"train.csv": rows, "sample_submission.csv": [(9, 0.5, 0.5, 0.5)]}
    said = "train.csv has 1 in 'red car' and 'red' [+] 'car', which would be one class, 'red car': write the columns'"
    with pytest.raises(UserError, match=said):
        listed(tmp_path, files | {name: table("image,red,car,red car", rows) for name, rows in lists.items()})
    mended = {name: table("image,red,car,red_car", rows) for name, rows in lists.items()}
    train, _, _ = listed(tmp_path, files | mended)
    assert train == {"0": "red car", "1": "red_car", "2": "red", "3": "car"}


def test_columns_of_0_and_1_count_after_a_column_that_is_called_as_labels_are(tmp_path):
    rows = [(n, ("cat", "dog", "fox")[n % 3], n % 2, 1 - n % 2) for n in range(6)]
    files = numbered("x/{}.jpg", range(6))
    named = files | {"info.csv": table("id,species,male,female", rows)}
    assert set(listed(tmp_path / "named", named)[0].values()) == {"cat", "dog", "fox"}
    flags = [(n, *(int(n % 3 == k) for k in range(3))) for n in range(6)]
    train, _, inventory = listed(tmp_path / "flags", files | {"info.csv": table("id,target,rust,scab", flags)})
    assert set(train.values()) == {"target", "rust", "scab"}
    told = "(target, rust, scab): --label_column=NAME takes another."
    assert f"The labels of info.csv are its columns of 0 and 1 {told}" in inventory.notes
    table_of = {"info.csv": table("id,target,rust,scab,kind", [(*row, "xy"[row[0] > 2]) for row in flags])}
    taken = listed(tmp_path / "other", files | table_of, label_column="kind")[0]  # as told
    assert taken == {str(n): "xy"[n > 2] for n in range(6)}
    blank = [[cell or " " for cell in row] for row in flags[1:]]
    train, _, _ = listed(tmp_path / "blank", files | {"info.csv": table("id,target,rust,scab", blank)})
    assert train == {str(n): ("target", "rust", "scab")[n % 3] for n in range(1, 6)}
    both = files | {"info.csv": table("id,label,male,female", [(n, int(n > 2), n % 2, 1 - n % 2) for n in range(6)])}
    assert listed(tmp_path / "both", both)[0] == {str(n): str(int(n > 2)) for n in range(6)}


def test_of_two_columns_of_labels_that_differ_none_is_chosen(tmp_path):
    rows = [(n, ("cat", "dog")[n % 2], ("manx", "pug", "rex", "chow")[n % 4], n % 2) for n in range(8)]
    files = numbered("x/{}.jpg", range(8))
    wide = files | {"pets.csv": table("image,species,breed,class_id", rows)}
    said = r"2 columns that may hold the labels and that divide the photos in different ways \(class_id, breed\): say"
    with pytest.raises(UserError, match=said):
        listed(tmp_path / "a", wide)
    assert len(set(listed(tmp_path / "a", wide, label_column="breed")[0].values())) == 4  # as told
    sample = {"sample_submission.csv": table("image,breed", [(9, "pug")])}
    assert len(set(listed(tmp_path / "b", wide | sample | empty("test/9.jpg"))[0].values())) == 4
    beside = wide | {"train.csv": table("image,label", [(n, "ab"[n % 2]) for n in range(8)])}
    assert set(listed(tmp_path / "c", beside)[0].values()) == {"a", "b"}
    alike = [(n, f"c{n % 2}", n % 2, "all") for n in range(8)]
    train = listed(tmp_path / "d", files | {"pets.csv": table("image,class_name,class_id,target", alike)})[0]
    assert set(train.values()) == {"c0", "c1"}


@pytest.mark.parametrize("name", ["annotations.csv", "metadata.csv", "labels.csv", "more/list.csv"])
@pytest.mark.parametrize(
    ("header", "written"),
    [
        ("path,label", "part{part}\\{n}.JPG"),
        ("filepath,label", "/home/me/photos/part{part}/{n}.jpg"),
        ("number,label,filepath", "D:\\photos\\part{part}\\{n}.png"),
        ("filename,label", "{n}.wav"),  # a recording that the photo shows
    ],
)
def test_a_list_of_any_name_counts_that_writes_its_ids_otherwise(tmp_path, name, header, written):
    parts = [(n, 1 + n // 2) for n in range(4)]
    rows = [(written.format(part=part, n=n), "ab"[n % 2]) for n, part in parts]
    rows = [(number + 70, *reversed(row)) for number, row in enumerate(rows)] if "number" in header else rows
    files = empty(*(f"part{part}/{n}.jpg" for n, part in parts)) | {name: table(header, rows)}
    train, _, inventory = listed(tmp_path, files)
    assert sorted(train.values()) == ["a", "a", "b", "b"]
    assert any(note.startswith(f"4 Ids of {name} matched one photo only without regard") for note in inventory.notes)
    (tmp_path / "given.csv").write_bytes(files.pop(name))
    (tmp_path / "in" / name).unlink()
    given = listed(tmp_path, files, labels=str(tmp_path / "given.csv"))[0]
    assert given == train


def test_a_list_that_names_other_photos_is_told(tmp_path):
    other = {"other.csv": table("image,label", [(f"z{n}", "ab"[n % 2]) for n in range(4)])}
    train, _, inventory = listed(tmp_path, classes("{name}/{n}.jpg") | other)
    assert set(train.values()) == set(TWO)
    said = "other.csv has the columns of a list of labels (such as label), but its Ids name no photo: it was left out."
    assert said in inventory.notes


@pytest.mark.parametrize(
    ("folders", "header", "rows", "names"),
    [
        (("cat", "dog"), "class_id,class_name", [(0, "cat"), (2, "dog")], {}),  # 0 and 2 are photos, too
        (("cat", "dog"), "name", [("dog",), ("cat",)], {}),
        (("00", "01"), "ClassId,Name", [("00", "Stop"), ("01", "Yield")], {"00": "Stop", "01": "Yield"}),
        (("00", "01"), "ClassId,Name", [("00", "Stop"), ("01", "Yield"), ("02", "Turn")], {}),
        (
            ("n01", "n02"),
            "order,wnid,words",
            [(7, "n01", "red fox"), (3, "n02", "fox")],
            {"n01": "red fox", "n02": "fox"},
        ),
    ],
)
@pytest.mark.parametrize("name", ["classes.csv", "labels.csv", "train.csv"])
def test_a_row_for_each_class_folder_is_no_list_of_photos(tmp_path, name, folders, header, rows, names):
    files = empty(*(f"train/{folder}/{2 * k + i}.jpg" for k, folder in enumerate(folders) for i in range(2)))
    train, _, inventory = listed(tmp_path, files | {name: table(header, rows)})
    assert sorted(train.values()) == sorted(2 * folders)
    assert inventory.class_names == names
    assert f"{name} has a row for each class folder, and is no list of photos." in inventory.notes


def test_a_list_of_labels_that_names_no_photo_is_refused_and_the_advice_works(tmp_path):
    files = classes("train/{name}/{n}.jpg") | {"train.csv": table("patient,grade", [("z0", 0), ("z1", 1), ("z2", 1)])}
    with pytest.raises(UserError, match=r"No photo has one of the 3 Ids .* of train\.csv .*; or give --label_pattern"):
        listed(tmp_path, files)
    assert set(listed(tmp_path, files, label_pattern="([^/]+)/[^/]+$")[0].values()) == set(TWO)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [("{name}/{n}.jpg", "([^/]+)/[^/]+$"), ("{name}/images/{n}.jpg", "([^/]+)/[^/]+/[^/]+$")],
)
def test_a_list_of_few_photos_that_contradicts_their_class_folders_is_asked_about(tmp_path, path, pattern):
    rows = [(0, "dog"), (1, "dog"), (5, "cat"), (6, "cat")]
    files = classes(path, each=5) | {"list.csv": table("image,label", rows)}
    with pytest.raises(UserError, match=r"list\.csv and the folders .* labels .*: give --label_column=label") as told:
        listed(tmp_path, files)
    assert f"or give --label_pattern='{pattern}' to go by the folders." in str(told.value)
    assert listed(tmp_path, files, label_column="label")[0] == {str(n): name for n, name in rows}
    by_folder = listed(tmp_path, files, label_pattern=pattern)[0]
    assert sorted(by_folder.values()) == ["cat"] * 5 + ["dog"] * 5


def test_labels_that_begin_with_the_folder_and_go_on_with_boxes_are_those_of_the_folders(tmp_path):
    rows = [(n, f"{TWO[n // 2]} {n} 2 33 44") for n in range(4)]
    files = classes("train/{name}/{n}.jpg") | {"boxes.csv": table("ImageId,PredictionString", rows)}
    train, _, inventory = listed(tmp_path, files)
    assert train == {"0": "cat", "1": "cat", "2": "dog", "3": "dog"}
    said = "The labels of boxes.csv begin with the folder above the photo (such as cat 0 2 33 44): the folders are the "
    assert f"{said}classes." in inventory.notes


def test_a_list_without_header_leaves_the_folders_their_labels(tmp_path):
    files = classes("train/{name}/{n}.jpg") | {"anno.csv": b"0.jpg,39,1\n1.jpg,40,1\n2.jpg,1,2\n3.jpg,2,2\n"}
    train, _, inventory = listed(tmp_path, files)
    assert sorted(train.values()) == ["cat", "cat", "dog", "dog"]
    assert "anno.csv has no header and was left out." in inventory.notes


@pytest.mark.parametrize("name", ["{}.jpg", "{}"])
@pytest.mark.parametrize("folder", ["train", "images"])
def test_a_list_without_header_is_told_where_it_is_needed_and_read_with_one(tmp_path, folder, name):
    rows = "".join(f"{name.format(n)},{'ab'[n % 2]}\n" for n in range(4))
    files = numbered(folder + "/{}.jpg", range(4)) | {"train.csv": rows.encode()}
    said = "add a first line with the names of its columns, such as id,label"
    with pytest.raises(UserError, match=rf"(lie in no class folders|images is none).*: {said}, to train\.csv\.$"):
        listed(tmp_path, files)
    given = {"labels": str(tmp_path / "in" / "train.csv")}
    with pytest.raises(UserError, match=rf"^train\.csv has no header \(it begins with {name.format(0)},a\): {said}\.$"):
        listed(tmp_path, files, **given)
    files["train.csv"] = b"id,label\n" + files["train.csv"]  # as told
    right = {name.format(n): "ab"[n % 2] for n in range(4)}
    assert (listed(tmp_path, files)[0], listed(tmp_path, files, **given)[0]) == (right, right)


def test_flags_reach_lists_of_any_name_and_a_missing_column_is_told(tmp_path):
    rows = [(n, "x", "ab"[n % 2]) for n in range(4)]
    files = numbered("x/{}.jpg", range(4)) | {"meta.csv": table("number,season,kind", rows)}
    train, _, _ = listed(tmp_path, files, label_column="kind")
    assert train == {str(n): "ab"[n % 2] for n in range(4)}
    with pytest.raises(UserError, match="--label_column=nothing is a column of no CSV that names photos"):
        listed(tmp_path, files, label_column="nothing")
    with pytest.raises(
        UserError,
        match=r"meta\.csv has no column 'driver' for --group_column, nor .*: its columns are number, season",
    ):
        listed(tmp_path, files, label_column="kind", group_column="driver")


PARTS = empty(*(f"part_{1 + n // 2}/images/{n}.jpg" for n in range(4)))


@pytest.mark.parametrize("name", ["entries.csv", "part_1/entries.csv"])
def test_folders_that_only_store_photos_are_no_classes_beside_a_list(tmp_path, name):
    rows = [(f"{n}.jpg", n // 2, f"{n % 2} found", 50) for n in range(4)]
    files = PARTS | {"boxes.csv": table("Image,Finding Label,x,y", [("0.jpg", "a", 11, 12), ("0.jpg", "b", 13, 14)])}
    files[name] = table("Image,Patient ID,Finding Labels,Age", rows)
    said = (
        rf"{name} names the photos and does not divide them so: say which column of {name} holds the labels with "
        r"--label_column=NAME \(Finding Labels, Patient ID, Age\), or give "
        r"--label_pattern='\(\[\^/\]\+\)/\[\^/\]\+/\[\^/\]\+\$' to go by the folders"
    )
    with pytest.raises(UserError, match=said):
        listed(tmp_path, files)
    told = listed(tmp_path, files, label_column="Finding Labels")[0]
    assert told == {f"{n}.jpg": f"{n % 2} found" for n in range(4)}
    told = listed(tmp_path, files, label_pattern="([^/]+)/[^/]+/[^/]+$")[0]
    assert told == {f"{n}.jpg": f"part_{1 + n // 2}" for n in range(4)}


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,sort,width,height", lambda n: (f"{n}.jpg", TWO[n // 2], 640, 480 + n % 2)),
        ("image,number,width,height", lambda n: (f"{n}.jpg", 7 + n // 2, 640, 480 + n % 2)),
        ("image,width,height,depth", lambda n: (f"{n}.jpg", 640, 480, 3)),
        ("image,width,height,depth", lambda n: (f"{n // 2}.jpg", 640, 480, n + 10)),
    ],
    ids=["a column of the folders", "a column of their numbers", "nothing that divides photos", "half of the photos"],
)
def test_class_folders_stay_classes_beside_a_list_that_does_not_doubt_them(tmp_path, header, row):
    files = classes("{name}/{n}.jpg") | {"info.csv": table(header, [row(n) for n in range(4)])}
    assert listed(tmp_path, files)[0] == {f"{n}.jpg": TWO[n // 2] for n in range(4)}


NAMES = [f"{word}.{n}.jpg" for word in TWO for n in range(3)]


def test_words_before_numbers_are_classes_where_training_photos_are_flat(tmp_path):
    files = empty(*(f"train/{name}" for name in NAMES), "test/1.jpg")
    train, tests, inventory = listed(tmp_path, files)
    assert (train, tests) == ({name: name[:3] for name in NAMES}, ["1.jpg"])
    assert (
        "The class of each training photo is the word in its name: --label_pattern='(cat|dog)[._]\\d+'."
        in inventory.notes
    )


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_1.jpg", "IMG_2.jpg", "DSC_1.jpg", "DSC_2.jpg"], ["cat.1.jpg", "cat.2.jpg"], [*NAMES, "x.jpg"],
        ["a1.jpg", "b1.jpg"],
    ],
    ids=["cameras", "one word", "another name", "no separator"],
)  # fmt: skip
def test_other_names_are_not_taken_for_classes(tmp_path, names):
    with pytest.raises(UserError, match="lie in no class folders"):
        listed(tmp_path, empty(*(f"train/{name}" for name in names), "test/1.jpg"))


@pytest.mark.parametrize(
    ("pattern", "files", "labels"),
    [
        (r"(cat|dog)\.\d+", [f"train/{name}" for name in NAMES], {name: name[:3] for name in NAMES}),
        (
            r"(\w+)_\d+",
            ["images/a_b_1.jpg", "images/c_2.jpg", "annotations/a_b_1.png"],
            {"a_b_1.jpg": "a_b", "c_2.jpg": "c"},
        ),
        (r"([^/]+)/[^/]+$", ["bus/1.jpg", "train/2.jpg"], {"1.jpg": "bus", "2.jpg": "train"}),
        (r"(\w+)/train", ["a/train/1.jpg", "b/train/2.jpg", "a/test/3.jpg"], {"1.jpg": "a", "2.jpg": "b"}),
    ],
)  # fmt: skip
def test_a_pattern_reads_the_class_from_names_or_paths(tmp_path, pattern, files, labels):
    assert listed(tmp_path, empty(*files), label_pattern=pattern)[0] == labels


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(a", r"--label_pattern=\(a is not a regular expression"), ("a+", r"has no group: put the class in parentheses")],
)
def test_a_pattern_that_is_none_is_refused(pattern, said):
    with pytest.raises(UserError, match=said):
        ConvertOptions(input="in", output="out", label_pattern=pattern)


def small(labels=("0", "1"), tests=2):
    """Returns a competition of six photos with two classes, without a sample."""
    files = {f"train/{n}.jpg": drawn(n) for n in range(6)} | {f"test/{n}.jpg": drawn(n) for n in range(20, 20 + tests)}
    return files | {"train.csv": csv_of(((f"{n}.jpg", labels[n % 2]) for n in range(6)), "id,label")}


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("id,label\n20.jpg,2\n21.jpg,2\n", "'2' in the column label, which is none of the 2 classes"),
        ("id,0,1,2\n20.jpg,0,0,1\n21.jpg,0,0,1\n", "and also 2, which no training photo shows"),
        (
            "id,label\n20.jpg,0\n3.jpg,1\n",
            r"3\.jpg: named in sample_submission\.csv, but train/3\.jpg is a training photo",
        ),
        ("id,label\n20.jpg,0\n99.jpg,1\n", r"99\.jpg: named in sample_submission\.csv, but there is no such photo"),
        ("id,label\n20.jpg,0\n21.jpg,0\n", "say which with --form=label or --form=probability"),
        ("id,label\n20.jpg,0\n20.jpg,1\n", r"has the Id '20\.jpg' twice"),
    ],
)
def test_a_sample_of_other_classes_or_photos_is_refused_at_conversion(tmp_path, sample, said):
    source = write_files(tmp_path / "in", small() | {"sample_submission.csv": sample.encode()})
    with pytest.raises(UserError, match=said):
        converted(source, tmp_path / "out")


def test_the_form_is_kept_and_a_flag_decides_it(tmp_path):
    sample = b"id,label\n20.jpg,0\n21.jpg,0\n"
    (tmp_path / "answers.csv").write_bytes(sample)
    source = write_files(tmp_path / "in", small())
    made = {
        form: converted(source, tmp_path / form, form=form, sample=str(tmp_path / "answers.csv"))
        for form in ("label", "probability")
    }
    assert [(m.form.kind, m.form.positive) for m in made.values()] == [("label", ""), ("probability", "1")]
    assert made["label"].fingerprint != made["probability"].fingerprint
    assert json.loads((tmp_path / "label" / "dataset.json").read_text())["form"]["header"] == ["id", "label"]
    assert (tmp_path / "label" / "sample-submission.csv").read_bytes() == sample


SWAPPED = [(0, "3.jpg", "a"), (1, "2.jpg", "b"), (2, "1.jpg", "a"), (3, "0.jpg", "b")]


@pytest.mark.parametrize("first", ["id", "", "x"])
@pytest.mark.parametrize("written", ["t{}", "./test/t{}.jpg"])
def test_the_ids_of_a_sample_are_in_the_column_that_names_photos(tmp_path, first, written):
    files = small(("a", "b"), tests=0) | numbered("test/t{}.jpg", range(4))
    rows = [(n, written.format(3 - n), "a") for n in range(4)]
    _, tests, inventory = listed(tmp_path, files | {"sample_submission.csv": table(f"{first},image,label", rows)})
    assert set(tests) == {written.format(n) for n in range(4)}
    assert (inventory.sample.id_column, inventory.sample.ids[0]) == ("image", written.format(3))


def coded(**columns):
    """Returns a competition whose sample has codes as Ids, and test.csv with these columns beside the codes."""
    files = small(("a", "b"), tests=0) | numbered("test/{}.jpg", range(2))  # training photos have these names, too
    files["sample_submission.csv"] = b"id,label\nT1,a\nT0,a\n"
    if columns:
        rows = zip(("T0", "T1"), *columns.values(), strict=True)
        files["test.csv"] = table(",".join(("code", *columns)), rows)
    return files


@pytest.mark.parametrize("written", ["./test/{}.jpg", "test/{}.jpg", "{}.jpg", "{}"])
def test_ids_that_name_no_photo_are_looked_up_in_another_csv(tmp_path, written):
    files = coded(size=(64, 48), where=[written.format(n) for n in range(2)])
    _, tests, inventory = listed(tmp_path, files)
    paths = {photo.id: photo.entry.path for photo in inventory.photos if photo.split == "test"}
    assert (tests, paths) == (["T0", "T1"], {"T0": "test/0.jpg", "T1": "test/1.jpg"})
    said = "are in the column 'code' of test.csv, and their photos in its column 'where'."
    assert f"The Ids of sample_submission.csv {said}" in inventory.notes
    by_name = listed(tmp_path, files, label_pattern=r"(\d)")[2].photos
    assert {photo.id: photo.entry.path for photo in by_name if photo.split == "test"} == paths


@pytest.mark.parametrize("photos_of_each", [1, 2])
def test_labels_whose_ids_name_no_photo_are_those_of_photos_in_another_csv(tmp_path, photos_of_each):
    names = [f"{chr(ord('a') + n % photos_of_each)}{n // photos_of_each}.jpg" for n in range(4 * photos_of_each)]
    seen = [(f"O{n // photos_of_each}", 4, f"photos/{name}") for n, name in enumerate(names)]
    files = empty(*(f"train/photos/{name}" for name in names)) | {"info.csv": table("observation,size,file", seen)}
    files["train_labels.csv"] = table("observation,species", [(f"O{n}", TWO[n % 2]) for n in range(4)])
    train, _, inventory = listed(tmp_path, files)
    assert train == {f"photos/{name}": TWO[n // photos_of_each % 2] for n, name in enumerate(names)}
    groups = [photo.group for photo in inventory.photos if "0.jpg" in photo.id]
    assert groups == ([""] if photos_of_each == 1 else ["O0", "O0"])
    said = "are in the column 'observation' of info.csv, and their photos in its column 'file'."
    assert f"The Ids of train_labels.csv {said}" in inventory.notes
    (tmp_path / "given.csv").write_bytes(files.pop("train_labels.csv"))
    (tmp_path / "in" / "train_labels.csv").unlink()
    assert listed(tmp_path, files, labels=str(tmp_path / "given.csv"))[0] == train


def test_an_id_of_several_photos_is_refused_and_those_of_the_photos_are_taken(tmp_path):
    files = coded() | {"test.csv": b"image,code\n0.jpg,T0\n1.jpg,T0\n2.jpg,T1\n", "test/2.jpg": b""}
    said = r"^The Id T0 of sample_submission\.csv stands for several photos in test\.csv \(test/0\.jpg, test/1\.jpg\)"
    with pytest.raises(UserError, match=rf"{said}.*: give a sample whose Ids are those of the column 'image'"):
        listed(tmp_path, files)
    (tmp_path / "own.csv").write_text("image,label\n2.jpg,a\n1.jpg,a\n0.jpg,a\n")
    assert listed(tmp_path, files, sample=str(tmp_path / "own.csv"))[1] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_sample_of_no_photo_is_told_what_to_add(tmp_path):
    said = (
        r"^None of the 2 Ids in the column 'id' of sample_submission\.csv names a photo \(first: T1; a photo is test/0"
    )
    with pytest.raises(UserError, match=rf"{said}.*: add a CSV to the input that has these Ids"):
        listed(tmp_path / "none", coded())
    assert listed(tmp_path / "told", coded(photo=["0.jpg", "1.jpg"]))[1] == ["T0", "T1"]
    (tmp_path / "own.csv").write_text("id,label\n0.jpg,a\n1.jpg,a\n")
    assert listed(tmp_path / "none", coded(), sample=str(tmp_path / "own.csv"))[1] == ["0.jpg", "1.jpg"]
    assert listed(tmp_path / "skipped", coded(), on_bad="skip")[1] == []


def test_two_columns_of_a_sample_that_name_other_photos_are_asked_about(tmp_path):
    files = small(("a", "b"), tests=0) | numbered("test/{}.jpg", range(4))
    files["train.csv"] = table("image,label", [(f"train/{n}.jpg", "ab"[n % 2]) for n in range(6)])
    sample = {"sample_submission.csv": table("id,image,label", SWAPPED)}
    said = (
        r"^sample_submission\.csv has two columns that name photos, but not the same ones in each row, 'id' and 'image'"
    )
    with pytest.raises(UserError, match=said):
        listed(tmp_path, files | sample)
    for column, of_zero in (("id", "0"), ("image", "0.jpg")):  # as told
        photos = listed(tmp_path, files, id_column=column)[2].photos
        assert [p.id for p in photos if p.entry.path == "test/0.jpg"] == [of_zero]
        assert sum(p.split == "train" for p in photos) == 6


def test_answers_that_name_photos_are_no_ids(tmp_path):
    sample = {"sample_submission.csv": b"id,predicted\n20,0\n21,1\n"}
    assert listed(tmp_path, small() | sample)[2].sample.id_column == "id"


@pytest.mark.parametrize("name", ["example_submission.csv", "random_submission.csv", "submit_example.csv"])
def test_a_sample_of_another_usual_name_decides_order_and_form(tmp_path, name):
    sample = {name: b"id,label\n21,0.2\n20,0.9\n"}
    _, tests, inventory = listed(tmp_path, small() | sample)
    assert (set(tests), inventory.sample.ids) == ({"20", "21"}, ("21", "20"))
    _, tests, inventory = listed(tmp_path, small() | {"sample_submission.csv": b"id,label\n20,0\n21,1\n"})
    assert inventory.sample.shown == "sample_submission.csv"  # it is the one that counts of the two


@pytest.mark.parametrize("answers", ["label\n21,0.9\n20,0.2\n", "p0,p1\n21,0.9,0.1\n20,0.2,0.8\n", "x\n20,a\n21,b\n"])
def test_a_csv_of_test_photos_that_may_hold_answers_is_asked_about(tmp_path, answers):
    files = small(("a", "b")) | {"baseline.csv": f"id,{answers}".encode()}
    with pytest.raises(
        UserError, match=r"^baseline\.csv names the test photos and may hold answers \((label|p0, p1|x)\)"
    ):
        listed(tmp_path / "asked", files)
    given = tmp_path / "asked" / "in" / "baseline.csv"
    assert listed(tmp_path / "asked", files, sample=str(given))[2].sample.ids[0] in ("20", "21")
    given.unlink()
    assert listed(tmp_path / "asked", small(("a", "b")))[2].sample is None  # both as told


@pytest.mark.parametrize(
    "other",
    [
        {"Test.csv": b"id,label\n20,1\n21,0\n"}, {"info.csv": b"id,site\n20,s1\n21,s2\n"},
        {"some.csv": b"id,label\n20,1\n21,0\n", "test/22.jpg": b""}, {"test/y.csv": b"id,label\n20,1\n21,0\n"},
    ],
)  # fmt: skip
def test_other_lists_of_test_photos_are_no_samples(tmp_path, other):
    assert listed(tmp_path, small() | other)[2].sample is None


def test_a_sample_without_header_keeps_its_first_photo_and_its_form(tmp_path):
    source = write_files(tmp_path / "in", small(("a", "b")) | {"sample_submit.tsv": b"20.jpg\ta\n21.jpg\ta\n"})
    manifest = converted(source, tmp_path / "out")
    assert list(ids_of(manifest, "test")) == ["20.jpg", "21.jpg"]
    assert (manifest.form.answer_columns, manifest.form.has_header) == (("column 2",), False)
    assert load_manifest(str(tmp_path / "out")).form == manifest.form
    assert "sample_submit.tsv has no header, so that a submission has none." in manifest.source["notes"]
    old = json.loads((tmp_path / "out" / "dataset.json").read_text())["form"]
    del old["has_header"]  # as older versions wrote it
    assert typed(old, Form, at="form").has_header


@pytest.mark.parametrize("content", [{"0": "Rust", "1": "Scab"}, {"Rust": 0, "Scab": 1}])
def test_a_map_names_the_classes_and_the_labels_stay(tmp_path, content):
    files = small() | {"map.json": json.dumps(content).encode(), "other.json": b'{"a": [1]}'}
    manifest = converted(write_files(tmp_path / "in", files), tmp_path / "out")
    assert (manifest.class_labels, manifest.class_names) == (("0", "1"), ("Rust", "Scab"))
    named = converted(tmp_path / "in", tmp_path / "named", classes="a,b")
    assert named.class_names == ("a", "b")


def of_sample(folders, answers):
    """Returns a competition of class folders with a sample submission."""
    files = {f"train/{folders[n % len(folders)]}/{n}.jpg": drawn(n) for n in range(6)}
    files |= {f"test/{20 + n}.jpg": drawn(20 + n) for n in range(2)}
    return files | {"sample_submission.csv": csv_of(((f"{20 + n}.jpg", a) for n, a in enumerate(answers)), "id,label")}


@pytest.mark.parametrize(
    ("folders", "more", "names"),
    [
        (("rose", "tulip"), {"class_indices.json": b'{"rose": 1, "tulip": 0}'}, ("tulip", "rose")),
        (("rose", "tulip"), {"names.json": b'{"1": "rose", "0": "tulip"}'}, ("tulip", "rose")),
        (("rose", "tulip"), {"classes.csv": b"name,number\nrose,1\ntulip,0\n"}, ("tulip", "rose")),
        (("0.0", "1.0"), {}, ("0", "1")),
        (("True", "False"), {}, ("0", "1")),
        (("00", "01"), {}, ("0", "1")),
    ],
    ids=["JSON", "JSON turned round", "CSV", "floats", "booleans", "zeros"],
)
def test_numbers_of_the_sample_are_the_labels_of_classes_with_names(tmp_path, folders, more, names):
    source = write_files(tmp_path / "in", of_sample(folders, (0, 1)) | more)
    manifest = converted(source, tmp_path / "out", form="label")
    assert (manifest.class_labels, manifest.class_names) == (("0", "1"), names)
    photo = next(photo for photo in take_inventory(
        ConvertOptions(input=str(source), output="out", form="label"), spool=""
    ).photos if photo.id == "0.jpg")  # fmt: skip
    assert photo.category == ("0" if folders[0] in ("0.0", "00") else "1")


def test_a_number_that_may_be_a_probability_is_asked_about_as_before(tmp_path):
    source = write_files(tmp_path / "in", of_sample(("rose", "tulip"), (0, 0)) | {"n.json": b'{"rose": 1, "tulip": 0}'})
    with pytest.raises(UserError, match="say which with --form=label or --form=probability"):
        converted(source, tmp_path / "out")
    made = [converted(source, tmp_path / form, form=form) for form in ("label", "probability")]
    assert [(m.form.kind, m.form.positive, m.class_labels) for m in made] == [
        ("label", "", ("0", "1")), ("probability", "1", ("0", "1")),
    ]  # fmt: skip


def test_names_without_numbers_are_asked_about_and_given_as_told(tmp_path):
    names = ("rose", "tulip", "iris")
    source = write_files(tmp_path / "in", of_sample(names, (0, 2)))
    with pytest.raises(UserError, match=r'has numbers such as 0 in .* a JSON file .* such as \{"iris": 0\}, directly'):
        converted(source, tmp_path / "out")
    assert converted(source, tmp_path / "names", form="label").class_labels == ("iris", "rose", "tulip")
    write_files(source, {"names.json": json.dumps({name: n for n, name in enumerate(names)}).encode()})
    manifest = converted(source, tmp_path / "out")
    assert (manifest.class_labels, manifest.class_names, manifest.form.kind) == (("0", "1", "2"), names, "label")


@pytest.mark.parametrize(
    ("folders", "content", "names"),
    [
        (("cat", "dog"), {"cat": 0, "dog": 1}, ("cat", "dog")),
        (("cat", "dog"), {"cat": "120", "dog": "95.5"}, ("cat", "dog")),
        (("cat", "dog"), {"0": "cat", "1": "dog"}, ("cat", "dog")),
        (("cat", "dog"), {"cat": True, "dog": False}, ("cat", "dog")),
        (("0", "1"), {"0": 120, "1": 95}, ("0", "1")),
        (("0", "1"), {"cat": 0, "dog": 1}, ("cat", "dog")),
        (("cat", "dog"), {"cat": "Felis", "dog": "Canis 2"}, ("Felis", "Canis 2")),
    ],
)
def test_a_map_to_numbers_names_no_class(tmp_path, folders, content, names):
    files = {f"{folders[n % 2]}/{n}.jpg": drawn(n) for n in range(4)} | {"map.json": json.dumps(content).encode()}
    assert converted(write_files(tmp_path / "in", files), tmp_path / "out").class_names == names


def test_a_group_stays_in_one_fold(tmp_path):
    files = {f"{n % 2}/{n}.jpg": drawn(n) for n in range(12)}
    files["drivers.csv"] = table("driver,classname,img", [(f"p{n % 4}", n % 2, f"{n}.jpg") for n in range(12)])
    manifest = converted(write_files(tmp_path / "in", files), tmp_path / "out", group_column="driver", folds=2)
    ids = manifest.read_ids("train")
    folds = {f"p{n}": set() for n in range(4)}
    for name, fold in zip(ids["id"], ids["fold"], strict=True):
        folds[f"p{int(name.removesuffix('.jpg')) % 4}"].add(fold)
    assert all(len(found) == 1 for found in folds.values())
    assert set(ids["fold"]) == {0, 1}


def groups_of(inventory):
    return {photo.id: photo.group for photo in inventory.photos if photo.split == "train"}


def test_groups_are_those_of_another_list_that_names_the_photos(tmp_path):
    files = numbered("train/{}.jpg", range(4)) | numbered("test/{}.jpg", (90, 91))
    flags = {"train_labels.csv": table("id,rust,scab", [(n, n % 2, 1 - n % 2) for n in range(4)])}
    sites = table("id,path,site", [(n, f"train/{n}.jpg", f"s{n // 2}") for n in range(4)])
    files |= {"test_features.csv": table("id,path,site", [(n, f"test/{n}.jpg", "s9") for n in (90, 91)])}
    expected = {str(n): f"s{n // 2}" for n in range(4)}
    found = listed(tmp_path / "flags", files | flags | {"train_features.csv": sites}, group_column="site")
    assert (found[0], groups_of(found[2])) == ({str(n): ("scab", "rust")[n % 2] for n in range(4)}, expected)
    with pytest.raises(
        UserError, match=r"train_labels\.csv has no column 'site' .*: its columns are id, rust, scab\.$"
    ):
        listed(tmp_path / "none", files | flags, group_column="site")
    (tmp_path / "given.csv").write_bytes(flags["train_labels.csv"])
    given = {"labels": str(tmp_path / "given.csv"), "group_column": "site"}
    assert groups_of(listed(tmp_path / "given", files | {"train_features.csv": sites}, **given)[2]) == expected
    only_two = {"groups.csv": table("id,site", [(f"{n}.jpg", f"s{n % 2}") for n in range(3)])}
    for options in ({}, {"label_pattern": "(cat|dog)/"}):
        found = listed(tmp_path / "folders", classes("{name}/{n}.jpg") | only_two, group_column="site", **options)
        assert found[0] == {f"{n}.jpg": TWO[n // 2] for n in range(4)}
        assert groups_of(found[2]) == {"0.jpg": "s0", "1.jpg": "s1", "2.jpg": "s0", "3.jpg": ""}
        assert "1 training photo is in no group of the column site (first: dog/3.jpg)." in found[2].notes
    with pytest.raises(UserError, match=r"more\.csv and another CSV put dog/2\.jpg into the groups 's7' and 's0'"):
        listed(tmp_path / "folders", {"more.csv": table("id,site,x", [("2.jpg", "s7", "")])}, group_column="site")


def test_what_may_be_a_group_is_told_and_grouped_by_as_told(tmp_path):
    rows = [(f"i{n}", f"p{n // 2}", n // 2, "ab"[n % 2]) for n in range(8)]
    files = numbered("x/i{}.jpg", range(8)) | {"train.csv": table("image,Patient ID,site,label", rows)}
    said = (
        "Several photos of train.csv have the same Patient ID: '--group_column=Patient ID' keeps them in one fold, so"
    )
    notes = listed(tmp_path, files, folds=4)[2].notes
    assert [note for note in notes if "--group_column" in note] == [
        f"{said} that none is held out while others are trained on."
    ]
    told = listed(tmp_path, files, folds=4, group_column="Patient ID")[2]
    assert (set(groups_of(told).values()), "--group_column" in str(told.notes)) == ({"p0", "p1", "p2", "p3"}, False)
    assert "--group_column" not in str(listed(tmp_path, files, folds=5)[2].notes)  # fewer patients than folds


@pytest.mark.parametrize("name", ["patient_id", "Patient ID", "observationId", "obs_id", "StudyInstanceUID", "seq_id"])
def test_a_column_is_called_as_groups_are(name):
    others = ["turtle_id", "hotel_id", "label", "sex", "anatom_site_general"]
    assert list(filter(is_group, [name, *others])) == [name]


def test_pairs_of_names_are_told_and_grouped_by_as_told(tmp_path):
    names = [f"{n}_{side}" for n in range(3) for side in ("left", "right")]
    files = empty(*(f"x/{name}.jpg" for name in names))
    files["list.csv"] = table("image,label", [(name, "ab"[n % 2]) for n, name in enumerate(names)])
    said = (
        "3 pairs of photos have names such as 0_left and 0_right: a CSV with a column that is the same for both, and "
        "--group_column=NAME, keep them in one fold."
    )
    assert said in listed(tmp_path, files)[2].notes
    files["pairs.csv"] = table("image,pair", [(name, name[0]) for name in names])
    told = listed(tmp_path, files, group_column="pair")[2]
    assert (groups_of(told), said in told.notes) == ({name: name[0] for name in names}, False)


def test_a_column_of_patients_beside_class_folders_is_asked_about(tmp_path):
    files = classes("{name}/{n}.jpg") | {"who.csv": table("image,patient_id", [(f"{n}.jpg", n % 2) for n in range(4)])}
    with pytest.raises(UserError, match=r"who\.csv and the folders above the photos give different labels"):
        listed(tmp_path, files)
    assert set(listed(tmp_path, files, group_column="patient_id")[0].values()) == {*TWO}


def test_a_photo_with_two_groups_is_refused(tmp_path):
    rows = [(n, "ab"[n % 2], f"p{n}") for n in range(4)]
    files = numbered("x/{}.jpg", range(4)) | {"train.csv": table("id,category,driver", [*rows, (0, "a", "p9")])}
    said = "train.csv puts 0 into the groups 'p0' and 'p9' of the column 'driver': correct the file, or give another "
    with pytest.raises(UserError, match=f"{said}--group_column"):
        listed(tmp_path, files, group_column="driver")
    assert listed(tmp_path, files)[0]["0"] == "a"


def test_class_folders_of_the_same_names_in_several_folders_are_told(tmp_path):
    files = classes("color/{name}/{n}.jpg") | classes("grey/{name}/{n}.jpg", 10)
    train, _, inventory = listed(tmp_path, files)
    assert len(train) == 8
    assert (
        "Class folders of the same names lie in color, grey: the photos of all of them were taken." in inventory.notes
    )


NESTED = {  # the patterns of different classes, of those in the names if there are any, and of the same classes
    "numbers": (
        empty("000/01/00001__0.jpg", "000/02/00002__1.jpg", "001/01/00101__2.jpg", "001/02/00102__3.jpg"),
        ["([^/]+/[^/]+)/[^/]+$", r"^0*(\d+)_", "([^/]+)/[^/]+$"],
    ),
    "words": (
        classes("apple/{name}/x{n}.jpg") | classes("pear/{name}/x{n}.jpg", 10, 1),
        ["([^/]+/[^/]+)/[^/]+$", "([^/]+)/[^/]+$"],
    ),
    "patients": (
        empty(*(f"{p}/study_{p % 2}/{n}.jpg" for p in range(4) for n in range(2))),
        ["([^/]+/[^/]+)/[^/]+$", "([^/]+)/[^/]+$"],
    ),
    "a folder inside": (
        empty(*(f"{above}/{name}/images/{n}.jpg" for n, (above, name) in enumerate(["xy", "xz", "vy", "vz"]))),
        ["([^/]+/[^/]+)/[^/]+/[^/]+$", "([^/]+)/[^/]+/[^/]+$"],
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_class_folders_of_the_same_names_in_other_folders_may_be_other_classes(tmp_path, name):
    files, patterns = NESTED[name]
    with pytest.raises(UserError, match="Class folders of the same names") as caught:
        listed(tmp_path, files)
    assert re.findall("--label_pattern='(.*?)'", str(caught.value)) == patterns
    found = [set(listed(tmp_path, files, label_pattern=told)[0].values()) for told in patterns]
    assert [len(names) for names in found] == [4, 4, 2][3 - len(patterns) :]
    if name == "numbers":
        assert found[1] == {"1", "2", "101", "102"}


@pytest.mark.parametrize("folders", [("batch_1", "batch_2"), ("RGB images", "grayscale"), ("x", "y")])
def test_class_folders_of_the_same_photos_or_batches_are_the_same_classes(tmp_path, folders):
    files = {path: b"" for folder in folders for path in classes(f"{folder}/{{name}}/{{n}}.jpg")}
    assert len(listed(tmp_path / "same", files)[0]) == 8
    if "x" in folders:
        with pytest.raises(UserError, match="of the same names"):
            listed(tmp_path / "more", files | empty("y/dog/7.jpg"))


def test_lists_beside_the_photos_of_each_split(tmp_path):
    files = numbered("train/{}.jpg", range(4)) | numbered("test/{}.jpg", range(4))
    for folder, labels in (("train", "ab"), ("test", "ba")):
        rows = [(f"{n}.jpg", labels[n % 2]) for n in range(4)]
        files[f"{folder}/metadata.csv"] = table("file_name,label", rows)
    train, tests, _ = listed(tmp_path, files)
    assert (train, tests) == ({f"{n}.jpg": "ab"[n % 2] for n in range(4)}, [f"{n}.jpg" for n in range(4)])


@pytest.mark.parametrize(
    ("lists", "column"), [(("train.csv", "val.csv"), "image"), (("train/a.csv", "val/a.csv"), "file_name")]
)
def test_photos_of_training_and_validation_may_share_their_names(tmp_path, lists, column):
    files = numbered("train/{}.jpg", range(6)) | numbered("val/{}.jpg", range(4)) | numbered("test/{}.jpg", range(2))
    files[lists[0]] = table(f"{column},label", [(f"{n}.jpg", "ab"[n % 2]) for n in range(6)])
    files[lists[1]] = table(f"{column},label", [(f"{n}.jpg", "ba"[n % 2]) for n in range(4)])
    train, tests, _ = listed(tmp_path, files)
    expected = {f"{n}.jpg": "ab"[n % 2] for n in range(6)} | {f"val/{n}.jpg": "ba"[n % 2] for n in range(4)}
    assert (train, tests) == (expected, ["0.jpg", "1.jpg"])


def test_a_photo_with_two_labels_in_the_lists_of_training_and_validation_is_refused(tmp_path):
    files = numbered("photos/{}.jpg", range(6))
    files["train.csv"] = table("image,label", [(n, "ab"[n % 2]) for n in range(4)])
    files["val.csv"] = table("image,label", [(n, "ab"[n % 2]) for n in (1, 4, 5)])
    assert listed(tmp_path, files)[0] == {str(n): "ab"[n % 2] for n in range(6)}
    files["val.csv"] = table("image,label", [(1, "a"), (4, "a"), (5, "b")])
    with pytest.raises(UserError, match=r"train\.csv and val\.csv give 1 different labels: correct one of them"):
        listed(tmp_path, files)


@pytest.mark.parametrize("pattern", ["{kind}_{n}.jpg", "{n}.jpg"])
def test_lists_that_lie_in_the_class_folders_are_one(tmp_path, pattern):
    files = {}
    for kind in range(3):
        names = [pattern.format(kind=kind, n=n) for n in range(2)]
        files |= empty(*(f"Images/0{kind}/{name}" for name in names))
        files[f"Images/0{kind}/GT-0{kind}.csv"] = table("Filename,ClassId", [(n, kind) for n in names])
    train, _, inventory = listed(tmp_path, files)
    assert sorted(train.values()) == ["0", "0", "1", "1", "2", "2"]
    assert [(p.entry.path.split("/")[-2], p.category) for p in inventory.photos] == [
        (f"0{kind}", str(kind)) for kind in range(3) for _ in range(2)
    ]


def test_archives_in_a_folder_that_holds_no_photo_are_opened(tmp_path):
    train = zipped({f"{n % 2}/{n}.jpg": drawn(n) for n in range(4)})
    files = {"data/train.zip": train, "data/test.zip": zipped({"8.jpg": drawn(8)}), "notes.txt": b"x"}
    manifest = converted(write_files(tmp_path / "in", files), tmp_path / "out")
    assert (manifest.class_names, manifest.photos("train"), manifest.photos("test")) == (("0", "1"), 4, 1)


CLASS = {"e": {f"{n}.jpg": b"" for n in (4, 5)}}
PACKED = {
    "flat": ({"train/e.zip": zipped(CLASS["e"])}, []),
    "with its folder": ({"train/e.zip": zipped({f"e/{name}": b"" for name in CLASS["e"]})}, []),
    "and a copy of a folder": (
        {"train/e.zip": zipped(CLASS["e"]), "train/c.zip": zipped({"0.jpg": b""})},
        ["train/c.zip was ignored: train/c/ is the unpacked copy next to it."],
    ),
    "and a copy of all": (
        {"train/e.zip": zipped(CLASS["e"]), "train/all.zip": zipped({"c/0.jpg": b"", "d/2.jpg": b""})},
        ["train/all.zip was ignored: its photos lie unpacked next to it."],
    ),
    "and one beside single photos": (
        {"train/e.zip": zipped(CLASS["e"]), "train/c/more.zip": zipped({"7.jpg": b""})},
        ["train/c/more.zip was not opened: unpack it if its photos belong to the input."],
    ),
}


@pytest.mark.parametrize(("archives", "notes"), PACKED.values(), ids=PACKED)
def test_a_class_in_an_archive_beside_those_in_folders_is_read(tmp_path, archives, notes):
    files = empty("train/c/0.jpg", "train/c/1.jpg", "train/d/2.jpg", "train/d/3.jpg")
    train, _, inventory = listed(tmp_path, files | archives)
    assert train == {"0.jpg": "c", "1.jpg": "c", "2.jpg": "d", "3.jpg": "d", "4.jpg": "e", "5.jpg": "e"}
    assert [note for note in inventory.notes if ".zip" in note] == notes


@pytest.mark.parametrize("stray", ["logo.png", "INSTALL"])
def test_a_stray_file_at_the_root_keeps_no_archive_closed(tmp_path, stray):
    archives = {f"train/{name}.zip": zipped({f"{name}{n}.jpg": b"" for n in range(2)}) for name in "ab"}
    train, _, _ = listed(tmp_path, archives | empty(stray))
    assert train == {"a0.jpg": "a", "a1.jpg": "a", "b0.jpg": "b", "b1.jpg": "b"}


def test_class_folders_that_are_sizes_stay_classes(tmp_path):
    train, _, _ = listed(tmp_path, {f"{size}/{n}.jpg": b"" for size in ("100x100", "200x200") for n in range(2)})
    assert sorted(train.values()) == ["100x100"] * 2 + ["200x200"] * 2


def test_a_zipped_list_is_the_list_and_an_archive_of_everything_is_the_input(tmp_path):
    files = small() | {"sample_submission.csv": b"id,label\n20.jpg,0\n21.jpg,1\n"}
    plain = converted(write_files(tmp_path / "plain", files), tmp_path / "out")
    packed = files | {"train.csv.zip": zipped({"train.csv": files["train.csv"]})}
    del packed["train.csv"]
    write_files(tmp_path / "packed", packed)
    (tmp_path / "one").mkdir()
    write_zip(tmp_path / "one" / "data.zip", files)
    for name in ("packed", "one"):
        manifest = converted(tmp_path / name, tmp_path / f"{name} out")
        assert (manifest.fingerprint, manifest.form) == (plain.fingerprint, plain.form)
