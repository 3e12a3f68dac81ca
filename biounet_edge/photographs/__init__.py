"""Photographs: finding them, reading their files, and the pixels that the network sees."""
