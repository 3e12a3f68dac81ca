"""How good predictions are: figures of probabilities, decisions and masks, with intervals. NumPy alone."""
