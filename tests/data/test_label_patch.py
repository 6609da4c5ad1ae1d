"""Corrected labels over a data set that stays as it is."""

import numpy as np
import pytest

from carclf.data.index import read_index
from carclf.data.label_patch import apply_label_patch, read_label_patch
from carclf.data.manifest import load_manifest, to_json
from carclf.errors import UserError


def patch(tmp_path, text: str) -> str:
    path = tmp_path / "patch.csv"
    path.write_text(text)
    return str(path)


def test_a_corrected_label_is_everywhere_and_nothing_else_changes(dataset, tmp_path):
    text = "id,class,predicted\ntrain001.jpg,class 2,x\ntrain004.jpg,0,\ntrain002.jpg,class 2,\n"
    patched = apply_label_patch(patch(tmp_path, text), dataset)
    assert patched.label_patch.labels == {1: 2, 4: 0}  # that of row 2 is its own
    before, after = dataset.read_ids("train"), patched.read_ids("train")
    changed = np.flatnonzero((before != after).any(axis=1)).tolist()
    assert changed == [1, 4]
    assert after.loc[1, ["label", "class_name"]].tolist() == [2, "class 2"]
    old, new = read_index(dataset), read_index(patched)
    rows = new["row"][old["label"] != new["label"]].tolist()
    assert rows == [1, 4]
    assert (new["label"][new["row"] == 1]).tolist() == [2, -1]  # the test photo of that row has none
    assert to_json(patched) == to_json(dataset)


def test_the_version_of_a_patch_is_the_hash_of_its_bytes(dataset, tmp_path):
    one = apply_label_patch(patch(tmp_path, "id,class\ntrain001.jpg,class 2\n"), dataset).label_patch.sha256
    other = apply_label_patch(patch(tmp_path, "id,class\ntrain001.jpg,class 0\n"), dataset).label_patch.sha256
    assert one != other
    assert apply_label_patch("", dataset) is dataset


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,class\ntrain999.jpg,class 1\n", r"line 2: the data set has no training photo 'train999.jpg'"),
        ("id,class\ntrain001.jpg,class 2\ntest001.jpg,class 1\n", r"line 3: .* no training photo 'test001.jpg'"),
        ("id,class\ntrain001.jpg,Niva\n", r"line 2: there is no class 'Niva': write one of class 0, class 1, class 2"),
        ("id,class\ntrain001.jpg,\n", r"line 2: there is no class ''"),
        ("id,class\ntrain001.jpg,class 1\ntrain001.jpg,class 2\n", r"line 3: .* has a line before"),
        ("id,label\ntrain001.jpg,class 1\n", "no column 'class'"),
        ("", "cannot be read"),
    ],
)
def test_a_patch_that_does_not_fit_is_one_sentence(dataset, tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        apply_label_patch(patch(tmp_path, text), load_manifest(dataset.directory))


def test_a_missing_patch_is_named(dataset, tmp_path):
    with pytest.raises(UserError, match=r"label patch .*gone\.csv cannot be read"):
        read_label_patch(tmp_path / "gone.csv", dataset)
