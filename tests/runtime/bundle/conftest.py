import json
from hashlib import sha256

import pytest

from biounet_edge import Bundle
from biounet_edge.bundle.protobuf import read_fields

from .graphs import GRAPH, message


@pytest.fixture
def tampered(bundle, bundle_copy):
    """Adds fields to classify.onnx, and opens the bundle with a manifest that fits."""

    def tamper(in_graph: bytes = b"", in_model: bytes = b"", content: bytes | None = None) -> Bundle:
        path = bundle_copy / "classify.onnx"
        if content is None:
            fields = list(read_fields(memoryview(path.read_bytes())))
            content = b"".join(
                message(number, bytes(value), in_graph if number == GRAPH else b"")
                for number, value in fields
                if isinstance(value, memoryview)
            )
            content += in_model
        path.write_bytes(content)
        manifest = json.loads((bundle_copy / "manifest.json").read_text())
        manifest["files"][path.name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
        (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
        return Bundle.open(bundle_copy)

    return tamper
