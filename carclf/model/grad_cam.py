"""Grad-CAM on the backbone's output, for every class at once and without a gradient tape."""

import keras
import numpy as np
from keras import ops


def build_grad_cam(classifier: keras.Model) -> keras.Model:
    """Returns a model from images to logits and their evidence; it shares the classifier's variables.

    Its input is the classifier's: float32 [B, H, W, 3] in 0..255. Its outputs, by name, in float32: `logits` [B, K],
    and `evidence` [B, h, w, K], the positive or negative contribution of each position of the backbone's feature map to
    the logit of each class. The mean over all positions is the logit, up to a constant of the photo and class. See
    `heat_map`.

    Args:
      classifier: from `carclf.model.classifier.build_classifier`, with any backbone.
    """
    features = classifier.get_layer("head_pool").input
    evidence = _Evidence(classifier, name="evidence")([features, classifier.get_layer("head_relu").output])
    return keras.Model(
        classifier.input, {"logits": classifier.get_layer("logits").output, "evidence": evidence}, name="grad_cam"
    )


def heat_map(evidence: np.ndarray) -> np.ndarray:
    """Returns the Grad-CAM heat map of one class, float32 [h, w] in 0..1, with 1 at the strongest evidence for it.

    It is 0 everywhere if there is no evidence for the class.

    Args:
      evidence: float [h, w], of one photo and class.

    Source: Selvaraju et al. 2017, "Grad-CAM", equation 2; scaled by its largest value, as is usual.
    """
    positive = np.maximum(evidence, 0.0).astype(np.float32)
    return positive / max(float(positive.max()), float(np.finfo(np.float32).tiny))


class _Evidence(keras.layers.Layer):
    """Σ_d (∂ logit_k / ∂ pooled feature d) · (feature d at a position), float32 [B, h, w, K].

    The pooling is a mean, so the gradient is the same at every position: Grad-CAM's weights α, times h · w. After it
    the head is linear except for the ReLU, which passes the gradient only of units above 0. So the gradient is a
    product of the head's weights and needs no automatic differentiation.

    Source: Selvaraju et al. 2017, "Grad-CAM", equation 1.
    """

    def __init__(self, classifier: keras.Model, **arguments: object) -> None:
        super().__init__(dtype="float32", **arguments)
        self._dense, self._norm, self._logits = map(classifier.get_layer, ("head_dense", "head_norm", "logits"))

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Returns the evidence for features [B, h, w, D] and the hidden units after the ReLU [B, J]."""
        features, hidden = inputs
        scale = self._norm.gamma * ops.rsqrt(self._norm.moving_variance + self._norm.epsilon)
        passing = ops.cast(hidden > 0, "float32") * scale
        units = ops.matmul(features, self._dense.kernel) * passing[:, None, None, :]
        return ops.matmul(units, self._logits.kernel)
