"""The `biounet-edge` command: main.py parses and calls the library, the other modules print."""
