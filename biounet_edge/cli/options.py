"""Options and arguments that several commands share, each written once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

BundleArgument = Annotated[
    Path | None, typer.Argument(metavar="BUNDLE", help="Bundle folder; the demo bundle if left out.")
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle folder; the demo bundle if left out.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto, cpu, cuda, openvino, openvino-gpu, tensorrt or tensorrt-rtx; "
        "never another than asked for.",
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "float32", "float16", "bfloat16", "int8"],
    typer.Option("--precision", help="Number format to compute in; never another than asked for."),
]
LevelOption = Annotated[
    Literal["classify", "cam", "full"],
    typer.Option("--level", help="Probabilities; with heatmaps; with heatmaps and masks."),
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, help="Images per pass.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
SaveOption = Annotated[
    str | None,
    typer.Option(
        "--save",
        help="Files to write, with commas: masks, overlays, heatmaps, probabilities, report or none "
        "(if left out: masks,overlays at level full, overlays at level cam); "
        "for DICOM sources also dicom-seg, dicom-sr, dicom-sc, dicom-pm.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
