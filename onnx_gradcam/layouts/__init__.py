"""Layouts: which axes of a value are channels, height and width.

An ONNX graph does not say. It follows from the operators: a Conv writes (N, C, h, w), a Transpose moves axes,
a Reshape may flatten a grid to tokens, most operators leave all as it is. So networks that compute channels
last, as those from TensorFlow do in parts, and vision transformers can be explained, too.

A rule says what layout an operator gives its output. To cover an operator that moves axes, write one function
in rules.py and one line of test data.
"""

from onnx_gradcam.layouts import rules
from onnx_gradcam.layouts.layout import Layout, fixed_grid
from onnx_gradcam.layouts.registry import LAYOUT_RULES, LaidOut, LayoutRule, find_layouts

__all__ = [
    "LAYOUT_RULES",
    "LaidOut",
    "Layout",
    "LayoutRule",
    "find_layouts",
    "fixed_grid",
    "rules",
]
