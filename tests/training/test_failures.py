import keras
import pytest
import small
import tensorflow as tf

from carclf import runs
from carclf.errors import DamagedShardError, UserError
from carclf.training.failures import reporting_failures

OUT_OF_MEMORY = [
    tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4294967296 bytes."),  # JAX's wording
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["TensorFlow", "JAX"])
def test_out_of_memory_is_a_sentence_with_batch_size_and_flag(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(keras.Model, "fit", fail)
    said = "ran out of memory at --batch_size=4 and --image_size=32x32: lower one of them, or take --precision=mixed"
    with pytest.raises(UserError, match=said):
        small.train(tmp_path / "run")
    assert not (tmp_path / "run" / runs.LAST_WEIGHTS).exists()


def test_other_failures_are_told_as_they_are():
    broken = tf.errors.UnknownError(None, None, "DamagedShardError: the shard a.tfrecord is cut short\n\nTraceback")
    said = r"^the shard a.tfrecord is cut short$"
    with pytest.raises(DamagedShardError, match=said), reporting_failures(small.PHASE):
        raise broken
    for error in (tf.errors.UnknownError(None, None, "no sentence"), RuntimeError("anything"), ValueError("a bug")):
        with pytest.raises(type(error)) as raised, reporting_failures(small.PHASE):
            raise error
        assert raised.value is error
