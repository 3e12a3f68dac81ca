"""`python -m export`: a checkpoint becomes a bundle."""

from export.cli.main import main

if __name__ == "__main__":
    main()
