"""The card of a run that has only what the files of every version have."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from carclf import runs
from carclf.data.validation import MAX_PIXELS
from carclf.exporting.card import card_text, labels_text
from carclf.exporting.checking import Deviation, ValidationSample, enlarged_photos
from carclf.exporting.formats import FORMATS
from carclf.runs.run_files import DataEntry, EvaluationEntry
from tests.inference.made_runs import make_run

SAME = Deviation(photos=4, mean=0.0, largest=0.0, same_class=4, accuracy=0.5, run_accuracy=0.5)


def required(kind: type) -> set[str]:
    missing = dataclasses.MISSING
    return {f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing}


def test_a_run_without_anything_that_may_be_missing_has_a_card(dataset, tmp_path):
    run = make_run(tmp_path / "one", dataset)
    stage = json.loads((run.directory / runs.STAGE_FILE).read_text())
    stage = {name: stage[name] for name in ("format_version", "options", "data")}
    stage["data"] = {name: value for name, value in stage["data"].items() if name in required(DataEntry)}
    evaluation = {"photos": 4, "accuracy": 0.5, "accuracy_low": 0.2, "accuracy_high": 0.8, "metric": "macro_f1"}
    assert {*evaluation} == {*required(EvaluationEntry), "metric"}
    (run.directory / runs.STAGE_FILE).write_text(json.dumps(stage))
    (run.directory / runs.METRICS_FILE).write_text(json.dumps({"val_accuracy": 0.5, "evaluation": evaluation}))
    text = card_text(
        run=runs.load_run(run.directory), parents=[], form=FORMATS["onnx"], folder=tmp_path, resize=None,
        identical=SAME, full=SAME, larger=SAME,
    )  # fmt: skip
    assert f"\nPhotos at most {run.max_side} pixels long.\n" in text
    assert "| accuracy | 95 % interval |\n" in text
    assert "weakest" not in text
    assert "weights were chosen by their accuracy on these photos" in text  # macro_f1 is what the evaluation had


@pytest.mark.parametrize(
    ("height", "width", "max_side", "expected"),
    [(96, 64, 320, (641, 427)), (5000, 5000, 5000, (7071, 7071)), (300, 4000, 4000, (600, 8001))],
)
def test_photos_are_enlarged_to_what_a_photo_may_have(height, width, max_side, expected):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG")
    (photo,) = enlarged_photos(ValidationSample([buffer.getvalue()], np.zeros(1, np.int64)), max_side=max_side)
    assert photo.shape == (*expected, 3)
    assert photo.shape[0] * photo.shape[1] <= MAX_PIXELS


def test_a_class_keeps_its_blanks_in_the_list_of_labels():
    assert labels_text(["two  words", " x", "two\nlines"]) == "two  words\n x\ntwo lines\n"
