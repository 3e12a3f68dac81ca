"""From a checkpoint to a bundle: ONNX graphs with their explanations inside. Run it as `python -m export`.

checkpoint -> components.py   each PyTorch module as an ONNX graph; Grad-CAM is written into the encoder's
              ├ backward.py   the walk: reverse-mode differentiation of an ONNX graph
              ├ vjp           the rules: one vector-Jacobian product per operator
              └ gradcam.py    from a score back to layers, and to heatmaps by cam_methods.py
           -> compose.py      classify, cam and full, composed of the components
           -> weights.py      all weights in one file, each tensor once
           -> parity.py       PyTorch with autograd against ONNX Runtime, with gates
           -> bundle.py       the folder, whole or not at all

any ONNX classifier -> explanation.py   the same Grad-CAM, at the layers that layers.py finds
"""
