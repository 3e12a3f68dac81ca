"""From a checkpoint to a bundle: ONNX graphs with their explanations inside. Run it as `python -m export`.

checkpoint -> components.py   each PyTorch module as an ONNX graph; onnx_gradcam writes Grad-CAM into the
                              encoder's
           -> compose.py      classify, cam and full, composed of the components
           -> weights.py      all weights in one file, each tensor once
           -> parity.py       PyTorch with autograd against ONNX Runtime, with gates
           -> bundle.py       the folder, whole or not at all
"""
