"""The decoder equals TensorFlow's to the last bit, and is stricter about damage."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from carclf.data.decoder import DCT_RATIOS, decode, decode_for, decode_sizes
from carclf.framing import RESIZE_MODES, Framing


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
    ("size", "image_size", "fit", "ratio"),
    [
        ((375, 500), 224, "squash", 1),
        ((480, 640), 224, "squash", 1),
        ((480, 640), 224, "pad", 2),  # only the long side counts: it becomes 320 of 280
        ((560, 640), 224, "squash", 2),
        ((559, 640), 224, "squash", 2),  # halved and rounded up: 280
        ((558, 640), 224, "squash", 1),
        ((340, 340), 112, "squash", 2),
        ((444, 333), 112, "crop", 2),
        ((50, 640), 224, "crop", 1),
        ((2560, 2560), 96, "squash", 8),
    ],
)
def test_photos_are_reduced_as_far_as_their_framing_allows(size, image_size, fit, ratio):
    sizes = decode_sizes(np.array([size]), framing=Framing((image_size, image_size), fit))
    assert sizes.ratios.tolist() == [ratio]
    assert sizes.extents.tolist() == [[-(-side // ratio) for side in size]]


def detail(height: int, width: int, image_size: tuple[int, int], fit: str) -> float:
    """Returns the decoded pixels per output pixel, from what each resize mode does to a photo."""
    down, across = height / image_size[0], width / image_size[1]
    return max(down, across) if fit == "pad" else min(down, across)


@pytest.mark.parametrize("fit", RESIZE_MODES)
def test_no_photo_loses_detail_that_its_file_has(fit):
    rng = np.random.default_rng(16)
    sizes = np.exp(rng.uniform(np.log(8), np.log(4096), (4000, 2))).astype(np.int64)
    for image_size in [(96, 96), (112, 112), (224, 224), (384, 512), (300, 200), (640, 640)]:
        for size, ratio, extent in zip(
            sizes, *dataclasses.astuple(decode_sizes(sizes, framing=Framing(image_size, fit))), strict=True
        ):
            assert extent.tolist() == [-(-side // ratio) for side in size.tolist()]
            assert ratio == 1 or detail(*extent, image_size, fit) > 1.25 - 1e-9
            further = [-(-side // (2 * ratio)) for side in size.tolist()]  # no larger than it needs to be
            assert ratio == 8 or detail(*further, image_size, fit) < 1.25


def test_the_canvas_holds_every_photo_and_no_more():
    sizes = decode_sizes(np.array([[375, 500], [800, 600], [20, 30]]), framing=Framing((224, 224)))
    assert sizes.canvas_size == (400, 500)
    assert str(sizes) == "Canvas: 400x500 pixels, 0.6 MB per photo; decoded: 2 at full size, 1 at 1/2."


def test_no_photos_have_no_sizes():
    sizes = decode_sizes(np.zeros((0, 2), np.int64), framing=Framing((64, 64)))
    assert (sizes.ratios.shape, sizes.canvas_size) == ((0,), (1, 1))


def test_sizes_have_one_key_only_if_every_photo_is_decoded_alike():
    photos = np.array([[480, 640], [300, 400]])
    keys = [decode_sizes(photos, framing=Framing((side, side))).key for side in (224, 300, 96)]
    assert keys[0] == keys[1] != keys[2]


def test_one_photo_is_decoded_as_a_data_set_of_it():
    encoded = drawn(130, 200)
    np.testing.assert_array_equal(decode_for(encoded, framing=Framing((50, 50))), decode(encoded, ratio=2))
