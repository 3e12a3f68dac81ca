"""torchvision's classifiers: which layers of them are explained, and how they become ONNX graphs."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch
import torchvision
from onnx_ir.passes.common import ShapeInferencePass
from torch import Tensor, nn

from biounet_edge.errors import InputError
from export.trace import OPSET

LAYERS = ("early", "late")
"""Names of the explained values in every graph."""

SETTLING_IMAGES = 8
"""Images of noise whose statistics batch normalisation takes over, so that a random network has signals."""


@dataclass(frozen=True)
class Family:
    """Models of one architecture."""

    name: str
    """As people call it."""
    prefixes: tuple[str, ...]
    """How the names of its models begin."""
    early: str
    """Module whose output lies behind the first stage: the gradient passes through most of the network."""
    last: str
    """Module that Grad-CAM explains by custom."""
    to_maps: Callable[[Tensor], Tensor] | None = None
    """Makes (N, C, h, w) of the module's output where it is something else."""
    size_px: int = 224
    """Height and width of the images."""


def _channels_last(value: Tensor) -> Tensor:
    return value.permute(0, 3, 1, 2)


def _tokens(value: Tensor) -> Tensor:
    side = round((value.shape[1] - 1) ** 0.5)
    return value[:, 1:].transpose(1, 2).reshape(len(value), -1, side, side)


# DenseNet's last layer is that in front of its last ReLU, which overwrites what a hook has kept of its input.
FAMILIES = (
    Family("AlexNet", ("alexnet",), "features.2", "features.12"),
    Family("VGG", ("vgg",), "features.<first pool>", "features.<last>"),
    Family("ResNet", ("resnet",), "layer1", "layer4"),
    Family("ResNeXt", ("resnext",), "layer1", "layer4"),
    Family("Wide ResNet", ("wide_resnet",), "layer1", "layer4"),
    Family("DenseNet", ("densenet",), "features.denseblock1", "features.denseblock4"),
    Family("SqueezeNet", ("squeezenet",), "features.3", "features.<last>"),
    Family("GoogLeNet", ("googlenet",), "inception3a", "inception5b"),
    Family("Inception V3", ("inception_v3",), "Mixed_5b", "Mixed_7c", size_px=299),
    Family("MobileNet V2", ("mobilenet_v2",), "features.3", "features.<last>"),
    Family("MobileNet V3", ("mobilenet_v3",), "features.2", "features.<last>"),
    Family("MNASNet", ("mnasnet",), "layers.8", "layers.<last>"),
    Family("ShuffleNet V2", ("shufflenet_v2",), "stage2", "conv5"),
    Family("EfficientNet", ("efficientnet_b",), "features.2", "features.<last>"),
    Family("EfficientNet V2", ("efficientnet_v2",), "features.2", "features.<last>"),
    Family("RegNet", ("regnet",), "trunk_output.block1", "trunk_output.block4"),
    Family("ConvNeXt", ("convnext",), "features.1", "features.<last>"),
    Family("Swin", ("swin_t", "swin_s", "swin_b"), "features.1", "features.<last>", _channels_last),
    Family("Swin V2", ("swin_v2",), "features.1", "features.<last>", _channels_last),
    Family("MaxViT", ("maxvit",), "stem", "blocks.<last>"),
    Family("ViT", ("vit",), "encoder.layers.<first>.ln_1", "encoder.layers.<last>.ln_1", _tokens),
)
"""Every family of classifiers in torchvision."""


def family_of(model: str) -> Family:
    """Find a model's family.

    Args:
        model: Its name in torchvision.

    Returns:
        The family.

    Raises:
        InputError: If it belongs to none.
    """
    for family in FAMILIES:
        if model.startswith(family.prefixes):
            return family
    raise InputError(f"there is no classifier {model!r}: choose from {', '.join(all_models())}")


def all_models() -> list[str]:
    """List torchvision's classifiers.

    Returns:
        Their names.
    """
    return torchvision.models.list_models(module=torchvision.models)


class Tapped(nn.Module):
    """A classifier that also returns the outputs of the two explained layers."""

    def __init__(self, model: nn.Module, layers: list[nn.Module]) -> None:
        """See to it that what the layers compute is kept.

        Args:
            model: The classifier.
            layers: Two modules of it.
        """
        super().__init__()
        self.model, self.taps = model, layers

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores (N, K) of images (N, 3, H, W), and both layers."""
        found: list[Tensor] = []
        handles = [
            layer.register_forward_hook(lambda module, inputs, output: found.append(output))
            for layer in self.taps
        ]
        try:
            scores = self.model(images)
        finally:
            for handle in handles:
                handle.remove()
        return scores, *found


@dataclass(frozen=True)
class Specimen:
    """A classifier with random weights."""

    name: str
    """Its name in torchvision."""
    family: Family
    """Its family."""
    model: nn.Module
    """In evaluation mode, float32 or float64."""
    size_px: int
    """Height and width of its images."""

    @property
    def layers(self) -> list[nn.Module]:
        """The explained modules, early and last."""
        return [find_module(self.model, path) for path in (self.family.early, self.family.last)]

    def in_float64(self) -> "Specimen":
        """Copy the classifier with its weights in float64, with which the graph is as exact as that.

        Returns:
            The copy.
        """
        return replace(self, model=copy.deepcopy(self.model).double())

    def images(self, count: int, seed: int = 1) -> Tensor:
        """Make images: noise with structure of several sizes.

        Args:
            count: How many.
            seed: Of the random numbers.

        Returns:
            Images, shape (count, 3, H, W), float32.
        """
        generator = torch.Generator().manual_seed(seed)
        size = (self.size_px, self.size_px)
        octaves = [
            nn.functional.interpolate(
                torch.randn(count, 3, side, side, generator=generator), size, mode="bilinear"
            )
            for side in (4, 16, 64)
        ]
        return torch.stack(octaves).sum(0)


def make_specimen(name: str, size_px: int | None = None) -> Specimen:
    """Make a classifier with random weights at a fixed seed.

    Args:
        name: Its name in torchvision.
        size_px: Height and width of its images; None for its family's.

    Returns:
        The classifier.
    """
    family = family_of(name)
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options)
    return settle(Specimen(name, family, model, size_px or family.size_px))


def settle(specimen: Specimen) -> Specimen:
    """Give a random network signals from its first layer to its scores.

    Batch normalisation takes over the statistics of some images: without, signals vanish or explode. A last
    layer of zeros, as vision transformers begin with, gets random weights.

    Args:
        specimen: The classifier, changed in place.

    Returns:
        The same.
    """
    model = specimen.model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear) and not module.weight.any():
                module.reset_parameters()
        for norm in norms:
            norm.train()
            norm.momentum = None  # a plain mean
        if norms:
            model(specimen.images(SETTLING_IMAGES, seed=0))
    model.eval()
    return specimen


def export_specimen(specimen: Specimen) -> ir.Model:
    """Write a classifier as an ONNX graph, as torch.onnx does it by itself.

    Args:
        specimen: The classifier.

    Returns:
        The graph with the output "scores"; the values of the explained layers are called "early" and "late".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.onnx about its own code
        program = torch.onnx.export(
            Tapped(specimen.model, specimen.layers).eval(),
            (specimen.images(2).to(next(specimen.model.parameters()).dtype),),
            input_names=["images"],
            output_names=["scores", *LAYERS],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "torch.onnx.export returns the graph where it writes no file"
    model = program.model
    del model.graph.outputs[1:]
    ShapeInferencePass()(model)
    return model


def find_module(model: nn.Module, path: str) -> nn.Module:
    """Find a module by its path.

    Args:
        model: The classifier.
        path: Names with dots; <first>, <last> and <first pool> stand for a part of the module before them.

    Returns:
        The module.
    """
    module = model
    for name in path.split("."):
        children = list(module.children())
        match name:
            case "<first>":
                module = children[0]
            case "<last>":
                module = children[-1]
            case "<first pool>":
                module = next(child for child in children if isinstance(child, nn.MaxPool2d))
            case _:
                module = module.get_submodule(name)
    return module
