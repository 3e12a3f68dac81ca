"""`python -m benchmarks.common_blocks BUNDLE`: what computing the encoders' common blocks once is worth.

The bundle's components are put together twice, with equal nodes merged and without; both graphs run on the
same photographs, in alternation, in one process.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import onnx_ir as ir
import typer
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from biounet_edge.backends.processor import usable_threads
from biounet_edge.backends.telemetry import import_onnxruntime
from biounet_edge.bundle.folder import Bundle
from biounet_edge.indicators import INDICATORS
from biounet_edge.photographs.decoding import read_input
from biounet_edge.photographs.discovery import discover
from export.components import FUSION, decoder_name, encoder_name
from export.compose import LEVEL_OUTPUTS, join
from export.merge import merge_equal
from export.weights import write_graphs

Run = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]


def main(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    images: Annotated[Path, typer.Option(help="Folder of photographs; one batch of them is read.")],
    level: Annotated[Literal["classify", "cam", "full"], typer.Option(help="How much is computed.")] = "full",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per pass.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="How often each graph is run.")] = 10,
) -> None:
    """Compare the graph with and without merged common blocks, in ONNX Runtime and OpenVINO."""
    opened = Bundle.open(bundle)
    spec = opened.manifest.input
    names = [FUSION, *(of(name) for name in INDICATORS for of in (encoder_name, decoder_name))]
    components = {name: ir.load(opened.component(name)) for name in names}
    apart = join(level, components, spec)
    merged = merge_equal(join(level, components, spec))
    paths = [found.path for found in discover([images])][:batch_size]
    batch = np.stack([read_input(path, spec.height, spec.width) for path in paths])
    typer.echo(f"level {level}, one batch of {len(batch)}, {describe_machine(usable_threads())}")
    with tempfile.TemporaryDirectory() as folder:
        write_graphs({"apart.onnx": apart, "merged.onnx": merged}, Path(folder), opened.manifest.weights)
        files = [Path(folder) / "apart.onnx", Path(folder) / "merged.onnx"]
        for graph, file in zip((apart, merged), files, strict=True):
            typer.echo(f"{file.stem}: {len(list(graph.graph))} nodes, {_weights_mb(graph):.1f} MB of weights")
        for library, load in (("ONNX Runtime", _onnxruntime), ("OpenVINO", _openvino)):
            _compare(library, [load(file, spec.name, LEVEL_OUTPUTS[level]) for file in files], batch, rounds)


def _compare(library: str, runs: list[Run], batch: NDArray[np.uint8], rounds: int) -> None:
    first, second = (run(batch) for run in runs)  # warms up
    equal = all(np.array_equal(first[name], second[name]) for name in first)
    times = []
    for _ in range(rounds):
        of_round = []
        for run in runs:
            began = time.perf_counter()
            run(batch)
            of_round.append(time.perf_counter() - began)
        times.append(of_round)
    apart, merged = (len(batch) / median(column) for column in zip(*times, strict=True))
    ratio = median(of_round[0] / of_round[1] for of_round in times)
    same = "bit-equal" if equal else "not bit-equal"
    typer.echo(f"{library}: {apart:.2f} images/s apart, {merged:.2f} merged, {ratio:.2f} times; {same}")


def _onnxruntime(file: Path, input_name: str, names: Sequence[str]) -> Run:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(names, session.run(list(names), {input_name: images}), strict=True))


def _openvino(file: Path, input_name: str, names: Sequence[str]) -> Run:
    import openvino

    model = openvino.Core().compile_model(
        file, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": usable_threads()}
    )

    def run(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        found = model({input_name: images})
        return {name: np.array(found[name]) for name in names}

    return run


def _weights_mb(graph: ir.Model) -> float:
    return sum(v.const_value.nbytes for v in graph.graph.initializers.values() if v.const_value) / 1e6


if __name__ == "__main__":
    typer.run(main)
