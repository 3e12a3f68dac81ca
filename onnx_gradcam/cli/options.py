"""Arguments and options that both commands have."""

from pathlib import Path
from typing import Annotated

import typer

ModelArgument = Annotated[
    Path, typer.Argument(help="ONNX file of a classifier of images.", metavar="MODEL.onnx")
]

ScoresOption = Annotated[
    str | None,
    typer.Option(
        help="Name of the class scores (N, K).", show_default="the first output, before its softmax"
    ),
]
