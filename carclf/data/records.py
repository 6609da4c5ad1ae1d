"""The record of one photo: its feature names (those of TF-Slim and the TF Model Garden), writing and reading it.

Records are `tf.train.Example` messages in TFRecord frames, byte for byte as TensorFlow writes them (a test compares
them), so that any reader of these formats reads ours. This code does not need TensorFlow: a worker of the converter
starts in a tenth of the time of TensorFlow's import, and a photo can be read from the middle of a shard.
"""

import functools
import struct
from collections.abc import Mapping

import google_crc32c

FORMAT = b"JPEG"  # every stored photo is an upright RGB JPEG

INTEGER_FEATURES = ("image/height", "image/width", "image/class/label", "image/row")
STRING_FEATURES = ("image/encoded", "image/format", "image/filename", "image/key/sha256", "image/class/text")

# Source: tensorflow/core/lib/io/record_writer.h (frame) and tensorflow/core/lib/hash/crc32c.h (mask).
_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_WORD = 0xFFFF_FFFF
HEAD_BYTES = _HEAD.size
CHECKSUM_BYTES = _CHECKSUM.size


def build_example(
    *,
    encoded: bytes,
    height: int,
    width: int,
    filename: str,
    sha256: str,
    label: int,
    class_name: str,
    row: int,
) -> bytes:
    """Returns a serialized tf.train.Example, the same bytes for the same arguments: features are ordered by name.

    Args:
      encoded: the photo as an upright RGB JPEG.
      height: of the photo, pixels.
      width: of the photo, pixels.
      filename: the photo's Id.
      sha256: hash of `encoded`, 64 hexadecimal digits.
      label: in 0..K−1, or −1 for a test photo.
      class_name: the class's name, or "" for a test photo.
      row: index into the split's ids.
    """
    texts = (encoded, FORMAT, filename.encode(), sha256.encode(), class_name.encode())
    values: dict[str, bytes | int] = dict(zip(INTEGER_FEATURES, (height, width, label, row), strict=True))
    return serialize_example(values | dict(zip(STRING_FEATURES, texts, strict=True)))


def serialize_example(values: Mapping[str, bytes | int]) -> bytes:
    """Returns a tf.train.Example in which every feature has one value, bytes or an integer."""
    parts = []
    for name, value in sorted(values.items()):
        field, content = (1, value) if isinstance(value, bytes) else (3, _varint(value))
        heads = _head(1, len(content))  # of BytesList, or of a packed Int64List
        heads = _head(field, len(heads) + len(content)) + heads
        heads = _key(name) + _head(2, len(heads) + len(content)) + heads
        parts += [_head(1, len(heads) + len(content)), heads, content]
    return b"".join([_head(1, sum(map(len, parts))), *parts])


@functools.lru_cache(maxsize=4096)
def _head(field: int, length: int) -> bytes:
    """Returns what precedes the content of a length-delimited field. Source: protobuf's encoding guide, wire type 2."""
    return bytes([field << 3 | 2]) + _varint(length)


@functools.lru_cache(maxsize=64)
def _key(name: str) -> bytes:
    """Returns the key of an entry in the map of features."""
    return _head(1, len(name.encode())) + name.encode()


def _varint(number: int) -> bytes:
    """Returns a number as an int64 of protobuf: seven bits per byte, negative ones as two's complement."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def frame(record: bytes) -> bytes:
    """Returns the record in its TFRecord frame: length, checksum of the length, record, checksum of the record."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _CHECKSUM.pack(masked_crc(length)), record, _CHECKSUM.pack(masked_crc(record))))


def masked_crc(content: bytes) -> int:
    """Returns the CRC-32C of the content, rotated and shifted as in TFRecord files."""
    crc = google_crc32c.value(content)
    return int(((crc >> 15 | crc << 17) + _MASK_DELTA) & _WORD)


def matches_checksum(record: bytes, checksum: bytes) -> bool:
    """Returns whether the record matches its checksum, which follows it in the file."""
    return len(checksum) == CHECKSUM_BYTES and masked_crc(record) == _CHECKSUM.unpack(checksum)[0]
