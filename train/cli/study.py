"""`python -m train evaluate`, `tables`, `panel` and `curves`: judge and compare trained models."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from train.cli.options import DataRootOption, LimeSamplesOption, SideOption, SourceOption
from train.cli.progress import ProgressReporter, show_progress
from train.cli.requirements import study_requirements


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    source: SourceOption = None,
    side: SideOption = "test",
    data_root: DataRootOption = Path("data"),
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to; default RUN/evaluation/<source>-<side>.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="What localises, may be repeated: grad_cam, decoder (these two by default), "
            "grad_cam_plus_plus, layer_cam, lime."
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="A quick look at a seeded sample of this many images.")
    ] = None,
    lime_samples: LimeSamplesOption = 200,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of an interval.")] = 2000,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the network runs.")] = "auto",
) -> None:
    """Judge a trained model on held-out images; write evaluation.json and evaluation.md, print the latter."""
    with study_requirements("evaluate"), show_progress() as progress:
        from train.engine import choose_device
        from train.evaluation.evaluate import evaluate as evaluate_run
        from train.evaluation.judge import Options
        from train.evaluation.methods import known_methods
        from train.evaluation.page import format_page

        options = Options(
            methods=known_methods(method) if method else None,
            images=images,
            lime_samples=lime_samples,
            resamples=resamples,
        )
        reporter = ProgressReporter(progress)
        evaluation = evaluate_run(
            run, data_root, source, side, options, output, choose_device(device), reporter
        )
    typer.echo(format_page(evaluation), nl=False)


def tables(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of finished and evaluated runs.", metavar="RUN")
    ] = None,
    source: SourceOption = None,
    output: Annotated[Path | None, typer.Option(help="Markdown file to write as well.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file whose annotated data Table 1 counts; default the test images."),
    ] = None,
    data_root: DataRootOption = Path("data"),
) -> None:
    """Print the paper's Tables 1 to 7 as Markdown, our figures beside the paper's."""
    from train.checkpoint import write_text
    from train.config.run import load_config
    from train.tables.counts import count_sources
    from train.tables.tables import format_tables

    counts = count_sources(load_config(config), data_root) if config else None
    text = format_tables(runs or [], source, counts)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, text)
    typer.echo(text, nl=False)


def panel(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, in the order of the maps.")],
    output: Annotated[Path, typer.Option(help="PNG to write.")],
    data_root: DataRootOption = Path("data"),
    source: SourceOption = None,
    images_per_indicator: Annotated[int, typer.Option(min=1, help="Lines for each indicator.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other images.")] = 0,
    lime_samples: LimeSamplesOption = 200,
) -> None:
    """Draw held-out images, their true masks and each method's maps, as the paper's Figure 3."""
    with study_requirements("panel"), show_progress() as progress:
        from train.tables.panel_figure import draw_panel
        from train.tables.panels import explain_examples

        reporter = ProgressReporter(progress)
        examples = explain_examples(
            runs, data_root, source, images_per_indicator, seed, lime_samples, reporter
        )
        draw_panel(examples, output)
    typer.echo(output)


def curves(
    run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")],
    output: Annotated[Path, typer.Option(help="PNG to write.")],
) -> None:
    """Draw the losses and validation figures of a run over its epochs."""
    with study_requirements("curves"):
        from train.tables.curves import draw_curves

        draw_curves(run, output)
    typer.echo(output)
