"""Names of presets lead to their families, without Keras or KerasHub."""

import sys

import pytest

from carclf.errors import UserError
from carclf.model import hub
from carclf.model.backbones import find_backbone
from carclf.model.hub_families import FAMILIES
from carclf.model.hub_preset import Preset
from carclf.model.unfreezing import block_names


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("hub:hgnetv2_b5_ssld_stage2_ft_in1k", "hgnetv2"),
        ("hub:efficientnet_b0_ra_imagenet", "efficientnet"),
        ("hub:efficientnet2_rw_s_ra2_imagenet", "efficientnet"),
        ("hub:mobilenet_v3_large_100_imagenet", "mobilenet"),
        ("hub:mobilenetv5_300m_enc_gemma3n", "mobilenetv5"),
        ("hub:swin_tiny_patch4_window7_224", "swin"),
        ("hub:vit_base_patch16_224_imagenet", "vit"),
        ("hub:deit_tiny_distilled_patch16_224_imagenet", "deit"),
        ("hub:dinov2_with_registers_base", "dinov2"),
        ("hub:dinov3_vit_small_lvd1689m", "dinov3"),
        ("hub:siglip_base_patch16_224", "siglip"),
        ("hub:siglip2_base_patch16_224", "siglip"),
        ("hub:medsiglip_900m_448", "siglip"),
        ("hub:clip_vit_base_patch16", "clip"),
        *((f"hub:{name}", name) for name in FAMILIES),
    ],
)
def test_a_preset_is_of_the_family_that_its_name_begins_with(name, family):
    row = find_backbone(name)
    assert row.family is FAMILIES[family]
    assert (row.name, row.preset) == (name, name.removeprefix("hub:"))
    assert block_names(row)[0] == f"block{FAMILIES[family].parts}"


@pytest.mark.parametrize("name", ["hub:", "hub:bert_base_en", "hub:vitality", "hub:mobilenetv4_small"])
def test_another_name_is_told_with_the_families(name):
    with pytest.raises(
        UserError, match=r"no family of KerasHub's backbones for .* hgnetv2, .*, such as hub:dinov2_base"
    ):
        find_backbone(name)


def test_a_missing_keras_hub_is_told_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    preset = Preset({"patch_size": 16}, (1.0,) * 3, (0.0,) * 3)
    with pytest.raises(
        UserError, match=r"not installed .*: pip install --no-deps keras-hub regex tokenizers .* pip install .*\[hub\]"
    ):
        hub.build_hub_backbone(find_backbone("hub:vit"), preset=preset, weights="none", image_size=(32, 32))
