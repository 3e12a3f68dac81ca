"""The configuration of a training run: `run` is the whole TOML file, the other modules are its tables."""
