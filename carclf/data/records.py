"""The record of one photo: its feature names (those of TF-Slim and the TF Model Garden), writing and reading one.

Records are `tf.train.Example` messages in TFRecord frames, byte for byte what TensorFlow writes (a test compares them),
so that any reader of those reads ours. They are made and found here without TensorFlow: a converter's worker starts in
a tenth of the time that TensorFlow's import takes, and a photo is read out of the middle of a shard.
"""

import struct
from typing import Any

import google_crc32c

FORMAT = b"JPEG"  # every stored photo is an upright RGB JPEG
UNKNOWN_LABEL = -1  # of test photos

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
    """A serialized tf.train.Example, the same bytes for the same arguments: features in the order of their names.

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
    integers = zip(INTEGER_FEATURES, (height, width, label, row), strict=True)
    features = {name: _message(3, _message(1, _varint(number))) for name, number in integers}  # Int64List, packed
    for name, text in zip(STRING_FEATURES, texts, strict=True):
        features[name] = _message(1, _message(1, text))  # BytesList
    entries = (_message(1, name.encode()) + _message(2, feature) for name, feature in sorted(features.items()))
    return _message(1, b"".join(_message(1, entry) for entry in entries))


def _message(field: int, content: bytes) -> bytes:
    """A length-delimited field. Source: protobuf's encoding guide, wire type 2."""
    return b"%c%b%b" % (field << 3 | 2, _varint(len(content)), content)


def _varint(number: int) -> bytes:
    """A number as protobuf writes an int64: seven bits a byte, negative ones as their two's complement."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def frame(record: bytes) -> bytes:
    """The record as a TFRecord file holds it: its length, the length's checksum, the record, the record's checksum."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _CHECKSUM.pack(masked_crc(length)), record, _CHECKSUM.pack(masked_crc(record))))


def masked_crc(content: bytes) -> int:
    """The CRC-32C of the content, rotated and shifted as TFRecord files hold it."""
    crc = google_crc32c.value(content)
    return int(((crc >> 15 | crc << 17) + _MASK_DELTA) & _WORD)


def is_whole(record: bytes, checksum: bytes) -> bool:
    """Whether the record is the one that its checksum (as it lies behind it in the file) was made of."""
    return len(checksum) == CHECKSUM_BYTES and masked_crc(record) == _CHECKSUM.unpack(checksum)[0]


def features() -> dict[str, Any]:
    """The specification for `tf.io.parse_single_example`: every feature is a scalar, int64 or string."""
    import tensorflow as tf

    spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in INTEGER_FEATURES}
    return spec | {name: tf.io.FixedLenFeature([], tf.string) for name in STRING_FEATURES}
