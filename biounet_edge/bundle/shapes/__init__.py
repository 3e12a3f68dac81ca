"""Shapes of what the operators of ONNX compute, from the shapes of their inputs.

Every operator that `python -m export` writes has a rule, and so have the others that image classifiers are
made of. Source: https://onnx.ai/onnx/operators/
"""
