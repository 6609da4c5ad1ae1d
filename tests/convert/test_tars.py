"""Tars are read in place: the same bytes as folders, hostile members refused by name, damage told in one sentence."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from carclf.convert.sources import Reader
from carclf.convert.tars import tar_source
from carclf.errors import UserError
from tests.convert.inputs import (
    class_folders,
    competition,
    converted,
    drawn,
    ids_of,
    reasons,
    shard_hashes,
    write_files,
    zipped,
)

GOOD = class_folders(6)
PACKINGS = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
}


def member(name, content=b"", *, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def tarred(files, *members):
    """Returns a tar of the files, then of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in [*(member(name, content) for name, content in files.items()), *members]:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return shard_hashes(converted(write_files(folder / "cars", competition()), folder / "out"))


@pytest.mark.parametrize("ending", PACKINGS)
def test_a_tar_is_the_same_data_set_as_its_folder(tmp_path, plain, ending):
    (tmp_path / f"cars{ending}").write_bytes(PACKINGS[ending](tarred(competition())))
    manifest = converted(tmp_path / f"cars{ending}", tmp_path / "out", workers=2)
    assert manifest.source["layout"] == "competition tar"
    assert shard_hashes(manifest) == plain
    assert manifest.read_ids("train")["source"][0] == f"cars{ending}/train/0/0.jpg"
    assert [path.name for path in (tmp_path / "out").iterdir() if "spool" in path.name] == []


@pytest.mark.parametrize("outer", ["folder", "zip", "tar"])
def test_tars_in_a_folder_a_zip_and_a_tar_are_read(tmp_path, plain, outer):
    files = competition()
    lists = {name: content for name, content in files.items() if name.endswith(".csv")}
    parts = {
        "train.tar.gz": gzip.compress(tarred({n: c for n, c in files.items() if n.startswith("train/")})),
        "test.tar": tarred({n: c for n, c in files.items() if n.startswith("test_upload/")}),
    }
    source = tmp_path / f"cars.{outer}"
    if outer == "folder":
        write_files(source, lists | parts)
    else:
        source.write_bytes((zipped if outer == "zip" else tarred)(lists | parts))
    manifest = converted(source, tmp_path / "out")
    assert manifest.source["layout"] == f"competition {outer} with nested tars"
    assert shard_hashes(manifest) == plain


HOSTILE = {
    "parent": (member("../outside.jpg", drawn(90)), "../outside.jpg", "path leaves the archive"),
    "absolute": (member("/outside.jpg", drawn(90)), "/outside.jpg", "absolute path"),
    "newline": (member("0/a\nb.jpg", drawn(90)), "0/a\nb.jpg", "control characters in the name"),
    "symlink": (member("0/link.jpg", kind=tarfile.SYMTYPE, link="/etc/hostname"), "0/link.jpg", "symbolic link"),
    "hard link": (member("0/link.jpg", kind=tarfile.LNKTYPE, link="0/0.jpg"), "0/link.jpg", "hard link"),
    "device": (member("0/null.jpg", kind=tarfile.CHRTYPE), "0/null.jpg", "not a regular file"),
    "duplicate": (member("0//0.jpg", drawn(91)), "0/0.jpg", "more than once in the tar"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_member_is_refused_by_name_and_the_others_are_kept(tmp_path, kind):
    added, path, reason = HOSTILE[kind]
    (tmp_path / "cars.tar").write_bytes(tarred(GOOD, added))
    manifest = converted(tmp_path / "cars.tar", tmp_path / "out", on_bad="skip")
    kept = set(GOOD) - ({path} if kind == "duplicate" else set())
    assert set(ids_of(manifest)) == {name.rpartition("/")[2] for name in kept}
    assert set(reasons(tmp_path / "out").values()) == {reason}
    assert f"cars.tar/{path}" in reasons(tmp_path / "out") or path in reasons(tmp_path / "out")
    with pytest.raises(UserError, match=r"cannot be used [\s\S]*--on_bad=skip"):
        converted(tmp_path / "cars.tar", tmp_path / "again")


def test_a_member_of_a_false_length_is_refused(tmp_path):
    raw = bytearray(tarred(GOOD))
    raw[124:135] = b"77777777777"  # the size of the first member, in octal digits: 8 GB
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:512]))
    (tmp_path / "cars.tar").write_bytes(raw)
    with pytest.raises(UserError, match=r"cars\.tar (cannot be read as a tar|is damaged or cut off)"):
        converted(tmp_path / "cars.tar", tmp_path / "out")


@pytest.mark.parametrize("bytes_left", [100, 1024, 5000, 12_000])
def test_a_tar_that_lost_its_end_is_one_sentence(tmp_path, bytes_left):
    raw = tarred(GOOD)
    (tmp_path / "cars.tar").write_bytes(raw[:bytes_left])
    with pytest.raises(UserError, match=r"cars\.tar .*: download it again"):
        converted(tmp_path / "cars.tar", tmp_path / "out")


@pytest.mark.parametrize("change", ["cut", "damaged", "no tar in it"])
def test_a_damaged_packed_tar_is_one_sentence(tmp_path, change):
    raw = gzip.compress(tarred(GOOD))
    damaged = bytearray(raw)
    damaged[len(raw) // 2] ^= 0xFF
    content = {"cut": raw[:-2000], "damaged": bytes(damaged), "no tar in it": gzip.compress(b"hello")}[change]
    (tmp_path / "cars.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"cars\.tar\.gz .*: download it again"):
        converted(tmp_path / "cars.tar.gz", tmp_path / "out")


def test_a_packed_bomb_is_not_unpacked(tmp_path):
    (tmp_path / "cars.tar.gz").write_bytes(gzip.compress(tarred({"0/bomb.jpg": bytes(2**24)})))
    with pytest.raises(UserError, match=r"cars\.tar\.gz is compressed more than 200:1"):
        converted(tmp_path / "cars.tar.gz", tmp_path / "out")


def test_a_photo_whose_file_was_cut_after_the_listing_is_an_error_of_that_photo(tmp_path):
    from carclf.convert.sources import Source

    (tmp_path / "cars.tar").write_bytes(tarred({"0/0.jpg": drawn(0)}))
    source, entries = tar_source(Source(str(tmp_path / "cars.tar"), "cars.tar", True), number=0)
    assert Reader((source,)).read(0, entries[0].name) == drawn(0)
    (tmp_path / "cars.tar").write_bytes(b"")
    with pytest.raises(OSError, match="the file ends before it"):
        Reader((source,)).read(0, entries[0].name)
