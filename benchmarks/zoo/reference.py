"""Heatmaps by pytorch-grad-cam, raw: not resized, not rescaled.

Source: https://github.com/jacobgil/pytorch-grad-cam
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from onnx_gradcam.cam_methods import Method

_STRETCH = {"gradcam++": 1e6}
"""Factor of the gradients, and divisor of the activations. Grad-CAM++ is the same with it, but for the 1e-6
that the library adds to the square of a gradient, which in a deep network is far smaller."""

LIBRARY: dict[Method, Any] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
    "hirescam": HiResCAM,
}
"""The library's class of each method."""


def raw_heatmaps(
    model: nn.Module,
    layers: Sequence[nn.Module],
    images: Tensor,
    classes: Sequence[int],
    method: Method = "gradcam",
    to_maps: Callable[[Tensor], Tensor] | None = None,
) -> list[NDArray[np.floating]]:
    """Explain one class of each image.

    Args:
        model: The classifier, in evaluation mode.
        layers: Modules that are explained.
        images: Shape (N, 3, H, W).
        classes: Class of each image.
        method: The method.
        to_maps: Makes (N, C, h, w) of the modules' outputs.

    Returns:
        Heatmaps of each layer, shape (N, h, w), of the images' number format.
    """
    targets = [ClassifierOutputTarget(index) for index in classes]
    with LIBRARY[method](model=model, target_layers=list(layers), reshape_transform=to_maps) as cam:
        scores = cam.activations_and_grads(images)
        model.zero_grad()
        torch.stack([target(row) for target, row in zip(targets, scores, strict=True)]).sum().backward()
        stretch = _STRETCH.get(method, 1.0)
        pairs = zip(cam.activations_and_grads.activations, cam.activations_and_grads.gradients, strict=True)
        found = [
            cam.get_cam_image(
                images,
                layer,
                targets,
                activations.numpy() / stretch,
                gradients.numpy() * stretch,
                eigen_smooth=False,
            )
            for layer, (activations, gradients) in zip(layers, pairs, strict=True)
        ]
    return [np.maximum(heatmap, 0) for heatmap in found]
