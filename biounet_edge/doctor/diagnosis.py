"""What keeps a bundle from running on this machine, or from running fast, and what to do about it."""

import os
from collections.abc import Iterator
from pathlib import Path

from biounet_edge.backends.gpu import present_gpu
from biounet_edge.backends.requirements import install_command
from biounet_edge.backends.tensor_rt.engine_files import read_engine
from biounet_edge.backends.tensor_rt.library import import_tensorrt
from biounet_edge.backends.tensor_rt.sidecar import build_command, engine_path
from biounet_edge.bundle.folder import COMPILED_NAME, Bundle
from biounet_edge.bundle.manifest import CANNOT_JUDGE
from biounet_edge.doctor.findings import Finding, assess, has_gpu
from biounet_edge.doctor.machine import look
from biounet_edge.errors import (
    BackendUnavailableError,
    BiounetEdgeError,
    BundleNotFoundError,
    EngineMismatchError,
    ManifestError,
)

ENGINE_DEVICES = ("tensorrt", "tensorrt-rtx")


def diagnose(bundle: str | Path | None = None) -> list[Finding]:
    """Look for common problems of a machine and a bundle.

    Args:
        bundle: Folder of the bundle that is to be run; None for the demo bundle of this package.

    Returns:
        At least one finding per check, those where all is well included.
    """
    machine = look()
    findings = list(assess(machine))
    try:
        opened = Bundle.open(bundle)
    except BiounetEdgeError as error:
        return [*findings, _broken_bundle(error)]
    files = len(opened.manifest.files)
    text = (
        f"{opened.manifest.name} {opened.manifest.version} in {opened.folder}: {files} files, checksums match"
    )
    findings.append(Finding("Bundle", "ok", text))
    findings.append(_familiarity(opened))
    if "openvino" in machine.packages and not os.access(opened.folder, os.W_OK):
        findings.append(
            Finding(
                "Compiled models",
                "warning",
                f"{opened.folder} cannot be written to, so OpenVINO compiles the bundle at every start",
                "copy the bundle to a folder of your own, and name that folder",
            )
        )
    return [*findings, *_engines(opened, has_gpu(machine))]


def _familiarity(bundle: Bundle) -> Finding:
    spec = bundle.manifest.familiarity
    if spec is None:
        remedy = "show it photographs of skin only, or use a bundle with a familiarity score"
        return Finding("Familiarity", "warning", CANNOT_JUDGE, remedy)
    return Finding(
        "Familiarity", "ok", f"photographs with a score below {spec.threshold:.4g} are not assessed"
    )


def _broken_bundle(error: BiounetEdgeError) -> Finding:
    remedy = "fetch the bundle again"
    if isinstance(error, BundleNotFoundError):
        remedy = "name the folder that has the manifest.json of a bundle"
    elif isinstance(error, ManifestError):
        remedy = "fetch the bundle again, or pip install --upgrade biounet-edge if its format is newer"
    return Finding("Bundle", "problem", str(error), remedy)


def _engines(bundle: Bundle, gpu_answers: bool) -> Iterator[Finding]:
    """Check the engines that `biounet-edge build` made, just as loading them does."""
    for level, spec in bundle.manifest.levels.items():
        for precision, graph in spec.graphs.items():
            for device in ENGINE_DEVICES:
                path = engine_path(bundle.folder / COMPILED_NAME, graph, device)
                if not path.is_file():
                    continue
                name, command = f"Engine {path.name}", build_command(bundle, level, device, precision)
                if not gpu_answers:
                    yield Finding(
                        name,
                        "warning",
                        "no NVIDIA GPU answers on this machine, so it cannot run here",
                        f"use {device} on the machine that it was built for",
                    )
                    continue
                try:
                    library = import_tensorrt(device)
                    read_engine(bundle, level, device, precision, library.__version__, present_gpu(device))
                except EngineMismatchError as error:
                    yield Finding(name, "problem", str(error), command)
                except BackendUnavailableError as error:
                    yield Finding(name, "problem", str(error), install_command(device))
                else:
                    yield Finding(name, "ok", f"fits this GPU, {device} {library.__version__} and the bundle")
