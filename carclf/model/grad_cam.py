"""Grad-CAM on the backbone's output, for every class at once and without a gradient tape."""

import keras
import numpy as np
from keras import ops

from carclf.model.pooling import AttentionPooling


def build_grad_cam(classifier: keras.Model) -> keras.Model:
    """Returns a model from images to logits and their evidence; it shares the classifier's variables.

    Its input is the classifier's: float32 [B, H, W, 3] in 0..255. Its outputs, by name, in float32: `logits` [B, K],
    and `evidence` [B, h, w, K], the positive or negative contribution of each position of the backbone's feature map to
    the logit of each class. The mean over all positions is the logit, up to a constant of the photo and class. See
    `heat_map`.

    Args:
      classifier: from `carclf.model.classifier.build_classifier`, with any backbone.
    """
    evidence = _Evidence(classifier, name="evidence")(
        [classifier.get_layer("head_pool").input, *(relu.output for relu in _hidden_layer(classifier)[2:])]
    )
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


def _hidden_layer(classifier: keras.Model) -> list[keras.layers.Layer]:
    """Returns the head's dense layer, BatchNorm and ReLU; nothing if it has no hidden layer."""
    return [layer for layer in classifier.layers if layer.name in ("head_dense", "head_norm", "head_relu")]


class _Evidence(keras.layers.Layer):
    """Σ_d (∂ logit_k / ∂ pooled feature d) · (feature d at a position), float32 [B, h, w, K].

    With a plain mean the gradient is the same at every position: Grad-CAM's weights α, times h · w. With attentive
    pooling each position has its weight besides, which is taken as it is. After the pooling the head is linear except
    for the ReLU, which passes the gradient only of units above 0. So the gradient is a product of the head's weights
    and needs no automatic differentiation.

    Source: Selvaraju et al. 2017, "Grad-CAM", equation 1. Weights of attention as constants: Ali et al. 2022, "XAI for
      Transformers: Better Explanations through Conservative Propagation".
    """

    def __init__(self, classifier: keras.Model, **arguments: object) -> None:
        super().__init__(dtype="float32", **arguments)
        self._pool, self._logits = classifier.get_layer("head_pool"), classifier.get_layer("logits")
        self._hidden = _hidden_layer(classifier)

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Returns the evidence for features [B, h, w, D] and, if there are any, hidden units after the ReLU [B, J]."""
        features, *hidden = inputs
        if isinstance(self._pool, AttentionPooling):
            features = self._pool.weighted(features)
        if hidden:
            dense, norm, _ = self._hidden
            scale = norm.gamma * ops.rsqrt(norm.moving_variance + norm.epsilon)
            passing = ops.cast(hidden[0] > 0, "float32") * scale
            features = ops.matmul(features, dense.kernel) * passing[:, None, None, :]
        return ops.matmul(features, self._logits.kernel)
