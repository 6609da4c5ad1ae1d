"""A competition's metric while a model trains: its counts are variables on the device."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from carclf.metrics import Metric, find_metric
from carclf.metrics.tallies import LARGEST_LOG_ODDS, SCORE_BINS


@keras.saving.register_keras_serializable(package="carclf")
class Score(keras.metrics.Metric):
    """The metric of all photos since the last reset; its variable adds up over batches, replicas and hosts."""

    def __init__(self, metric: str, *, class_count: int, name: str = "score", dtype: Any = None) -> None:
        """Creates an empty tally.

        Args:
          metric: its name, such as 'qwk' or 'map@5'.
          class_count: K.
          name: in the logs.
          dtype: of the tally, Keras's default if it is None.

        Raises:
          UserError: there is no such metric.
        """
        super().__init__(name=name, dtype=dtype)
        self._config = {"metric": metric, "class_count": class_count}
        self._set_up(find_metric(metric), class_count)

    def _set_up(self, metric: Metric, class_count: int) -> None:
        self._formula, self._k = metric.formula, metric.k
        shape, self._count = TALLIES[metric.tally]
        sizes = {"K": class_count, "B": SCORE_BINS}
        self.tally = self.add_weight(
            shape=tuple(sizes.get(str(axis), axis) for axis in shape), initializer="zeros", name="tally"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds photos.

        Args:
          y_true: targets float32 [B, K]; the label is the largest.
          y_pred: logits float32 [B, K].
          sample_weight: float32 [B], how much each photo counts; 0 on padding.
        """
        labels, logits = ops.argmax(y_true, axis=-1), ops.cast(y_pred, "float32")
        weights = ops.ones_like(logits[:, 0]) if sample_weight is None else ops.cast(sample_weight, "float32")
        self.tally.assign_add(self._count(logits, labels, ops.reshape(weights, (-1,))))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this metric again."""
        return super().get_config() | self._config

    def result(self) -> Any:
        """Returns the metric, float32."""
        return self._formula(ops.convert_to_tensor(self.tally), ops, self._k)


def _class_counts(logits: Any, labels: Any, weights: Any) -> Any:
    predicted = ops.argmax(logits, axis=-1)
    hits = weights * ops.cast(predicted == labels, "float32")
    return _by_class(logits.shape[-1], (labels, weights), (predicted, weights), (labels, hits))


def _grades(logits: Any, labels: Any, weights: Any) -> Any:
    predicted = ops.argmax(logits, axis=-1)
    squares = weights * ops.square(ops.cast(predicted, "float32") - ops.cast(labels, "float32"))
    return _by_class(logits.shape[-1], (labels, weights), (predicted, weights), (labels, squares))


def _by_class(count: int, *rows: tuple[Any, Any]) -> Any:
    """Returns float32 [R, K], the sum of each class's values; a row is (classes int [B], values float32 [B])."""
    sums = [ops.sum(ops.one_hot(classes, count, dtype="float32") * values[:, None], axis=0) for classes, values in rows]
    return ops.stack(sums)


def _label_ranks(logits: Any, labels: Any, weights: Any) -> Any:
    count = logits.shape[-1]
    own = ops.one_hot(labels, count, dtype="float32")
    of_label = ops.sum(logits * own, axis=-1, keepdims=True)
    earlier = ops.arange(count)[None] < ops.cast(labels, "int32")[:, None]
    before = ops.logical_or(logits > of_label, ops.logical_and(logits == of_label, earlier))
    ranks = ops.sum(ops.cast(before, "int32"), axis=-1)
    return ops.sum(ops.one_hot(ranks, count, dtype="float32") * weights[:, None], axis=0)


def _cross_entropy(logits: Any, labels: Any, weights: Any) -> Any:
    own = ops.one_hot(labels, logits.shape[-1], dtype="float32")
    losses = -ops.sum(ops.log_softmax(logits, axis=-1) * own, axis=-1)
    return ops.stack([ops.sum(losses * weights), ops.sum(weights)])


def _scores(logits: Any, labels: Any, weights: Any) -> Any:
    count = logits.shape[-1]
    odds = ops.clip(_log_odds(logits), -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    place = ops.cast((odds / LARGEST_LOG_ODDS + 1.0) / 2.0 * SCORE_BINS, "int32")
    own = ops.one_hot(labels, count, dtype="int32")
    flat = (own * count + ops.arange(count)[None]) * SCORE_BINS + ops.minimum(place, SCORE_BINS - 1)
    each = ops.broadcast_to(weights[:, None], ops.shape(logits))
    total = ops.segment_sum(ops.reshape(each, (-1,)), ops.reshape(flat, (-1,)), num_segments=2 * count * SCORE_BINS)
    return ops.reshape(total, (2, count, SCORE_BINS))


def _log_odds(logits: Any) -> Any:
    """Returns log(p / (1 − p)) of each class, float32 [B, K], without losing the digits of a p near 1."""
    powers = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    is_largest = powers >= 1.0
    # The largest power is 1: in a sum it would swallow the rest.
    smaller = ops.sum(ops.where(is_largest, 0.0, powers), axis=-1, keepdims=True)
    largest = ops.sum(ops.cast(is_largest, "float32"), axis=-1, keepdims=True)
    others = ops.where(is_largest, smaller + largest - 1.0, smaller + largest - powers)
    return ops.log(ops.maximum(powers, 1e-30)) - ops.log(ops.maximum(others, 1e-30))


# Name of a tally → its shape (K classes, B bins of scores), and the function that counts a batch of N photos: from
# logits float32 [N, K], labels int [N] and weights float32 [N] it returns float32 of that shape.
TALLIES: dict[str, tuple[tuple[str | int, ...], Callable[[Any, Any, Any], Any]]] = {
    "class_counts": ((3, "K"), _class_counts),
    "grades": ((3, "K"), _grades),
    "label_ranks": (("K",), _label_ranks),
    "cross_entropy": ((2,), _cross_entropy),
    "scores": ((2, "K", "B"), _scores),
}
