"""Judges a trained model on held-out images: localisation by every method, presence, diagnosis."""
