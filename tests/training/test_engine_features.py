"""Features that an engine computes in Keras's place agree with Keras's, and are the same in a run that is resumed."""

import numpy as np
import pytest

from carclf.device import Device
from carclf.engines.choice import plan_engines
from carclf.engines.table import ENGINES
from carclf.framing import Framing, Rendering
from carclf.model.classifier import build_classifier
from carclf.recipe import parse_recipe
from carclf.training.features import compute_features

CPU = Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)
OTHERS = [name for name, row in ENGINES.items() if row.load is not None]


@pytest.fixture(scope="module", params=["notebook", "attention"])
def classifier(request):
    """One whose features are kept, and one whose feature maps are."""
    import keras

    keras.utils.set_random_seed(0)
    return build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(32, 32), head=request.param)


def compute(classifier, dataset, directory, *, engine):
    if ENGINES[engine].missing:
        pytest.skip(f"extra {engine} is not installed")
    engines = plan_engines(engine, CPU)
    (training,), validation = compute_features(
        classifier,
        manifest=dataset,
        train_shards=dataset.shards_of("train", folds=[0, 2]),
        val_shards=dataset.shards_of("train", folds=[1]),
        framing=Framing(image_size=(32, 32)),
        rendering=Rendering(method="separable"),
        recipe=parse_recipe("flip|shift(0.1)"),
        views={"train-0": 0},
        seed=7,
        batch_size=5,  # the last batch is padded
        jit=False,
        directory=directory,
        engines=engines,
    )
    return training, validation, engines.used


@pytest.mark.parametrize("engine", OTHERS)
def test_they_agree_with_those_of_keras(classifier, dataset, tmp_path, engine):
    expected = compute(classifier, dataset, tmp_path / "keras", engine="keras")
    found = compute(classifier, dataset, tmp_path / engine, engine=engine)
    assert (expected[2], found[2]) == ([], [engine])
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        step = 1e-4 if ours.dtype == np.float32 else 2**-10  # of 16 bits
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=step * float(np.abs(theirs).max()))
        assert np.abs(theirs).max() > 0


@pytest.mark.parametrize("engine", OTHERS)
def test_a_run_that_is_resumed_has_the_same(classifier, dataset, tmp_path, engine):
    whole = compute(classifier, dataset, tmp_path / "whole", engine=engine)
    compute(classifier, dataset, tmp_path / "resumed", engine=engine)
    for path in (tmp_path / "resumed").glob("validation*"):
        path.unlink()
    resumed = compute(classifier, dataset, tmp_path / "resumed", engine=engine)
    for ours, theirs in zip(resumed[:2], whole[:2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
