"""The `python -m train` command: a module per subcommand or family of subcommands."""
