"""TensorFlow's JPEG decoder, the one that will train, and quiet about what it reads."""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator

import numpy as np

from carclf.quiet import without_start_messages

REDUCED_SIDE_PX = 32  # the reduced image keeps at least this many pixels a side, where the photo has them
RATIOS = (8, 4, 2)


def prepare() -> None:
    """Imports TensorFlow; in a worker with one thread and no GPU: photos, not operations, are what runs in parallel."""
    if sys.modules.get("tensorflow"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    in_worker = multiprocessing.parent_process() is not None
    if in_worker:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with without_start_messages():
        import tensorflow as tf

        if in_worker:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)


def decode(encoded: bytes, *, ratio: int = 1) -> np.ndarray:
    """The photo as uint8 [h, w, 3], 1/ratio of its size, decoded as in training.

    Raises:
      ValueError: the decoder refuses the bytes.
    """
    import tensorflow as tf

    try:
        with tf.device("/CPU:0"):
            image = tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, fancy_upscaling=True, dct_method="INTEGER_FAST")
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
        raise ValueError(str(error.message).split("[Op")[0].split("}}")[-1].strip()) from None  # less its own names
    return np.asarray(image)


def decode_reduced(encoded: bytes, *, height: int, width: int) -> np.ndarray:
    """The photo as uint8 [h, w, 3] at the smallest DCT ratio that leaves REDUCED_SIDE_PX a side.

    Every ratio reads the entropy-coded data to its end and refuses the same files; only the inverse transform is
    cheaper. (A test compares the verdicts on truncated and altered files.)

    Raises:
      ValueError: the decoder refuses the bytes.
    """
    ratio = next((r for r in RATIOS if min(height, width) >= r * REDUCED_SIDE_PX), 1)
    return decode(encoded, ratio=ratio)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences file descriptor 2: libjpeg writes its remarks on damaged files there itself."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
