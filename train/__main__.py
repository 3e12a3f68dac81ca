"""`python -m train`: the training command line."""

from train.cli.main import main

if __name__ == "__main__":
    main()
