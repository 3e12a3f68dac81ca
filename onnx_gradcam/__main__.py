"""`python -m onnx_gradcam`, and what pip installs as `onnx-gradcam`."""

import sys


def main() -> None:
    """Run the command."""
    try:
        from onnx_gradcam.cli.main import app
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in ("rich", "typer"):
            raise
        sys.exit(f"error: {package} is not installed, and the command needs it: pip install rich typer")
    app(prog_name="onnx-gradcam")


if __name__ == "__main__":
    main()
