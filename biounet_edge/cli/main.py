"""The `biounet-edge` command: parses, calls the library, prints.

Results go to stdout, everything else to stderr. Exit codes: 0 all done, 1 a known error, 2 usage, 3 some
inputs failed and the rest are done, 130 interrupted. Heavy imports stand inside the commands, so that --help
is quick.
"""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from biounet_edge.cli.benchmark import benchmark
from biounet_edge.cli.build import build
from biounet_edge.cli.console import print_json, say, without_paths
from biounet_edge.cli.doctor import doctor
from biounet_edge.cli.options import (
    BatchSizeOption,
    BundleArgument,
    BundleOption,
    DeviceOption,
    JsonOption,
    LevelOption,
    OutputOption,
    PrecisionOption,
    SaveOption,
)
from biounet_edge.cli.watch import watch
from biounet_edge.errors import BiounetEdgeError
from biounet_edge.version import __version__


class _Commands(TyperGroup):
    """The one place where known errors become a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BiounetEdgeError as error:
            say(f"error: {error}", style="red")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            say("interrupted; what was finished is kept", style="red")
            raise typer.Exit(130) from interrupt


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"biounet-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explainable melanoma assessment of dermoscopy photographs."""


@app.command()
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
    as_json: JsonOption = False,
) -> None:
    """Read photographs: melanoma probability, indicators, heatmaps and masks."""
    from contextlib import closing

    from biounet_edge.cli.output import PredictionTable, progress_bar, share_cores, silence_decoders
    from biounet_edge.photographs.discovery import discover
    from biounet_edge.prediction import PredictionFailure
    from biounet_edge.predictor import Predictor
    from biounet_edge.results.dicom.files import DicomFiles
    from biounet_edge.results.kinds import parse_save
    from biounet_edge.runs.folder import RunOptions, run_folder

    silence_decoders()
    share_cores()
    kinds = parse_save(save, level)
    options = RunOptions(kinds, batch_size, resume, anonymous)
    with without_paths(anonymous):
        images = discover(paths, output)
    table, kept = PredictionTable(), 0
    with Predictor(bundle, device=device, precision=precision, level=level) as predictor:
        say(f"computing on {predictor.selection}", style="dim")
        if predictor.bundle.manifest.notice:
            say(predictor.bundle.manifest.notice, style="yellow")
        dicom = DicomFiles(kinds, predictor.bundle, images)
        if dicom.others:
            kinds_left_out = ", ".join(dicom.kinds)
            say(f"{dicom.others} of {len(images)} images are no DICOM files and get no {kinds_left_out}")
        finished = run_folder(predictor, images, output, options, dicom)
        with closing(finished), progress_bar(len(images)) as advance:
            for item in finished:
                kept += item.kept
                if isinstance(item.outcome, PredictionFailure):
                    say(f"error: {item.outcome.source}: {item.outcome.error}", style="red")
                if as_json:
                    print_json(item.outcome.to_dict(), indent=None)
                table.add(item.outcome)
                advance()
    if not as_json:
        table.print()
    folders = ["report.html" if kind == "report" else f"{kind}/" for kind in kinds]
    written = ", ".join(["predictions.csv", "predictions.jsonl", *folders])
    if kept:
        say(f"{kept} were finished by an earlier run and kept; --no-resume computes them again")
    say(f"{len(images) - table.failures} of {len(images)} images read; results in {output}: {written}")
    for problem in dicom.problems.values():
        say(f"error: {problem}", style="red")
    if table.failures or dicom.problems:
        raise typer.Exit(3)


@app.command()
def info(bundle: BundleArgument = None, as_json: JsonOption = False) -> None:
    """Describe a bundle after checking its files."""
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.cli.output import describe_bundle, print_bundle

    description = describe_bundle(Bundle.open(bundle))
    if as_json:
        print_json(description)
    else:
        print_bundle(description)


@app.command()
def verify(
    bundle: BundleArgument = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="Photographs, or folders of them, to compare with float32 as well."),
    ] = None,
    certificate: Annotated[
        Path, typer.Option("--certificate", help="File that the result is written to, as JSON.")
    ] = Path("verification.json"),
    as_json: JsonOption = False,
) -> None:
    """Check that this machine computes what PyTorch computed at export."""
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.checks.verification import verify as verify_bundle
    from biounet_edge.cli.output import silence_decoders
    from biounet_edge.cli.verification import print_report
    from biounet_edge.photographs.discovery import discover
    from biounet_edge.storage import write_atomically

    silence_decoders()
    photographs = [image.source for image in discover(images)] if images else []
    report = verify_bundle(Bundle.open(bundle), device, precision, photographs)
    write_atomically(certificate, report.to_json().encode())
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)
    say(f"certificate: {certificate}")
    report.raise_if_failed()


app.command()(benchmark)
app.command()(build)
app.command()(doctor)
app.command()(watch)


def main() -> None:
    """Runs the command; what pip installs as `biounet-edge`."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding has not must not end a run
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="biounet-edge")
