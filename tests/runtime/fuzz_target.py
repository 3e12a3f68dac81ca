"""`python fuzz_target.py manifest|image|graph|golden CORPUS [options]`: readers of strangers' files.

Fuzzed by coverage with atheris: whatever the bytes, there is a result or one of our own errors.
test_fuzz.py runs each target for some seconds; started by hand without -max_total_time, it runs on.
"""

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["biounet_edge"]):
    from biounet_edge.bundle.folder import Bundle, default_bundle
    from biounet_edge.bundle.graph_inspection import _inspect_content
    from biounet_edge.bundle.manifest import parse_manifest
    from biounet_edge.bundle.protobuf import read_fields  # noqa: F401  instrumented with the others
    from biounet_edge.errors import ImageError, IntegrityError, ManifestError
    from biounet_edge.photographs.decoding import read_photograph

import cv2

MOST_PIXELS = 4_000_000
"""Largest image that is decoded here: the fuzzer looks for errors and not for patience."""


def fuzz_manifest(data: bytes) -> None:
    for text in (data, _changed_manifest(data)):
        with suppress(ManifestError):
            parse_manifest(text)


def _changed_manifest(data: bytes) -> str:
    """A whole manifest in which some values are others: bytes at random are hardly ever JSON."""
    provider = atheris.FuzzedDataProvider(data)
    content = json.loads(BUNDLE.manifest.to_json())
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        node = content
        while True:
            key = provider.PickValueInList(sorted(node) if isinstance(node, dict) else list(range(len(node))))
            if not isinstance(node[key], dict | list) or not node[key] or provider.ConsumeBool():
                values = [
                    None,
                    True,
                    -1,
                    10**400,
                    1e308,
                    "",
                    [],
                    {},
                    [[]],
                    {"": 0},
                    provider.ConsumeUnicode(20),
                ]
                node[key] = provider.PickValueInList(values)
                break
            node = node[key]
    return json.dumps(content)


def fuzz_image(data: bytes) -> None:
    with suppress(ImageError, MemoryError):
        assert read_photograph(data, 128, 128).pixels.shape[2] == 3


def fuzz_graph(data: bytes) -> None:
    with suppress(IntegrityError):
        _inspect_content(BUNDLE, "a.onnx", data)


def fuzz_golden(data: bytes) -> None:
    path = Path("golden.npz")  # in the folder where the fuzzer was started
    path.write_bytes(data)
    with suppress(IntegrityError):
        replace(BUNDLE, folder=path.parent).golden()


if __name__ == "__main__":
    target = sys.argv.pop(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    import biounet_edge.photographs.decoding as image

    image.MAX_PIXELS = MOST_PIXELS
    BUNDLE = Bundle.open(default_bundle())
    atheris.Setup(sys.argv, globals()[f"fuzz_{target}"])
    atheris.Fuzz()
