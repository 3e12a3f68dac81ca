"""What the figures were measured on."""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

from biounet_edge.backends.processor import processor_name

PACKAGES = ("torch", "grad-cam", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "biounet-edge")


@dataclass(frozen=True)
class Machine:
    """Processor, threads and versions."""

    processor: str
    """Model of the CPU."""
    threads: int
    """Threads that each side may compute on."""
    versions: dict[str, str]
    """Version by library; those that are not installed are left out."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        libraries = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.processor}, {self.threads} threads; {libraries}"


def describe_machine(threads: int) -> Machine:
    """Looks up what there is.

    Args:
        threads: Threads that each side may compute on.

    Returns:
        The description.
    """
    versions = {"python": python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Machine(processor_name(), threads, versions)
