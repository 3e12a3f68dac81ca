"""Figures of an exported model, from the files that `biounet-edge predict` wrote: no PyTorch in between."""
