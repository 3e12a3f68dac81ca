"""Importing libraries that report to their makers unless they are told not to; nothing may leave the machine.

Both report from the moment when they are imported, so every import of them goes through here.
"""

import os
import sys
from typing import Any


def import_onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry off.

    From version 1.29 on its builds for Linux and macOS send what they run to Microsoft, keep a device
    identifier in the user's cache folder, and read this environment variable once, when they are loaded.
    Builds that use the tracing of Windows instead have a function for it.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed or cannot be loaded.
    Source:
        Privacy.md, which onnxruntime installs beside itself
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as library

    getattr(library, "disable_telemetry_events", lambda: None)()  # not every maker's build has it
    return library


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry off.

    Its import runs that of its model converter, which reports the import to Google Analytics through the
    package openvino_telemetry, and does without where that package is not to be had. So it is kept from
    being imported meanwhile: None in sys.modules is Python's way to say so.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed or cannot be loaded.
    """
    name = "openvino_telemetry"
    if name in sys.modules:  # someone else's choice, made before
        return _openvino()
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        return _openvino()
    finally:
        del sys.modules[name]


def _openvino() -> Any:
    import openvino

    return openvino
