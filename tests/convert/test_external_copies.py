"""External photos that are copies of training photos never reach a data set: folds hold their originals out."""

import io

import pytest
from PIL import Image

from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from tests.convert.inputs import KINDS, SIZE, converted, drawn, write_files

TRAINING = 12
LARGE = (5 * SIZE[0], 5 * SIZE[1])  # of what is compressed again; in tiny photos too little is left


def photo(number: int) -> bytes:
    return drawn(number, size=LARGE)


def smaller(photo: bytes) -> bytes:
    """Returns the photo at three quarters of its size, compressed again."""
    with Image.open(io.BytesIO(photo)) as image:
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def made(folder, external, **options):
    source = write_files(folder / "photos", {f"{n % KINDS}/{n}.jpg": photo(n) for n in range(TRAINING)})
    more = write_files(folder / "more", external)
    return converted(source, folder / "data", external=str(more), **options)


def stored_ids(manifest) -> list[str]:
    return manifest.read_ids("train")["id"].tolist()[TRAINING:]


@pytest.mark.parametrize("change", [lambda photo: photo, smaller], ids=["same bytes", "smaller"])
def test_a_copy_is_left_out_whatever_its_class(tmp_path, capsys, change):
    copies = {"0/a.jpg": change(photo(0)), "2/b.jpg": change(photo(1))}
    manifest = made(tmp_path, {**copies, "1/new.jpg": photo(100)})
    assert stored_ids(manifest) == ["new.jpg"]
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "copies" in line]
    said = (
        "2 external photos are copies of a training photo and left out, since training would see photos that are held"
    )
    assert note.startswith(f"Note: {said} out: ")
    assert "more/0/a.jpg" in note
    assert "more/2/b.jpg" in note
    assert any(said in kept for kept in manifest.source["notes"])
    listed = (tmp_path / "data" / "rejected.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in listed[1:]] == [f"is a copy of the training photo {n}.jpg" for n in (0, 1)]
    assert manifest.source["counts"]["extra"]["categories"]["0"] == {"read": 1, "stored": 0, "rejected": 1}
    assert [entry.count for entry in manifest.classes] == [4, 4, 4]


def test_what_is_listed_as_duplicates_is_in_the_data_set(tmp_path):
    twins = {"0/a copy.jpg": photo(3), "0/x.jpg": photo(100), "0/y.jpg": photo(100)}
    manifest = made(tmp_path, twins)
    assert sorted(stored_ids(manifest)) == ["x.jpg", "y.jpg"]
    listed = (tmp_path / "data" / "duplicates.csv").read_text().splitlines()
    assert {line.split(",")[3] for line in listed[1:]} == {"x.jpg", "y.jpg"}


def test_a_dry_run_says_so_too(tmp_path, capsys):
    source = write_files(tmp_path / "photos", {f"{n % KINDS}/{n}.jpg": photo(n) for n in range(TRAINING)})
    more = write_files(tmp_path / "more", {"0/a.jpg": photo(0)})
    convert(ConvertOptions(input=str(source), external=str(more), folds=2, workers=1, dry_run=True))
    assert "1 external photo is a copy of a training photo and left out" in capsys.readouterr().err


def test_without_copies_nothing_is_said(tmp_path, capsys):
    manifest = made(tmp_path, {"0/a.jpg": photo(100), "1/b.jpg": photo(101)})
    assert stored_ids(manifest) == ["a.jpg", "b.jpg"]
    assert "cop" not in capsys.readouterr().err
