"""Whether a backend computes what PyTorch computed, and opening one that does."""
