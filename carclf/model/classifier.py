"""Backbone and head: rendered images to logits, and which of their layers learn."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

import keras
from keras import layers

from carclf.errors import UserError
from carclf.model.backbones import RAW, Backbone, build_backbone, find_backbone, split_blocks
from carclf.model.heads import find_head
from carclf.model.hub_families import HubBackbone
from carclf.model.hub_preset import Preset
from carclf.model.pooling import build_pooling
from carclf.model.unfreezing import parse_unfreeze
from carclf.model.weights import load_backbone_weights


def build_classifier(
    *,
    backbone: str,
    weights: str,
    class_count: int,
    image_size: tuple[int, int],
    head: str = "notebook",
    head_width: int = 128,
    dropout: float = 0.25,
    l2: float = 0.01,
    preset: Preset | None = None,
) -> keras.Model:
    """Returns a `keras.Model` "classifier": float32 [B, H, W, 3] in 0..255 → logits [B, K], float32 in any precision.

    Its `.weights.h5` fits the same model at any other image size. Its layers: `input_range` (a Rescaling, only if the
    backbone does not rescale inside), `backbone` (a nested model) and the head's: `head_pool`; if it has a hidden layer
    `head_dense`, `head_norm` and `head_relu`; `head_dropout`, `logits`.

    Args:
      backbone: a name in `BACKBONES`, or one of its spellings, or "hub:PRESET".
      weights: "imagenet", "none", or the path of a weights file of the backbone; of a preset's folder for "hub:PRESET".
      class_count: K, at least 2.
      image_size: (height, width) in pixels.
      head: a name in `carclf.model.heads.HEADS`.
      head_width: units of the hidden layer, if the head has one.
      dropout: fraction of the inputs of `logits` dropped in training, in [0, 1).
      l2: factor of the hidden layer's kernel penalty, which Keras adds to the loss.
      preset: what a hub backbone is built from; None reads it from `weights`.

    Raises:
      UserError: the backbone or the head is unknown, the image size or the weights do not fit the backbone, there are
        fewer than two classes, the dropout is out of range, or Keras is set to channels_first.

    Source: the head "notebook" is the 2020 notebook's: pooling, Dense 128 without bias, l2 0.01, BatchNorm, ReLU,
      Dropout 0.25.
    """
    if class_count < 2:
        raise UserError(f"A classifier needs at least 2 classes, and the data set has {class_count}: check its labels.")
    if keras.config.image_data_format() != "channels_last":
        raise UserError(
            "Keras is set to channels_first, and carclf's images are [B, H, W, 3]: call "
            "keras.config.set_image_data_format('channels_last') first, or change ~/.keras/keras.json."
        )
    if not 0.0 <= dropout < 1.0:
        raise UserError(f"Dropout is {dropout}: give a fraction of at least 0 and below 1.")
    row, head_row = find_backbone(backbone), find_head(head)
    network = _build_network(row, weights=weights, image_size=image_size, preset=preset)
    number_names(network)
    inputs = keras.Input((*image_size, 3), dtype="float32", name="image")
    x = inputs
    if row.input_range != RAW:
        x = layers.Rescaling(*row.rescaling, dtype="float32", name="input_range")(x)
    x = network(x)
    x = build_pooling(head_row.pooling, name="head_pool")(x)
    if head_row.hidden:
        regularizer = keras.regularizers.L2(l2) if l2 else None
        x = layers.Dense(head_width, use_bias=False, kernel_regularizer=regularizer, name="head_dense")(x)
        x = layers.BatchNormalization(name="head_norm")(x)
        x = layers.ReLU(name="head_relu")(x)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    logits = layers.Dense(class_count, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="classifier")


def _build_network(row: Backbone, *, weights: str, image_size: tuple[int, int], preset: Preset | None) -> keras.Model:
    if isinstance(row, HubBackbone):
        from carclf.model.hub import build_hub_backbone  # only here: it takes seconds to import KerasHub

        return build_hub_backbone(row, preset=preset, weights=weights, image_size=image_size)
    network = build_backbone(row, image_size=image_size)
    load_backbone_weights(network, row, weights)
    return network


def number_names(network: keras.Model) -> None:
    """Numbers the layers that have no name of their own from the start, as in the first network of a process.

    Keras counts them over the whole process and writes their names into weights files; a resumed run builds fewer
    networks, and its files would differ.
    """
    counts: collections.Counter[str] = collections.Counter()
    for layer in network._flatten_layers(include_self=False):  # Keras has no public method that lists nested layers
        stem = re.sub(r"_\d+$", "", layer.name)
        if stem.replace("_", "") == type(layer).__name__.lower():
            layer.name = f"{stem}_{counts[stem]}" if counts[stem] else stem
            counts[stem] += 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainableSummary:
    """The layers and weights that `set_trainable` made trainable. `str()` gives a line to print."""

    backbone_layers: int
    unfrozen_backbone_layers: int
    batch_norm_layers: int
    trainable_batch_norm_layers: int
    weight_count: int
    trainable_weight_count: int

    def __str__(self) -> str:
        layers = f"the head and the last {self.unfrozen_backbone_layers} of {self.backbone_layers} backbone layers"
        norms = f"{self.trainable_batch_norm_layers} of the backbone's {self.batch_norm_layers} BatchNorm layers"
        weights = f"{self.trainable_weight_count:,} of {self.weight_count:,} weights"
        return f"trainable: {layers}, with {norms}: {weights}"


def set_trainable(model: keras.Model, *, unfreeze: str, train_batch_norm: bool) -> TrainableSummary:
    """Makes layers trainable or frozen, and returns a summary. Compile the model after this, not before.

    The head is always trainable.

    Args:
      model: from `build_classifier`.
      unfreeze: "head", "all", a fraction such as "0.5" of the backbone's layers, counted from its end as
        `keras.Model.layers` counts them (the notebook unfroze the last 192 of EfficientNetB3's 384), the lowest block
        to learn, or "gradual(2)": see `carclf.model.unfreezing.parse_unfreeze`. Gradual unfreezing makes the whole
        backbone trainable here; the optimizer makes each block wait for its epoch, with
        `carclf.model.unfreezing.learning_factors`.
      train_batch_norm: whether unfrozen BatchNorm layers learn too. A frozen one uses its stored statistics and never
        updates them.

    Raises:
      UserError: `unfreeze` is none of these or a fraction that rounds to no layer, or it is gradual while BatchNorm
        learns: every batch updates the statistics, also in a block that still waits.
    """
    backbone = model.get_layer("backbone")
    unfreezing = parse_unfreeze(unfreeze, backbone.row)
    if unfreezing.epochs_per_block and train_batch_norm:
        raise UserError(
            f"--unfreeze={unfreeze} does not work with --train_batch_norm, because BatchNorm statistics cannot wait "
            "for the epoch of their block: leave out --train_batch_norm."
        )
    blocks = split_blocks(backbone, backbone.row)
    every = [layer for block in blocks for layer in block]
    count = len(every)
    if unfreezing.fraction is not None:
        first_trainable = count - round(unfreezing.fraction * count)
        if unfreezing.fraction and first_trainable == count:
            raise UserError(
                f"--unfreeze={unfreeze} is none of the {count} layers of {backbone.row.name}: give head, or a fraction "
                f"of at least {math.ceil(1000 / count) / 1000}."
            )
    else:
        frozen_blocks = len(backbone.row.blocks) - len(unfreezing.blocks)
        first_trainable = sum(map(len, blocks[:frozen_blocks]))
    backbone.trainable = True
    for index, layer in enumerate(every):
        layer.trainable = index >= first_trainable
        for norm in batch_norm_layers(layer):
            norm.trainable = layer.trainable and train_batch_norm
    norms = list(batch_norm_layers(backbone))
    return TrainableSummary(
        backbone_layers=count,
        unfrozen_backbone_layers=count - first_trainable,
        batch_norm_layers=len(norms),
        trainable_batch_norm_layers=sum(norm.trainable for norm in norms),
        weight_count=model.count_params(),
        trainable_weight_count=sum(math.prod(weight.shape) for weight in model.trainable_weights),
    )


def batch_norm_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.BatchNormalization]:
    """Yields every BatchNorm layer in `layer`, at any depth, including `layer` itself."""
    for inner in layer._flatten_layers():  # Keras has no public method that lists nested layers
        if isinstance(inner, keras.layers.BatchNormalization):
            yield inner


def synchronize_batch_norm(model: keras.Model) -> int:
    """Makes BatchNorm layers use statistics of all replicas, and returns how many there are.

    Otherwise each replica of a MirroredStrategy follows its own part of the batch, and the moving statistics drift
    apart silently. `keras.applications` does not expose the option, but it can be set on built layers. JAX needs no
    change (0): one program sees the whole batch.
    """
    if keras.backend.backend() != "tensorflow":
        return 0
    norms = list(batch_norm_layers(model))
    for norm in norms:
        norm.synchronized = True
    return len(norms)
