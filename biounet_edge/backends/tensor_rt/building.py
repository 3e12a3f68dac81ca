"""Compiling a bundle's graphs into engines, on the machine that runs them or, for RTX, ahead of time."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biounet_edge.backends import PRECISIONS
from biounet_edge.backends.gpu import Gpu, present_gpu
from biounet_edge.backends.tensor_rt.compilation import Compilation
from biounet_edge.backends.tensor_rt.engine_files import previous_build, write_engine
from biounet_edge.backends.tensor_rt.library import import_tensorrt
from biounet_edge.backends.tensor_rt.progress import SECONDS_PER_LAYER, BuildProgress, ProgressListener
from biounet_edge.backends.tensor_rt.sidecar import (
    DEFAULT_PROFILE,
    BatchProfile,
    Sidecar,
    engine_path,
    this_platform,
)
from biounet_edge.bundle.folder import COMPILED_NAME, WEIGHTS_NAME, Bundle
from biounet_edge.bundle.graph_inspection import check_content
from biounet_edge.bundle.manifest import GraphPrecision, Level
from biounet_edge.errors import BackendUnavailableError, InputError

Tell = Callable[[BuildProgress], None]


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """What one build left."""

    path: Path
    """The engine; the sidecar is beside it."""
    sidecar: Sidecar
    """Content of the sidecar."""


def build_engines(
    bundle: Bundle,
    device: str,
    levels: Sequence[Level] | None = None,
    precision: GraphPrecision | None = None,
    batch_profile: BatchProfile = DEFAULT_PROFILE,
    compute_capabilities: Sequence[str] = (),
    output: Path | None = None,
    progress: Tell | None = None,
) -> list[BuiltEngine]:
    """Compile levels of a bundle, one engine each, over what was built before.

    Args:
        bundle: The opened bundle.
        device: "tensorrt" or "tensorrt-rtx".
        levels: Levels to compile; None for all that the bundle has.
        precision: Number format; None for float16 where the bundle has it, float32 otherwise.
        batch_profile: Batch sizes to build for.
        compute_capabilities: Architectures to build for ahead of time, such as "8.9", with tensorrt-rtx;
            none for the GPU of this machine.
        output: Folder for the engines; None for the bundle's own, the only one where backends look.
        progress: Called as the builds go on; what it raises ends them.

    Returns:
        The engines, in the order of the levels.

    Raises:
        InputError: If there is no such level, precision or architecture, or the device takes none.
        BackendUnavailableError: If the library or a GPU is missing, or the library cannot compile a graph.
        OutputError: If an engine cannot be written.
    """
    wanted: Sequence[Level] = list(bundle.manifest.levels) if levels is None else levels
    offered = [bundle.manifest.levels[level].graphs for level in wanted if level in bundle.manifest.levels]
    if precision is None:
        precision = "float16" if all("float16" in graphs for graphs in offered) else "float32"
    graphs = [bundle.graph(level, precision).name for level in dict.fromkeys(wanted)]
    return [
        build_graph(bundle, graph, device, batch_profile, compute_capabilities, output, progress)
        for graph in graphs
    ]


def build_graph(
    bundle: Bundle,
    graph: str,
    device: str,
    batch_profile: BatchProfile = DEFAULT_PROFILE,
    compute_capabilities: Sequence[str] = (),
    output: Path | None = None,
    progress: Tell | None = None,
) -> BuiltEngine:
    """Compile one graph of a bundle, a level's or a component's.

    Args:
        bundle: The opened bundle.
        graph: File name of the ONNX graph.
        device: As for `build_engines`.
        batch_profile: As for `build_engines`.
        compute_capabilities: As for `build_engines`.
        output: As for `build_engines`.
        progress: As for `build_engines`.

    Returns:
        The engine.

    Raises:
        InputError: As for `build_engines`, or if the bundle has no such graph.
        IntegrityError: If the graph is not safe to load.
        BackendUnavailableError: As for `build_engines`.
        OutputError: As for `build_engines`.
    """
    library = import_tensorrt(device)
    part, precision = _identify(bundle, graph, device)
    check_content(bundle, graph)
    target = _target(library, device, compute_capabilities)
    path = engine_path(bundle.folder / COMPILED_NAME if output is None else output, graph, device)
    listener = ProgressListener(graph, progress)
    compilation = Compilation(library, bundle.folder / graph)
    listener.expected_s = previous_build(path, target.gpu)
    if listener.expected_s is None and device == "tensorrt-rtx":
        listener.expected_s = round(SECONDS_PER_LAYER * compilation.layers, 1)
    # TensorRT measures kernels and keeps the times; TensorRT for RTX chooses kernels when it loads.
    timing_cache = path.with_name(f"timing.{device}.cache") if device == "tensorrt" else None
    content = compilation.run(batch_profile, target.enumerators, listener, timing_cache)
    sidecar = Sidecar(
        device="tensorrt" if device == "tensorrt" else "tensorrt-rtx",
        library_version=library.__version__,
        platform=this_platform(device),
        gpu=target.gpu.name if target.gpu else None,
        compute_capabilities=target.names,
        cuda=target.gpu.cuda if target.gpu else None,
        bundle=bundle.manifest.name,
        bundle_checksum=bundle.checksum,
        part=part,
        precision=precision,
        graph=graph,
        graph_sha256=bundle.manifest.files[graph].sha256,
        weights_sha256=bundle.manifest.files[WEIGHTS_NAME].sha256,
        batch_profile=batch_profile,
        engine_sha256=hashlib.sha256(content).hexdigest(),
        engine_bytes=content.nbytes,
        build_seconds=round(listener.elapsed_s, 1),
    )
    write_engine(path, content, sidecar)
    return BuiltEngine(path, sidecar)


@dataclass(frozen=True, slots=True)
class _Target:
    """What is built for."""

    gpu: Gpu | None
    """The GPU of this machine; None ahead of time."""
    names: tuple[str, ...]
    """Architectures, such as "8.9"."""
    enumerators: tuple[Any, ...]
    """The same as the library's ComputeCapability; none of TensorRT, which builds for the GPU it finds."""


def _identify(bundle: Bundle, graph: str, device: str) -> tuple[str, GraphPrecision]:
    """Find what a graph computes, and in which precision."""
    known: dict[str, tuple[str, GraphPrecision]] = {}
    for level, spec in bundle.manifest.levels.items():
        known |= {name: (level, precision) for precision, name in spec.graphs.items()}
    for precision, names in bundle.manifest.components.items():
        known |= {name: (Path(name).stem.removesuffix(f"_{precision}"), precision) for name in names}
    if graph not in known:
        raise InputError(
            f"the bundle {bundle.manifest.name} has no graph {graph}: choose one of "
            f"{', '.join(sorted(known))}"
        )
    if known[graph][1] not in PRECISIONS[device]:
        raise InputError(
            f"{graph} computes in {known[graph][1]}, and device {device} in "
            f"{' and '.join(PRECISIONS[device])}: choose one of these precisions"
        )
    return known[graph]


def _target(library: Any, device: str, compute_capabilities: Sequence[str]) -> _Target:
    if device == "tensorrt":
        if compute_capabilities:
            raise InputError(
                "device tensorrt builds for the GPU of the machine that it builds on: leave "
                "--compute-capability out, or build for tensorrt-rtx"
            )
        gpu = present_gpu(device)
        return _Target(gpu, (gpu.compute_capability,), ())
    try:
        present = None if compute_capabilities else present_gpu(device)
    except BackendUnavailableError as error:
        raise BackendUnavailableError(
            f"{error}; or build ahead of time for other machines with --compute-capability, such "
            "as 8.6,8.9,12.0"
        ) from error
    names = (present.compute_capability,) if present else tuple(dict.fromkeys(compute_capabilities))
    members = {
        f"{name[2:-1]}.{name[-1]}": member  # SM120 is 12.0
        for name, member in library.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    if unknown := [name for name in names if name not in members]:
        raise InputError(
            f"tensorrt-rtx {library.__version__} does not build for compute capability {', '.join(unknown)}: "
            f"it knows {', '.join(members)}"
        )
    return _Target(present, names, tuple(members[name] for name in names))
