"""The `python -m export` command: a module per subcommand, and how each shows its result."""
