"""Some of torchvision's classifiers against pytorch-grad-cam; all of them by `python -m benchmarks.zoo`."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from benchmarks.zoo.agreement import compare, failed
from benchmarks.zoo.models import FAMILIES, Family, Specimen, all_models, family_of, make_specimen, settle


def small_vit() -> nn.Module:
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10
    )


def small_swin() -> nn.Module:
    return SwinTransformer(
        patch_size=[2, 2], embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=[4, 4], num_classes=10
    )


def small_swin_v2() -> nn.Module:
    return SwinTransformer(
        patch_size=[2, 2],
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=[4, 4],
        num_classes=10,
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    )


def specimen(model: nn.Module, family: Family) -> Specimen:
    return settle(Specimen("small", family, model, 32))


@pytest.mark.parametrize(
    ("build", "family"),
    [(small_vit, "vit_b_16"), (small_swin, "swin_t"), (small_swin_v2, "swin_v2_t")],
    ids=["ViT", "Swin", "Swin V2"],
)
def test_transformers_agree(build: Callable[[], nn.Module], family: str) -> None:
    torch.manual_seed(0)
    agreements = compare(specimen(build(), family_of(family)))
    assert failed(agreements) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "densenet121"])
def test_networks_agree(name: str) -> None:
    agreements = compare(make_specimen(name, size_px=64))
    assert failed(agreements) == []
    assert [agreement.layer for agreement in agreements] == [family_of(name).early, family_of(name).last]


def test_every_classifier_of_torchvision_has_a_family() -> None:
    assert {family_of(name).name for name in all_models()} == {family.name for family in FAMILIES}
