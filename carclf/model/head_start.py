"""Starts a head from a regression on the features that it will see, so that training begins where a probe ends.

Source: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution" (LP-FT).
"""

import keras
import numpy as np

from carclf.model.pooling import AttentionPooling
from carclf.model.regression import FeatureSet, Regression


def start_head(classifier: keras.Model, regression: Regression, features: FeatureSet) -> None:
    """Sets the head's weights so that, without dropout, it gives the regression's logits.

    A head without a hidden layer gives them exactly; attentive pooling begins as the mean. A hidden unit is zero where
    its input is negative, so two of them, h and −h, carry one direction of the kernel. A layer of W units holds W // 2
    directions, those with the largest singular values; more than that many classes are approximated. The units left
    over keep their random kernels and begin without influence on the logits. BatchNorm gets the statistics of the
    features, so that it changes little when training begins.

    Args:
      classifier: from `carclf.model.classifier.build_classifier`.
      regression: on the means of its backbone's feature maps.
      features: of the training photos; those of weight 0 are not seen.
    """
    pool = classifier.get_layer("head_pool")
    if isinstance(pool, AttentionPooling):
        pool.reset()
    if not any(layer.name == "head_dense" for layer in classifier.layers):
        classifier.get_layer("logits").set_weights([regression.kernel, regression.bias])
        return
    dense, norm, logits = (classifier.get_layer(name) for name in ("head_dense", "head_norm", "logits"))
    (kernel,) = dense.get_weights()
    kernel, through = _paired(kernel.astype(np.float64), regression.kernel)
    mean, variance = _statistics(features, kernel)
    stddev = np.sqrt(variance + norm.epsilon)
    dense.set_weights([kernel])
    norm.set_weights([np.ones_like(mean), np.zeros_like(mean), mean, variance])
    # BatchNorm subtracts the mean, and the last bias adds it back: half of it, since a pair carries it twice.
    logits.set_weights([through * stddev[:, None], regression.bias + mean @ through / 2])


def divide_logits(classifier: keras.Model, temperature: float) -> None:
    """Divides the classifier's logits: it predicts the same classes with less confidence. 1 changes nothing."""
    if temperature != 1.0:
        logits = classifier.get_layer("logits")
        logits.set_weights([weights / temperature for weights in logits.get_weights()])


def _paired(kernel: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel [D, W] with pairs of opposite columns, and [W, K] from the hidden units to the logits."""
    directions, sizes, to_logits = np.linalg.svd(wanted, full_matrices=False)
    count = min(len(sizes), kernel.shape[1] // 2)
    length = np.linalg.norm(kernel, axis=0).mean()  # as before: the optimizer's steps mean the same
    kernel = kernel.copy()
    kernel[:, :count] = directions[:, :count] * length
    kernel[:, count : 2 * count] = -kernel[:, :count]
    through = np.zeros((kernel.shape[1], wanted.shape[1]))
    through[:count] = sizes[:count, None] * to_logits[:count] / length
    through[count : 2 * count] = -through[:count]
    return kernel, through


def _statistics(features: FeatureSet, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of the hidden units before BatchNorm, over the photos that count, float64 [W] each.

    Every photo counts the same: BatchNorm, whose statistics these become, knows no weights.
    """
    count, sums = 0, np.zeros((2, kernel.shape[1]))
    for block, _, weight in features.blocks():
        hidden = block[weight > 0] @ kernel
        count += len(hidden)
        sums += np.stack([hidden.sum(axis=0), (hidden**2).sum(axis=0)])
    mean, square = sums / count
    return mean, np.maximum(square - mean**2, 0.0)
