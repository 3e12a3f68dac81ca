"""Sizes of tensors as the runtime works them out, compared with those that onnx infers."""

from pathlib import Path

import onnx
import pytest

from biounet_edge import Bundle, default_bundle
from biounet_edge.bundle import graph_inspection, graph_memory

DEMO = Bundle.open(default_bundle())


def inferred(path: Path, batch: int) -> dict[str, tuple[int, ...]]:
    """Every shape that onnx knows for a batch."""
    model = onnx.load(path, load_external_data=False)
    for value in model.graph.input:
        first = value.type.tensor_type.shape.dim[0]
        if not first.HasField("dim_value"):
            first.Clear()
            first.dim_value = batch
    del model.graph.value_info[:]  # which the exporter wrote
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {}
    for value in [*model.graph.value_info, *model.graph.output]:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if len(sizes) == len(value.type.tensor_type.shape.dim):
            shapes[value.name] = tuple(sizes)
    return shapes


@pytest.mark.parametrize("name", sorted(name for name in DEMO.manifest.files if name.endswith(".onnx")))
def test_sizes_are_those_that_onnx_infers(name):
    found = graph_inspection._Graph()
    content = memoryview((DEMO.folder / name).read_bytes())
    assert list(graph_inspection._problems(content, DEMO, found)) == []
    sized = graph_memory._sized(found.sizes, 3)
    expected = inferred(DEMO.folder / name, 3)
    assert len(expected) > 0.9 * len(found.sizes.nodes)
    assert {key: sized[key].shape for key in expected} == expected
