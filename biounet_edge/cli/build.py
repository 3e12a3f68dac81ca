"""`biounet-edge build`: compiles a bundle's graphs for the GPUs that run them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from biounet_edge.cli.console import print_json, say
from biounet_edge.cli.options import BundleArgument, JsonOption

if TYPE_CHECKING:
    from biounet_edge.backends.tensor_rt.building import BuiltEngine
    from biounet_edge.backends.tensor_rt.progress import BuildProgress
    from biounet_edge.bundle.manifest import Level


def build(
    bundle: BundleArgument = None,
    device: Annotated[
        Literal["tensorrt", "tensorrt-rtx"],
        typer.Option("--device", help="TensorRT, or TensorRT for RTX workstations."),
    ] = "tensorrt",
    level: Annotated[
        list[str] | None,
        typer.Option("--level", help="classify, cam or full; may be repeated (default: all)."),
    ] = None,
    precision: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option("--precision", help="Number format (default: float16 if the bundle has it)."),
    ] = None,
    batch_profile: Annotated[
        str, typer.Option("--batch-profile", help="Smallest, usual and largest batch, separated by commas.")
    ] = "1,8,32",
    compute_capability: Annotated[
        str | None,
        typer.Option(
            "--compute-capability",
            help="With tensorrt-rtx: GPU architectures to build for ahead of time, separated by commas, such "
            "as 8.6,8.9,12.0 (default: the GPU of this machine).",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compile a bundle for TensorRT, on the machine that runs it or, for RTX, ahead of time."""
    from biounet_edge.backends.tensor_rt.building import build_engines
    from biounet_edge.backends.tensor_rt.sidecar import parse_batch_profile
    from biounet_edge.bundle.folder import Bundle

    profile = parse_batch_profile(batch_profile)
    capabilities = [part.strip() for part in (compute_capability or "").split(",") if part.strip()]
    with _progress() as tell:
        levels = cast("list[Level] | None", level)  # the bundle says which there are
        built = build_engines(
            Bundle.open(bundle), device, levels, precision, profile, capabilities, progress=tell
        )
    if as_json:
        print_json({"engines": [{"path": str(e.path), **e.sidecar.model_dump(mode="json")} for e in built]})
    else:
        _print(built)


@contextmanager
def _progress() -> Iterator[Callable[["BuildProgress"], None]]:
    """Show each build on stderr: a line when it begins, and its phases if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Building", total=1.0)
        graphs: list[str] = []

        def tell(state: "BuildProgress") -> None:
            if state.graph not in graphs:
                graphs.append(state.graph)
                say(f"{state.graph}: {_expected(state.expected_s)}")
                progress.reset(task)
            phase = f"{state.graph}: {state.phase}"
            progress.update(task, description=phase, completed=state.fraction)

        yield tell


def _expected(seconds: float | None) -> str:
    if seconds is None:
        return "no estimate before the first build on this GPU"
    return f"may take about {seconds:.0f} seconds" if seconds < 90 else f"may take {seconds / 60:.0f} minutes"


def _print(built: "list[BuiltEngine]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("Level", "Precision", "Batches", "For", box=box.SIMPLE_HEAD)
    table.add_column("Size", justify="right")
    table.add_column("Built in", justify="right")
    for engine in built:
        sidecar = engine.sidecar
        table.add_row(
            sidecar.part,
            sidecar.precision,
            str(sidecar.batch_profile),
            sidecar.gpu or ", ".join(sidecar.compute_capabilities),
            f"{sidecar.engine_bytes / 1e6:.1f} MB",
            f"{sidecar.build_seconds:.0f} s",
        )
    console = Console()
    console.print(table)
    folders = dict.fromkeys(str(engine.path.parent) for engine in built)
    console.print(f"engines in {', '.join(folders)}", highlight=False, markup=False, soft_wrap=True)
