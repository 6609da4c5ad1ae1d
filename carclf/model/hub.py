"""Networks of KerasHub as backbones: images in 0..255 to a feature map, in blocks that can be unfrozen one by one."""

import dataclasses
import importlib.metadata
import importlib.util
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from carclf.errors import UserError
from carclf.extras import install_command
from carclf.model.hub_adapters import ADAPTERS, AdaptedNetwork, pair
from carclf.model.hub_families import HubBackbone
from carclf.model.hub_preset import WEIGHTS_FILE, Preset, read_preset
from carclf.model.weights import load_weights_file

INSTALL = "pip install --no-deps keras-hub regex tokenizers"
SHARED_FOLDER = ("tensorflow", "tensorflow-cpu")  # two distributions of one package


@dataclasses.dataclass(frozen=True, eq=False)
class Grouped:
    """The layers of a network in blocks; a class of its own, because Keras would adopt the layers of a plain list."""

    blocks: Sequence[Sequence[layers.Layer]]


def find_preset(row: HubBackbone, weights: str) -> Preset | None:
    """Returns the preset that `--weights` gives, or None for "none".

    Raises:
      UserError: as for `preset_folder` and `read_preset`.
    """
    return None if weights == "none" else read_preset(preset_folder(row, weights), row)


def preset_folder(row: HubBackbone, weights: str) -> Path:
    """Returns the folder of the preset: that of `--weights`, or for "imagenet" KerasHub's download.

    Raises:
      UserError: KerasHub has no such preset, or it could not be downloaded.
    """
    if weights != "imagenet":
        return Path(weights).expanduser()
    network = _network_class(row.family.network)
    if row.preset not in network.presets:
        raise UserError(
            f"KerasHub has no preset {row.preset!r}: give the folder of a preset as --weights=FOLDER, or name one of "
            f"{', '.join(sorted(network.presets))}."
        )
    if importlib.util.find_spec("kagglehub") is None:
        raise UserError(
            f"The weights of {row.name} are downloaded by the package kagglehub, which is not installed: pip install "
            "kagglehub, or give the folder of the preset as --weights=FOLDER."
        )
    import kagglehub

    handle = network.presets[row.preset]["kaggle_handle"].removeprefix("kaggle://")
    try:
        return Path(kagglehub.model_download(handle))
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"The preset {row.preset} could not be downloaded ({reason}): download {handle} from Kaggle's models and "
            "give its folder as --weights=FOLDER."
        ) from None


def build_hub_backbone(
    row: HubBackbone, *, preset: Preset | None, weights: str, image_size: tuple[int, int]
) -> keras.Model:
    """Returns a `keras.Model` "backbone": float32 [B, H, W, 3] in 0..255 → feature map [B, h, w, D].

    Args:
      row: the backbone's row.
      preset: what it is built from; None reads it from `weights`.
      weights: "none" (random), "imagenet" (KerasHub's own, whatever it was trained on), or the folder of a preset.
      image_size: (height, width) in pixels.

    Raises:
      UserError: KerasHub is not installed, or beside two TensorFlows; the preset cannot be read; it does not fit the
        family; the network does not take this image size.
    """
    known = preset or find_preset(row, weights)
    if known is None:
        raise UserError(
            f"{row.name} cannot be built without its preset: give the folder of the preset as --weights=FOLDER."
        )
    check_hub_image_size(row, known, image_size)
    whole, tower = _networks(row, known, image_size)
    if weights != "none":
        path = preset_folder(row, weights) / WEIGHTS_FILE
        load_weights_file(whole(), path, model_name=f"the network {row.name}", extra=True)
    images = keras.Input((*image_size, 3), dtype="float32", name="images")
    rescaling = layers.Rescaling(list(known.scale), list(known.offset), dtype="float32", name="rescaling")
    adapted = ADAPTERS[row.family.adapter](tower(), rescaling(images), row=row, preset=known)
    backbone = keras.Model(images, adapted.features, name="backbone")
    backbone.row, backbone.grouped = row, Grouped(_in_blocks(adapted, row.family.parts))
    return backbone


def check_hub_image_size(row: HubBackbone, preset: Preset, image_size: tuple[int, int]) -> None:
    """Checks that the network takes images of this size (height, width in pixels).

    Raises:
      UserError: a side is no multiple of its patches, or too small for its windows.
    """
    arguments = _tower_arguments(row, preset)
    patch, least = pair(arguments.get("patch_size", 1)), 1
    if row.family.adapter == "adapt_swin":
        reduction = patch[0] * 2 ** (len(arguments["depths"]) - 1)
        patch, least = (reduction, reduction), reduction * int(arguments["window_size"])
    for side, part in zip(image_size, patch, strict=True):
        if side % part or side < max(least, part):
            near = max(round(side / part), -(-least // part), 1) * part
            raise UserError(
                f"{row.name} takes sides that are multiples of {part} pixels"
                f"{f' and at least {least}' if least > part else ''}, not {side}: use --image_size={near}, and with "
                "progressive resizing sizes and a --size_count of which this is true at each size."
            )


def _networks(
    row: HubBackbone, preset: Preset, image_size: tuple[int, int]
) -> tuple[Callable[[], keras.Model], Callable[[], keras.Model]]:
    """Returns functions that build, once, the network of the preset's weights, and its image tower."""
    family, arguments, made = row.family, dict(preset.arguments), {}
    if family.size_key:
        arguments[family.size_key] = (*image_size, 3)

    def build(name: str, how: Mapping[str, Any]) -> keras.Model:
        if name not in made:
            made[name] = _called(row, name, how)
        return made[name]

    if family.tower is None:
        return (lambda: build(family.network, arguments),) * 2
    first, first_class, second, second_class = family.tower

    def whole() -> keras.Model:
        towers = {first: build(first_class, arguments[first]), second: build(second_class, arguments[second])}
        return build(family.network, arguments | towers)

    return whole, lambda: build(first_class, arguments[first])


def _called(row: HubBackbone, name: str, arguments: Mapping[str, Any]) -> keras.Model:
    try:
        return _network_class(name)(**arguments)
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(f"The preset of {row.name} describes no {name} ({reason}): copy the preset again.") from None


def _network_class(name: str) -> Any:
    """Returns the class of KerasHub, after checking that it is there and beside one TensorFlow alone."""
    beside = [package for package in SHARED_FOLDER if _is_installed(package)]
    if len(beside) == len(SHARED_FOLDER):
        raise UserError(
            "tensorflow and tensorflow-cpu are both installed and overwrite each other's files: pip uninstall both and "
            "tensorflow-text, then install one of the two, and KerasHub by "
            f"{INSTALL}."
        )
    try:
        import keras_hub
    except ImportError as error:  # also where what it needs is missing
        raise UserError(
            f"KerasHub is not installed ({error}): {INSTALL} (without --no-deps it brings a second TensorFlow beside "
            f"tensorflow-cpu); with the extra gpu, {install_command('hub')} does, too."
        ) from None
    if not hasattr(keras_hub.models, name):
        raise UserError(f"KerasHub {keras_hub.__version__} has no {name}: {INSTALL} --upgrade.")
    return getattr(keras_hub.models, name)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _tower_arguments(row: HubBackbone, preset: Preset) -> Mapping[str, Any]:
    return preset.arguments[row.family.tower[0]] if row.family.tower else preset.arguments


def _in_blocks(adapted: AdaptedNetwork, parts: int) -> list[list[layers.Layer]]:
    """Returns the stem and `parts` blocks, among which the body is divided evenly; the top belongs to the last."""
    body = [list(one) if isinstance(one, (list, tuple)) else [one] for one in adapted.body]
    edges = [round(len(body) * number / parts) for number in range(parts + 1)]
    blocks = [[layer for one in body[start:end] for layer in one] for start, end in itertools.pairwise(edges)]
    blocks[-1] = [*blocks[-1], *adapted.top]
    return [list(adapted.stem), *blocks]
