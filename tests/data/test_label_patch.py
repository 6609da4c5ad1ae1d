"""Corrected labels for a data set that itself never changes."""

import dataclasses
import sys

import numpy as np
import pytest

from carclf.data.index import read_index
from carclf.data.label_patch import apply_label_patch, read_label_patch
from carclf.data.manifest import LabelPatch, Manifest, load_manifest, to_json
from carclf.errors import UserError


def patch(tmp_path, text: str) -> str:
    path = tmp_path / "patch.csv"
    path.write_text(text)
    return str(path)


def test_a_label_is_corrected_everywhere_and_nothing_else_changes(dataset, tmp_path):
    text = "id,class,predicted\ntrain001.jpg,class 2,x\ntrain004.jpg,0,\ntrain002.jpg,class 2,\n"
    patched = apply_label_patch(patch(tmp_path, text), dataset)
    assert patched.label_patch.labels == {1: 2, 4: 0}  # the line of row 2 changes nothing
    before, after = dataset.read_ids("train"), patched.read_ids("train")
    changed = np.flatnonzero((before != after).any(axis=1)).tolist()
    assert changed == [1, 4]
    assert after.loc[1, ["label", "class_name"]].tolist() == [2, "class 2"]
    old, new = read_index(dataset), read_index(patched)
    rows = new["row"][old["label"] != new["label"]].tolist()
    assert rows == [1, 4]
    assert (new["label"][new["row"] == 1]).tolist() == [2, -1]  # the test photo at that row has no label
    assert to_json(patched) == to_json(dataset)


def lines_run(function) -> int:
    """Returns how many lines of carclf a call runs."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if "carclf" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines


def test_a_patch_of_every_photo_costs_no_pass_over_the_photos_each(dataset):
    one = LabelPatch({0: 1}, b"")
    labels = {row: (label + 1) % 3 for row, label in enumerate(dataset.read_ids("train")["label"].tolist())}
    few, all_of_them = (dataclasses.replace(dataset, label_patch=made) for made in (one, LabelPatch(labels, b"")))
    assert lines_run(lambda: read_index(all_of_them)) == lines_run(lambda: read_index(few))
    changed, index = all_of_them.read_ids("train"), read_index(all_of_them)
    assert changed["label"].tolist() == list(labels.values())
    assert changed["class_name"].tolist() == [f"class {label}" for label in labels.values()]
    trained = index[np.isin(index["shard"], [n for n, s in enumerate(dataset.shards) if s.split != "test"])]
    assert {int(entry["row"]): int(entry["label"]) for entry in trained} == labels


def test_the_names_of_the_classes_are_listed_once(dataset, monkeypatch):
    listed = []
    names = Manifest.class_names.fget
    monkeypatch.setattr(Manifest, "class_names", property(lambda manifest: listed.append(1) or names(manifest)))
    dataclasses.replace(dataset, label_patch=LabelPatch(dict.fromkeys(range(24), 1), b"")).read_ids("train")
    assert len(listed) == 1


def test_a_patch_that_changes_nothing_leaves_everything_as_it_was(dataset):
    patched = dataclasses.replace(dataset, label_patch=LabelPatch({}, b""))
    assert patched.read_ids("train").equals(dataset.read_ids("train"))
    assert (read_index(patched) == read_index(dataset)).all()


def test_a_patch_is_identified_by_the_hash_of_its_bytes(dataset, tmp_path):
    one = apply_label_patch(patch(tmp_path, "id,class\ntrain001.jpg,class 2\n"), dataset).label_patch.sha256
    other = apply_label_patch(patch(tmp_path, "id,class\ntrain001.jpg,class 0\n"), dataset).label_patch.sha256
    assert one != other
    assert apply_label_patch("", dataset) is dataset


def test_rows_of_blank_cells_do_not_count(dataset, tmp_path):
    patched = apply_label_patch(patch(tmp_path, "id,class\n,\ntrain001.jpg,class 2\n , \n\n"), dataset)
    assert patched.label_patch.labels == {1: 2}


def test_a_patch_in_utf_16_is_read(dataset, tmp_path):
    path = tmp_path / "patch.csv"
    path.write_text("id,class\ntrain001.jpg,class 2\n", encoding="utf-16")
    patched = apply_label_patch(str(path), dataset).read_ids("train").set_index("id")
    assert patched.loc["train001.jpg", "label"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,class\ntrain999.jpg,class 1\n", r"line 2: the data set has no training photo 'train999.jpg'"),
        ("id,class\ntrain001.jpg,class 2\ntest001.jpg,class 1\n", r"line 3: .* no training photo 'test001.jpg'"),
        ("id,class\ntrain001.jpg,Niva\n", r"line 2: there is no class 'Niva': write one of class 0, class 1, class 2"),
        ("id,class\ntrain001.jpg,\n", r"line 2: there is no class ''"),
        ("id,class\ntrain001.jpg,class 1\ntrain001.jpg,class 2\n", r"line 3: .* has an earlier line"),
        ("\nid,class\n,\n\ntrain001.jpg,Niva\n", r"line 5: there is no class 'Niva'"),
        ('id,why,class\ntrain001.jpg,"not\nsure",class 1\ntrain002.jpg,,Niva\n', r"line 4: there is no class 'Niva'"),
        ("id,class\ntrain001.jpg,class 1,x\n", r"cannot be read \(line 2 has more cells than the header\)"),
        ('id,class\ntrain001.jpg,"class 1\n', r"cannot be read \(unexpected end of data\)"),
        ("id,label\ntrain001.jpg,class 1\n", "no column 'class'"),
        ("", "cannot be read"),
    ],
)
def test_the_error_for_a_bad_patch_is_one_sentence(dataset, tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        apply_label_patch(patch(tmp_path, text), load_manifest(dataset.directory))


def test_a_missing_patch_is_named(dataset, tmp_path):
    with pytest.raises(UserError, match=r"label patch .*gone\.csv cannot be read"):
        read_label_patch(tmp_path / "gone.csv", dataset)
