"""The backbones whose ImageNet weights are on this machine, so that nothing is downloaded. No framework."""

import importlib.util

from carclf.advice import is_downloaded
from carclf.model.backbones import BACKBONES, Backbone


def backbones_with_local_weights() -> list[Backbone]:
    """Returns the rows of `BACKBONES` whose weights are on this machine, in the order of the table; perhaps none."""
    return [row for row in BACKBONES.values() if _has_local_weights(row)]


def _has_local_weights(row: Backbone) -> bool:
    if row.weights_package:
        return importlib.util.find_spec(row.weights_package.replace("-", "_")) is not None
    return bool(row.keras_file) and is_downloaded(row.keras_file)
