"""The files of an evaluation, from weights on disk to the pictures of mistakes."""

import io

import keras
import numpy as np
import pytest
from PIL import Image
from test_page import Page, make_history, make_run

from carclf import runs
from carclf.inference.metrics import evaluate
from carclf.model.classifier import build_classifier
from carclf.report.run_files import mistake_pictures, write_report
from carclf.runs.closing import with_evaluation
from carclf.training.callbacks import save_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory, dataset):
    options = {"backbone": "tiny", "image_size": "32", "weights": "none"}
    made = make_run(tmp_path_factory.mktemp("runs") / "tiny", class_names=dataset.class_names, **options)
    keras.utils.set_random_seed(3)
    classifier = build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(32, 32))
    save_weights(classifier, made.directory / runs.BEST_WEIGHTS)
    make_history().to_csv(made.directory / runs.HISTORY_FILE, index=False)
    return made


@pytest.fixture
def evaluation(dataset):
    photos = dataset.read_ids("train").query("fold == 0")
    probabilities = (
        np.roll(np.eye(3)[photos["label"]], 1, axis=1) * 0.7 + 0.1
    )  # every photo is predicted as the class after its own
    return evaluate(
        probabilities=probabilities,
        labels=photos["label"].to_numpy(),
        ids=photos["id"].tolist(),
        class_names=dataset.class_names,
    )


def test_a_mistake_has_a_photo_and_two_heat_maps_of_its_shape(run, evaluation, dataset):
    pictures = mistake_pictures(run, evaluation, dataset)
    photos = dataset.read_ids("train").set_index("id")
    assert sorted(pictures) == sorted(mistake.id for mistake in evaluation.mistakes)
    for name, three in pictures.items():
        sizes = {Image.open(io.BytesIO(encoded)).size for encoded in three}
        assert sizes == {(photos["width"][name], photos["height"][name])}
        photo, predicted, true = (np.asarray(Image.open(io.BytesIO(encoded)), np.float64) for encoded in three)
        assert np.abs(predicted - true).max() > 5  # the evidence for the two classes differs
        assert max(np.abs(predicted - photo).max(), np.abs(true - photo).max()) > 60


def test_the_report_is_written_with_them(run, evaluation, dataset):
    evaluated = with_evaluation(run, evaluation.to_dict(), views="clean")
    page = write_report(
        evaluated, evaluation=evaluation, manifest=dataset, views="clean", runs_folder=str(run.directory.parent)
    )
    read = Page(page.read_text(encoding="utf-8"))
    assert read.text.count("photo for class") == len(evaluation.mistakes) == 8


def test_without_mistakes_no_weights_are_needed(run, dataset, evaluation):
    right = evaluate(probabilities=np.eye(3), labels=np.arange(3), ids=list("abc"), class_names=dataset.class_names)
    (run.directory / runs.BEST_WEIGHTS).rename(run.directory / "away")
    try:
        assert mistake_pictures(run, right, dataset) == {}
    finally:
        (run.directory / "away").rename(run.directory / runs.BEST_WEIGHTS)
