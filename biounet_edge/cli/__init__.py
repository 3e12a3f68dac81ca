"""The `biounet-edge` command: one module per subcommand, and how each shows its result."""
