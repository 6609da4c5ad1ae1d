"""The families of KerasHub's networks that can be a backbone, `--backbone=hub:PRESET`; without Keras and KerasHub.

A preset's name begins with its family's, such as `hub:dinov2_base`; the family alone, `hub:dinov2`, is enough where
`--weights=FOLDER` gives the preset.
"""

import dataclasses
from typing import Literal

from carclf.errors import UserError
from carclf.model.backbones import IMAGENET_MEAN, IMAGENET_STDDEV, Backbone

PREFIX = "hub:"
TokenPooling = Literal["mean", "both"]
PerChannel = tuple[float, float, float]

HALF: PerChannel = (0.5, 0.5, 0.5)
CLIP_MEAN: PerChannel = (0.48145466, 0.4578275, 0.40821073)  # Source: openai/CLIP, clip.py, `_transform`
CLIP_STDDEV: PerChannel = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One row of `FAMILIES`.

    Attributes:
      network: the class in `keras_hub.models`, as a preset's config.json names it.
      tower: the attribute of a network of images and text that holds its image tower, with the class of each tower.
      adapter: the function of `carclf.model.hub_adapters` that applies the network.
      parts: number of blocks after the stem, for unfreezing and layer-wise rates.
      size_key: the argument of the class for (height, width, 3); empty for a network whose learned positions are
        interpolated by `carclf.model.tokens.PatchTokens` instead.
      tokens: how a token in front of those of the patches gets into the feature map: not at all ("mean"), or beside
        each patch ("both").
      mean: of RGB in 0..1, that a preset without image_converter.json expects.
      stddev: likewise.
      aliases: other beginnings of preset names.
    """

    network: str
    tower: tuple[str, str, str, str] | None = None
    adapter: str
    parts: int
    size_key: str = ""
    tokens: TokenPooling = "mean"
    mean: PerChannel = IMAGENET_MEAN
    stddev: PerChannel = IMAGENET_STDDEV
    aliases: tuple[str, ...] = ()


_SIGLIP = ("vision_encoder", "SigLIPVisionEncoder", "text_encoder", "SigLIPTextEncoder")
_CLIP = ("vision_encoder", "CLIPVisionEncoder", "text_encoder", "CLIPTextEncoder")

FAMILIES: dict[str, Family] = {
    "hgnetv2": Family(network="HGNetV2Backbone", adapter="adapt_hgnetv2", parts=4, size_key="image_shape"),
    "efficientnet": Family(network="EfficientNetBackbone", adapter="adapt_layers", parts=7, size_key="input_shape"),
    "mobilenet": Family(network="MobileNetBackbone", adapter="adapt_layers", parts=6, size_key="image_shape"),
    "mobilenetv5": Family(
        network="MobileNetV5Backbone",
        adapter="adapt_layers",
        parts=4,
        size_key="image_shape",
        mean=(0.0, 0.0, 0.0),
        stddev=(1.0, 1.0, 1.0),
    ),
    "swin": Family(network="SwinTransformerBackbone", adapter="adapt_swin", parts=4, size_key="image_shape"),
    "vit": Family(network="ViTBackbone", adapter="adapt_vit", parts=12, tokens="both", mean=HALF, stddev=HALF),
    "deit": Family(network="DeiTBackbone", adapter="adapt_deit", parts=12, tokens="both"),
    "dinov2": Family(
        network="DINOV2Backbone",
        adapter="adapt_dinov2",
        parts=12,
        tokens="both",
    ),
    "dinov3": Family(
        network="DINOV3Backbone",
        adapter="adapt_dinov3",
        parts=12,
        size_key="image_shape",
        tokens="both",
    ),
    "siglip": Family(
        network="SigLIPBackbone",
        tower=_SIGLIP,
        adapter="adapt_siglip",
        parts=12,
        mean=HALF,
        stddev=HALF,
        aliases=("siglip2", "medsiglip"),
    ),
    "clip": Family(
        network="CLIPBackbone",
        tower=_CLIP,
        adapter="adapt_clip",
        parts=12,
        tokens="both",
        mean=CLIP_MEAN,
        stddev=CLIP_STDDEV,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubBackbone(Backbone):
    """The row that `--backbone=hub:PRESET` stands for.

    Attributes:
      family: its family.
    """

    family: Family

    @property
    def preset(self) -> str:
        """The preset's name in KerasHub, or the family's."""
        return self.name.removeprefix(PREFIX)


def hub_row(name: str) -> HubBackbone:
    """Returns the row of a name such as "hub:dinov2_base".

    Raises:
      UserError: no family has that name.
    """
    preset = name.removeprefix(PREFIX).strip()
    starts = {start: family for known, family in FAMILIES.items() for start in (known, *family.aliases)}
    matching = [start for start in starts if preset == start or preset.startswith((f"{start}_", f"{start}2_"))]
    if not matching:
        raise UserError(
            f"There is no family of KerasHub's backbones for {name!r}: write hub: and the name of a preset, which "
            f"begins with one of {', '.join(starts)}, such as hub:dinov2_base."
        )
    family = starts[max(matching, key=len)]
    return HubBackbone(
        name=f"{PREFIX}{preset}",
        builder="carclf.model.hub:build_hub_backbone",
        default_size=224,
        blocks=("stem", *(f"block{number}" for number in range(1, family.parts + 1))),
        family=family,
    )
