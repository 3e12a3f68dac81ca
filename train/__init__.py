"""Training of Bio-U-Net in PyTorch: data, network, losses and Algorithm 1. Run it as `python -m train`."""
