"""The commands of `onnx-gradcam`."""
