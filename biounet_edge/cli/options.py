"""Options and arguments that several commands share, each written once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

BundleArgument = Annotated[
    Path | None, typer.Argument(metavar="BUNDLE", help="Bundle folder (default: the demo bundle).")
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle folder (default: the demo bundle).")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (the fastest available), cpu, cuda, openvino, openvino-gpu, tensorrt or tensorrt-rtx; "
        "a named device is never replaced by another.",
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "float32", "float16", "bfloat16", "int8"],
    typer.Option("--precision", help="Number format; a named one is never replaced by another."),
]
LevelOption = Annotated[
    Literal["classify", "cam", "full"],
    typer.Option("--level", help="classify: probabilities; cam: heatmaps too; full: heatmaps and masks."),
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, help="Images computed at once.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
SaveOption = Annotated[
    str | None,
    typer.Option(
        "--save",
        help="Files to write, separated by commas: masks, overlays, heatmaps, probabilities, report or none "
        "(default: masks,overlays at level full, overlays at level cam); "
        "for DICOM sources also dicom-seg, dicom-sr, dicom-sc, dicom-pm.",
    ),
]
AnyModalityOption = Annotated[
    bool,
    typer.Option(
        "--any-modality",
        help="Read DICOM images whatever their header says they show, not only photographs of skin.",
    ),
]
AcceptUnfamiliarOption = Annotated[
    bool,
    typer.Option(
        "--accept-unfamiliar",
        help="Assess photographs that are unlike those of the training too, with a warning at every number.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
