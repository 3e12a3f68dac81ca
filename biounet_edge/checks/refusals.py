"""Remembering what the golden check refused, so that not every start compiles and refuses it again.

    <bundle>/compiled/refusals.json    for each choice that was refused: why

A refusal holds for one bundle, level, device and precision, and for one CPU and version of the library: a
newer library is tried again. Only what runs on the CPU is remembered: of a GPU's driver nothing is known
here.
"""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from biounet_edge.backends.processor import processor_name
from biounet_edge.bundle.folder import COMPILED_NAME, Bundle
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.errors import VerificationError
from biounet_edge.storage import replace_file
from biounet_edge.version import __version__

_LIBRARIES = {"cpu": "onnxruntime", "openvino": "openvino"}
_CONTENT = TypeAdapter(dict[str, str])


class Refusals:
    """What was refused of a bundle at a level on this machine."""

    def __init__(self, bundle: Bundle, level: Level) -> None:
        """Read what is remembered; a file that is missing or damaged remembers nothing.

        Args:
            bundle: The opened bundle.
            level: How much is computed.
        """
        self._bundle = bundle
        self._level = level
        self._path = bundle.folder / COMPILED_NAME / "refusals.json"
        self._known = _read(self._path)

    def find(self, device: str, precision: Precision) -> VerificationError | None:
        """Find an earlier refusal.

        Args:
            device: What would run.
            precision: Number format to compute in.

        Returns:
            What to tell of it; None where it was not refused, or something has changed since.
        """
        key = self._key(device, precision)
        if key is None or key not in self._known:
            return None
        return VerificationError(
            f"at an earlier start; {self._path} says why, and without that file it is tried again"
        )

    def add(self, device: str, precision: Precision, error: VerificationError) -> None:
        """Remember a refusal, where the bundle's folder can be written.

        Args:
            device: What was to run.
            precision: Number format that it computed in.
            error: Why it was refused.
        """
        key = self._key(device, precision)
        if key is None:
            return
        self._known = {**_read(self._path), key: str(error)}
        with suppress(OSError):  # a bundle that cannot be written is judged each time
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, json.dumps(self._known, indent=1).encode())

    def _key(self, device: str, precision: Precision) -> str | None:
        """Name a choice on this machine; None where the machine cannot be named."""
        try:
            library = version(_LIBRARIES[device])
        except (KeyError, PackageNotFoundError):
            return None
        where = hashlib.sha256(
            "\n".join((self._bundle.checksum, __version__, library, processor_name())).encode()
        ).hexdigest()
        return f"{device} {precision} {self._level} {where[:16]}"


def _read(path: Path) -> dict[str, str]:
    try:
        return _CONTENT.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
