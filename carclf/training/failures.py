"""Reports the frameworks' exceptions during a stage as one sentence each."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from carclf.errors import DamagedShardError, UserError, full_disk, sentence_in
from carclf.runs.opening import AFRESH
from carclf.training.phases import Phase


@contextlib.contextmanager
def reporting_failures(phase: Phase) -> Iterator[None]:
    """Turns known exceptions of the frameworks inside this context into errors of one sentence.

    Raises:
      UserError: the device is out of memory.
      DamagedShardError: a photo cannot be read.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, tf.errors.ResourceExhaustedError) or "RESOURCE_EXHAUSTED" in str(error):  # JAX's text
            if full_disk(error):  # TensorFlow has one class for both
                raise
            height, width = phase.image_size
            raise UserError(
                f"The device ran out of memory at --batch_size={phase.batch_size} and --image_size={height}x{width}: "
                f"lower one of them, or take --precision=mixed_bfloat16 where the device has it, {AFRESH}."
            ) from None
        if isinstance(error, tf.errors.UnknownError) and (sentence := sentence_in(error)):  # from the data's threads
            raise DamagedShardError(sentence) from None
        raise
