"""EfficientNet-Lite: EfficientNet without squeeze-and-excite, with ReLU6, for devices that calculate in integers.

Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (efficientnet_lite_builder.py).
Stem, head, and the depth of the first and last block are not scaled.
"""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from carclf.errors import UserError

NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.99
STEM_WIDTH, TOP_WIDTH, WIDTH_UNIT = 32, 1280, 8


class Block(NamedTuple):
    """A block of layers before scaling: repeats, kernel size, stride of the first, expansion, channels out."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


BLOCKS = (
    Block(1, 3, 1, 1, 16), Block(2, 3, 2, 6, 24), Block(2, 5, 2, 6, 40), Block(3, 3, 2, 6, 80),
    Block(3, 5, 1, 6, 112), Block(4, 5, 2, 6, 192), Block(1, 3, 1, 6, 320),
)  # fmt: skip


def _network(
    *,
    width_factor: float,
    depth_factor: float,
    input_shape: tuple[int, int, int],
    include_top: bool = False,
    weights: str | None = None,
) -> keras.Model:
    """Returns a `keras.Model`: float [B, H, W, 3], (x − 127) / 128 of 0..255 → [B, H/32, W/32, 1280].

    The signature is that of `keras.applications`.

    Raises:
      ValueError: a top or weights are requested; `carclf.model.weights` loads them.
    """
    if include_top or weights is not None:
        raise ValueError(f"EfficientNet-Lite is built without top and weights. Received: {include_top=}, {weights=}")
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(STEM_WIDTH, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _activated(x, name="stem")
    for number, block in enumerate(BLOCKS, start=1):
        is_end = number in (1, len(BLOCKS))
        for repeat in range(block.repeats if is_end else math.ceil(block.repeats * depth_factor)):
            x = _inverted_residual(
                x, block, first=repeat == 0, width_factor=width_factor, name=f"block{number}{chr(ord('a') + repeat)}"
            )
    x = layers.Conv2D(TOP_WIDTH, 1, use_bias=False, name="top_conv")(x)
    return keras.Model(inputs, _activated(x, name="top"), name="efficientnet_lite")


efficientnet_lite0 = functools.partial(_network, width_factor=1.0, depth_factor=1.0)
efficientnet_lite1 = functools.partial(_network, width_factor=1.0, depth_factor=1.1)
efficientnet_lite2 = functools.partial(_network, width_factor=1.1, depth_factor=1.2)


def _inverted_residual(
    x: keras.KerasTensor, block: Block, *, first: bool, width_factor: float, name: str
) -> keras.KerasTensor:
    entry, stride = x, block.stride if first else 1
    if block.expansion > 1:
        wider = x.shape[-1] * block.expansion
        x = layers.Conv2D(wider, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _activated(x, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(block.kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
    x = _activated(x, name=f"{name}_dw")
    width = _scaled(block.width, width_factor)
    x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _normalized(x, name=f"{name}_project")
    return layers.Add(name=f"{name}_add")([entry, x]) if stride == 1 and entry.shape[-1] == width else x


def _normalized(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=NORM_EPSILON, momentum=NORM_MOMENTUM, name=f"{name}_bn")(x)


def _activated(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    return layers.ReLU(6, name=f"{name}_relu")(_normalized(x, name=name))


def _scaled(width: int, factor: float) -> int:
    """Returns the width times the factor, rounded to a multiple of 8 that is at least 0.9 of it."""
    wanted = width * factor
    rounded = max(WIDTH_UNIT, int(wanted + WIDTH_UNIT / 2) // WIDTH_UNIT * WIDTH_UNIT)
    return rounded + WIDTH_UNIT if rounded < 0.9 * wanted else rounded


def set_torch_weights(network: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Sets every weight of the network from the tensors of the PyTorch port, without its classifier `_fc`.

    Args:
      network: from `efficientnet_lite0` or its siblings.
      tensors: name in the port → float32, in PyTorch's order of axes.

    Raises:
      UserError: a tensor is missing, left over or of another shape; the network's values are then undefined.
    """
    left = {name for name in tensors if not name.endswith("num_batches_tracked") and not name.startswith("_fc.")}
    for layer, prefix in _torch_names(network):
        arrays = []
        for part, axes in _torch_parts(layer):
            name = f"{prefix}.{part}"
            if name not in tensors:
                raise UserError(f"The weights have no {name}, which {layer.name} needs: give the file of this network.")
            left.discard(name)
            arrays.append(tensors[name].transpose(axes) if axes else tensors[name])
        wanted, found = [tuple(w.shape) for w in layer.weights], [a.shape for a in arrays]
        if wanted != found:
            raise UserError(f"The weights of {prefix} have shapes {found} instead of {wanted}: give its own file.")
        layer.set_weights(arrays)
    if left:
        raise UserError(f"The weights hold {min(left)}, which has no place here: give the file of this network.")


def _torch_names(network: keras.Model) -> Iterator[tuple[keras.layers.Layer, str]]:
    """Yields each layer with weights, and its name in the PyTorch port, which counts all blocks in one row."""
    parts = {
        "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "dw_bn": "_bn1",
        "project_conv": "_project_conv", "project_bn": "_bn2",
    }  # fmt: skip
    ends = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    blocks: list[str] = []
    for layer in network.layers:
        if not layer.weights:
            continue
        block, _, part = layer.name.partition("_")
        if layer.name in ends:
            yield layer, ends[layer.name]
            continue
        if block not in blocks:
            blocks.append(block)
        yield layer, f"_blocks.{blocks.index(block)}.{parts[part]}"


def _torch_parts(layer: keras.layers.Layer) -> list[tuple[str, tuple[int, ...]]]:
    """Returns the parts of the layer in the port, and the axes that turn each into Keras's order."""
    if isinstance(layer, layers.BatchNormalization):
        return [(part, ()) for part in ("weight", "bias", "running_mean", "running_var")]
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    return [("weight", (2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]
