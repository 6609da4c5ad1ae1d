"""How each network of KerasHub is applied to images, and which layers its blocks are."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from carclf.model.hub_families import HubBackbone
from carclf.model.hub_preset import Preset
from carclf.model.tokens import PatchTokens, TokenMap

Tensor = Any


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptedNetwork:
    """A network applied to images.

    Attributes:
      features: the feature map [B, h, w, D].
      stem: the layers below the first block.
      body: the layers of the blocks, one by one or as lists, from the input up.
      top: the layers above.
    """

    features: Tensor
    stem: Sequence[layers.Layer]
    body: Sequence[layers.Layer | Sequence[layers.Layer]]
    top: Sequence[layers.Layer] = ()


def adapt_layers(network: keras.Model, images: Tensor, **_: Any) -> AdaptedNetwork:
    """A convolutional network that is a graph of layers; layers of a block share the beginning of their names."""
    stages: dict[str, list[layers.Layer]] = {}
    for layer in network.layers:
        if layer.weights:
            stages.setdefault(_stage_of(layer.name), []).append(layer)
    first, *rest = stages.values()
    tops = [key for key in stages if key.startswith("top")]
    body = rest[: len(rest) - len(tops)]
    return AdaptedNetwork(network(images), first, body, [layer for key in tops for layer in stages[key]])


def _stage_of(name: str) -> str:
    """Returns the block in a layer's name ("block3" for block3a_dwconv, "stem" for stem_bn), or else the name."""
    for start in ("stem", "input", "top"):
        if name.startswith(start):
            return start
    digits = name.removeprefix("block").split("_")[0].rstrip("abcdefghijklmnopqrstuvwxyz")
    return f"block{digits}" if name.startswith("block") and digits.isdigit() else name


def adapt_hgnetv2(network: keras.Model, images: Tensor, **_: Any) -> AdaptedNetwork:
    """The last stage is the feature map."""
    outputs = network(images)
    return AdaptedNetwork(outputs[network.stage_names[-1]], [network.embedder_layer], network.encoder_layer.stages_list)


def adapt_swin(network: keras.Model, images: Tensor, **_: Any) -> AdaptedNetwork:
    """Windows: no positions, no token in front."""
    side = network.patch_size * 2 ** (len(network.depths) - 1)
    grid = (images.shape[1] // side, images.shape[2] // side)
    features = TokenMap(grid=grid, prefix=0, with_first=False, name="feature_map")(network(images))
    return AdaptedNetwork(features, [network.patch_embedding], network.stages, [network.norm])


def adapt_vit(network: keras.Model, images: Tensor, *, row: HubBackbone, preset: Preset) -> AdaptedNetwork:
    """Source: Dosovitskiy et al. 2021."""
    embedding, encoder = network.get_layer("vit_patching_and_embedding"), network.get_layer("vit_encoder")
    positions = _array(embedding.position_embedding.embeddings)
    first = _array(embedding.class_token)[0] + positions[:1] if embedding.use_class_token else positions[:0]
    patches = _patches(
        embedding.patch_embedding, first, positions[len(first) :], images=preset.arguments["image_shape"]
    )
    return _encoded(patches, images, encoder, encoder.encoder_layers, [encoder.layer_norm], row=row)


def adapt_deit(network: keras.Model, images: Tensor, *, row: HubBackbone, preset: Preset) -> AdaptedNetwork:
    """Source: Touvron et al. 2021: a class token and a distillation token."""
    embedding, encoder = network.get_layer("deit_patching_and_embedding"), network.get_layer("deit_encoder")
    positions = _array(embedding.position_embedding)[0]
    first = np.concatenate([_array(embedding.class_token)[0], _array(embedding.distillation_token)[0]]) + positions[:2]
    patches = _patches(embedding.patch_embedding, first, positions[2:], images=preset.arguments["image_shape"])

    def run(x: Tensor) -> Tensor:
        return encoder(x)[0]

    return _encoded(patches, images, run, encoder.encoder_layers, [encoder.layer_norm], row=row)


def adapt_dinov2(network: keras.Model, images: Tensor, *, row: HubBackbone, preset: Preset) -> AdaptedNetwork:
    """Source: Oquab et al. 2024; registers: Darcet et al. 2024. Registers have no positions."""
    embedding = network.embeddings
    positions = _array(embedding.position_embeddings)[0]
    first = _array(embedding.cls_token)[0] + positions[:1]
    if embedding.num_register_tokens:
        first = np.concatenate([first, _array(embedding.register_tokens)[0]])
    shape = preset.arguments.get("position_embedding_shape", (518, 518, 3))
    patches = _patches(embedding.patch_embeddings.projection, first, positions[1:], images=shape)

    def run(x: Tensor) -> Tensor:
        return network.layernorm(network.encoder(x)[0])

    return _encoded(patches, images, run, network.encoder.layers, [network.layernorm], row=row)


def adapt_dinov3(network: keras.Model, images: Tensor, *, row: HubBackbone, preset: Preset) -> AdaptedNetwork:
    """Positions are rotations of queries and keys, at any size."""
    prefix = 1 + network.num_register_tokens
    features = _token_map(network({"pixel_values": images}), images, network.patch_size, prefix=prefix, row=row)
    return AdaptedNetwork(features, [network.embeddings], network.encoder.layers, [network.layernorm])


def adapt_siglip(network: keras.Model, images: Tensor, *, row: HubBackbone, preset: Preset) -> AdaptedNetwork:
    """Source: Zhai et al. 2023. Its own attentive pooling is left out: `--head=attention` learns one."""
    embedding = network.embedding
    positions = _array(embedding.position_embedding.embeddings)[_array(embedding.position_ids)[0].astype(int)]
    patches = _patches(embedding.patch_embedding, positions[:0], positions, images=network.image_shape)

    def run(x: Tensor) -> Tensor:
        return network.post_layer_norm(_in_turn(network.encoder_layers, x))

    return _encoded(patches, images, run, network.encoder_layers, [network.post_layer_norm], row=row)


def adapt_clip(network: keras.Model, images: Tensor, *, row: HubBackbone, preset: Preset) -> AdaptedNetwork:
    """Source: Radford et al. 2021. Its projection to the space of texts is left out."""
    embedding = network.embedding
    positions = _array(embedding.position_embedding.embeddings)[_array(embedding.position_ids)[0].astype(int)]
    first = _array(embedding.class_embedding)[None] + positions[:1]
    patches = _patches(embedding.patch_embedding, first, positions[1:], images=network.image_shape)

    def run(x: Tensor) -> Tensor:
        return network.layer_norm(_in_turn(network.encoder_layers, network.pre_layer_norm(x)))

    found = _encoded(patches, images, run, network.encoder_layers, [network.layer_norm], row=row)
    return dataclasses.replace(found, stem=[*found.stem, network.pre_layer_norm])


ADAPTERS: dict[str, Callable[..., AdaptedNetwork]] = {
    "adapt_layers": adapt_layers,
    "adapt_hgnetv2": adapt_hgnetv2,
    "adapt_swin": adapt_swin,
    "adapt_vit": adapt_vit,
    "adapt_deit": adapt_deit,
    "adapt_dinov2": adapt_dinov2,
    "adapt_dinov3": adapt_dinov3,
    "adapt_siglip": adapt_siglip,
    "adapt_clip": adapt_clip,
}


def _patches(
    convolution: layers.Conv2D, first: np.ndarray, positions: np.ndarray, *, images: Sequence[int]
) -> PatchTokens:
    """Returns the layer with what a network of KerasHub has learned; `images` is the shape it was trained at."""
    patch, width = pair(convolution.kernel_size), int(positions.shape[-1])
    grid = (int(images[0]) // patch[0], int(images[1]) // patch[1])
    layer = PatchTokens(patch=patch, grid=grid, width=width, prefix=len(first), name="patch_tokens")
    layer.build((None, None, None, 3))
    bias = _array(convolution.bias) if convolution.use_bias else np.zeros(width, np.float32)
    prefix = [first] if len(first) else []
    layer.set_weights([_array(convolution.kernel), bias, *prefix, positions.reshape(*grid, width)])
    return layer


def _encoded(
    patches: PatchTokens,
    images: Tensor,
    encoder: Callable[[Tensor], Tensor],
    body: Sequence[layers.Layer],
    top: Sequence[layers.Layer],
    *,
    row: HubBackbone,
) -> AdaptedNetwork:
    tokens = encoder(patches(images))
    features = _token_map(tokens, images, patches.patch, prefix=patches.prefix, row=row)
    return AdaptedNetwork(features, [patches], body, top)


def _token_map(
    tokens: Tensor, images: Tensor, patch: int | tuple[int, int], *, prefix: int, row: HubBackbone
) -> Tensor:
    height, width = pair(patch)
    grid = (images.shape[1] // height, images.shape[2] // width)
    return TokenMap(
        grid=grid, prefix=prefix, with_first=row.family.tokens == "both" and prefix > 0, name="feature_map"
    )(tokens)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Returns (height, width) of a side or of both."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _in_turn(blocks: Sequence[layers.Layer], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
