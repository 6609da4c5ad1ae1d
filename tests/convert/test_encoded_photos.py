"""Photos that conversion encodes: encoded once, kept until they are written, and encoded again where they are not."""

import hashlib
import os
from pathlib import Path

import pytest

from carclf.convert import dataset, encoded_photos, scan, shards
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

    for module in (scan, shards):
        monkeypatch.setattr(module, "validate_photo", noting)
    return seen


def test_what_is_kept_is_read_by_every_process(tmp_path):
    photos = [drawn(number) for number in range(3)]
    writer, reader = EncodedPhotos(str(tmp_path)), EncodedPhotos(str(tmp_path))
    places = [writer.keep(photo) for photo in photos]
    for place, photo in reversed([*zip(places, photos, strict=True)]):
        assert reader.read(place, sha256(photo)) == photo


def test_a_process_appends_to_what_one_of_its_number_has_left(tmp_path):
    (tmp_path / str(os.getpid())).write_bytes(b"older")
    photos = EncodedPhotos(str(tmp_path))
    assert photos.read(photos.keep(b"newer"), sha256(b"newer")) == b"newer"


def test_bytes_of_another_hash_are_not_returned(tmp_path):
    photos = EncodedPhotos(str(tmp_path))
    place = photos.keep(b"a photo")
    (tmp_path / str(os.getpid())).write_bytes(b"b photo")
    assert photos.read(place, sha256(b"a photo")) is None


def test_without_a_folder_nothing_is_kept(tmp_path):
    photos = EncodedPhotos("")
    assert photos.keep(b"a photo") is None
    assert photos.read(None, sha256(b"a photo")) is None
    assert photos.read(Place(os.getpid(), 0, 7), sha256(b"a photo")) is None


def test_a_disk_without_room_ends_the_keeping_and_frees_what_was_kept(tmp_path, monkeypatch):
    photos = EncodedPhotos(str(tmp_path))
    photos.keep(b"a photo")

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def tell(self) -> int:
            return 0

        def write(self, content: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoded_photos, "open", lambda *arguments: Full(), raising=False)
    assert photos.keep(b"another") is None
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    assert photos.keep(b"a third") is None
    assert not list(tmp_path.iterdir())


def test_a_folder_is_gone_in_the_end(tmp_path):
    with encoded_photos.folder_in(str(tmp_path)) as folder:
        assert Path(folder).parent == tmp_path
        EncodedPhotos(folder).keep(b"a photo")
    assert not list(tmp_path.iterdir())


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
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith("carclf-tmp")]
