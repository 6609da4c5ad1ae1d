"""Reads TFRecord files and the tf.train.Example messages in them, without TensorFlow.

Source: tensorflow/core/lib/io/record_writer.h (frame), tensorflow/core/example/feature.proto, and the guide to
protobuf's encoding.
"""

import struct
from collections.abc import Iterator
from typing import IO

from carclf.data.records import CHECKSUM_BYTES, HEAD_BYTES, matches_checksum
from carclf.errors import DamagedFileError

MAX_RECORD_BYTES = 2**28  # no photo comes near it
Span = tuple[int, int]  # start and end in the record
Values = list[Span] | list[int] | list[float]

_LENGTH = struct.Struct("<Q")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


def read_records(file: IO[bytes], *, shown: str) -> Iterator[tuple[int, bytes]]:
    """Yields (start in the file, record) of every record, after comparing its checksums.

    Args:
      file: the TFRecord file, not packed.
      shown: its name in messages.

    Raises:
      DamagedFileError: it is damaged or cut off.
    """
    start, number = 0, 0
    while head := file.read(HEAD_BYTES):
        length = _LENGTH.unpack(head[:8])[0] if len(head) == HEAD_BYTES else 0
        if len(head) < HEAD_BYTES or not matches_checksum(head[:8], head[8:]) or length > MAX_RECORD_BYTES:
            raise _damaged(shown, number)
        record, checksum = file.read(length), file.read(CHECKSUM_BYTES)
        if len(record) < length or not matches_checksum(record, checksum):
            raise _damaged(shown, number)
        yield start + HEAD_BYTES, record
        start, number = start + HEAD_BYTES + length + CHECKSUM_BYTES, number + 1


def _damaged(shown: str, number: int) -> DamagedFileError:
    what = f"damaged or cut off at record {number + 1}" if number else "no TFRecord file, or damaged at its start"
    return DamagedFileError(f"{shown} is {what}: download it again.")


def parse_example(record: bytes) -> dict[str, Values]:
    """Returns feature → its values: places of texts in the record, or numbers.

    Raises:
      ValueError: it is no tf.train.Example.
    """
    features: dict[str, Values] = {}
    for _, features_span in _fields(record, (0, len(record)), number=1):
        for _, entry in _fields(record, _span(features_span), number=1):
            name, values = _feature(record, _span(entry))
            features[name] = values
    return features


def _feature(record: bytes, entry: Span) -> tuple[str, Values]:
    """Returns the name of a feature and its values."""
    name = ""
    values: Values = []
    for field, value in _fields(record, entry):
        start, end = _span(value)
        if field == 1:
            name = record[start:end].decode()
        elif field == 2:
            values = _values(record, (start, end))
    return name, values


def _values(record: bytes, span: Span) -> Values:
    for field, value in _fields(record, span):
        if field == 1:
            return [_span(text) for _, text in _fields(record, _span(value), number=1)]
        if field == 2:
            return _floats(record, _span(value))
        if field == 3:
            return _integers(record, _span(value))
    return []


def _floats(record: bytes, span: Span) -> list[float]:
    found: list[float] = []
    for _, value in _fields(record, span, number=1):
        start, end = _span(value)
        found += struct.unpack(f"<{(end - start) // 4}f", record[start : start + (end - start) // 4 * 4])
    return found


def _integers(record: bytes, span: Span) -> list[int]:
    found: list[int] = []
    for _, value in _fields(record, span, number=1):
        if isinstance(value, int):
            found.append(_signed(value))
            continue
        at, end = value
        while at < end:
            number, at = _varint(record, at, end)
            found.append(_signed(number))
    return found


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _span(value: int | Span) -> Span:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _fields(record: bytes, span: Span, *, number: int = 0) -> Iterator[tuple[int, int | Span]]:
    """Yields (field, its varint or its place) of a message, of all fields or of one number."""
    at, end = span
    while at < end:
        key, at = _varint(record, at, end)
        value: int | Span
        if key & 7 == _VARINT:
            value, at = _varint(record, at, end)
        elif key & 7 == _BYTES:
            length, at = _varint(record, at, end)
            value, at = (at, at + length), at + length
        elif key & 7 in (_FIXED64, _FIXED32):
            length = 8 if key & 7 == _FIXED64 else 4
            value, at = (at, at + length), at + length
        else:
            raise ValueError("an unknown kind of field")
        if at > end:
            raise ValueError("a field longer than its message")
        if number in (0, key >> 3):
            yield key >> 3, value


def _varint(record: bytes, at: int, end: int) -> tuple[int, int]:
    number = shift = 0
    while at < end and shift < 70:
        byte = record[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number & (2**64 - 1), at
    raise ValueError("a number without an end")
