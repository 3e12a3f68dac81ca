"""The `biounet-edge` command: a module per subcommand, and how each shows its result."""
