"""A bundle on disk: its files, its manifest, and what its graphs are before a library loads them."""
