"""Ids and labels are strings; any CSV with both can be read; mismatches are counted and named."""

import contextlib
import csv
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.convert.columns import Wanted, with_labels
from carclf.convert.inventory import take_inventory
from carclf.convert.labels import class_names, name_classes, order_categories
from carclf.convert.options import ConvertOptions
from carclf.convert.table import Table, read_table
from carclf.errors import UserError
from tests.convert.inputs import converted, csv_of, drawn, ids_of, read_label_file, read_records, reasons, write_files

LABELS = {"1.jpg": "a", "2.jpg": "b"}
ANY_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
FILE_NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="/\\\x7f"), min_size=1, max_size=12
).filter(lambda name: not name.startswith(".") and name[1:2] != ":")  # hidden files; drives


def read(text: str | bytes, **arguments) -> dict[str, str]:
    content = text.encode() if isinstance(text, str) else text
    return read_label_file(content, shown="labels.csv", **arguments).labels


@pytest.mark.parametrize(
    "header",
    [
        "Id,Category", "id,label", "ID,LABEL", "filename,label", "file_name,class", "image,target", "image_id,class_id",
        "image/filename,image/class/label", "image/filename,image/class/text", "path,class_name", " Id , Category ",
        "Foto,Marke", "Id,Marke", "Foto,Category",
    ],
)  # fmt: skip
def test_headers_are_recognised(header):
    assert read(f"{header}\n1.jpg,a\n2.jpg,b\n") == LABELS


@pytest.mark.parametrize("header", ["Category,Id", "label,filename", "class,width,image", "target,x,y,id"])
def test_columns_may_stand_in_any_order(header):
    filler = header.count(",") - 1
    assert read(f"{header}\na,{'0,' * filler}1.jpg\nb,{'0,' * filler}2.jpg\n") == LABELS


def test_a_byte_order_mark_is_no_part_of_a_header():
    text = "\ufeffCategory,x,Id\na,0,1.jpg\nb,0,2.jpg\n"
    assert read(text) == read(text, label_column="Category") == LABELS


def test_headers_may_be_given():
    text = "Id,Category,Foto,Marke\nx,y,1.jpg,a\nx,y,2.jpg,b\n"
    assert read(text, id_column="Foto", label_column="Marke") == LABELS


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("a,b,c\n1,2,3\n", {}, "labels.csv has the columns a, b, c: say which one to read with --label_column=NAME"),
        ("a,b\n1,2\n", {"label_column": "c"}, "labels.csv has no column 'c': its columns are a, b"),
        ("a,b\n1,2\n", {"id_column": "c"}, "labels.csv has no column 'c': its columns are a, b"),
    ],
)
def test_headers_that_are_not_recognised_are_named(text, arguments, said):
    with pytest.raises(UserError, match=said):
        read(text, **arguments)


WIDE = "width,photo,make\n640,1.jpg,a\n480,2.jpg,b\n"
SAME_WIDTH = WIDE.replace("480", "640")


@pytest.mark.parametrize("label", ["make", "width"])
def test_the_label_column_is_not_taken_for_the_ids(label):
    text = "make,photo\na,1.jpg\nb,2.jpg\n".replace("make", label)
    assert read(text, label_column=label) == LABELS


def test_one_column_is_not_both():
    with pytest.raises(UserError, match="Ids and labels would both be read from the column 'make'"):
        read(WIDE, id_column="make", label_column="make")


def test_a_wrong_guess_of_the_id_column_is_named(tmp_path):
    said = r"or read the Ids from another column than 'width' with --id_column=NAME \(photo\)"
    with pytest.raises(UserError, match=rf"labels.csv gives 640 the labels a and b: correct the file, {said}"):
        read(SAME_WIDTH, label_column="make")
    write_files(tmp_path / "in", {"1.jpg": b"", "2.jpg": b""})
    table = tmp_path / "labels.csv"
    options = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out"), "labels": str(table)}
    table.write_text(WIDE)
    with pytest.raises(UserError, match=rf"No photo has one of the 2 Ids in the column 'width'.*1\.jpg.*{said}"):
        take_inventory(ConvertOptions(**options, label_column="make", id_column="width"), spool=str(tmp_path))
    followed = take_inventory(ConvertOptions(**options, label_column="make", id_column="photo"), spool=str(tmp_path))
    found = take_inventory(ConvertOptions(**options, label_column="make"), spool=str(tmp_path))
    for inventory in (followed, found):  # the cells say it, too
        assert [(photo.id, photo.category) for photo in inventory.photos] == [("1.jpg", "a"), ("2.jpg", "b")]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("\ufeffId,Category\n1.jpg,a\n2.jpg,b\n", id="BOM"),
        pytest.param("Id;Category\n1.jpg;a\n2.jpg;b\n", id="semicolons"),
        pytest.param("Id|Category\n1.jpg|a\n2.jpg|b\n", id="bars"),
        pytest.param("\ufeffsep=;\r\nId;Category\r\n1.jpg;a\r\n2.jpg;b\r\n", id="Excel's line"),
        pytest.param("\ufeffId;Category\r\n1.jpg;a\r\n2.jpg;b\r\n", id="a spreadsheet's export"),
        pytest.param("Id\tCategory\n1.jpg\ta\n2.jpg\tb\n", id="tabs"),
        pytest.param("Id,Category\r\n1.jpg,a\r\n2.jpg,b\r\n", id="CRLF"),
        pytest.param("Id,Category\n1.jpg,a\n2.jpg,b", id="no last newline"),
        pytest.param("Id,Category\n\n1.jpg,a\n\n2.jpg,b\n\n", id="blank lines"),
        pytest.param('"Id","Category"\n"1.jpg","a"\n"2.jpg","b"\n', id="quotes"),
        pytest.param("Id,Category\n1.jpg, a \n2.jpg,b\t\n", id="blanks around labels"),
        pytest.param("Id,Category\n1.jpg,a\n2.jpg,b\n1.jpg,a\n", id="an Id twice"),
    ],
)
def test_any_usual_csv_is_read(content):
    assert read(content) == LABELS


@settings(max_examples=200, deadline=None)
@given(rows=st.dictionaries(ANY_TEXT, ANY_TEXT.filter(str.strip), min_size=1), delimiter=st.sampled_from(",;\t"))
def test_every_id_and_label_comes_back_as_it_was_written(rows, delimiter):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([("Id", "Category"), *rows.items()])
    assert read(text.getvalue()) == {photo_id: label.strip() for photo_id, label in rows.items()}


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60) | st.text(st.sampled_from("Id,Category\n\r;\"'1\0"), max_size=60).map(str.encode))
def test_whatever_a_label_file_holds_it_is_read_or_refused(content):
    with contextlib.suppress(UserError):  # and no other exception
        labels = read(content)
        assert all(labels)
        assert all(labels.values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Id,Category\n1.jpg,a\n1.jpg,b\n", "labels.csv gives 1.jpg the labels a and b"),
        ("Id,Category\n", "labels.csv has no rows below its header"),
        ("", "labels.csv has no rows below its header"),
        ("Id,Category\n1.jpg\n", "labels.csv line 2 has 1 of 2 cells: correct the file"),
        ("Id,Category\n1.jpg,a\n2.jpg,b,c\n", "labels.csv line 3 has 3 of 2 cells: correct the file"),
        ("Id,Category\n,a\n", "labels.csv line 2 has no Id in the column 'Id': correct the file"),
        ("Id,Category\n1.jpg,\n", "labels.csv line 2 has no label for 1.jpg"),
        ('Id,Category\n"1.jpg,a\n', "labels.csv is not CSV"),
        ("Id,Category\n\n,\n1.jpg,a,b\n", "labels.csv line 4 has 3 of 2 cells"),
        ("Id,Category\n1.jpg,a\n\n\n2.jpg,\n", "labels.csv line 5 has no label for 2.jpg"),
        ('Id,"Cate\ngory"\n1.jpg,"a\nb"\n,a\n', "labels.csv line 5 has no Id in the column 'Id'"),
        ("Id,Category\n1.jpg,\xe4\n".encode("latin-1"), r"labels.csv is not UTF-8 \(byte 18\)"),
        ("Id,Category\n1.jpg,a\n".encode("utf-16")[:-1], "labels.csv is not UTF-8"),
    ],
)
def test_a_label_file_with_a_mistake_is_refused_by_name(content, said):
    with pytest.raises(UserError, match=said):
        read(content)


def listed(tmp_path, files, labels, **options):
    """Returns the data set of loose photos and --labels."""
    folder = write_files(tmp_path / "photos", files)
    (tmp_path / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    return converted(folder, tmp_path / "out", labels=str(tmp_path / "labels.csv"), **options)


PHOTOS = {f"{number}.jpg": drawn(number) for number in range(4)}


@pytest.mark.parametrize(
    "write_id",
    [lambda name: name, lambda name: name.removesuffix(".jpg"), lambda name: f"cars/{name}"],
    ids=["name", "no extension", "path"],
)
def test_ids_name_photos_with_or_without_extension_and_folder(tmp_path, write_id):
    wanted = {write_id(f"{number}.jpg"): str(number % 2) for number in range(4)}
    files = {f"cars/{name}": content for name, content in PHOTOS.items()}
    assert ids_of(listed(tmp_path, files, csv_of(wanted.items()))) == wanted


@pytest.mark.parametrize("label", ["NA", "nan", "None", "null", "TRUE", "1e5", "007", "a, b", "Ä", "–1"])
def test_ids_and_labels_stay_the_strings_they_are(tmp_path, label):
    files = {"00012.jpg": drawn(1), "12.jpg": drawn(2), "1e5.jpg": drawn(3), "NA.jpg": drawn(4)}
    text = io.StringIO(newline="")
    wanted = {"00012": label, "12": "other", "1e5": label, "NA": "other"}
    csv.writer(text).writerows([("Id", "Category"), *wanted.items()])
    manifest = listed(tmp_path, files, text.getvalue())
    assert ids_of(manifest) == wanted
    assert sorted(manifest.class_labels) == sorted([label, "other"])
    records = read_records(manifest, "train")
    found = {r["image/filename"].decode(): r["image/class/text"].decode() for r in records}
    assert found == wanted


HOSTILE_IDS = ("a,b", 'a"b', "a;b", " a ", "ü", "日本", "e\u0301", "é", "=1+1", "-a", "'", "a\u2028b", "%s", "{0}", "#")


def test_hostile_ids_reach_lists_and_records_unchanged(tmp_path):
    wanted = {f"{name}.jpg": str(number % 2) for number, name in enumerate(HOSTILE_IDS)}
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("Id", "Category"), *wanted.items()])
    manifest = listed(tmp_path, {name: drawn(number) for number, name in enumerate(wanted)}, text.getvalue())
    assert ids_of(manifest) == wanted
    assert {r["image/filename"].decode() for r in read_records(manifest, "train")} == set(wanted)


@settings(max_examples=40, deadline=None)
@given(names=st.sets(FILE_NAMES, min_size=1, max_size=6))
def test_every_photo_is_found_by_its_name(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("named")
    (folder / "photos").mkdir()
    wanted = {f"{name}.jpg" for name in names}
    for name in wanted:
        (folder / "photos" / name).touch()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("Id", "Category"), *((name, "a") for name in sorted(wanted))])
    options = ConvertOptions(
        input=str(folder / "photos"), labels=str(folder / "labels.csv"), output=str(folder / "out")
    )
    inventory = take_inventory(options, spool=str(folder / "spool"))
    assert {(photo.id, photo.entry.path) for photo in inventory.photos} == {(name, name) for name in wanted}
    assert (inventory.rejected, inventory.notes) == ((), ())


@settings(max_examples=40, deadline=None)
@given(
    ids=st.lists(
        ANY_TEXT | st.sampled_from(["../0.jpg", "/etc/passwd", "..", "C:\\0", "0.jpg/", "./0.jpg"]), max_size=5
    )
)
def test_no_id_reads_outside_the_input(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("ids")
    write_files(folder / "photos", {"0.jpg": b"", "1.jpg": b""})
    (folder / "secret.jpg").touch()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("Id", "Category"), ("1.jpg", "a"), *((photo_id, "a") for photo_id in ids)])
    options = ConvertOptions(
        input=str(folder / "photos"), labels=str(folder / "labels.csv"), output=str(folder / "out")
    )
    with contextlib.suppress(UserError):
        inventory = take_inventory(options, spool=str(folder / "spool"))
        assert {photo.entry.name for photo in inventory.photos} <= {"0.jpg", "1.jpg"}
        assert len(inventory.photos) + len(inventory.rejected) == len({"1.jpg", *ids})


def test_missing_photos_are_refused_and_named(tmp_path):
    labels = csv_of([*((name, "a") for name in PHOTOS), *((f"gone{number}.jpg", "b") for number in range(7))])
    with pytest.raises(UserError, match=r"7 photos cannot be used \(first: gone0\.jpg: named in labels\.csv, but"):
        listed(tmp_path, PHOTOS, labels)
    assert len(reasons(tmp_path / "out")) == 7


def test_missing_photos_may_be_left_out_and_are_counted_in_their_class(tmp_path, capsys):
    labels = csv_of([*((name, "a") for name in PHOTOS), *((f"gone{number}.jpg", "b") for number in range(7))])
    manifest = listed(tmp_path, PHOTOS, labels, on_bad="skip")
    counts = manifest.source["counts"]["train"]
    assert counts["categories"]["b"] == {"read": 7, "stored": 0, "rejected": 7}
    assert (counts["read"], counts["stored"], counts["rejected"]) == (11, 4, 7)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rejected: ")]
    assert [line.split()[1] for line in said] == [f"gone{number}.jpg:" for number in range(5)]


def test_photos_that_the_file_does_not_name_are_counted_and_the_first_five_named(tmp_path, capsys):
    files = PHOTOS | {f"more{number}.jpg": drawn(20 + number) for number in range(6)} | {"notes.txt": b"x"}
    manifest = listed(tmp_path, files, csv_of((name, "a") for name in PHOTOS))
    assert sorted(ids_of(manifest)) == sorted(PHOTOS)
    said = capsys.readouterr().err
    assert "6 photos are not in labels.csv, left out: more0.jpg, more1.jpg, more2.jpg, more3.jpg, more4.jpg, …" in said
    assert "1 file is not a photo, left out: notes.txt" in said


@pytest.mark.parametrize("root", ["", "train/"], ids=["flat", "class folders"])
def test_repeated_ids_are_counted_and_named(tmp_path, capsys, root):
    files = {f"train/0/{name}" if root else name: content for name, content in PHOTOS.items()}
    labels = csv_of([*((name, "0") for name in PHOTOS), *((f"{number}.jpg", "0") for number in range(3))])
    manifest = converted(write_files(tmp_path / "cars", files | {"train.csv": labels}), tmp_path / "out")
    assert len(ids_of(manifest)) == 4
    assert "train.csv names 3 Ids repeatedly: 0.jpg, 1.jpg, 2.jpg" in capsys.readouterr().err


def test_rows_of_empty_cells_are_no_rows(tmp_path):
    labels = csv_of([*((name, "0") for name in PHOTOS), (" ", ""), ("", ""), ("", " ")]) + b",\n\n"
    assert sorted(ids_of(listed(tmp_path, PHOTOS, labels))) == sorted(PHOTOS)


@pytest.mark.parametrize("root", ["", "train/"], ids=["flat", "class folders"])
def test_two_ids_of_one_photo_are_refused(tmp_path, root):
    files = {f"train/0/{name}" if root else name: content for name, content in PHOTOS.items()}
    labels = csv_of([*((name, "0") for name in PHOTOS), ("3", "0")])
    folder = write_files(tmp_path / "cars", files | {"train.csv": labels})
    with pytest.raises(UserError, match=r"train\.csv names .*3\.jpg as 3\.jpg and as 3"):
        converted(folder, tmp_path / "out")


def test_an_id_of_two_photos_is_refused(tmp_path):
    files = {"a/1.jpg": drawn(1), "b/1.jpg": drawn(2)}
    with pytest.raises(UserError, match=r"labels\.csv names 1 and there are a/1\.jpg, b/1\.jpg: write the path"):
        listed(tmp_path, files, "Id,Category\n1,a\n")


def test_an_extension_written_out_beats_one_left_out(tmp_path):
    files = {"1.jpg": drawn(1), "1.jpg.png": drawn(2), "2.jpg": drawn(3)}
    manifest = listed(tmp_path, files, "Id,Category\n1.jpg,a\n2,b\n1.jpg.png,b\n")
    assert dict(zip(manifest.read_ids("train")["id"], manifest.read_ids("train")["source"], strict=True)) == {
        "1.jpg": "1.jpg", "1.jpg.png": "1.jpg.png", "2": "2.jpg",
    }  # fmt: skip


def test_labels_that_contradict_the_class_folders_are_refused(tmp_path):
    files = {f"train/{number % 2}/{number}.jpg": drawn(number) for number in range(4)}
    labels = csv_of((f"{number}.jpg", 0) for number in range(4))
    with pytest.raises(UserError, match=r"2 photos lie in another class's folder than train.csv says: train/1/1.jpg"):
        converted(write_files(tmp_path / "cars", files | {"train.csv": labels}), tmp_path / "out")


def test_photos_of_class_folders_that_the_file_does_not_name_take_their_folders_label(tmp_path, capsys):
    files = {f"train/{number % 2}/{number}.jpg": drawn(number) for number in range(4)}
    labels = csv_of((f"{number}.jpg", number % 2) for number in range(3))
    manifest = converted(write_files(tmp_path / "cars", files | {"train.csv": labels}), tmp_path / "out")
    assert ids_of(manifest)["3.jpg"] == "1"
    assert "1 photo is not in train.csv, labelled by folder: train/1/3.jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("categories", "ordered"),
    [
        (["10", "9", "1", "2", "10"], ["1", "2", "9", "10"]),
        (["b", "a", "C"], ["C", "a", "b"]),
        (["10", "9", "a"], ["10", "9", "a"]),
        (["01", "1", "2"], ["01", "1", "2"]),
        (["-1", "0"], ["-1", "0"]),
        ([], []),
    ],
)
def test_numbers_are_ordered_by_value_and_words_by_spelling(categories, ordered):
    assert order_categories(categories) == ordered


@given(st.lists(st.integers(0, 10**6)))
def test_numbered_classes_are_in_order_of_their_numbers(numbers):
    assert order_categories(map(str, numbers)) == [str(number) for number in sorted(set(numbers))]


def test_class_ten_comes_after_class_nine_in_a_data_set(tmp_path):
    files = {f"{label}/{label}.jpg": drawn(label) for label in range(11)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert [(entry.label, entry.category) for entry in manifest.classes] == [(n, str(n)) for n in range(11)]


@pytest.mark.parametrize(
    ("categories", "classes", "named"),
    [
        (["0", "1"], "", [("0", "0"), ("1", "1")]),
        (["0", "1"], "Priora,Focus", [("0", "Priora"), ("1", "Focus")]),
        (["9", "10", "2"], "b,i,j", [("2", "b"), ("9", "i"), ("10", "j")]),
        (["cat", "ant"], "cat,ant", [("cat", "cat"), ("ant", "ant")]),
        (["cat"], "cat,dog", [("cat", "cat"), ("dog", "dog")]),
        (["1", "0"], " 1 , 0 ", [("1", "1"), ("0", "0")]),
    ],
)
def test_classes_are_named_and_ordered_as_told(categories, classes, named):
    assert name_classes(categories, classes) == named


@pytest.mark.parametrize(
    ("categories", "classes", "said"),
    [
        (["0", "1", "2"], "a,b", "names 2 classes and there are 3, 0, 1, 2: give as many names, in the order of these"),
        (["cat", "dog", "emu"], "cat,dog,owl", "not among the names: emu"),
        (["0", "1"], "a,a", "names a class twice or none"),
        (["0", "1"], ",", "names a class twice or none"),
    ],
)
def test_names_that_do_not_fit_the_labels_are_refused(categories, classes, said):
    with pytest.raises(UserError, match=said):
        name_classes(categories, classes)


def test_names_may_stand_in_a_file(tmp_path):
    (tmp_path / "classes.txt").write_text("\ufeffLada Priora\n\nFord, Focus \n", encoding="utf-8")
    assert class_names(str(tmp_path / "classes.txt")) == ["Lada Priora", "Ford, Focus"]


def test_another_order_of_the_classes_is_another_map(tmp_path):
    folder = write_files(tmp_path / "cars", {f"{name}/{number}.jpg": drawn(number) for number, name in enumerate("ab")})
    manifests = [converted(folder, tmp_path / order, classes=order) for order in ("a,b", "b,a")]
    assert [m.class_names for m in manifests] == [("a", "b"), ("b", "a")]
    assert manifests[0].class_map_sha256 != manifests[1].class_map_sha256
    labels = [
        dict(zip(m.read_ids("train")["class_name"], m.read_ids("train")["label"], strict=True)) for m in manifests
    ]
    assert labels == [{"a": 0, "b": 1}, {"a": 1, "b": 0}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_list_is_read_from_a_zip_and_in_every_encoding_with_a_mark(tmp_path, encoding, packed):
    content = "Id\tCategory\n1.jpg\tStraße\n2.jpg\tb\n".encode(encoding)
    if packed:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("list.csv", content)
        content = buffer.getvalue()
    write_files(tmp_path, {"in/1.jpg": b"", "in/2.jpg": b"", "list.csv.zip": content})
    options = ConvertOptions(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), labels=str(tmp_path / "list.csv.zip")
    )
    photos = take_inventory(options, spool=str(tmp_path / "spool")).photos
    assert {photo.id: photo.category for photo in photos} == {"1.jpg": "Straße", "2.jpg": "b"}


def test_a_damaged_zip_of_a_list_is_one_sentence():
    with pytest.raises(UserError, match=r"^train\.csv\.zip cannot be unpacked \(.*\): give the CSV in it\.$"):
        read_table(b"PK\x03\x04", shown="train.csv.zip")


def test_a_blank_cell_of_one_hot_columns_is_0():
    content = b"id,cat,dog\n1.jpg,1, \n2.jpg,,1\n3.jpg,0, 1 \n4.jpg,1,0\n"
    found = with_labels(read_table(content, shown="train.csv"), 0, Wanted())
    assert found.table.cells(found.label) == ["cat", "dog", "dog", "cat"]


class Counted(str):
    """A name that counts how often it is compared without regard to case."""

    times = 0

    def casefold(self) -> str:
        Counted.times += 1
        return super().casefold()


def test_a_column_of_thousands_is_found_without_a_look_at_each(monkeypatch):
    monkeypatch.setattr(Counted, "times", 0)
    table = Table("wide.csv", (*(Counted(f"Class {number}") for number in range(500)), "Same", "same", "a"), (), ())
    names = [f"class {number}" for number in range(600)]
    assert [table.find(name) for name in names] == [*range(500), *[None] * 100]
    assert [table.find(name) for name in ("Same", "same", "SAME", "A")] == [500, 501, None, 502]
    assert Counted.times <= 2 * 500
