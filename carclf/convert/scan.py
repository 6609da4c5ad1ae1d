"""The first pass: reads, hashes and validates every photo in parallel; no pixels come back."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from carclf.convert.encoded_photos import EncodedPhotos, Place
from carclf.convert.near_duplicates import thumbnail_of
from carclf.convert.photos import Photo
from carclf.convert.sources import Reader, Source
from carclf.data.validation import ENCODED, Stored, UnusableError, validate_photo
from carclf.progress import Progress
from carclf.workers import Pool

PHOTOS_PER_TASK = 32
PHOTOS_PER_WORKER = 512  # with fewer, starting a process takes longer than it saves


@dataclasses.dataclass(frozen=True, slots=True)
class PhotoCheck:
    """The result of validating a photo, without its pixels.

    Attributes:
      source_sha256: digest of the input's bytes; b"" if they could not be read.
      stored_sha256: digest of the stored bytes; b"" if it was rejected.
      stored_bytes: their number.
      height: as stored, pixels.
      width: as stored, pixels.
      reason: why it was rejected, or "".
      how: the way it is stored: one of `carclf.data.validation`'s KEPT, CORRECTED and ENCODED, or "".
      remark: what a person should look at, or "".
      thumbnail: grey and small, for the search of copies (`carclf.convert.near_duplicates`); or b"".
      place: where the stored bytes are kept until they are written, if they were encoded.
    """

    source_sha256: bytes
    stored_sha256: bytes = b""
    stored_bytes: int = 0
    height: int = 0
    width: int = 0
    reason: str = ""
    how: str = ""
    remark: str = ""
    thumbnail: bytes = b""
    place: Place | None = None


@dataclasses.dataclass(frozen=True)
class Context:
    """What a worker knows: where the photos are, how to store them, and where it keeps those that it encodes."""

    reader: Reader
    max_side: int
    thumbnails: bool
    encoded: EncodedPhotos


def prepare(sources: tuple[Source, ...], max_side: int, thumbnails: bool, folder: str = "", room: int = 0) -> Context:
    """Returns the state of a worker for all passes; in `folder` it keeps photos that it encodes, up to `room` bytes."""
    return Context(Reader(sources), max_side, thumbnails, EncodedPhotos(folder, room=room))


def hash_photos(workers: Pool, photos: Sequence[Photo]) -> list[bytes]:
    """Returns the SHA-256 digest of every photo's bytes, b"" if they cannot be read; nothing is decoded."""
    with Progress("Hashing", total=len(photos)) as progress:
        return [digest for part in _map(workers, _hash_task, photos, progress) for digest in part]


def validate_photos(workers: Pool, photos: Sequence[Photo]) -> list[PhotoCheck]:
    """Returns the check of every photo, in the order of `photos`."""
    with Progress("Validating", total=len(photos)) as progress:
        return [check for part in _map(workers, _validate_task, photos, progress) for check in part]


def _map(workers: Pool, function: Any, photos: Sequence[Photo], progress: Progress) -> Iterator[list[Any]]:
    members = ((photo.entry.source, photo.entry.name) for photo in photos)
    tasks = iter(lambda: list(itertools.islice(members, PHOTOS_PER_TASK)), [])
    for part in workers.map(function, tasks):
        progress.add(len(part))
        yield part


def _hash_task(context: Context, task: list[tuple[int, str]]) -> list[bytes]:
    return [_hash_one(context, source, name) for source, name in task]


def _hash_one(context: Context, source: int, name: str) -> bytes:
    try:
        return hashlib.sha256(context.reader.read(source, name)).digest()
    except OSError:
        return b""


def _validate_task(context: Context, task: list[tuple[int, str]]) -> list[PhotoCheck]:
    return [_validate_one(context, source, name) for source, name in task]


def _validate_one(context: Context, source: int, name: str) -> PhotoCheck:
    try:
        raw = context.reader.read(source, name)
    except OSError as error:
        return PhotoCheck(b"", reason=f"cannot be read: {error.strerror or error}")
    digest = hashlib.sha256(raw).digest()
    try:
        stored = validate_photo(raw, max_side=context.max_side)
    except UnusableError as error:
        return PhotoCheck(digest, reason=str(error))
    return PhotoCheck(
        digest,
        digest if stored.encoded is raw else hashlib.sha256(stored.encoded).digest(),
        len(stored.encoded),
        stored.height,
        stored.width,
        how=stored.how,
        remark=stored.remark,
        thumbnail=_thumbnail(stored) if context.thumbnails else b"",
        place=context.encoded.keep(stored.encoded) if stored.how == ENCODED else None,
    )


def _thumbnail(stored: Stored) -> bytes:
    return thumbnail_of(stored.reduced, height=stored.height, width=stored.width)
