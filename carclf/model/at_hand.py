"""The backbones whose ImageNet weights are on this machine, so that nothing is downloaded. No framework."""

import importlib.util

from carclf.advice import ON_GPU, SMALL, is_downloaded
from carclf.model.backbones import BACKBONES, Backbone

# What Keras calls the downloads of its rows in its folder. Source: keras.applications of Keras 3.
DOWNLOADS = {
    "efficientnet_b0": "efficientnetb0_notop.h5",
    "efficientnet_b1": "efficientnetb1_notop.h5",
    "efficientnet_b2": "efficientnetb2_notop.h5",
    "efficientnet_b3": ON_GPU.weights_file,
    "efficientnet_b4": "efficientnetb4_notop.h5",
    "efficientnet_b5": "efficientnetb5_notop.h5",
    "efficientnet_b6": "efficientnetb6_notop.h5",
    "efficientnet_b7": "efficientnetb7_notop.h5",
    "efficientnet_v2_b0": "efficientnetv2-b0_notop.h5",
    "efficientnet_v2_b1": "efficientnetv2-b1_notop.h5",
    "efficientnet_v2_b2": "efficientnetv2-b2_notop.h5",
    "efficientnet_v2_b3": "efficientnetv2-b3_notop.h5",
    "efficientnet_v2_s": "efficientnetv2-s_notop.h5",
    "efficientnet_v2_m": "efficientnetv2-m_notop.h5",
    "efficientnet_v2_l": "efficientnetv2-l_notop.h5",
    "xception": "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "mobilenet_v2": SMALL.weights_file,
    "resnet50_v2": "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "convnext_tiny": "convnext_tiny_notop.h5",
    "convnext_small": "convnext_small_notop.h5",
    "convnext_base": "convnext_base_notop.h5",
    "convnext_large": "convnext_large_notop.h5",
}


def backbones_at_hand() -> list[Backbone]:
    """Returns the rows of `BACKBONES` whose weights are here, in the order of the table; perhaps none."""
    return [row for row in BACKBONES.values() if _at_hand(row)]


def _at_hand(row: Backbone) -> bool:
    if row.weights_package:
        return importlib.util.find_spec(row.weights_package.replace("-", "_")) is not None
    return row.name in DOWNLOADS and is_downloaded(DOWNLOADS[row.name])
