import keras
import numpy as np
import pytest

from carclf.model.backbones import BACKBONES
from carclf.model.classifier import build_classifier
from carclf.model.grad_cam import build_grad_cam, heat_map

IMAGE_SIZE = (48, 64)
CLASSES = 3


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def images(count=2, image_size=IMAGE_SIZE):
    return np.random.default_rng(0).uniform(0, 255, (count, *image_size, 3)).astype("float32")


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    model = build_classifier(backbone="tiny", weights="none", class_count=CLASSES, image_size=IMAGE_SIZE)
    norm, rng = model.get_layer("head_norm"), np.random.default_rng(1)
    for variable in norm.weights:  # as if trained: no factor is 1, no offset 0
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def evidence_of(classifier, image):
    return {name: numbers(value) for name, value in build_grad_cam(classifier)(image).items()}


def gradients(classifier, features):
    """∂ logit_k / ∂ features from the backend: [B, h, w, D, K]."""
    head = [layer for layer in classifier.layers if layer.name.startswith(("head_", "logits"))]

    def logit(x, label):
        for layer in head:
            x = layer(x, training=False) if layer.name in ("head_norm", "head_dropout") else layer(x)
        return keras.ops.sum(x[:, label])

    def gradient(label):
        if keras.backend.backend() == "jax":
            import jax

            return jax.grad(lambda x: logit(x, label))(keras.ops.convert_to_tensor(features))
        import tensorflow as tf

        x = tf.constant(features)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = logit(x, label)
        return tape.gradient(y, x)

    return np.stack([numbers(gradient(label)) for label in range(CLASSES)], axis=-1)


def test_the_evidence_equals_grad_cam_from_the_gradients(classifier):
    image = images()
    features = numbers(keras.Model(classifier.input, classifier.get_layer("head_pool").input)(image))
    weights = gradients(classifier, features).sum(axis=(1, 2))  # [B, D, K]; Grad-CAM takes the mean over positions
    expected = np.einsum("bhwd,bdk->bhwk", features, weights)
    found = evidence_of(classifier, image)
    assert found["evidence"].shape == (2, 3, 4, CLASSES)
    np.testing.assert_allclose(found["evidence"], expected, rtol=1e-4, atol=1e-5 * abs(expected).max())
    np.testing.assert_allclose(found["logits"], numbers(classifier(image)), rtol=1e-4)


def test_the_evidence_adds_up_to_the_logits():
    # A new head has no constants that belong to no position.
    fresh = build_classifier(backbone="tiny", weights="none", class_count=CLASSES, image_size=IMAGE_SIZE)
    found = evidence_of(fresh, images())
    np.testing.assert_allclose(found["evidence"].mean(axis=(1, 2)), found["logits"], rtol=1e-3, atol=1e-5)


def test_the_heat_map_shows_the_position_of_a_signal():
    model = build_classifier(backbone="tiny", weights="none", class_count=2, image_size=(96, 128), head_width=4)
    features = model.get_layer("head_pool").input.shape[-1]
    # A head that recognises class 1 only by feature 7.
    kernel = np.zeros((features, 4), "float32")
    kernel[7, 0] = 1.0
    model.get_layer("head_dense").set_weights([kernel])
    model.get_layer("logits").set_weights([np.array([[-1, 1]] + [[0, 0]] * 3, "float32"), np.zeros(2, "float32")])
    grad_cam = build_grad_cam(model)
    planted = np.zeros((1, 6, 8, features), "float32")
    planted[0, 4, 6, 7], planted[0, 1, 1, 3] = 2.0, 50.0  # the signal, and a stronger feature that means nothing
    hidden = numbers(model.get_layer("head_relu")(model.get_layer("head_dense")(planted.mean(axis=(1, 2)))))
    evidence = numbers(grad_cam.get_layer("evidence")([planted, hidden]))[0]
    heat = heat_map(evidence[..., 1])
    assert np.argwhere(heat).tolist() == [[4, 6]]
    assert heat.max() == 1.0
    assert not heat_map(evidence[..., 0]).any()  # no evidence for the other class


def test_a_heat_map_is_relative_to_the_strongest_evidence():
    heat = heat_map(np.array([[-3.0, 0.0], [1.0, 4.0]]))
    assert heat.dtype == np.float32
    assert heat.tolist() == [[0.0, 0.0], [0.25, 1.0]]
    assert heat_map(np.full((2, 2), -1.0)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


SLOW = [name for name in BACKBONES if name != "tiny"]


@pytest.mark.parametrize("backbone", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_backbone_has_a_map(backbone):
    side = max(64, BACKBONES[backbone].minimal_size)
    model = build_classifier(backbone=backbone, weights="none", class_count=CLASSES, image_size=(side, side))
    found = evidence_of(model, images(1, (side, side)))
    height, width = found["evidence"].shape[1:3]
    assert height == width
    assert height >= 2
    assert np.isfinite(found["evidence"]).all()
    assert np.ptp(found["evidence"], axis=(1, 2)).min() > 0  # a map, not a constant
    keras.backend.clear_session()
