"""What a bundle can be made from: a checkpoint, or a bundle that is there already.

A bundle holds every weight under its name in the module's state dict, so that a precision can be added, or a
graph judged against PyTorch, where the checkpoint is no longer at hand. Projection heads and optimizer state
are not in a bundle.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from biounet_edge.bundle.folder import MANIFEST_NAME, Bundle
from biounet_edge.bundle.manifest import EncoderSpec, WeightFormat
from biounet_edge.errors import ExportError
from biounet_edge.indicators import INDICATORS
from export.components import (
    FUSION,
    DecoderModule,
    EncoderModule,
    FusionModule,
    decoder_name,
    encoder_name,
)
from export.model_card import read_card_notes
from export.weights import HALF_SUFFIX, WEIGHTS_NAME
from onnx_gradcam.values import dimensions
from train.checkpoint import ModelInfo, load_model
from train.encoders import FAMILIES, Family
from train.network import BioUNet, NetworkConfig


@dataclass(frozen=True)
class Origin:
    """A model to export, and what is kept of the bundle that it comes from."""

    model: BioUNet
    """The network in evaluation mode."""
    info: ModelInfo
    """What is known about it."""
    weights_bytes: int
    """Size of the file that holds its weights."""
    name: str | None = None
    """Name of the bundle; None for a checkpoint."""
    version: str = "0.1.0"
    """Version of the bundle."""
    weights: WeightFormat = "float32"
    """Number format that convolution weights are stored in."""
    golden: NDArray[np.uint8] | None = None
    """Golden images of the bundle, shape (G, H, W, 3); None for a checkpoint."""
    notes: str | None = None
    """What the model card ends with; None for nothing."""


def open_source(path: Path) -> Origin:
    """Read a model from a checkpoint or a bundle.

    Args:
        path: `model.safetensors`, the folder that holds it, or a bundle.

    Returns:
        The model and what is kept.

    Raises:
        CheckpointError: If it is neither, or the checkpoint is damaged.
        ManifestError: If the bundle's manifest is damaged.
        IntegrityError: If one of its files was changed.
    """
    if not (path / MANIFEST_NAME).is_file():
        model, info = load_model(path)
        file = path / "model.safetensors" if path.is_dir() else path
        return Origin(model, info, file.stat().st_size)
    bundle = Bundle.open(path)
    model, info = restore_model(bundle)
    manifest = bundle.manifest
    return Origin(
        model=model,
        info=info,
        weights_bytes=(path / WEIGHTS_NAME).stat().st_size,
        name=manifest.name,
        version=manifest.version,
        weights=manifest.weights,
        golden=bundle.golden().image,
        notes=read_card_notes(path),
    )


def restore_model(bundle: Bundle) -> tuple[BioUNet, ModelInfo]:
    """Rebuild the PyTorch model of a bundle from its component graphs.

    Args:
        bundle: The opened, hence checked, bundle.

    Returns:
        The network in evaluation mode, without trained projection heads, and what the manifest says about it.

    Raises:
        ExportError: If a component lacks a weight that the network has, or its family is not known here.
    """
    config = _network_config(bundle)
    model = BioUNet(config)
    for indicator in INDICATORS:
        network = model.network(indicator)
        encoder = _weights(bundle.component(encoder_name(indicator)))
        decoder = _weights(bundle.component(decoder_name(indicator)))
        # The heatmap path reads the encoder's convolutions: the decoder's graph names them as its own.
        EncoderModule(network).load_state_dict(_complete(EncoderModule(network), encoder))
        DecoderModule(network).load_state_dict(_complete(DecoderModule(network), decoder))
    fusion = FusionModule(model)
    fusion.load_state_dict(_complete(fusion, _fusion_weights(bundle)))
    return model.requires_grad_(False).eval(), _info(bundle, config)


def _fusion_weights(bundle: Bundle) -> dict[str, Tensor]:
    """Weights of the fusion head and the score of familiarity; the first bundles had the head's alone."""
    weights = _weights(bundle.component(FUSION))
    return {name if "." in name else f"head.{name}": weight for name, weight in weights.items()}


def _weights(path: Path) -> dict[str, Tensor]:
    """Every floating-point initializer of a graph by its name in the state dict, as float32."""
    weights = {}
    for name, value in ir.load(path).graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.dtype.is_floating_point():
            array = torch.from_numpy(tensor.numpy().copy()).float()
            weights[name.removesuffix(HALF_SUFFIX)] = array
    return weights


def _complete(module: torch.nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The module's state dict with a graph's weights; batch counters, which no graph has, as they are."""
    complete = {}
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            complete[name] = tensor
        elif name in weights and weights[name].shape == tensor.shape:
            complete[name] = weights[name]
        else:
            raise ExportError(f"the bundle's graph has no weight {name} of shape {tuple(tensor.shape)}")
    return complete


def _network_config(bundle: Bundle) -> NetworkConfig:
    image_size_px = bundle.manifest.input.height
    heatmap_size_px = _last_size(bundle.component(decoder_name(INDICATORS[0])))
    spec = bundle.manifest.encoder
    if spec is None:  # format 1: a ResNet-50, whose width follows from the length of its features
        base_width = _last_size(bundle.component(FUSION)) // NetworkConfig(base_width=1).features
        return NetworkConfig(base_width, image_size_px, heatmap_size_px)
    family, base_width = _family(spec)
    features = _last_size(bundle.component(FUSION))
    axes = _fusion_weights(bundle).get("familiarity.axes")
    return NetworkConfig(
        base_width,
        image_size_px,
        heatmap_size_px,
        family=family,
        # None is what a checkpoint says where the decoder has its usual width.
        decoder_width=None if spec.decoder_width == 4 * base_width else spec.decoder_width,
        skip_features=features > FAMILIES[family].features(base_width),
        familiarity_axes=0 if axes is None else axes.shape[1],
    )


def _family(spec: EncoderSpec) -> tuple[Family, int]:
    """The family and its base width."""
    for family, encoder in FAMILIES.items():
        if family == spec.family:
            (base_width,) = encoder.WIDTHS or (spec.base_width,)
            if base_width is None:
                raise ExportError(f"the manifest has no base_width, and {family} comes in any width")
            return family, base_width
    raise ExportError(
        f"the bundle's encoders are of the family {spec.family!r}: expected {' or '.join(FAMILIES)}; "
        "export it again with the version that wrote it"
    )


def _last_size(graph: Path) -> int:
    """Size of the last axis of a graph's one input."""
    size = dimensions(ir.load(graph).graph.inputs[0])[-1]
    assert size is not None, "only the batch axis is not fixed"
    return size


def _info(bundle: Bundle, config: NetworkConfig) -> ModelInfo:
    manifest = bundle.manifest
    return ModelInfo(
        name=manifest.name,
        network=config,
        mean=manifest.input.mean,
        std=manifest.input.std,
        presence_temperatures=manifest.presence_temperatures,
        presence_shifts=manifest.presence_shifts,
        melanoma_threshold=manifest.melanoma.threshold,
        operating_points=manifest.operating_points,
        familiarity_threshold=manifest.familiarity.threshold if manifest.familiarity else None,
        data=manifest.training.data,
        licence=manifest.training.licence,
        notice=manifest.notice,
        seed=manifest.training.seed,
        config=manifest.training.config,
        figures=manifest.training.figures,
        epochs=manifest.training.epochs,
        versions=manifest.training.versions,
    )
