"""The smallest network that learns shapes from scratch on two CPU cores: for tests and the demo."""

import keras
from keras import layers

BLOCK_WIDTHS = (64, 128, 192)
STEM_WIDTH = 32
# With Keras's default (0.99) a run of a few hundred steps ends before the statistics have converged.
NORM_MOMENTUM = 0.9


def tiny_network(
    *, input_shape: tuple[int, int, int], include_top: bool = False, weights: str | None = None
) -> keras.Model:
    """Returns a fully convolutional `keras.Model`: float [B, H, W, 3] in −1..1 → [B, H/16, W/16, 192].

    The signature is that of `keras.applications`.

    Raises:
      ValueError: a top or weights are requested; there are none.
    """
    if include_top or weights is not None:
        raise ValueError(f"tiny has neither a top nor weights. Received: {include_top=}, {weights=}")
    inputs = keras.Input(input_shape)
    x = _convolution(inputs, STEM_WIDTH, name="stem", strides=2)
    for number, width in enumerate(BLOCK_WIDTHS, start=1):
        # Pooling before the convolution: four times fewer multiplications, and the last map stays large enough to view.
        x = layers.MaxPooling2D(name=f"block{number}_pool")(x)
        # Normalization takes as long as the convolution or the pooling. After the pooling, not the convolution, it
        # processes a quarter of the values, and a step takes two thirds of the time.
        x = _activation(x, name="stem" if number == 1 else f"block{number - 1}")
        x = _convolution(x, width, name=f"block{number}")
    return keras.Model(inputs, _activation(x, name=f"block{len(BLOCK_WIDTHS)}"), name="tiny")


def _convolution(x: keras.KerasTensor, width: int, *, name: str, strides: int = 1) -> keras.KerasTensor:
    return layers.Conv2D(width, 3, strides=strides, padding="same", use_bias=False, name=f"{name}_conv")(x)


def _activation(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
