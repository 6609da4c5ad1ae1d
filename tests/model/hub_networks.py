"""A tiny network of each family of KerasHub, saved as a preset."""

from pathlib import Path
from typing import Any

import numpy as np

SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8}
TOWER = SMALL | {"patch_size": 16, "intermediate_dim": 16, "image_shape": (32, 32, 3)}
TEXT = SMALL | {"vocabulary_size": 5, "embedding_dim": 8, "intermediate_dim": 16, "max_sequence_length": 4}

# The class and its arguments. The side of the image is 64 px, or 32 px for networks with learned positions.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "hgnetv2": (
        "HGNetV2Backbone",
        {
            "depths": [1] * 4, "embedding_size": 4, "hidden_sizes": [4, 8, 8, 8], "stem_channels": [3, 4, 4],
            "hidden_act": "relu", "use_learnable_affine_block": True,
            "stackwise_stage_filters": [[4, 4, 4, 1, 1, 3], [4, 4, 8, 1, 1, 3], [8, 4, 8, 1, 1, 3], [8, 4, 8, 1, 1, 3]],
            "apply_downsample": [False, True, True, True], "use_lightweight_conv_block": [False, False, True, True],
            "image_shape": (64, 64, 3),
        },
    ),
    "efficientnet": (
        "EfficientNetBackbone",
        {
            "stackwise_width_coefficients": [0.25] * 7, "stackwise_depth_coefficients": [0.1] * 7,
            "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3], "stackwise_num_repeats": [1] * 7,
            "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
            "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
            "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6], "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
            "stackwise_strides": [1, 2, 2, 2, 1, 2, 1], "stackwise_block_types": ["v1"] * 7, "dropout": 0.0,
            "input_shape": (64, 64, 3),
        },
    ),
    "mobilenet": (
        "MobileNetBackbone",
        {
            "stackwise_expansion": [[8, 8], [16, 16]], "stackwise_num_blocks": [2, 2],
            "stackwise_num_filters": [[8, 8], [16, 16]], "stackwise_kernel_size": [[3, 3], [5, 5]],
            "stackwise_num_strides": [[2, 1], [2, 1]], "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
            "stackwise_activation": [["relu", "relu"], ["hard_swish", "hard_swish"]],
            "stackwise_padding": [[1, 1], [2, 2]], "output_num_filters": 32, "input_num_filters": 8,
            "depthwise_filters": 8, "depthwise_stride": 2, "depthwise_residual": False, "last_layer_filter": 32,
            "squeeze_and_excite": 0.5, "image_shape": (64, 64, 3),
        },
    ),
    "mobilenetv5": (
        "MobileNetV5Backbone",
        {
            "stackwise_block_types": [["er"], ["uir", "uir"], ["mqa", "uir"]], "stackwise_num_blocks": [1, 2, 2],
            "stackwise_num_filters": [[8], [16, 16], [16, 16]], "stackwise_strides": [[2], [2, 1], [1, 1]],
            "stackwise_act_layers": [["relu"], ["relu"] * 2, ["relu"] * 2],
            "stackwise_exp_ratios": [[4.0], [4.0] * 2, [4.0] * 2], "stackwise_se_ratios": [[0.0], [0.0] * 2, [0.0] * 2],
            "stackwise_dw_kernel_sizes": [[0], [5, 5], [3, 3]],
            "stackwise_dw_start_kernel_sizes": [[0], [0, 0], [0, 0]],
            "stackwise_dw_end_kernel_sizes": [[0], [0, 0], [0, 0]],
            "stackwise_exp_kernel_sizes": [[3], [0, 0], [0, 0]],
            "stackwise_pw_kernel_sizes": [[1], [0, 0], [0, 0]], "stackwise_num_heads": [[0], [0, 0], [2, 0]],
            "stackwise_key_dims": [[0], [0, 0], [4, 0]], "stackwise_value_dims": [[0], [0, 0], [4, 0]],
            "stackwise_kv_strides": [[0], [0, 0], [1, 0]], "stackwise_use_cpe": [[False], [False] * 2, [False] * 2],
            "num_features": 16, "msfa_output_resolution": 4, "image_shape": (64, 64, 3),
        },
    ),
    "swin": (
        "SwinTransformerBackbone",
        {
            "image_shape": (64, 64, 3), "embed_dim": 4, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2),
            "window_size": 2,
        },
    ),
    "vit": ("ViTBackbone", SMALL | {"image_shape": (32, 32, 3), "patch_size": 16, "mlp_dim": 16}),
    "deit": ("DeiTBackbone", TOWER),
    "dinov2": ("DINOV2Backbone", TOWER | {"position_embedding_shape": (32, 32, 3), "num_register_tokens": 2}),
    "dinov3": ("DINOV3Backbone", TOWER | {"image_shape": (64, 64, 3)}),
    "siglip": ("SigLIPBackbone", {"vision_encoder": TOWER, "text_encoder": TEXT}),
    "clip": ("CLIPBackbone", {"vision_encoder": TOWER, "text_encoder": TEXT, "projection_dim": 8}),
}  # fmt: skip


def build_network(name: str) -> Any:
    """Returns KerasHub's own network of a family, with random weights."""
    import keras_hub

    class_name, arguments = NETWORKS[name]
    arguments = dict(arguments)
    for tower, kind in (("vision_encoder", "VisionEncoder"), ("text_encoder", "TextEncoder")):
        if tower in arguments:
            tower_class = class_name.replace("Backbone", kind)
            arguments[tower] = getattr(keras_hub.models, tower_class)(**arguments[tower])
    network = getattr(keras_hub.models, class_name)(**arguments)
    if name == "clip":  # the numbers of its positions are weights, which a new network leaves at 0
        ids = network.vision_encoder.embedding.position_ids
        ids.assign(np.arange(ids.shape[1])[None])
    return network


def saved_preset(name: str, folder: Path) -> Any:
    """Returns the network, and writes its preset into the folder."""
    network = build_network(name)
    network.save_to_preset(str(folder))
    return network
