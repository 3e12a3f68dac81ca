"""What can localise an indicator, each as a function from images to maps."""

from collections.abc import Callable, Collection, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biounet_edge.errors import InputError
from train.data.dataset import normalise
from train.evaluation.report import METHODS, MethodName
from train.gradcam import explain, stack_heatmaps
from train.network import IndicatorNetwork

Method = Callable[[IndicatorNetwork, Tensor, str], NDArray[np.float32]]
"""From the network that localises an indicator, in evaluation mode on any device; images, RGB (N, H, W, 3)
uint8 on the CPU; and the indicator: to maps in [0, 1], shape (N, H, W)."""


def grad_cam(network: IndicatorNetwork, images: Tensor, indicator: str) -> NDArray[np.float32]:
    """Grad-CAM of the last block, resized and divided by its maximum: the paper's localisation mask."""
    last = _raw_heatmaps(network, images, indicator)[-1]
    return stack_heatmaps([last], images.shape[1])[:, 0].cpu().numpy()


def decoder(network: IndicatorNetwork, images: Tensor, indicator: str) -> NDArray[np.float32]:
    """Mask probability of the U-Net over all heatmaps."""
    heatmaps = stack_heatmaps(_raw_heatmaps(network, images, indicator), network.config.heatmap_size_px)
    with torch.no_grad():
        return torch.sigmoid(network.segment(heatmaps, indicator)).cpu().numpy()


def _raw_heatmaps(network: IndicatorNetwork, images: Tensor, indicator: str) -> list[Tensor]:
    pixels = normalise(images.to(network.classification_head.weight.device))
    task = network.tasks.index(indicator)
    return explain(network.encoder, network.classification_head, pixels, task).raw_heatmaps


def known_methods(names: Collection[str]) -> tuple[MethodName, ...]:
    """The methods of these names, each once, in the order of METHODS.

    Raises:
        InputError: If there is no such method.
    """
    unknown = sorted(set(names) - set(METHODS))
    if unknown:
        raise InputError(f"no method {', '.join(unknown)}; the methods are {', '.join(METHODS)}")
    return tuple(method for method in METHODS if method in names)


def choose_methods(names: Iterable[MethodName], lime_samples: int, seed: int) -> dict[MethodName, Method]:
    """The methods of these names. Libraries of the baselines are loaded only where one is asked for."""
    return {name: _method(name, lime_samples, seed) for name in names}


def _method(name: MethodName, lime_samples: int, seed: int) -> Method:
    if name == "grad_cam":
        return grad_cam
    if name == "decoder":
        return decoder
    if name == "lime":
        from train.evaluation.superpixels import Lime

        return Lime(lime_samples, seed)
    from train.evaluation import cams

    return cams.grad_cam_plus_plus if name == "grad_cam_plus_plus" else cams.layer_cam
