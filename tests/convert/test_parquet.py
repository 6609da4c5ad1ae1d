"""Parquet files of Hugging Face: photos, labels, the names of the classes; needs pyarrow."""

import hashlib
import importlib.util
import io
import json
import sys

import numpy as np
import pytest

from carclf.convert import parquet as parquet_files
from carclf.errors import UserError
from tests.convert.inputs import converted, drawn, encoded, ids_of, opened, write_files
from tests.data.tiff_writer import Page, tiff

needs_pyarrow = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")


def parquet(numbers, *, names=("rose", "tulip"), image=lambda n: {"bytes": drawn(n), "path": f"p{n}.jpg"}, **columns):
    import pyarrow
    from pyarrow import parquet

    make = {"image": image, "label": lambda n: n % 2} | columns
    table = pyarrow.table({name: [f(n) for n in numbers] for name, f in make.items() if f})
    info = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
    buffer = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), buffer)
    return buffer.getvalue()


@needs_pyarrow
def test_the_splits_of_a_hub_data_set_are_read(tmp_path):
    files = {
        "data/train-00000-of-00001.parquet": parquet(range(6)),
        "data/validation-00000-of-00001.parquet": parquet(range(6, 8)),
        "data/test-00000-of-00001.parquet": parquet(range(8, 10)),
    }
    manifest = converted(write_files(tmp_path / "in", files), tmp_path / "out")
    assert (manifest.class_labels, manifest.class_names) == (("0", "1"), ("rose", "tulip"))
    assert ids_of(manifest) == {f"p{n}.jpg": ("rose", "tulip")[n % 2] for n in range(8)}
    assert sorted(ids_of(manifest, "test")) == ["p8.jpg", "p9.jpg"]


@needs_pyarrow
@pytest.mark.parametrize(
    "make",
    [
        lambda n: encoded(opened(drawn(n)), "PPM"),
        lambda n: tiff(Page(np.asarray(opened(drawn(n)))), big=True, order=">"),
    ],
    ids=["PPM", "BigTIFF"],
)
def test_photos_may_have_any_format_that_is_read(tmp_path, make):
    content = parquet(range(6), image=lambda n: {"bytes": make(n), "path": f"p{n}"})
    manifest = converted(write_files(tmp_path / "in", {"train.parquet": content}), tmp_path / "out")
    assert list(ids_of(manifest)) == [f"p{n}" for n in range(6)]


@needs_pyarrow
def test_photos_may_lie_in_a_column_of_their_own_and_have_no_names(tmp_path):
    content = parquet(range(6), image=None, encoded=drawn)
    manifest = converted(write_files(tmp_path / "in", {"train.parquet": content}), tmp_path / "out")
    assert list(ids_of(manifest)) == [f"train-{n}" for n in range(6)]


@needs_pyarrow
@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ({"label": lambda n: float(n % 2) if n < 4 else None}, ["0", "1", "0", "1"]),  # as pandas writes gaps
        ({"label": lambda n: float(n % 2) if n < 4 else float("nan")}, ["0", "1", "0", "1"]),
        ({"label": lambda n: n % 2 if n < 4 else -1}, ["0", "1", "0", "1"]),
        ({"label": lambda n: float(n % 2) if n < 4 else -1.0}, ["0", "1", "0", "1"]),
        ({"label": lambda n: n % 2 + 0.5}, ["0.5", "1.5"] * 3),
        ({"label": lambda n: ("-a", " b ")[n % 2]}, ["-a", "b"] * 3),
        ({"label": lambda n: "ab"[n % 2] if n < 4 else " ", "species": lambda n: n}, ["a", "b", "a", "b"]),
        ({"label": lambda n: None, "species": lambda n: "ab"[n % 2]}, ["a", "b"] * 3),
    ],
)
def test_one_column_has_the_labels_of_all_rows(tmp_path, columns, labels):
    files = {"train.parquet": parquet(range(6), **columns), "test.parquet": parquet(range(6, 7), label=None)}
    manifest = converted(write_files(tmp_path / "in", files), tmp_path / "out")
    ids = manifest.read_ids("train")
    label_of = [manifest.class_labels[label] for label in ids["label"]]
    assert dict(zip(ids["id"], label_of, strict=True)) == {f"p{n}.jpg": label for n, label in enumerate(labels)}


@needs_pyarrow
def test_the_names_are_those_of_the_column_of_labels(tmp_path):
    content = parquet(range(6), **{"class": lambda n: 1 - n % 2})
    manifest = converted(write_files(tmp_path / "in", {"train.parquet": content}), tmp_path / "out")
    assert manifest.class_names == ("0", "1")


@needs_pyarrow
def test_a_column_of_classes_of_any_name_has_the_labels_and_of_several_one_is_asked_for(tmp_path):
    def labelled(columns):
        content = parquet(range(8), label=None, **{name: lambda n, k=k: (n >> k) % 2 for k, name in enumerate(columns)})
        table = pyarrow_parquet.read_table(io.BytesIO(content))
        features = {name: {"names": [f"{name} {k}" for k in range(2)], "_type": "ClassLabel"} for name in columns}
        buffer = io.BytesIO()
        described = json.dumps({"info": {"features": features}})
        pyarrow_parquet.write_table(table.replace_schema_metadata({"huggingface": described}), buffer)
        return {"train.parquet": buffer.getvalue()}

    pyarrow_parquet = pytest.importorskip("pyarrow.parquet")
    one = converted(write_files(tmp_path / "one", labelled(["fine"])), tmp_path / "of_one")
    assert one.class_names == ("fine 0", "fine 1")
    two = write_files(tmp_path / "two", labelled(["fine", "coarse"]))
    with pytest.raises(
        UserError, match=r"has several columns of classes \(fine, coarse\): say which one .*label_column"
    ):
        converted(two, tmp_path / "of_two")
    assert converted(two, tmp_path / "of_two", label_column="coarse").class_names == ("coarse 0", "coarse 1")
    with pytest.raises(UserError, match="--label_column=other is a column of no CSV"):
        converted(write_files(tmp_path / "three", labelled(["fine"])), tmp_path / "of_three", label_column="other")


@needs_pyarrow
@pytest.mark.parametrize(
    ("make", "ids"),
    [
        (lambda n: float(n) if n < 4 else None, ["0", "1", "2", "3", "train-4", "train-5"]),
        (lambda n: None, [f"n{n}" for n in range(6)]),
    ],
)
def test_one_column_has_the_ids_of_all_rows(tmp_path, make, ids):
    content = parquet(range(6), image=drawn, id=make, name=lambda n: f"n{n}")
    manifest = converted(write_files(tmp_path / "in", {"train.parquet": content}), tmp_path / "out")
    assert list(ids_of(manifest)) == ids


@needs_pyarrow
def test_files_of_one_name_keep_their_own_photos(tmp_path):
    """The unpacked photos of each file lie in a file of their own."""
    write_files(tmp_path / "more", {"train.parquet": parquet(range(6, 12))})
    source = write_files(tmp_path / "in", {"train.parquet": parquet(range(6))})
    manifest = converted(source, tmp_path / "out", external=str(tmp_path / "more"))
    ids = manifest.read_ids("train")
    hashes = dict(zip(ids["id"], ids["sha256"], strict=True))
    assert hashes == {f"p{n}.jpg": hashlib.sha256(drawn(n)).hexdigest() for n in range(12)}


@needs_pyarrow
@pytest.mark.parametrize("content", ["no photos", "damaged"])
def test_a_file_without_photos_is_one_sentence(tmp_path, content):
    raw = parquet(range(3), image=None, pixel=lambda n: n)
    said = r"train\.parquet holds a row without a photo \(its columns: label, pixel\)"
    if content == "damaged":
        raw, said = raw[:-9], r"train\.parquet cannot be read as Parquet"
    with pytest.raises(UserError, match=said):
        converted(write_files(tmp_path / "in", {"train.parquet": raw}), tmp_path / "out")


@needs_pyarrow
def test_a_file_that_unpacks_to_an_absurd_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "RATIO_FREE_BYTES", 0)
    monkeypatch.setattr(parquet_files, "MAX_RATIO", 0.1)
    with pytest.raises(UserError, match=r"train\.parquet is compressed more than 0\.1:1 and is not unpacked here"):
        converted(write_files(tmp_path / "in", {"train.parquet": parquet(range(3))}), tmp_path / "out")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"train\.parquet needs pyarrow, which is not installed: pip install .*parquet"):
        converted(write_files(tmp_path / "in", {"train.parquet": b"PAR1"}), tmp_path / "out")
