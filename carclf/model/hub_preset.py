"""Reads the preset of a KerasHub network: JSON and an HDF5 file. Nothing in its folder is executed."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carclf.errors import UserError
from carclf.model.hub_families import FAMILIES, PREFIX, HubBackbone

CONFIG_FILE = "config.json"
CONVERTER_FILE = "image_converter.json"
WEIGHTS_FILE = "model.weights.h5"
IGNORED = ("name", "trainable", "dtype")  # arguments of every Keras model


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a network is built from; a run keeps it, so that it needs the preset's folder only once.

    Attributes:
      arguments: of the network's class; those of its towers if it has two, by the tower's attribute.
      scale: of each colour channel, from 0..255.
      offset: of each colour channel, added after `scale`.
    """

    arguments: Mapping[str, Any]
    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Preset":
        """Returns the preset that `dataclasses.asdict` made this mapping from."""
        return cls(dict(content["arguments"]), tuple(content["scale"]), tuple(content["offset"]))


def read_preset(folder: Path, row: HubBackbone) -> Preset:
    """Returns the preset in a folder.

    Raises:
      UserError: there is none, it cannot be read, or it is of another family.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give --weights the folder of the preset {row.preset}.")
    config = _read_json(folder / CONFIG_FILE)
    if "model_type" in config or "architectures" in config:
        raise UserError(f"{folder} is a preset of Transformers, not of KerasHub: give the folder of a Keras preset.")
    found = config.get("class_name")
    if found != row.family.network:
        ours = next((name for name, family in FAMILIES.items() if family.network == found), None)
        advice = f"use --backbone={PREFIX}{ours}" if ours else f"give a folder with a {row.family.network}"
        raise UserError(f"The preset {folder} holds a {found}, not the {row.family.network} of {row.name}: {advice}.")
    if not (folder / WEIGHTS_FILE).is_file():
        raise UserError(f"The preset {folder} has no {WEIGHTS_FILE}: copy the whole preset.")
    scale, offset = _rescaling(folder / CONVERTER_FILE, row)
    return Preset(_arguments(config, row, folder), scale, offset)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} is not a preset of KerasHub, since it has no {path.name}: give the folder of a Keras "
            "preset."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): copy the preset again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: copy the preset again.")
    return content


def _arguments(config: Mapping[str, Any], row: HubBackbone, folder: Path) -> dict[str, Any]:
    try:
        arguments = _own(config["config"])
        if row.family.tower:
            for attribute in row.family.tower[::2]:
                arguments[attribute] = _own(arguments[attribute]["config"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / CONFIG_FILE} describes no {row.family.network} ({error!r}): copy it again."
        ) from None
    return arguments


def _own(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in IGNORED}


def _rescaling(path: Path, row: HubBackbone) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns (scale, offset) of each colour channel: the preset's, or its family's."""
    if not path.is_file():
        mean, stddev = row.family.mean, row.family.stddev
        scale = tuple(1.0 / (255.0 * one) for one in stddev)
        return scale, tuple(-centre / one for centre, one in zip(mean, stddev, strict=True))
    config = _read_json(path).get("config", {})
    try:
        return _channels(config.get("scale"), 1.0), _channels(config.get("offset"), 0.0)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} does not say how values are rescaled ({error}): copy the preset again.") from None


def _channels(value: Any, default: float) -> tuple[float, ...]:
    values = [default] if value is None else value if isinstance(value, list) else [value]
    numbers = tuple(float(one) for one in values)
    if len(numbers) not in (1, 3):
        raise ValueError(f"{len(numbers)} numbers for 3 channels")
    return numbers * (3 // len(numbers))
