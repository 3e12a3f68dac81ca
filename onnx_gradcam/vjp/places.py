"""Places that a graph computes when it runs, and that are all places in order whatever the batch.

With a dynamic batch, torch.onnx writes pooling to one pixel in channels-last networks, such as ConvNeXt and
Swin, as a Reshape to one row and a Gather of every place of the row. A rule that scatters would need an
operator that TensorRT does not have.
"""

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnx_gradcam.values import dimensions

_BATCHES = (2, 3, 5)
"""Places are linear in the batch, or in its product with fixed sizes, so a few batches tell."""


def are_all_in_order(graph: ir.Graph, indices: ir.Value) -> bool:
    """Tell whether indices are 0, 1, 2, ... in any shape.

    Args:
        indices: Integers that are computed from nothing but the shape of the graph's inputs.

    Returns:
        Whether they are, for several sizes of the batch; False where they depend on anything else.
    """
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    try:
        part = ir.convenience.extract(graph, inputs, [indices])
    except ValueError:
        return False
    if any(use.node.op_type != "Shape" for value in part.inputs for use in value.uses()):
        return False
    shapes = [dimensions(value) for value in part.inputs]
    if any(None in sizes[1:] for sizes in shapes):
        return False
    model = ir.Model(part, ir_version=10)
    evaluator = ReferenceEvaluator(ir.to_proto(model))
    for batch in _BATCHES:
        arrays = {
            str(value.name): np.zeros([batch, *(size or 0 for size in sizes[1:])])
            for value, sizes in zip(part.inputs, shapes, strict=True)
        }
        found = np.asarray(*evaluator.run(None, arrays))
        if not np.array_equal(found.reshape(-1), np.arange(found.size)):
            return False
    return True
