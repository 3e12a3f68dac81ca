"""`biounet-edge watch`: reads photographs as they arrive in a folder."""

import signal
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated

import typer

from biounet_edge.cli.console import print_json, say, say_why
from biounet_edge.cli.options import (
    AcceptUnfamiliarOption,
    AnyModalityOption,
    BundleOption,
    DeviceOption,
    LevelOption,
    OutputOption,
    PrecisionOption,
    SaveOption,
)
from biounet_edge.indicators import indicator_label
from biounet_edge.results.text import printable

if TYPE_CHECKING:
    from biounet_edge.prediction import Prediction


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that photographs arrive in.")],
    output: OutputOption = Path("predictions"),
    bundle: BundleOption = None,
    level: LevelOption = "full",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    save: SaveOption = None,
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds without a change after which a file is read.")
    ] = 2.0,
    any_modality: AnyModalityOption = False,
    accept_unfamiliar: AcceptUnfamiliarOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line per photograph.")] = False,
) -> None:
    """Read photographs as they arrive in a folder, until Ctrl-C or SIGTERM."""
    from biounet_edge.cli.process import loaded, share_cores, silence_decoders
    from biounet_edge.prediction import PredictionFailure
    from biounet_edge.results.kinds import parse_save
    from biounet_edge.runs.folder import RunOptions
    from biounet_edge.runs.watch import watch_folder

    silence_decoders()
    share_cores()
    options = RunOptions(parse_save(save, level), batch_size=1)
    stop = Event()
    reading = {"any_modality": any_modality, "accept_unfamiliar": accept_unfamiliar}
    with loaded(bundle, device, precision, level, **reading) as predictor:
        _set_on_signals(stop)
        say(f"watching {folder}, results in {output}; Ctrl-C stops it")
        found = watch_folder(predictor, folder, output, options, stop, settle_s=settle, tell=say)
        with closing(found):
            for item in found:
                if isinstance(item.outcome, PredictionFailure):
                    say_why(item.outcome)
                elif not as_json:
                    typer.echo(_sentence(item.outcome))
                if as_json:
                    print_json(item.outcome.to_dict(), indent=None)
    say("stopped; what was finished is kept")


def _set_on_signals(stop: Event) -> None:
    """Set the event from a thread: a signal may come while this one holds the lock that setting it needs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: Thread(target=stop.set).start())


def _sentence(prediction: "Prediction") -> str:
    findings = {indicator_label(name): finding for name, finding in prediction.indicators.items()}
    present = ", ".join(name for name, finding in findings.items() if finding.present) or "no indicator"
    undecided = (
        f"; probability only: {name} {finding.probability:.0%}"
        for name, finding in findings.items()
        if finding.present is None
    )
    melanoma = f"melanoma {prediction.melanoma_probability:.1%}"
    warning = f" ({prediction.warning})" if prediction.warning else ""
    notes = "".join(f"; note: {note}" for note in prediction.notes)
    text = f"{melanoma}{warning}, {present}{''.join(undecided)}{notes}"
    return f"{printable(prediction.source)}: {text}"
