"""A Keras network as a TensorFlow graph of constants, which other engines read."""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

# Marks of functions that TensorFlow compiles as they are; a marked function stays a call, which ONNX does not have.
XLA_MARKS = ("_XlaMustCompile", "_noinline")


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenGraph:
    """A network whose weights have become constants, for any batch.

    Attributes:
      definition: TensorFlow's GraphDef.
      input: name of the input tensor, float32 [B, H, W, 3] in 0..255.
      output: name of the output tensor, float32 [B, …].
      by_keras: computes the same by Keras, in one TensorFlow program.
    """

    definition: Any
    input: str
    output: str
    by_keras: Callable[[np.ndarray], np.ndarray]


def freeze(network: keras.Model) -> FrozenGraph:
    """Returns the graph of a network, image float32 [B, H, W, 3] → float32 [B, …], for Keras on TensorFlow."""
    import tensorflow as tf

    # TensorFlow has no public name for it; tf2onnx imports it from here, too.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    image = tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)
    with quiet_converters():
        traced = tf.function(lambda images: network(images, training=False), autograph=False)
        function = traced.get_concrete_function(image)
        frozen = convert_variables_to_constants_v2(function)
    definition = frozen.graph.as_graph_def()
    leave_out_xla(definition)
    return FrozenGraph(
        definition=definition,
        input=frozen.inputs[0].name,
        output=frozen.outputs[0].name,
        by_keras=lambda images: np.asarray(function(tf.constant(images))),
    )


def leave_out_xla(graph: Any) -> None:
    """Removes the marks of XLA from the functions in a GraphDef: converters would leave their calls as they are.

    Keras marks every convolution in groups, such as those of ConvNeXt.
    """
    functions = list(graph.library.function)
    nodes = [node for part in functions for node in part.node_def]
    for marked in (*functions, *nodes, *graph.node):
        for mark in XLA_MARKS:
            marked.attr.pop(mark, None)


@contextlib.contextmanager
def quiet_converters() -> Iterator[None]:
    """Hides messages of the converters; what they write is compared with Keras afterwards."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
