"""Names of files, folders, Ids and classes as real collections write them: clutter, Unicode, code pages, links."""

import os
import unicodedata
from pathlib import Path

import pytest

from carclf.convert.labels import order_categories
from carclf.convert.options import ConvertOptions
from carclf.convert.roles import TEST, TRAIN, VALIDATION, role_of
from carclf.convert.zip_names import likely_encodings
from carclf.errors import UserError
from tests.convert.inputs import (
    class_folders,
    competition,
    converted,
    csv_of,
    drawn,
    ids_of,
    reasons,
    shard_hashes,
    write_files,
    write_zip,
    zipped,
)
from tests.convert.test_sources import with_fields

GOOD = class_folders(6)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@pytest.fixture
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    return shard_hashes(converted(write_files(folder / "cars", GOOD), folder / "out"))


@pytest.mark.parametrize(
    "folder",
    [
        ".ipynb_checkpoints",
        "@eaDir",
        ".thumbnails",
        "lost+found",
        ".hidden",
        "$RECYCLE.BIN",
        "0/.ipynb_checkpoints",
        "0/@eaDir/a",
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip", "nested zip"])
def test_the_folders_of_programs_are_no_classes(tmp_path, capsys, good, folder, kind):
    files = GOOD | {f"{folder}/0-checkpoint.jpg": drawn(40), f"{folder}/more/1.jpg": drawn(41)}
    if kind == "folder":
        source = write_files(tmp_path / "cars", files)
    else:
        source = write_zip(tmp_path / "cars.zip", files if kind == "zip" else {"train.zip": zipped(files)})
    manifest = converted(source, tmp_path / "out")
    assert manifest.class_names == ("0", "1", "2")
    assert shard_hashes(manifest) == good
    left = folder.removesuffix("/a")
    where = "train.zip/" if kind == "nested zip" else ""
    assert f"Note: 1 folder of programs or the file system was left out: {where}{left}/." in capsys.readouterr().err


def test_a_data_set_and_runs_below_the_photos_are_no_photos(tmp_path, capsys, good):
    """Where the output lies among the photos, the same command finds the same photos again."""
    run = {
        "0/run/stage.json": b'{"format_version": 1}',
        "0/run/augmentation.png": drawn(40),
        "0/run/e/1.jpg": drawn(41),
    }
    killed = {"half/.carclf.lock": b"{}", "half/0123456789abcdef/1.jpg": drawn(42)}
    foreign = {"1/dataset.json": b'{"images": []}'}
    folder = write_files(tmp_path / "cars", GOOD | run | killed | foreign)
    first = converted(folder, folder / "data")
    assert shard_hashes(first) == good
    capsys.readouterr()
    assert shard_hashes(converted(folder, folder / "data")) == good
    said = capsys.readouterr()
    assert "holds this data set already: nothing to do" in said.out
    assert "Note: 3 folders of programs or the file system were left out: 0/run/, data/, half/." in said.err


def test_the_folder_of_the_photos_is_no_output(tmp_path):
    folder = write_files(tmp_path / "cars", GOOD)
    (tmp_path / "link").symlink_to(folder)
    for output in (folder, f"{folder}/", tmp_path / "link"):
        with pytest.raises(UserError, match=r"is the folder of the photos, .*: give another, such as --output=.*data"):
            converted(folder, output)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == set(GOOD)


def test_a_folder_of_the_file_system_that_nobody_may_read_stops_nothing(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "cars", GOOD | {"lost+found/1.jpg": b""})
    scandir = os.scandir

    def guarded(path):
        if str(path).rstrip("/").endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert len(ids_of(converted(folder, tmp_path / "out"))) == len(GOOD)


@pytest.mark.parametrize(("of_list", "of_files"), [(nfc, nfd), (nfd, nfc)], ids=["list NFC", "list NFD"])
def test_a_list_and_files_in_other_forms_of_unicode_match(tmp_path, of_list, of_files):
    names = ["Škoda é.jpg", "й.jpg", "Ångström.jpg", "plain.jpg"]
    files = {f"photos/{of_files(name)}": drawn(number) for number, name in enumerate(names)}
    (tmp_path / "train.csv").write_bytes(csv_of((of_list(name), number % 2) for number, name in enumerate(names)))
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out", labels=str(tmp_path / "train.csv"))
    assert ids_of(manifest) == {of_list(name): str(number % 2) for number, name in enumerate(names)}


def test_a_submission_has_the_ids_of_its_sample_whatever_the_files_are_called(tmp_path):
    files = competition(12, tests=0) | {
        f"test_upload/{nfd('é')}{number}.JPG": drawn(100 + number) for number in range(3)
    }
    files["sample-submission.csv"] = csv_of((f"{nfc('é')}{number}.jpg", 0) for number in range(3))
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert sorted(ids_of(manifest, "test")) == [f"{nfc('é')}{number}.jpg" for number in range(3)]


def test_a_class_written_in_two_forms_is_one(tmp_path):
    files = {f"{form('Škoda')}/{number}.jpg": drawn(number) for number, form in enumerate([nfc, nfd] * 3)}
    files |= {f"Lada/{number}.jpg": drawn(number) for number in range(6, 12)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert manifest.class_names == ("Lada", nfc("Škoda"))
    assert [entry.count for entry in manifest.classes] == [6, 6]


def test_classes_that_case_spaces_or_zeros_alone_tell_apart_are_named(tmp_path, capsys):
    names = ("BMW", "bmw", "Audi A3", "Audi  A3 ", "7", "007", "8")
    files = {f"{name}/{number}.jpg": drawn(number) for number, name in enumerate(names * 2)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert set(manifest.class_names) == set(names)
    said = "Classes are told apart by letter case, spaces or zeros alone: '007' and '7', 'Audi  A3 ' and 'Audi A3', "
    assert f"Note: {said}'BMW' and 'bmw'." in capsys.readouterr().err


def test_a_class_whose_photos_are_all_refused_is_not_hidden_by_the_only_other(tmp_path):
    files = {f"{name}/{number}.jpg": drawn(number) for number, name in enumerate(["bmw", "au\x01di"] * 3)}
    with pytest.raises(UserError, match=r"All 3 .* of one class, bmw .*; 3 files were refused \(first: .*: .*name"):
        converted(write_files(tmp_path / "cars", files), tmp_path / "out")


def test_a_class_of_the_list_in_another_form_than_its_folder_is_no_contradiction(tmp_path):
    files = {f"train/{nfd('Škoda')}/{n}.jpg": drawn(n) for n in range(4)} | {
        f"train/b/{n}.jpg": drawn(n) for n in range(4, 8)
    }
    files["train.csv"] = csv_of((f"{n}.jpg", nfc("Škoda") if n < 4 else "b") for n in range(8))
    assert len(ids_of(converted(write_files(tmp_path / "cars", files), tmp_path / "out"))) == 8


@pytest.mark.parametrize(
    "write_id",
    [
        lambda n: f"./cars/{n}.jpg",
        lambda n: f"cars\\{n}.jpg",
        lambda n: f".\\cars\\{n}.jpg",
        lambda n: f"/home/somebody/data/cars/{n}.jpg",
        lambda n: f"C:\\Users\\me\\cars\\{n}.jpg",
        lambda n: f"../data/cars/{n}.jpg",
        lambda n: f"images/{n}.jpg",
        lambda n: f"CARS/{n}.JPG",
        lambda n: f"{n}.jpeg",
        lambda n: f"{n}.png",
        lambda n: f" {n}.jpg ",
        lambda n: f"https://cars.example/images/{n}.jpg",
    ],
    ids=[
        "./",
        "backslash",
        ".\\",
        "absolute",
        "drive",
        "..",
        "another folder",
        "letter case",
        "jpeg",
        "png",
        "spaces",
        "URL",
    ],
)
def test_ids_written_otherwise_mean_the_only_photo_that_they_can(tmp_path, capsys, write_id):
    files = {f"cars/{number}.jpg": drawn(number) for number in range(12)}
    (tmp_path / "train.csv").write_bytes(csv_of((write_id(number), number % 2) for number in range(12)))
    manifest = converted(write_files(tmp_path / "in", files), tmp_path / "out", labels=str(tmp_path / "train.csv"))
    assert ids_of(manifest) == {write_id(number): str(number % 2) for number in range(12)}
    assert (
        "Note: 12 Ids of train.csv matched one photo only without regard to case, folders, extension, spaces or "
        f"Unicode form (first: {write_id(0)} is cars/0.jpg)." in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("files", "ids", "missing"),
    [
        (["a/1.jpg", "b/2.jpg"], ["a/1.jpg", "c/2.jpg"], ["c/2.jpg"]),  # a different folder means a different photo
        (["a/1.jpg", "b/x.jpg", "c/X.jpg"], ["1.jpg", "x.JPG"], ["x.JPG"]),  # it could mean either of two
        (["1.jpg", "2.jpg"], ["1.jpg", "1.JPG", "2.jpg"], ["1.JPG"]),  # another Id names the photo
        (["1.jpg", "2.jpg"], ["1.JPG", "1.png", "2.jpg"], ["1.JPG", "1.png"]),  # two Ids for one photo
    ],
)
def test_ids_that_can_mean_no_photo_or_several_are_missing(tmp_path, files, ids, missing):
    folder = write_files(tmp_path / "in", {name: drawn(number) for number, name in enumerate(files)})
    (tmp_path / "train.csv").write_bytes(csv_of((name, number % 2) for number, name in enumerate(ids)))
    converted(folder, tmp_path / "out", labels=str(tmp_path / "train.csv"), on_bad="skip")
    assert sorted(reasons(tmp_path / "out")) == sorted(missing)


def test_a_training_id_does_not_take_a_test_photo(tmp_path):
    folder = write_files(tmp_path / "in", {f"{number}.jpg": drawn(number) for number in range(6)})
    (tmp_path / "train.csv").write_bytes(csv_of([*((f"{n}.jpg", n % 2) for n in range(4)), ("4.png", 0)]))
    (tmp_path / "test.csv").write_bytes(csv_of([("4.jpg", 0), ("5.jpg", 1)]))
    lists = {"labels": str(tmp_path / "train.csv"), "test_csv": str(tmp_path / "test.csv")}
    manifest = converted(folder, tmp_path / "out", on_bad="skip", **lists)
    assert sorted(ids_of(manifest, "test")) == ["4.jpg", "5.jpg"]
    assert list(reasons(tmp_path / "out")) == ["4.png"]


RUSSIAN = ("Лада Калина", "Москвич", "волга 21")
CHINESE = ("大众汽车", "奥迪轿车", "长城哈弗", "红旗", "轿车与越野")
GERMAN = ("Käfer", "Größe", "Citroën")
JAPANESE = ("カローラ", "スカイライン", "ひらがな")


def code_page_zip(path: Path, names: tuple[str, ...], encoding: str) -> Path:
    """Writes a zip of class folders with these names, like a program that does not know the UTF-8 flag."""
    files = {f"{name}/{number}.jpg": drawn(number) for number, name in enumerate(names * 4)}
    placeholders, parts = {}, {}
    for number, name in enumerate(files):
        raw = name.encode(encoding)
        placeholders[f"{number:03d}".encode() + b"~" * (len(raw) - 3)] = raw
        parts[f"{number:03d}" + "~" * (len(raw) - 3)] = files[name]
    content = zipped(parts)
    for placeholder, raw in placeholders.items():
        assert content.count(placeholder) == 2  # local and central header
        content = content.replace(placeholder, raw)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("names", "encoding", "said"),
    [
        (RUSSIAN, "cp866", "cp866"),
        (RUSSIAN, "cp1251", "cp1251"),
        (CHINESE, "gbk", "gbk"),
        (GERMAN, "cp850", "cp850"),
        (JAPANESE, "cp932", "cp932"),
        (RUSSIAN, "utf-8", "utf-8"),
        (CHINESE, "utf-8", "utf-8"),
    ],
)
def test_names_in_a_code_page_are_read_where_one_explains_them_all(tmp_path, capsys, names, encoding, said):
    manifest = converted(code_page_zip(tmp_path / "cars.zip", names, encoding), tmp_path / "out")
    assert manifest.class_names == tuple(sorted(names))
    count = 4 * len(names)
    note = f"Note: {count} names in cars.zip without the UTF-8 flag were read as {said} (first: {names[0]}/0.jpg)"
    assert note in capsys.readouterr().err
    assert len(ids_of(manifest)) == count


def test_names_in_a_nested_zip_are_read_too(tmp_path):
    inner = code_page_zip(tmp_path / "inner.zip", RUSSIAN, "cp866").read_bytes()
    manifest = converted(write_zip(tmp_path / "cars.zip", {"train.zip": inner}), tmp_path / "out")
    assert manifest.class_names == tuple(sorted(RUSSIAN))


def test_names_that_several_code_pages_explain_need_a_flag(tmp_path, capsys):
    hangul = "현대".encode("cp949")
    assert likely_encodings([hangul]) == ["gbk", "cp949"]
    source = code_page_zip(tmp_path / "cars.zip", ("현대", "기아"), "cp949")
    converted(source, tmp_path / "guessed")
    assert "were read as cp437" in (said := capsys.readouterr().err)
    assert "give --zip_encoding if that is wrong. It may be gbk or cp949." in said
    manifest = converted(source, tmp_path / "out", zip_encoding="cp949")
    assert manifest.class_names == ("기아", "현대")


def test_a_wrong_or_unknown_encoding_is_one_sentence(tmp_path):
    source = code_page_zip(tmp_path / "cars.zip", RUSSIAN, "cp866")
    with pytest.raises(UserError, match=r"cars\.zip has names that are not utf-8 .*: give another --zip_encoding"):
        converted(source, tmp_path / "out", zip_encoding="utf-8")
    with pytest.raises(UserError, match=r"--zip_encoding=klingon is not known: write a name such as cp866"):
        ConvertOptions(input="in", output="out", zip_encoding="klingon")


@pytest.mark.parametrize("write", ["./{}", "{}", ".//{}"])
def test_odd_slashes_in_a_zip_change_nothing(tmp_path, good, write):
    odd = {
        write.format(name.replace("/", "//" if number % 2 else "/./")): raw
        for number, (name, raw) in enumerate(GOOD.items())
    }
    manifest = converted(write_zip(tmp_path / "cars.zip", odd), tmp_path / "out")
    assert manifest.class_names == ("0", "1", "2")
    assert shard_hashes(manifest) == good


def test_two_names_of_one_place_in_a_zip_are_refused(tmp_path):
    source = write_zip(tmp_path / "cars.zip", GOOD | {"0//0.jpg": drawn(50)})
    converted(source, tmp_path / "out", on_bad="skip")
    assert reasons(tmp_path / "out") == {"cars.zip/0/0.jpg": "more than once in the zip"} or reasons(
        tmp_path / "out"
    ) == {"0/0.jpg": "more than once in the zip"}


@pytest.mark.parametrize(
    ("method", "name"), [(9, "Deflate64"), (99, "AES encryption"), (98, "PPMd"), (42, "method 42")]
)
def test_a_packing_that_is_not_read_is_named(tmp_path, method, name):
    source = tmp_path / "cars.zip"
    source.write_bytes(with_fields(zipped(GOOD), "0/0.jpg", method=method))
    converted(source, tmp_path / "out", on_bad="skip")
    (reason,) = reasons(tmp_path / "out").values()
    assert reason == f"packed with {name}, which is not read: pack it again, as a usual zip"


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
    ],
)
def test_another_archive_is_called_by_its_name(tmp_path, head, said):
    (tmp_path / "cars.zip").write_bytes(head + bytes(2000))
    with pytest.raises(UserError, match=rf"cars\.zip is {said}, not a zip: unpack it and give the folder"):
        converted(tmp_path / "cars.zip", tmp_path / "out")


def test_no_training_photos_says_why(tmp_path):
    source = tmp_path / "cars.zip"
    raw = zipped(GOOD)
    for name in GOOD:
        raw = with_fields(raw, name, flags=1)
    source.write_bytes(raw)
    with pytest.raises(
        UserError, match=r"has no training photos; 6 were refused or found by no Id \(first: 0/0\.jpg: encrypted\)"
    ):
        converted(source, tmp_path / "out")


def test_no_training_photos_names_what_was_left_out(tmp_path):
    folder = write_files(tmp_path / "cars", {"@eaDir/1.jpg": drawn(1), "@eaDir/2.jpg": drawn(2)})
    with pytest.raises(
        UserError, match=r"has no training photos; 1 folder of programs .* was left out: @eaDir/: give class"
    ):
        converted(folder, tmp_path / "out")


CACHES = {
    "Hugging Face": ("cache/hub/models--x/snapshots/abc", "cache/hub/models--x/blobs"),
    "DVC": ("project/data", "project/.dvc/cache/files/md5"),
    "XDG": ("elsewhere", "home/.cache/kagglehub"),
}


@pytest.mark.parametrize("kind", CACHES)
def test_links_into_a_users_cache_are_followed_and_told(tmp_path, monkeypatch, capsys, good, kind):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    folder, cache = (tmp_path / name for name in CACHES[kind])
    write_files(cache, {f"{number:02x}": raw for number, raw in enumerate(GOOD.values())})
    for number, name in enumerate(GOOD):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(cache / f"{number:02x}")
    (tmp_path / "secret.jpg").write_bytes(drawn(50))
    (folder / "0" / "escape.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "0" / "loop.jpg").symlink_to(folder / "0" / "loop.jpg")
    manifest = converted(folder, tmp_path / "out", on_bad="skip")
    assert "Note: 6 symbolic links were followed: 0/0.jpg, 0/3.jpg, " in capsys.readouterr().err
    assert reasons(tmp_path / "out") == {
        "0/escape.jpg": "symbolic link that leaves the folder",
        "0/loop.jpg": "not a regular file",
    }
    assert ids_of(manifest) == {Path(name).name: name[0] for name in GOOD}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train", TRAIN), ("Training", TRAIN), ("train_images", TRAIN), ("training_set", TRAIN), ("train1", TRAIN),
        ("test", TEST), ("test1", TEST), ("Test Images", TEST), ("test_set", TEST), ("testing", TEST), 
        ("test-photos", TEST),
        ("dev", VALIDATION), ("val", VALIDATION), ("valid", VALIDATION), ("validation_images", VALIDATION),
        ("tests of brakes", ""), ("trainer", ""), ("valiant", ""), ("device", ""), ("0", ""), ("testarossa", ""),
    ],
)  # fmt: skip
def test_folders_are_known_by_their_usual_names(name, role):
    assert role_of(name) == role


@pytest.mark.parametrize("test", ["test1", "Test Images", "test_set"])
def test_test_folders_of_other_names_are_read(tmp_path, test):
    files = class_folders(6, root="train/") | {f"{test}/{number}.jpg": drawn(number) for number in (7, 8)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert sorted(ids_of(manifest, "test")) == ["7.jpg", "8.jpg"]


def test_a_dev_folder_is_validation_and_another_beside_train_is_told(tmp_path, capsys):
    files = class_folders(6, root="train/") | class_folders(3, first=6, root="dev/")
    files |= class_folders(3, first=9, root="unlabelled/") | {"extra things/1.jpg": drawn(20)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert len(ids_of(manifest)) == 9
    assert "Note: 4 photos beside train/, left out, in extra things, unlabelled." in capsys.readouterr().err


def test_a_folder_in_a_folder_of_its_name_is_one(tmp_path, good):
    files = class_folders(6, root="training_set/training_set/") | {"test_set/test_set/9.jpg": drawn(9)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out")
    assert ids_of(manifest) == {Path(name).name: name[0] for name in GOOD}
    assert list(ids_of(manifest, "test")) == ["9.jpg"]


def test_labels_of_thousands_of_digits_have_their_order():
    long, longer = "1" + "0" * 5000, "2" + "0" * 5000
    assert order_categories([longer, "7", long, "007", "10"]) == ["007", "7", "10", long, longer]
    assert order_categories(["١٠", "9", "٢"]) == ["٢", "9", "١٠"]


def test_empty_folders_are_named(tmp_path, capsys):
    write_files(tmp_path / "cars", class_folders(4))
    (tmp_path / "cars" / "2108" / "front").mkdir(parents=True)
    (tmp_path / "cars" / "2109").mkdir()
    converted(tmp_path / "cars", tmp_path / "out")
    assert "Note: 2 folders are empty: 2108/front/, 2109/." in capsys.readouterr().err
