"""The decoder equals TensorFlow's to the last bit, and is stricter about damage."""

import io

import numpy as np
import pytest
from PIL import Image

from carclf.data.decoder import DCT_RATIOS, decode, fitting_ratios


def drawn(height: int, width: int, *, mode: str = "RGB", subsampling: int = 2) -> bytes:
    """Returns a JPEG of smooth shapes with a little noise, like a photo."""
    rng = np.random.default_rng(height * width)
    v, u = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(u / (5 + k) + v / (9 - k)) for k in range(3)]
    pixels = (np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("ratio", DCT_RATIOS)
@pytest.mark.parametrize("size", [(48, 64), (97, 33), (17, 130), (8, 8)], ids=str)
@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "grey"])
def test_pixels_equal_those_of_tensorflow(size, ratio, kind):
    import tensorflow as tf

    kinds = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
    encoded = drawn(*size, mode="L") if kind == "grey" else drawn(*size, subsampling=kinds[kind])
    expected = tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, fancy_upscaling=True, dct_method="INTEGER_FAST")
    np.testing.assert_array_equal(decode(encoded, ratio=ratio), expected.numpy())


def test_pixels_are_written_to_the_given_array():
    encoded, canvas = drawn(48, 64), np.full((64, 64, 3), 7, np.uint8)
    decode(memoryview(encoded), out=canvas[:48])
    np.testing.assert_array_equal(canvas[:48], decode(encoded))
    assert np.all(canvas[48:] == 7)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("fill", [b"", b"\0"], ids=["cut", "zeros"])
@pytest.mark.parametrize("ratio", [1, 8])
def test_a_truncated_photo_is_refused(fraction, fill, ratio):
    encoded = drawn(64, 96)
    kept = int(fraction * len(encoded))
    with pytest.raises(ValueError, match=r"\w"):
        decode(encoded[:kept] + fill * (len(encoded) - kept), ratio=ratio)


def test_a_stray_byte_before_the_end_is_no_damage():
    encoded = drawn(48, 64)
    strayed = encoded[:-2] + b"\0\0\0" + encoded[-2:]
    for ratio in DCT_RATIOS:
        np.testing.assert_array_equal(decode(strayed, ratio=ratio), decode(encoded, ratio=ratio))


def test_a_changed_bit_that_tensorflow_accepts_is_refused():
    import tensorflow as tf

    encoded = drawn(64, 96)
    refused = 0
    for place in range(len(encoded) // 2, len(encoded) - 2, 7):
        damaged = bytearray(encoded)
        damaged[place] ^= 0x40
        try:
            decode(bytes(damaged))
        except ValueError:
            refused += 1
            continue
        tf.io.decode_jpeg(bytes(damaged), channels=3)  # TensorFlow accepts it
    assert refused


@pytest.mark.parametrize(
    ("size", "canvas_size", "ratio"),
    [
        ((48, 64), 64, 1),
        ((48, 64), 63, 2),
        ((48, 64), 32, 2),
        ((65, 31), 33, 2),
        ((65, 31), 32, 4),
        ((64, 64), 8, 8),
    ],
)
def test_photos_are_reduced_as_little_as_fits(size, canvas_size, ratio):
    assert fitting_ratios(np.array([size]), canvas_size=canvas_size).tolist() == [ratio]
    assert max(decode(drawn(*size), ratio=ratio).shape) <= canvas_size


def test_no_photos_have_no_ratios():
    assert fitting_ratios(np.zeros((0, 2), np.int64), canvas_size=64).shape == (0,)
