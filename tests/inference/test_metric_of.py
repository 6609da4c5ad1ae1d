import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from carclf.errors import UserError
from carclf.forms import Form
from carclf.inference.compatibility import metric_of
from carclf.runs import Member
from carclf.train_options import TrainOptions

PROBABILITIES = Form("probabilities", ("id", "a", "b"), ("a", "b"), column_classes=("a", "b"))


def members(*metrics):
    runs = [SimpleNamespace(options=TrainOptions(metric=name)) for name in metrics]
    return [Member(name=str(place), directory=Path(), runs=(run,)) for place, run in enumerate(runs)]


@pytest.mark.parametrize(
    ("name", "told", "form", "expected"),
    [
        ("auto", ["auto"], None, "accuracy"),
        ("auto", ["auto", "auto"], PROBABILITIES, "log_loss"),
        ("auto", ["auc", "auc"], PROBABILITIES, "auc"),
        ("auto", ["auc", "auto"], PROBABILITIES, "log_loss"),
        ("map@3", ["auc"], PROBABILITIES, "map@3"),
    ],
)
def test_the_metric_is_the_named_one_or_that_of_the_runs_or_that_of_the_form(name, told, form, expected):
    assert metric_of(name, members=members(*told), form=form).name == expected


def test_answers_that_do_not_serve_the_metric_of_the_runs_have_their_own():
    label = dataclasses.replace(PROBABILITIES, kind="label")
    assert metric_of("auto", members=members("auc"), form=label).name == "accuracy"
    with pytest.raises(UserError, match="--metric=auc scores probabilities"):
        metric_of("auc", members=members("auc"), form=label)
