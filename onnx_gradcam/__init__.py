"""Grad-CAM for any ONNX classifier."""
