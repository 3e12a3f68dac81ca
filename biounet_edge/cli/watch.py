"""`biounet-edge watch`: reads photographs as they arrive in a folder."""

import signal
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from biounet_edge.cli.console import print_json, say
from biounet_edge.text import printable

if TYPE_CHECKING:
    from biounet_edge.prediction import Prediction


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where photographs arrive.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "predictions"
    ),
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Bundle folder; the demo bundle if left out.")
    ] = None,
    level: Annotated[
        Literal["classify", "cam", "full"],
        typer.Option("--level", help="Probabilities; with heatmaps; with heatmaps and masks."),
    ] = "full",
    device: Annotated[
        str, typer.Option("--device", help="As for predict; never another than asked for.")
    ] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "float16", "bfloat16", "int8"],
        typer.Option("--precision", help="Number format to compute in; never another than asked for."),
    ] = "auto",
    save: Annotated[
        str | None, typer.Option("--save", help="Files to write, with commas, as for predict.")
    ] = None,
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds that a file must not have changed.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line a photograph.")] = False,
) -> None:
    """Read photographs as they arrive in a folder, until Ctrl-C or SIGTERM."""
    from biounet_edge.cli.output import share_cores, silence_decoders
    from biounet_edge.folder_run import RunOptions
    from biounet_edge.prediction import PredictionFailure
    from biounet_edge.predictor import Predictor
    from biounet_edge.result_files import parse_save
    from biounet_edge.watch import watch_folder

    silence_decoders()
    share_cores()
    options = RunOptions(parse_save(save, level), batch_size=1)
    stop = Event()
    with Predictor(bundle, device=device, precision=precision, level=level) as predictor:
        say(f"computing on {predictor.selection}", style="dim")
        if predictor.bundle.manifest.notice:
            say(predictor.bundle.manifest.notice, style="yellow")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        say(f"watching {folder}, results in {output}; Ctrl-C ends it")
        found = watch_folder(predictor, folder, output, options, stop, settle_s=settle, report=say)
        with closing(found):
            for item in found:
                if isinstance(item.outcome, PredictionFailure):
                    say(f"error: {item.outcome.source}: {item.outcome.error}", style="red")
                elif not as_json:
                    typer.echo(_sentence(item.outcome))
                if as_json:
                    print_json(item.outcome.to_dict(), indent=None)
    say("stopped; what was finished is kept")


def _sentence(prediction: "Prediction") -> str:
    present = [name for name, finding in prediction.indicators.items() if finding.present]
    names = ", ".join(present).replace("_", " ") or "no indicator"
    return f"{printable(prediction.source)}: melanoma {prediction.melanoma_probability:.1%}, {names}"
