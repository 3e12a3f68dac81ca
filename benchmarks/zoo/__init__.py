"""`python -m benchmarks.zoo`: torchvision's classifiers, heatmaps in ONNX against pytorch-grad-cam."""
