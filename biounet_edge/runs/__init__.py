"""Runs over many photographs: of a folder, and of one that fills."""
