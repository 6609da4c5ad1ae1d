"""The label patch and the printed details of an evaluation."""

import numpy as np
import pandas as pd
import pytest

from carclf.data.label_patch import apply_label_patch
from carclf.inference.dataset_predictions import Predictions
from carclf.inference.evaluation import evaluate_predictions, write_label_patch


def evaluated(dataset):
    probabilities = np.tile([0.7, 0.2, 0.1], (24, 1))
    probabilities[1] = [0.9, 0.05, 0.05]
    return evaluate_predictions(Predictions(np.arange(24), probabilities), dataset)


def test_an_unedited_label_patch_changes_nothing_and_an_edited_one_its_photo(dataset, tmp_path):
    path = write_label_patch(tmp_path, evaluated(dataset), dataset)
    frame = pd.read_csv(path, dtype=str)
    assert list(frame.columns) == ["id", "class", "predicted", "probability", "likely_mislabel"]
    assert frame.loc[0].tolist() == ["train001.jpg", "class 1", "class 0", "0.9000", "no"]
    assert len(frame) == 16
    assert apply_label_patch(str(path), dataset).label_patch.labels == {}
    frame.loc[0, "class"] = "class 0"
    frame.to_csv(path, index=False)
    assert apply_label_patch(str(path), dataset).label_patch.labels == {1: 0}


def test_an_edited_label_patch_is_never_overwritten(dataset, tmp_path):
    path = write_label_patch(tmp_path, evaluated(dataset), dataset)
    assert write_label_patch(tmp_path, evaluated(dataset), dataset) == path
    path.write_text("mine")
    second = write_label_patch(tmp_path, evaluated(dataset), dataset)
    assert second.name == "label_patch.new.csv"
    second.write_text("mine, too")
    third = write_label_patch(tmp_path, evaluated(dataset), dataset)
    assert third.name == "label_patch.new2.csv"
    assert write_label_patch(tmp_path, evaluated(dataset), dataset) == third
    third.write_text("")
    assert write_label_patch(tmp_path, evaluated(dataset), dataset).name == "label_patch.new3.csv"
    assert [path.read_text(), second.read_text(), third.read_text()] == ["mine", "mine, too", ""]


@pytest.mark.parametrize("photos", [24, 8], ids=["all predicted", "some not predicted"])
def test_a_label_patch_keeps_the_corrections_of_the_patch_in_force(dataset, tmp_path, photos):
    (tmp_path / "mine.csv").write_text("id,class\ntrain001.jpg,class 0\ntrain004.jpg,class 2\ntrain020.jpg,class 1\n")
    patched = apply_label_patch(str(tmp_path / "mine.csv"), dataset)
    assert patched.label_patch.labels == {1: 0, 4: 2, 20: 1}
    probabilities = np.tile([0.7, 0.2, 0.1], (photos, 1))
    predictions = Predictions(np.arange(photos), probabilities)
    path = write_label_patch(tmp_path, evaluate_predictions(predictions, patched), patched)
    assert apply_label_patch(str(path), dataset).label_patch.labels == {1: 0, 4: 2, 20: 1}
    frame = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("id")
    assert frame.loc["train001.jpg"].tolist() == ["class 0", "", "", "no"]  # right by its new label
    assert frame.loc["train004.jpg"].tolist() == ["class 2", "class 0", "0.7000", "no"]
    frame.loc["train002.jpg", "class"] = "class 0"
    frame.to_csv(path)
    assert apply_label_patch(str(path), dataset).label_patch.labels == {1: 0, 2: 0, 4: 2, 20: 1}


def test_the_details_name_the_hardest_class_and_the_pairs(dataset):
    text = evaluated(dataset).details()
    assert "Most confused: class 1 predicted as class 0 (8), class 2 predicted as class 0 (8)." in text
    assert "Hardest class: class 1 (precision 0.00, recall 0.00 on 8 photos)" in text
    assert "temperature" in text
