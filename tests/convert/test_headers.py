"""Whether a CSV begins with the names of its columns or with a row is seen from its cells."""

import pytest

from carclf.convert.headers import lacks_header
from carclf.convert.id_lookup import Lookup
from carclf.convert.sources import Entry
from carclf.convert.table import read_table

NAMES = ["0.jpg", "1.jpg", "2.jpg", "img_0.png", "img_1.png", "x/id.jpg", "label.jpg"]
PHOTOS = Lookup(Entry(name, 0, name, 0) for name in NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "0.jpg,cat\n1.jpg,dog\n", "1,2,0.jpg\n3,4,1.jpg\n", "img_0,cat\nimg_1,cat\n", "img_0,0.2\nimg_1,0.7\n",
        "cat,img_0,5\ncat,img_1,6\n", "img_0\nimg_1\n", "0,1\n1,1\n2,0\n",
    ],
)  # fmt: skip
def test_a_row_is_no_header(text):
    assert lacks_header(read_table(text.encode(), shown="s.csv"), PHOTOS.named)


@pytest.mark.parametrize(
    "text",
    [
        "id,label\n0,cat\n1,dog\n", "id,0,1\n0.jpg,0,1\n1.jpg,1,0\n", "photo,0,1\n0.jpg,0.5,0.5\n1.jpg,1,0\n",
        ",0\n0.jpg,1\n1.jpg,0\n", "0,kind\n0.jpg,cat\n1.jpg,dog\n", "0,1\nz.jpg,cat\ny.jpg,dog\n", "id\n0\n1\n",
        "img_9,cat\nimg_1,cat\n",
    ],
)  # fmt: skip
def test_names_of_columns_are_a_header(text):
    assert not lacks_header(read_table(text.encode(), shown="s.csv"), PHOTOS.named)
