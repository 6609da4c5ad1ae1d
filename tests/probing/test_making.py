"""What a probe becomes: the options of the head stage."""

import types

import numpy as np
import pytest

from carclf import probe
from carclf.model.regression import Regression
from carclf.probing import making
from carclf.probing.extractors import Extractor
from carclf.probing.photos import TrainingPhotos


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
            device=None,
            probe=types.SimpleNamespace(extractor=Extractor("tiny", (32, 32), "none"), regressions={1: regression}),
            features=None,
            score=0.5,
            metric=None,
        )
    (options,) = planned
    assert (options.head_width, options.batch_size, options.val_fold) == (width, 1, 1)
