"""The backbones whose ImageNet weights are on this machine, so that nothing is downloaded. No framework."""

import importlib.util

from carclf.advice import ON_GPU, SMALL, is_downloaded
from carclf.model.backbones import BACKBONES, Backbone

# Rows whose Keras download may be in Keras's folder already, and its name there.
DOWNLOADS = {
    "mobilenet_v2": SMALL.weights_file,
    "efficientnet_b0": "efficientnetb0_notop.h5",
    "efficientnet_b3": ON_GPU.weights_file,
}


def backbones_at_hand() -> list[Backbone]:
    """Returns the rows of `BACKBONES` whose weights are here, in the order of the table; perhaps none."""
    return [row for row in BACKBONES.values() if _at_hand(row)]


def _at_hand(row: Backbone) -> bool:
    if row.weights_package:
        return importlib.util.find_spec(row.weights_package.replace("-", "_")) is not None
    return row.name in DOWNLOADS and is_downloaded(DOWNLOADS[row.name])
