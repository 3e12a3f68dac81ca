"""Dermoscopy data on disk, as it is published, and as batches."""
