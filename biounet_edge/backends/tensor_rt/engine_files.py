"""Reading and writing engines: none is touched before its sidecar fits and its checksum is right.

Loading an engine that was built for another GPU, library or graph crashes at best, and computes something
else at worst.
"""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from biounet_edge.backends.gpu import Gpu
from biounet_edge.backends.tensor_rt.sidecar import Sidecar, build_command, engine_path, this_platform
from biounet_edge.bundle.folder import COMPILED_NAME, WEIGHTS_NAME, Bundle
from biounet_edge.bundle.manifest import GraphPrecision, Level
from biounet_edge.errors import BackendUnavailableError, EngineMismatchError, OutputError
from biounet_edge.storage import replace_file


def read_engine(
    bundle: Bundle, level: Level, device: str, precision: GraphPrecision, library_version: str, gpu: Gpu
) -> tuple[Sidecar, bytes]:
    """Read a level's engine after checking that it fits this machine and bundle.

    Args:
        bundle: The opened bundle, whose files are the ones of its manifest.
        level: How much it computes.
        device: "tensorrt" or "tensorrt-rtx".
        precision: Number format that it computes in.
        library_version: Of the installed library.
        gpu: The GPU of this machine.

    Returns:
        The sidecar and the engine's content.

    Raises:
        BackendUnavailableError: If no engine was built.
        EngineMismatchError: If it was built for something else, or is damaged.
    """
    graph = bundle.graph(level, precision).name
    path = engine_path(bundle.folder / COMPILED_NAME, graph, device)
    command = build_command(bundle, level, device, precision)
    if not path.is_file():
        raise BackendUnavailableError(f"there is no engine {path}: build it on this machine with {command}")
    sidecar = _read_sidecar(path.with_suffix(".json"), command)
    command = build_command(bundle, level, device, precision, sidecar.batch_profile)
    compared = [
        ("device", sidecar.device, device),
        (f"{device} version", sidecar.library_version, library_version),
        ("platform", sidecar.platform, this_platform(device)),
        ("bundle checksum", sidecar.bundle_checksum, bundle.checksum),
        ("graph", sidecar.graph, graph),
        ("precision", sidecar.precision, precision),
        ("SHA-256 of the graph", sidecar.graph_sha256, bundle.manifest.files[graph].sha256),
        (f"SHA-256 of {WEIGHTS_NAME}", sidecar.weights_sha256, bundle.manifest.files[WEIGHTS_NAME].sha256),
    ]
    differences = [
        f"{name} (expected {_short(expected)}, found {_short(found)})"
        for name, expected, found in compared
        if expected != found
    ] + _gpu_differences(sidecar, gpu)
    if differences:
        raise EngineMismatchError(
            f"{path} was built for something else: {'; '.join(differences)}. Build it again with {command}"
        )
    return sidecar, _read_content(path, sidecar, command)


def write_engine(path: Path, content: memoryview, sidecar: Sidecar) -> None:
    """Write an engine and then its sidecar, each whole or not at all.

    A run that ends between the two leaves an engine that the old sidecar does not fit, which is rejected.

    Args:
        path: From `engine_path`.
        content: The engine.
        sidecar: What it was built for.

    Raises:
        OutputError: If they cannot be written.
    """
    write_compiled(path, content)
    write_compiled(path.with_suffix(".json"), (sidecar.model_dump_json(indent=2) + "\n").encode())


def write_compiled(path: Path, content: bytes | memoryview) -> None:
    """Write a file of the folder of engines whole or not at all.

    Args:
        path: The file; its folder is made where it is missing.
        content: Its bytes.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}): engines are kept beside the bundle, "
            "check the free space and the permissions there, or copy the bundle to a folder of your own"
        ) from error


def previous_build(path: Path, gpu: Gpu | None) -> float | None:
    """Return how long an engine took to build the last time.

    Args:
        path: From `engine_path`.
        gpu: The GPU to build on; None to build ahead of time.

    Returns:
        Seconds; None where there is no engine that was built on such a GPU.
    """
    try:
        sidecar = Sidecar.model_validate_json(path.with_suffix(".json").read_bytes())
    except (OSError, ValidationError):
        return None
    return sidecar.build_seconds if sidecar.gpu == (gpu.name if gpu else None) else None


def _read_sidecar(path: Path, command: str) -> Sidecar:
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
    except ValidationError as error:
        where = ", ".join(".".join(map(str, problem["loc"])) or "JSON" for problem in error.errors())
        problem = f"{path} is damaged or of another version (wrong: {where})"
    raise EngineMismatchError(
        f"{problem}: expected the sidecar that says what the engine was built for. Build it again with "
        f"{command}"
    )


def _gpu_differences(sidecar: Sidecar, gpu: Gpu) -> list[str]:
    differences = []
    if sidecar.device == "tensorrt" and sidecar.gpu != gpu.name:
        differences.append(f"GPU (expected {sidecar.gpu}, found {gpu.name})")
    if gpu.compute_capability not in sidecar.compute_capabilities:
        built = " or ".join(sidecar.compute_capabilities)
        differences.append(f"compute capability (expected {built}, found {gpu.compute_capability})")
    if sidecar.cuda is not None and _number(gpu.cuda) < _number(sidecar.cuda):
        differences.append(f"CUDA of the driver (expected {sidecar.cuda} or newer, found {gpu.cuda})")
    return differences


def _read_content(path: Path, sidecar: Sidecar, command: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineMismatchError(
            f"{path} cannot be read ({error.strerror}): check its permissions"
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sidecar.engine_sha256:
        raise EngineMismatchError(
            f"{path} is damaged or was replaced (expected {sidecar.engine_bytes} bytes with SHA-256 "
            f"{_short(sidecar.engine_sha256)}, found {len(content)} bytes with {_short(actual)}). "
            f"Build it again with {command}"
        )
    return content


def _short(value: str | None) -> str:
    """Twelve digits of a checksum are enough to tell two apart."""
    return f"{value[:12]}..." if value is not None and len(value) == 64 else str(value)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
