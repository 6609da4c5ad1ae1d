"""The record of one photo: its feature names (those of TF-Slim and the TF Model Garden), building one, parsing one."""

from typing import Any

import tensorflow as tf

FORMAT = b"JPEG"  # every stored photo is an upright RGB JPEG
UNKNOWN_LABEL = -1  # of test photos

INTEGER_FEATURES = ("image/height", "image/width", "image/class/label", "image/row")
STRING_FEATURES = ("image/encoded", "image/format", "image/filename", "image/key/sha256", "image/class/text")


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
    """A serialized tf.train.Example, the same bytes for the same arguments.

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
    integers = dict(zip(INTEGER_FEATURES, (height, width, label, row), strict=True))
    texts = (encoded, FORMAT, filename.encode(), sha256.encode(), class_name.encode())
    feature = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[n])) for name, n in integers.items()}
    for name, text in zip(STRING_FEATURES, texts, strict=True):
        feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString(deterministic=True))  # a map has no order of its own


def features() -> dict[str, Any]:
    """The specification for `tf.io.parse_single_example`: every feature is a scalar, int64 or string."""
    spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in INTEGER_FEATURES}
    return spec | {name: tf.io.FixedLenFeature([], tf.string) for name in STRING_FEATURES}
