"""`biounet-edge predict`: reads photographs and writes what the model says about them."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from biounet_edge.cli.console import print_json, say, say_notes, say_why, without_paths
from biounet_edge.cli.options import (
    AcceptUnfamiliarOption,
    AnyModalityOption,
    BatchSizeOption,
    BundleOption,
    DeviceOption,
    JsonOption,
    LevelOption,
    OutputOption,
    PrecisionOption,
    SaveOption,
)


def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Images and folders of images.")],
    output: OutputOption = Path("predictions"),
    bundle: BundleOption = None,
    level: LevelOption = "full",
    batch_size: BatchSizeOption = 8,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    save: SaveOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Keep what an earlier run into this folder finished."),
    ] = True,
    anonymous: Annotated[
        bool,
        typer.Option("--anonymous", help="Write hashes of the images' content in place of file names."),
    ] = False,
    any_modality: AnyModalityOption = False,
    accept_unfamiliar: AcceptUnfamiliarOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict melanoma, its indicators, their heatmaps and masks from photographs."""
    from biounet_edge.cli.prediction_table import PredictionTable, progress_bar
    from biounet_edge.cli.process import loaded, share_cores, silence_decoders
    from biounet_edge.photographs.discovery import look_through
    from biounet_edge.prediction import PredictionFailure
    from biounet_edge.results.dicom.files import DicomFiles
    from biounet_edge.results.kinds import parse_save
    from biounet_edge.runs.folder import RunOptions, run_folder

    silence_decoders()
    share_cores()
    kinds = parse_save(save, level)
    options = RunOptions(kinds, batch_size, resume, anonymous)
    with without_paths(anonymous):
        found = look_through(paths, output, any_modality=any_modality)
    images = found.images
    table, kept = PredictionTable(len(images)), 0
    reading = {"any_modality": any_modality, "accept_unfamiliar": accept_unfamiliar}
    with loaded(bundle, device, precision, level, **reading) as predictor:
        dicom = DicomFiles(kinds, predictor.bundle, images)
        if dicom.others:
            kinds_left_out = ", ".join(dicom.kinds)
            say(f"{dicom.others} of {len(images)} images are not DICOM files and get no {kinds_left_out}")
        finished = run_folder(predictor, images, output, options, dicom, left_out=found.left_out, tell=say)
        with closing(finished), progress_bar(len(images)) as advance:
            for item in finished:
                kept += item.kept
                if isinstance(item.outcome, PredictionFailure):
                    say_why(item.outcome)
                say_notes(item.outcome)
                if as_json:
                    print_json(item.outcome.to_dict(), indent=None)
                table.add(item.outcome)
                advance()
    if not as_json:
        table.print()
    if kept:
        say(f"kept {kept} results of an earlier run; --no-resume computes them again")
    for part in found.left_out:
        say(f"left out: {part.sentence}")
    if table.counts.noted:
        say(f"{table.counts.noted} with a note: see predictions.csv")
    folders = ["report.html" if kind == "report" else f"{kind}/" for kind in kinds]
    written = ", ".join(["predictions.csv", "predictions.jsonl", "summary.json", *folders])
    say(f"{table.counts.sentence}; results in {output}: {written}")
    for problem in dicom.problems.values():
        say(f"error: {problem}", style="red")
    if table.counts.failed or dicom.problems:
        raise typer.Exit(3)
