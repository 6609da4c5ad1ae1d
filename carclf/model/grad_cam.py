"""Where a classifier looks: Grad-CAM on the backbone's output, for every class at once and without a gradient tape."""

import keras
import numpy as np
from keras import ops


def build_grad_cam(classifier: keras.Model) -> keras.Model:
    """A model from images to what the classifier says and why; it shares the classifier's variables.

    Its input is the classifier's: float32 [B, H, W, 3] in 0..255. Its outputs, by name, in float32: `logits` [B, K],
    and `evidence` [B, h, w, K], what each place of the backbone's feature map adds to the logit of each class (or
    takes from it). The mean over all places is the logit, but for a constant of the photo and class. See `heat_map`.

    Args:
      classifier: from `carclf.model.classifier.build_classifier`, with any backbone.
    """
    features = classifier.get_layer("head_pool").input
    evidence = _Evidence(classifier, name="evidence")([features, classifier.get_layer("head_relu").output])
    return keras.Model(
        classifier.input, {"logits": classifier.get_layer("logits").output, "evidence": evidence}, name="grad_cam"
    )


def heat_map(evidence: np.ndarray) -> np.ndarray:
    """The Grad-CAM heat map of one class, float32 of the shape of `evidence`: 0..1, 1 where most speaks for the class.

    All 0 where nothing speaks for it.

    Args:
      evidence: float [h, w], of one photo and class.

    Source: Selvaraju et al. 2017, "Grad-CAM", equation 2; scaled by its largest value, as is usual.
    """
    positive = np.maximum(evidence, 0.0).astype(np.float32)
    return positive / max(float(positive.max()), float(np.finfo(np.float32).tiny))


class _Evidence(keras.layers.Layer):
    """Σ_d (∂ logit_k / ∂ pooled feature d) · (feature d at a place), float32 [B, h, w, K].

    The pooling is a mean, so that the gradient is the same at every place: Grad-CAM's weights α, times h · w. Behind it
    the head is linear but for the ReLU, which passes the gradient of the units that are above 0 and no other. So the
    gradient is a product of the head's own weights, and no backend need be asked for it.

    Source: Selvaraju et al. 2017, "Grad-CAM", equation 1.
    """

    def __init__(self, classifier: keras.Model, **arguments: object) -> None:
        super().__init__(dtype="float32", **arguments)
        self._dense, self._norm, self._logits = map(classifier.get_layer, ("head_dense", "head_norm", "logits"))

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Inputs: features [B, h, w, D], and the hidden units behind the ReLU [B, J]."""
        features, hidden = inputs
        scale = self._norm.gamma * ops.rsqrt(self._norm.moving_variance + self._norm.epsilon)
        passing = ops.cast(hidden > 0, "float32") * scale
        units = ops.matmul(features, self._dense.kernel) * passing[:, None, None, :]
        return ops.matmul(units, self._logits.kernel)
