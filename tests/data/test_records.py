"""Records have the same bytes as from TensorFlow."""

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.data import records

NUMBERS = st.integers(0, 2**31 - 1)


def by_tensorflow(*, encoded, filename, sha256, class_name, height, width, label, row) -> bytes:
    integers = dict(zip(records.INTEGER_FEATURES, (height, width, label, row), strict=True))
    texts = (encoded, records.FORMAT, filename.encode(), sha256.encode(), class_name.encode())
    feature = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[n])) for name, n in integers.items()}
    for name, text in zip(records.STRING_FEATURES, texts, strict=True):
        feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


@settings(max_examples=150, deadline=None)
@given(
    photo=st.integers(0, 40_000),
    filename=st.text(max_size=200),
    class_name=st.text(max_size=150),
    height=NUMBERS,
    width=NUMBERS,
    label=st.integers(-1, 2**31 - 1),
    row=NUMBERS,
)
def test_an_example_equals_the_one_that_tensorflow_serializes(photo, filename, class_name, height, width, label, row):
    fields = {
        "encoded": b"\xff" * photo, "filename": filename, "class_name": class_name, "sha256": "a" * 64,
        "height": height, "width": width, "label": label, "row": row,
    }  # fmt: skip
    assert records.build_example(**fields) == by_tensorflow(**fields)


def test_a_file_of_frames_equals_the_one_that_tensorflow_writes(tmp_path):
    contents = [b"", b"a", b"\0" * 200, bytes(range(256)) * 300]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for content in contents:
            writer.write(content)
    ours = b"".join(records.frame(content) for content in contents)
    assert ours == (tmp_path / "theirs").read_bytes()


def test_a_changed_record_fails_its_checksum():
    content = bytes(range(100))
    checksum = records.frame(content)[-records.CHECKSUM_BYTES :]
    assert records.matches_checksum(content, checksum)
    assert not records.matches_checksum(content[:-1], checksum)
    assert not records.matches_checksum(b"\1" + content[1:], checksum)
    assert not records.matches_checksum(content, checksum[:3])
