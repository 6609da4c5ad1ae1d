"""Archives are streamed, not extracted: hostile members are refused by name, and nothing leaves the output."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.convert import sources
from carclf.convert.inventory import take_inventory
from carclf.convert.options import ConvertOptions
from carclf.convert.sources import MAX_PHOTO_BYTES, Reader, Source, name_problem, open_archive
from carclf.convert.tars import tar_source, unpacked
from carclf.convert.zips import archive_entries, member_source
from carclf.errors import UserError
from tests.convert.inputs import (
    class_folders,
    competition,
    converted,
    drawn,
    ids_of,
    reasons,
    rejected,
    shard_hashes,
    tree,
    write_files,
    write_zip,
    zipped,
)

GOOD = class_folders(6)
CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"

Archive = zipfile.ZipFile


def member(name: str, content: bytes = b"", *, mode: int = stat.S_IFREG | 0o644) -> Callable[[Archive], None]:
    """Returns a function that adds a member; an existing name causes no warning."""

    def add(archive: Archive) -> None:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(info, content or drawn(99))

    return add


def deflated(name: str, content: bytes) -> Callable[[Archive], None]:
    return lambda archive: archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def twice(name: str) -> Callable[[Archive], None]:
    def add(archive: Archive) -> None:
        member(name, drawn(98))(archive)
        member(name, drawn(99))(archive)

    return add


def with_fields(raw: bytes, name: str, **fields: int) -> bytes:
    """Returns the zip with other numbers in both headers of a member."""
    places = {  # field → (format, offset in the central header, offset in the local header)
        "flags": ("<H", 8, 6),
        "method": ("<H", 10, 8),
        "crc": ("<I", 16, 14),
        "size": ("<I", 24, 22),
    }
    result = bytearray(raw)
    for magic, at_name, column in ((CENTRAL, 46, 1), (LOCAL, 30, 2)):
        start = next(
            at for at in range(len(raw)) if raw[at : at + 4] == magic and raw[at + at_name :].startswith(name.encode())
        )
        for field, value in fields.items():
            struct.pack_into(places[field][0], result, start + places[field][column], value)
    return bytes(result)


def hostile_zip(path: Path, *add: Callable[[Archive], None], **fields: int) -> Path:
    """Returns a zip of good photos and one hostile member."""
    buffer = io.BytesIO(zipped(GOOD))
    with zipfile.ZipFile(buffer, "a") as archive:
        for one in add:
            one(archive)
        last = archive.namelist()[-1]
    path.write_bytes(with_fields(buffer.getvalue(), last, **fields) if fields else buffer.getvalue())
    return path


HOSTILE = {
    "parent": (member("../outside.jpg"), {}, "../outside.jpg", "path leaves the archive"),
    "parent inside": (member("0/../../outside.jpg"), {}, "0/../../outside.jpg", "path leaves the archive"),
    "parent, Windows": (member("..\\outside.jpg"), {}, "..\\outside.jpg", "path leaves the archive"),
    "absolute": (member("/outside.jpg"), {}, "/outside.jpg", "absolute path"),
    "absolute, Windows": (member("\\outside.jpg"), {}, "\\outside.jpg", "absolute path"),
    "drive": (member("C:/outside.jpg"), {}, "C:/outside.jpg", "absolute path"),
    "drive, relative": (member("c:outside.jpg"), {}, "c:outside.jpg", "absolute path"),
    "backslashes": (member("0\\outside.jpg"), {}, "0\\outside.jpg", "backslash in the name"),
    "newline": (member("0/a\nb.jpg"), {}, "0/a\nb.jpg", "control characters in the name"),
    "symlink": (member("0/link.jpg", b"/etc/hostname", mode=stat.S_IFLNK | 0o777), {}, "0/link.jpg", "symbolic link"),
    "device": (member("0/null.jpg", b"", mode=stat.S_IFCHR | 0o666), {}, "0/null.jpg", "not a regular file"),
    "duplicate": (twice("0/twice.jpg"), {}, "0/twice.jpg", "more than once in the zip"),
    "ratio": (deflated("0/bomb.jpg", bytes(2**21)), {}, "0/bomb.jpg", "compressed more than 200:1"),
    "huge": (deflated("0/huge.jpg", bytes(9)), {"size": 2**31}, "0/huge.jpg", "larger than 100 MB"),
    "encrypted": (member("0/secret.jpg"), {"flags": 1}, "0/secret.jpg", "encrypted"),
    "CRC": (member("0/damaged.jpg"), {"crc": 1}, "0/damaged.jpg", "damaged in the zip: Bad CRC-32"),
    "longer than said": (deflated("0/long.jpg", drawn(7)), {"size": 99}, "0/long.jpg", "damaged in the zip"),
    "no deflate": (deflated("0/odd.jpg", drawn(7)), {"method": 0}, "0/odd.jpg", "damaged in the zip"),
    "unknown method": (member("0/odd.jpg"), {"method": 99}, "0/odd.jpg", "packed with AES encryption"),
}


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Returns everything that must not change: the surroundings of the output, the working folder and the root."""
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")
    roots = sorted(os.listdir("/"))

    def look() -> dict[str, str]:
        files = {name: state for name, state in tree(tmp_path).items() if not name.startswith("out/")}
        assert sorted(os.listdir("/")) == roots
        return files

    return look


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_member_is_refused_by_name_and_the_others_are_kept(tmp_path, outside, kind):
    add, fields, path, reason = HOSTILE[kind]
    source = hostile_zip(tmp_path / "cars.zip", add, **fields)
    before = outside()
    manifest = converted(source, tmp_path / "out", on_bad="skip")
    assert sorted(ids_of(manifest)) == sorted(Path(name).name for name in GOOD)
    (row,) = rejected(tmp_path / "out")
    assert row["source"].removeprefix("cars.zip/") == path
    assert row["reason"].removeprefix("cannot be read: ").startswith(reason)
    assert outside() == before


@pytest.mark.parametrize("kind", ["parent", "symlink", "duplicate", "ratio", "encrypted", "CRC"])
def test_a_hostile_member_stops_the_conversion_unless_it_may_be_left_out(tmp_path, kind):
    add, fields, path, reason = HOSTILE[kind]
    source = hostile_zip(tmp_path / "cars.zip", add, **fields)
    with pytest.raises(UserError, match=r"1 photo cannot be used .*--on_bad=skip") as caught:
        converted(source, tmp_path / "out")
    assert path in str(caught.value)
    assert reason in str(caught.value)
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize(
    "name", ["__MACOSX/0/._1.jpg", "0/._1.jpg", "0/.DS_Store", "0/Thumbs.db", "desktop.ini", "__MACOSX/0/1.jpg"]
)
def test_what_systems_leave_in_archives_is_no_photo(tmp_path, name):
    manifest = converted(hostile_zip(tmp_path / "cars.zip", member(name)), tmp_path / "out")
    assert len(ids_of(manifest)) == len(GOOD)
    assert rejected(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["a.jpg", "a b/ü.jpg", "0/…/x.jpg", "..a/b..jpg", "0/C:.jpg", ".hidden/x.jpg"])
def test_harmless_names_are_not_refused(name):
    assert name_problem(name) == ""


def test_a_flat_bitmap_may_shrink_as_much_as_it_likes(tmp_path):
    from PIL import Image

    from tests.convert.inputs import encoded

    flat = encoded(Image.new("RGB", (500, 500)), "BMP")
    manifest = converted(hostile_zip(tmp_path / "cars.zip", deflated("0/flat.bmp", flat)), tmp_path / "out")
    assert "flat.bmp" in ids_of(manifest)


@settings(max_examples=60, deadline=None)
@given(
    inner=st.booleans(),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_whatever_a_directory_says_photos_are_read_or_refused(tmp_path_factory, inner, changes):
    folder = tmp_path_factory.mktemp("changed")
    raw = bytearray(zipped({"train.zip": zipped(GOOD)}) if inner else zipped(GOOD, deflated=True))
    start = raw.rindex(b"PK\x05\x06") - (60 if inner else 300)
    for place, value in changes:
        raw[start + int(place * (len(raw) - start))] = value
    (folder / "cars.zip").write_bytes(raw)
    with contextlib.suppress(UserError):
        options = ConvertOptions(input=str(folder / "cars.zip"), output=str(folder / "out"))
        inventory = take_inventory(options, spool=str(folder / "spool"))
        reader = Reader(inventory.sources)
        for photo in inventory.photos:
            with contextlib.suppress(OSError):
                reader.read(photo.entry.source, photo.entry.name)


@pytest.mark.parametrize("ending", [b"", b"what"], ids=["fine", "refused"])
def test_lists_in_a_zip_are_read_through_one_opening_which_is_closed(tmp_path, monkeypatch, ending):
    files = competition() | {f"more{n}.csv": b"a,b\nx,y\n" for n in range(5)}
    files |= {f"map{n}.json": b'{"0": "van", "1": "bus"}' for n in range(5)}
    files["train.csv"] += ending
    write_zip(tmp_path / "cars.zip", files)
    opened, really = [], sources.open_archive

    def open_archive(source):
        opened.append(really(source))
        return opened[-1]

    monkeypatch.setattr(sources, "open_archive", open_archive)
    options = ConvertOptions(input=str(tmp_path / "cars.zip"), output=str(tmp_path / "out"))
    with pytest.raises(UserError) if ending else contextlib.nullcontext():
        take_inventory(options, spool=str(tmp_path / "spool"))
    assert [archive.fp for archive in opened] == [None]


def test_a_photo_beyond_the_limit_is_not_read_into_memory(tmp_path):
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(MAX_PHOTO_BYTES + 1)
    with pytest.raises(OSError, match="larger than 100 MB"):
        Reader((Source(str(tmp_path), "", False),)).read(0, "large.jpg")


def test_a_list_may_be_longer_than_a_photo(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_PHOTO_BYTES", 10)
    monkeypatch.setattr(sources, "MAX_LIST_BYTES", 2**20)
    content, long = b"id,label\n" * 4, b"id,label\n" * 2**18
    files = {"train.csv": content, "TEST.CSV": content, "names.json": content, "long.csv": long, "1.jpg": content}
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name in files:
            tar.add(tmp_path / name, name)
    folder, packed = Source(str(tmp_path), "", False), Source(str(tmp_path / "in.zip"), "in.zip", True)
    taped, listed = tar_source(Source(str(tmp_path / "in.tar"), "in.tar", True), number=0)
    with open_archive(packed) as archive:
        listings = (archive_entries(archive, source=0), listed)
    for entries in listings:
        assert {entry.name: entry.problem for entry in entries if entry.problem} == {
            "long.csv": "a list larger than 1 MB",
            "1.jpg": "larger than 0 MB",
        }
    for source in (folder, packed, taped):
        reader = Reader((source,))
        assert [reader.read(0, name) for name in ("train.csv", "TEST.CSV", "names.json")] == [content] * 3
        with pytest.raises(OSError, match=r"^a list larger than 1 MB$"):
            reader.read(0, "long.csv")
        with pytest.raises(OSError, match=r"^larger than 0 MB$"):
            reader.read(0, "1.jpg")


@pytest.mark.parametrize(
    "error", [lzma.LZMAError("corrupt"), zlib.error("invalid"), OSError("invalid data"), EOFError("ended")], ids=repr
)
def test_whatever_says_that_an_archive_inside_is_damaged_it_is_one_sentence(tmp_path, monkeypatch, error):
    inner = zipped(GOOD)
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.zip", inner)
    (tmp_path / "in.tar.bz2").write_bytes(bz2.compress(b"content"))

    def read(file, size=-1):
        raise error

    monkeypatch.setattr(zipfile.ZipExtFile, "read", read)
    monkeypatch.setattr(bz2.BZ2File, "read", read)
    outer, spool = Source(str(tmp_path / "in.zip"), "in.zip", True), str(tmp_path / "spool")
    with (
        open_archive(outer) as archive,
        pytest.raises(UserError, match=rf"^in\.zip/train\.zip is damaged or cut off \({error}\): download it again\.$"),
    ):
        member_source(outer, archive, "train.zip", spool=spool)
    with pytest.raises(UserError, match=rf"^in\.tar\.bz2 is damaged or cut off \({error}\): download it again\.$"):
        unpacked(Source(str(tmp_path / "in.tar.bz2"), "in.tar.bz2", True), spool=spool)


def test_what_is_no_zip_is_one_sentence(tmp_path):
    (tmp_path / "cars.zip").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"cars\.zip cannot be read as a zip .* download it again"):
        converted(tmp_path / "cars.zip", tmp_path / "out")


def test_a_zip_that_lost_its_end_is_one_sentence(tmp_path):
    (tmp_path / "cars.zip").write_bytes(zipped(GOOD)[:-40])
    with pytest.raises(UserError, match=r"cars\.zip cannot be read as a zip .* download it again"):
        converted(tmp_path / "cars.zip", tmp_path / "out")


def nested(*, inside_deflated: bool) -> bytes:
    files = competition()
    inner = {
        f"{name}.zip": zipped({path: files[path] for path in files if path.startswith(folder)})
        for name, folder in (("train", "train/"), ("test", "test_upload/"))
    }
    lists = {path: files[path] for path in files if path.endswith(".csv")}
    return zipped(lists | inner, deflated=inside_deflated)


@pytest.mark.parametrize("inside_deflated", [False, True], ids=["stored", "deflated"])
def test_a_zip_in_a_zip_is_read_without_extraction(tmp_path, outside, inside_deflated):
    (tmp_path / "cars.zip").write_bytes(nested(inside_deflated=inside_deflated))
    unpacked = converted(write_files(tmp_path / "cars", competition()), tmp_path / "out" / "unpacked")
    before = outside()
    manifest = converted(tmp_path / "cars.zip", tmp_path / "out" / "zip")
    assert shard_hashes(manifest) == shard_hashes(unpacked)
    assert manifest.read_ids("train")["source"][0] == "cars.zip/train.zip/train/0/0.jpg"
    assert outside() == before
    left = [name for name in tree(tmp_path / "out" / "zip") if name.endswith((".archive", ".tmp", ".jpg", ".zip"))]
    assert left == []


def test_a_deflated_zip_in_a_zip_leaves_nothing_after_a_dry_run(tmp_path, outside):
    from carclf.convert.converter import convert

    (tmp_path / "cars.zip").write_bytes(nested(inside_deflated=True))
    before = outside()
    convert(ConvertOptions(input=str(tmp_path / "cars.zip"), output=str(tmp_path / "out"), dry_run=True, workers=1))
    assert outside() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["parent", "absolute", "symlink", "duplicate", "encrypted", "CRC"])
@pytest.mark.parametrize("inside_deflated", [False, True], ids=["stored", "deflated"])
def test_a_hostile_member_of_a_nested_zip_is_refused_by_name(tmp_path, outside, kind, inside_deflated):
    add, fields, path, reason = HOSTILE[kind]
    inner = hostile_zip(tmp_path / "inner.zip", add, **fields).read_bytes()
    source = write_zip(tmp_path / "cars.zip", {"train.zip": inner}, deflated=inside_deflated)
    before = outside()
    manifest = converted(source, tmp_path / "out", on_bad="skip")
    assert len(ids_of(manifest)) == len(GOOD)
    (row,) = rejected(tmp_path / "out")
    assert row["source"].removeprefix("cars.zip/") == f"train.zip/{path}"
    assert row["reason"].removeprefix("cannot be read: ").startswith(reason)
    assert outside() == before


def test_a_nested_zip_of_absurd_ratio_is_not_unpacked(tmp_path):
    bomb = zipped({"0/bomb.jpg": bytes(2**25)})
    source = write_zip(tmp_path / "cars.zip", GOOD | {"train.zip": bomb}, deflated=True)
    assert source.stat().st_size < len(bomb) / 300
    converted(source, tmp_path / "out", on_bad="skip")
    assert reasons(tmp_path / "out") == {"train.zip": "compressed more than 200:1"}


def test_a_damaged_nested_zip_is_one_sentence(tmp_path):
    raw = bytearray(nested(inside_deflated=True))
    at = raw.index(b"train.zip") + 200
    raw[at : at + 50] = b"\xff" * 50
    (tmp_path / "cars.zip").write_bytes(raw)
    with pytest.raises(UserError, match=r"cars\.zip/train\.zip is damaged .* download it again"):
        converted(tmp_path / "cars.zip", tmp_path / "out")


CUT = zipped(GOOD)[:-40]
BESIDE = {  # other files, the damaged one, its content, what is wrong with it, its split
    "zip": (GOOD, "more.zip", CUT, "cannot be read as a zip (File is not a zip file)", "train"),
    "7z": (GOOD, "more.zip", b"7z\xbc\xaf\x27\x1c" + bytes(100), "is a 7z archive, not a zip", "train"),
    "packed": (GOOD, "more.tgz", gzip.compress(bytes(9))[:-4], "is damaged or cut off (Compressed file ended", "train"),
    "test photos": ({"train.zip": zipped(GOOD)}, "test.zip", CUT, "cannot be read as a zip", "test"),
}


@pytest.mark.parametrize("within", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("kind", BESIDE)
def test_a_damaged_archive_beside_photos_stops_or_is_left_out_as_told(tmp_path, capsys, kind, within):
    good, name, content, problem, split = BESIDE[kind]
    source = write_files(tmp_path / "in", good | {name: content})
    if within:
        source = write_zip(tmp_path / "in.zip", good | {name: content})
    said = rf"{re.escape(name)} {re.escape(problem)}.*; to go on without it, remove it or give --on_bad=skip\.$"
    with pytest.raises(UserError, match=said):
        converted(source, tmp_path / "out")
    assert len(ids_of(converted(source, tmp_path / "out", on_bad="skip"))) == len(GOOD)
    assert f"Note: {name} and all photos in it were left out: it {problem}" in capsys.readouterr().err
    (row,) = rejected(tmp_path / "out")
    assert row["reason"].startswith(problem)
    assert (row["source"], row["split"]) == (name, split)
    if not within:
        (source / name).unlink()
        assert len(ids_of(converted(source, tmp_path / "less"))) == len(GOOD)


def test_a_damaged_archive_with_nothing_beside_it_is_told_as_such(tmp_path):
    source = write_files(tmp_path / "in", {"more.zip": CUT, "readme.txt": b""})
    for on_bad in ("fail", "skip"):
        with pytest.raises(UserError, match=r"^more\.zip cannot be read as a zip .*: download it again\.$"):
            converted(source, tmp_path / "out", on_bad=on_bad)
    write_files(source, {"other.zip": CUT})
    with pytest.raises(UserError, match=r"no training photos; 2 were refused .*\(first: more\.zip: cannot be read as"):
        converted(source, tmp_path / "out", on_bad="skip")


def test_a_zip_three_levels_deep_is_named_and_not_opened(tmp_path, capsys):
    source = write_zip(tmp_path / "cars.zip", {"train.zip": zipped(GOOD | {"0/more.zip": zipped(GOOD)})})
    manifest = converted(source, tmp_path / "out")
    assert len(ids_of(manifest)) == len(GOOD)
    assert "1 file is not a photo, left out: train/0/more.zip" in capsys.readouterr().err


LINKS = {
    "file outside": (lambda folder: folder / ".." / "secret.jpg", "symbolic link that leaves the folder"),
    "folder outside": (lambda folder: folder / ".." / "secrets", "symbolic link that leaves the folder"),
    "absolute": (lambda folder: Path("/etc/hostname"), "symbolic link that leaves the folder"),
    "folder inside": (lambda folder: folder / "1", "symbolic link to a folder"),
    "nothing": (lambda folder: folder / "gone.jpg", "not a regular file"),
    "itself": (lambda folder: folder / "0" / "link.jpg", "not a regular file"),
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_symbolic_link_in_a_folder_is_refused_by_name(tmp_path, outside, kind):
    target, reason = LINKS[kind]
    folder = write_files(tmp_path / "cars", GOOD)
    (tmp_path / "secret.jpg").write_bytes(drawn(50))
    write_files(tmp_path / "secrets", {"secret.jpg": drawn(51)})
    (folder / "0" / "link.jpg").symlink_to(target(folder))
    before = outside()
    manifest = converted(folder, tmp_path / "out", on_bad="skip")
    assert len(ids_of(manifest)) == len(GOOD)
    assert reasons(tmp_path / "out") == {"0/link.jpg": reason}
    assert outside() == before


def test_a_symbolic_link_inside_the_folder_is_a_photo_like_others(tmp_path):
    folder = write_files(tmp_path / "cars", GOOD)
    (folder / "0" / "again.jpg").symlink_to("0.jpg")
    assert ids_of(converted(folder, tmp_path / "out"))["again.jpg"] == "0"


def test_a_pipe_in_a_folder_is_refused_and_not_opened(tmp_path):
    folder = write_files(tmp_path / "cars", GOOD)
    os.mkfifo(folder / "0" / "pipe.jpg")
    converted(folder, tmp_path / "out", on_bad="skip")
    assert reasons(tmp_path / "out") == {"0/pipe.jpg": "not a regular file"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"a\nb.jpg", "0/a\nb.jpg"), (b"a\xff.jpg", "0/a\\udcff.jpg"), (b"a\\b.jpg", "0/a\\b.jpg")],
    ids=["newline", "no UTF-8", "backslash"],
)
def test_a_file_whose_name_no_list_can_hold_is_refused(tmp_path, name, shown):
    folder = write_files(tmp_path / "cars", GOOD)
    (Path(os.fsdecode(bytes(folder / "0") + b"/" + name))).write_bytes(drawn(9))
    converted(folder, tmp_path / "out", on_bad="skip")
    assert list(reasons(tmp_path / "out")) == [shown]


@pytest.mark.parametrize("kind", ["symlink", "duplicate", "encrypted", "CRC"])
def test_a_refused_photo_that_the_list_names_is_one_photo(tmp_path, kind):
    add, fields, path, reason = HOSTILE[kind]
    labels = "Id,Category\n" + "".join(f"{Path(name).name},{name[0]}\n" for name in [*GOOD, path])
    members = {f"train/{name}": content for name, content in GOOD.items()} | {"train.csv": labels.encode()}
    renamed = hostile_zip(tmp_path / "inner.zip", add, **fields).read_bytes()
    source = write_zip(tmp_path / "cars.zip", {"train.zip": renamed, "train.csv": members["train.csv"]})
    manifest = converted(source, tmp_path / "out", on_bad="skip")
    (row,) = rejected(tmp_path / "out")
    assert (row["id"], row["split"], row["category"]) == (Path(path).name, "train", "0")
    assert row["source"].endswith(f"train.zip/{path}")
    assert row["reason"].removeprefix("cannot be read: ").startswith(reason)
    assert manifest.source["counts"]["train"]["read"] == len(GOOD) + 1
    assert manifest.source["counts"]["train"]["categories"]["0"] == {"read": 3, "stored": 2, "rejected": 1}


def test_a_refused_member_counts_in_its_class(tmp_path):
    add, fields, _, _ = HOSTILE["encrypted"]
    manifest = converted(hostile_zip(tmp_path / "cars.zip", add, **fields), tmp_path / "out", on_bad="skip")
    assert manifest.source["counts"]["train"]["categories"]["0"] == {"read": 3, "stored": 2, "rejected": 1}


@pytest.mark.parametrize("folder", ["test/", "test_upload/", ""])
def test_a_refused_member_of_the_test_photos_counts_there(tmp_path, folder):
    inner = zipped({f"{folder}{name}.jpg": drawn(number) for number, name in enumerate("ab")})
    inner = with_fields(inner, f"{folder}b.jpg", flags=1)
    source = write_zip(tmp_path / "cars.zip", {"train.zip": zipped(GOOD), "test.zip": inner})
    manifest = converted(source, tmp_path / "out", on_bad="skip")
    assert manifest.source["counts"]["test"] == {"read": 2, "stored": 1, "rejected": 1}
