"""The backbones whose ImageNet weights are on this machine, so that nothing is downloaded. No framework."""

import importlib.util

from carclf.advice import FAST, LARGE_HEAD, SMALL
from carclf.model.backbones import BACKBONES, Backbone

# Rows whose Keras download may be in Keras's folder already.
DOWNLOADED = {"mobilenet_v2": SMALL, "efficientnet_b0": FAST, "efficientnet_b3": LARGE_HEAD}


def backbones_at_hand() -> list[Backbone]:
    """Returns the rows of `BACKBONES` whose weights are here, in the order of the table; perhaps none."""
    return [row for row in BACKBONES.values() if _at_hand(row)]


def _at_hand(row: Backbone) -> bool:
    if row.weights_package:
        return importlib.util.find_spec(row.weights_package.replace("-", "_")) is not None
    return row.name in DOWNLOADED and DOWNLOADED[row.name].at_hand
