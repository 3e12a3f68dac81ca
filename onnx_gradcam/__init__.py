"""Grad-CAM for any ONNX classifier: heatmaps as outputs of the graph itself.

    import onnx
    from onnx_gradcam import Explanation, add_heatmaps

    explained = add_heatmaps(onnx.load("resnet50.onnx"), Explanation(logit="top"))
    onnx.save(explained, "explained.onnx")                  # standard operators, for any runtime

model_file -> preparation.py  functions inlined, operator set, shapes
           -> scores.py       what is explained
           -> layers.py       where: spatial layers, by the rules in layouts
           -> gradcam.py      from a score back to layers, and to heatmaps by cam_methods.py
              ├ backward.py   the walk: reverse-mode differentiation of an ONNX graph
              └ vjp           the rules: one vector-Jacobian product per operator
           -> explanation.py  heatmaps as outputs

Names are loaded when they are first used, so that `import onnx_gradcam` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from onnx_gradcam.version import __version__

if TYPE_CHECKING:
    from onnx_gradcam.cam_methods import Method
    from onnx_gradcam.errors import (
        DependencyError,
        ModelError,
        ModelNotFoundError,
        OnnxGradcamError,
        OptionError,
        OutputError,
        UnsupportedOperatorError,
    )
    from onnx_gradcam.explanation import Explanation, add_heatmaps, list_layers
    from onnx_gradcam.layers import Layer, last_layer
    from onnx_gradcam.layouts import Layout
    from onnx_gradcam.model_file import load_model, save_model

__all__ = [
    "DependencyError",
    "Explanation",
    "Layer",
    "Layout",
    "Method",
    "ModelError",
    "ModelNotFoundError",
    "OnnxGradcamError",
    "OptionError",
    "OutputError",
    "UnsupportedOperatorError",
    "__version__",
    "add_heatmaps",
    "last_layer",
    "list_layers",
    "load_model",
    "save_model",
]

_MODULES = {
    "Explanation": "explanation",
    "Layer": "layers",
    "Layout": "layouts",
    "Method": "cam_methods",
    "add_heatmaps": "explanation",
    "last_layer": "layers",
    "list_layers": "explanation",
    "load_model": "model_file",
    "save_model": "model_file",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
