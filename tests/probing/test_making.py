"""What a probe becomes: the options of the head stage."""

import types
from pathlib import Path

import numpy as np
import pytest

from carclf import probe
from carclf.model.regression import Regression
from carclf.probing import making
from carclf.probing.extractors import Extractor
from carclf.probing.photos import TrainingPhotos
from carclf.runs.parent import check_batch


@pytest.mark.parametrize(("features", "classes", "width"), [(1280, 10, 128), (1280, 196, 392), (40, 20_000, 128)])
def test_the_head_has_two_units_for_each_direction_that_the_regression_tells_apart(
    features, classes, width, tmp_path, monkeypatch
):
    planned = []

    def make_run(*arguments, options, **named):
        planned.append(options)
        raise InterruptedError

    monkeypatch.setattr(making, "make_run", make_run)
    regression = Regression(np.zeros((features, classes)), np.zeros(classes), 0.01)
    with pytest.raises(InterruptedError):
        probe.make_best(
            probe.ProbeOptions(data="data", output=str(tmp_path), val_fold=1),
            manifest=types.SimpleNamespace(class_count=classes),
            photos=TrainingPhotos(list("abc"), np.zeros(3, np.int64), np.array([0, 1, 1]), classes),
            device=types.SimpleNamespace(replicas=1),
            probe=types.SimpleNamespace(extractor=Extractor("tiny", (32, 32), "none"), regressions={1: regression}),
            features=None,
            score=0.5,
            metric=None,
        )
    (options,) = planned
    assert (options.head_width, options.batch_size, options.val_fold) == (width, 1, 1)


@pytest.mark.parametrize(
    ("replicas", "photos", "batch"), [(1, 100, 32), (8, 100, 32), (3, 100, 30), (7, 20, 14), (8, 20, 16), (1, 5, 5)]
)
def test_the_devices_share_a_batch_of_the_head_stage(replicas, photos, batch):
    options = making.head_options(
        Extractor("tiny", (32, 32), "none"), data="d", run=Path("best"), val_fold=0, directions=3, train_photos=photos,
        fit="squash", replicas=replicas,
    )  # fmt: skip
    assert options.batch_size == batch
    steps = photos // batch
    check_batch(batch_size=batch, replicas=replicas, mixes=False, steps=steps, train_photos=photos)
