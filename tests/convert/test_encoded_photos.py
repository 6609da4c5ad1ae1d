"""Photos that conversion encodes: encoded once, kept until they are written, and encoded again where they are not."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from carclf import storage
from carclf.convert import dataset, encoded_photos, same_picture, scan, shards
from carclf.convert.encoded_photos import EncodedPhotos, Place
from carclf.data.validation import validate_photo
from carclf.errors import UserError
from tests.convert.inputs import class_folders, converted, drawn, encoded, opened, shard_hashes, write_files


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


@pytest.fixture
def pngs(tmp_path) -> Path:
    """Returns a folder of 12 JPEGs, of which half were turned into PNGs."""
    files = class_folders(12)
    jpegs = list(files)
    for name in jpegs[::2]:
        files[name.replace(".jpg", ".png")] = encoded(opened(files.pop(name)), "PNG")
    return write_files(tmp_path / "photos", files)


@pytest.fixture
def validations(monkeypatch) -> list[bytes]:
    """Returns a list of what is validated from now on, in this process."""
    seen: list[bytes] = []

    def noting(raw: bytes, *, max_side: int):
        seen.append(raw)
        return validate_photo(raw, max_side=max_side)

    for module in (scan, shards, same_picture):
        monkeypatch.setattr(module, "validate_photo", noting)
    return seen


def test_what_is_kept_is_read_by_every_process(tmp_path):
    photos = [drawn(number) for number in range(3)]
    writer, reader = EncodedPhotos(str(tmp_path), room=10**6), EncodedPhotos(str(tmp_path), room=10**6)
    places = [writer.keep(photo) for photo in photos]
    for place, photo in reversed([*zip(places, photos, strict=True)]):
        assert reader.read(place, sha256(photo)) == photo


def test_a_process_appends_to_what_one_of_its_number_has_left(tmp_path):
    (tmp_path / str(os.getpid())).write_bytes(b"older")
    photos = EncodedPhotos(str(tmp_path), room=10**6)
    assert photos.read(photos.keep(b"newer"), sha256(b"newer")) == b"newer"


def test_bytes_of_another_hash_are_not_returned(tmp_path):
    photos = EncodedPhotos(str(tmp_path), room=10**6)
    place = photos.keep(b"a photo")
    (tmp_path / str(os.getpid())).write_bytes(b"b photo")
    assert photos.read(place, sha256(b"a photo")) is None


def test_without_a_folder_nothing_is_kept(tmp_path):
    photos = EncodedPhotos("", room=10**6)
    assert photos.keep(b"a photo") is None
    assert photos.read(None, sha256(b"a photo")) is None
    assert photos.read(Place(os.getpid(), 0, 7), sha256(b"a photo")) is None


def test_no_more_is_kept_than_there_is_room_for(tmp_path):
    photos = EncodedPhotos(str(tmp_path), room=10)
    place = photos.keep(b"a photo")
    assert photos.keep(b"another") is None
    assert photos.read(place, sha256(b"a photo")) == b"a photo"
    assert photos.keep(b"end") == Place(os.getpid(), 7, 3)


@pytest.mark.parametrize("written", [OSError(28, "No space left on device"), 3])
def test_a_full_disk_ends_the_keeping_and_frees_what_was_kept(tmp_path, monkeypatch, written):
    photos = EncodedPhotos(str(tmp_path), room=10**6)
    photos.keep(b"a photo")

    class Full:
        def tell(self) -> int:
            return 7

        def write(self, content: bytes) -> int:
            if isinstance(written, OSError):
                raise written
            return written

    monkeypatch.setattr(photos, "_file", Full())
    assert photos.keep(b"another") is None
    assert (tmp_path / str(os.getpid())).read_bytes() == b""
    assert photos.keep(b"a third") is None


def test_room_is_made_although_a_process_has_its_file_open(tmp_path):
    writer, other = (EncodedPhotos(str(tmp_path), room=10**6) for _ in range(2))
    place = writer.keep(b"a photo")
    assert other.make_room()
    assert writer.read(place, sha256(b"a photo")) is None
    assert (tmp_path / str(os.getpid())).stat().st_size == 0
    assert not other.make_room(), "nothing is left"


def test_a_folder_that_has_vanished_makes_no_room(tmp_path):
    assert not encoded_photos.make_room(str(tmp_path / "missing"))
    assert not encoded_photos.make_room("")


def test_half_of_the_free_disk_is_shared_by_the_processes(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    free = 10 * encoded_photos.SPARE_BYTES
    monkeypatch.setattr(encoded_photos.shutil, "disk_usage", lambda folder: usage._replace(free=free))
    assert encoded_photos.room_in(str(tmp_path), processes=2) == 2 * encoded_photos.SPARE_BYTES
    free = encoded_photos.SPARE_BYTES
    assert encoded_photos.room_in(str(tmp_path), processes=2) == 0
    assert encoded_photos.room_in("", processes=2) == 0


def test_a_folder_is_gone_in_the_end(tmp_path):
    with encoded_photos.folder_in(str(tmp_path)) as folder:
        assert Path(folder) == tmp_path / "encoded.tmp"
        EncodedPhotos(folder, room=10**6).keep(b"a photo")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_conversion_left_is_removed_first(tmp_path):
    (tmp_path / "encoded.tmp").mkdir()
    (tmp_path / "encoded.tmp" / "1234").write_bytes(b"older")
    with encoded_photos.folder_in(str(tmp_path)) as folder:
        assert not list(Path(folder).iterdir())


def test_where_no_folder_can_be_made_nothing_is_kept(tmp_path):
    with encoded_photos.folder_in(str(tmp_path / "missing")) as folder:
        assert folder == ""


def test_a_photo_is_encoded_once(tmp_path, pngs, validations):
    manifest = converted(pngs, tmp_path / "out", workers=1)
    assert manifest.source["counts"]["train"]["stored"] == 12
    assert len(validations) == 12
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {manifest.fingerprint[:16]}


@pytest.mark.parametrize("workers", [1, 2])
def test_photos_that_are_not_kept_are_encoded_again_to_the_same_bytes(
    tmp_path, pngs, validations, monkeypatch, workers
):
    kept = converted(pngs, tmp_path / "kept", workers=workers)
    validations.clear()
    monkeypatch.setattr(dataset, "check_space", lambda directory, needed: None)
    monkeypatch.setattr(dataset, "_free_bytes", lambda directory: dataset.SPARE_BYTES)
    again = converted(pngs, tmp_path / "again", workers=1)
    assert len(validations) == 12 + 6, "the six PNGs are encoded again"
    assert shard_hashes(kept) == shard_hashes(again)


def test_a_disk_without_room_for_the_shards_is_still_refused(tmp_path, pngs, monkeypatch):
    monkeypatch.setattr(dataset, "_free_bytes", lambda directory: 0)
    with pytest.raises(UserError, match=r"out needs .* GB and 0\.00 GB are free"):
        converted(pngs, tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "encoded.tmp").exists()


def test_a_shard_that_does_not_fit_is_written_in_the_room_of_what_is_kept(tmp_path, pngs, validations, monkeypatch):
    plain = converted(pngs, tmp_path / "plain")
    full = [OSError(122, "Disk quota exceeded")]
    commit = storage.commit

    def commit_once_there_is_room(temporary: str, path: str) -> None:
        if full and path.endswith(".tfrecord"):
            raise full.pop()
        commit(temporary, path)

    validations.clear()
    monkeypatch.setattr(storage, "commit", commit_once_there_is_room)
    manifest = converted(pngs, tmp_path / "out")
    assert not full
    assert len(validations) == 12 + 6
    assert shard_hashes(manifest) == shard_hashes(plain)


def test_compared_photos_are_not_encoded_again(tmp_path, validations):
    """Two photos that look alike are compared as they are stored."""
    files = class_folders(12)
    photo = opened(files["0/0.jpg"])
    files |= {"0/copy.png": encoded(photo, "PNG"), "0/other.png": encoded(photo.resize((60, 45)), "PNG")}
    manifest = converted(write_files(tmp_path / "photos", files), tmp_path / "out")
    assert (tmp_path / "out" / "duplicates.csv").read_text().count("copy.png") >= 1
    assert manifest.source["counts"]["train"]["stored"] == 14
    assert sum(raw.startswith(b"\x89PNG") for raw in validations) == 2
