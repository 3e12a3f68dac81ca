"""Grad-CAM++ and Layer-CAM as pytorch-grad-cam computes them, on the last block of our encoder.

Source: https://github.com/jacobgil/pytorch-grad-cam; Chattopadhay et al., Grad-CAM++, 2018, arXiv:1710.11063;
Jiang et al., LayerCAM, 2021, doi:10.1109/TIP.2021.3089943
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from train.data.dataset import normalise
from train.heads import Classifier
from train.network import IndicatorNetwork


def grad_cam_plus_plus(network: IndicatorNetwork, images: Tensor, indicator: str) -> NDArray[np.float32]:
    """Grad-CAM++; arguments and result are those of `train.evaluation.methods.Method`."""
    return class_activation_maps(GradCAMPlusPlus, network, images, indicator)


def layer_cam(network: IndicatorNetwork, images: Tensor, indicator: str) -> NDArray[np.float32]:
    """Layer-CAM; arguments and result are those of `train.evaluation.methods.Method`."""
    return class_activation_maps(LayerCAM, network, images, indicator)


def class_activation_maps(
    kind: type[BaseCAM], network: IndicatorNetwork, images: Tensor, indicator: str
) -> NDArray[np.float32]:
    """Maps of one of the package's methods, scaled as the package scales them.

    It subtracts a map's minimum before it divides by the maximum, which this project and its paper do not for
    Grad-CAM. A baseline is judged by the maps that its users see, so that stays.

    Args:
        kind: The method.
        network: In evaluation mode.
        images: RGB, shape (N, H, W, 3), uint8.
        indicator: Whose logit is explained.

    Returns:
        Maps in [0, 1], shape (N, H, W).
    """
    # The weights of a finished model require no gradient; the pixels must, for the package to see one.
    pixels = normalise(images.to(network.classification_head.weight.device)).requires_grad_(True)
    targets = [ClassifierOutputTarget(network.tasks.index(indicator))] * len(images)
    classifier = Classifier(network.encoder, network.classification_head)
    # Not as a context manager: that prints an IndexError and goes on.
    method = kind(classifier, [network.encoder.blocks()[-1]])
    try:
        with torch.enable_grad():
            maps: NDArray[np.float32] = method(pixels, targets)
    finally:
        method.activations_and_grads.release()
    return maps
