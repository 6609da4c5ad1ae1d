"""Photos are told from labels and other texts by their first bytes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from carclf.data.image_formats import HEAD_BYTES, READABLE, is_photo, sniff
from tests.data.files_of_kinds import IMAGE, KINDS, REFUSED, encoded

SMALL = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
PLAIN = {
    "P1": b"P1\n# of an editor\n4 2\n0 1 0 1\n1 0 1 0\n",
    "P1 dense": b"P1\n4 2\n01011010",
    "P2": b"P2\r\n2 2\r\n15\r\n0 5 10 15\r\n",
    "P3": b"P3\n#a\n#b\n1 2 #c\n255\n255 0 0\n0 0 255\n",
    "P4": b"P4\n9 2\n" + bytes(4),
    "P5 in one line": b"P5 2 2 255 " + bytes([65, 66, 0, 200]),
    "P5 of 16 bits": b"P5\n2 2\n65535\n" + bytes(8),
    "P6 #": b"P6 #a\n1 1 255\n\1\2\3",
}
# Boxes of ISO base media files whose main brand does not tell the format.
BOXES = {brand: b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0mif1heic" for brand in (b"heim", b"hevx", b"isom", b"mif1")}
LABELS = (
    *("BMW", "BMW X5", "BMW 320d, a saloon with four doors", "BM", "BMP", "II*", "MM", "GIF", "GIF8", "GIF89a", "RIFF"),
    *("GIF87a, an old one with colours", "RIFF of a WEBP", "RIFF1234WEBP", "FileTypeWEBP", "RIFF1234WEBPVP8 of a film"),
    *("P1 GTR", "P1 GTR 2015", "P1", "P1\n", "P4 200 300", "P1 911 991 ", "P1 911 991\n", "P1 2 3 4", "P2 2 2 3 doors"),
    *("P5 2 2 3 doors", "P6 2 2 255 a label that has 12 letters", "P3 10 20 30\nwheel drive", "P6 640 480 255"),
    *("the ftypavif", "aftyp", "abc ftypheic", "abc ftypmif1\0\0\0\0heic", "ÿØÿ", "ÿ\n", "JXL", "PNG", "\x89PNG"),
    *("", " ", "0", "label", "8BPS", "7z", "PK", "%PDF", "IIRO", "{}", "P7 332", "Pf 1", "q" * 600, "BMW " * 200),
)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.how != REFUSED])
def test_every_photo_that_is_stored_counts(name):
    assert is_photo(KINDS[name].raw[:HEAD_BYTES])


@pytest.mark.parametrize("kind", READABLE)
@pytest.mark.parametrize("image", [IMAGE, SMALL], ids=["photo", "2x2"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_every_format_that_pillow_writes_counts(kind, image, mode):
    raw = encoded(image.convert(mode), kind)
    assert sniff(raw) == kind
    assert is_photo(raw[:HEAD_BYTES])


@pytest.mark.parametrize("raw", PLAIN.values(), ids=PLAIN)
def test_every_kind_of_ppm_counts_whole_and_not_without_its_pixels(raw):
    with Image.open(io.BytesIO(raw)) as image:
        image.load()
    assert is_photo(raw)
    assert not is_photo(raw[:8])


@pytest.mark.parametrize("size", [12, 16, 40, 52, 56, 64, 108, 124])
def test_a_bmp_counts_with_each_of_its_headers_and_with_reserved_fields_in_use(size):
    raw = b"BM" + bytes([70, 0, 0, 0, 1, 2, 3, 4, 54, 0, 0, 0, size, 0, 0, 0])
    assert is_photo(raw + bytes(60))


@pytest.mark.parametrize("raw", BOXES.values(), ids=BOXES)
def test_heif_counts_by_each_of_its_brands(raw):
    assert is_photo(raw)


@pytest.mark.parametrize("name", ["MP4", "CR3", "PDF", "PSD", "tar", "HTML"])
def test_other_files_do_not_count(name):
    assert not is_photo(KINDS[name].raw[:HEAD_BYTES])


def test_a_camera_file_counts_and_is_refused_by_its_name_later():
    assert is_photo(KINDS["CR2"].raw)


@pytest.mark.parametrize("label", LABELS)
def test_no_label_is_a_photo(label):
    assert not is_photo(label.encode()[:HEAD_BYTES])


@pytest.mark.parametrize("label", LABELS)
def test_no_label_of_a_fixed_width_is_a_photo(label):
    """NumPy fills such texts with zeros."""
    assert not is_photo(label.encode().ljust(64, b"\0"))


@given(st.sampled_from([kind.raw[:4] for kind in KINDS.values()]), st.text(max_size=60))
def test_no_line_is_a_photo(start, text):
    line = start.decode("ascii", errors="ignore") + text
    assert not line.isprintable() or not is_photo(line.encode()[:HEAD_BYTES])
