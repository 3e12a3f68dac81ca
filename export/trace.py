"""PyTorch modules as ONNX graphs, traced once per architecture and filled with any module's weights."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import collapse_slice_rule, remove_optional_bias_from_conv_rule
from torch import Tensor, nn

from biounet_edge.errors import ExportError

OPSET = 20
"""ONNX operator set of every graph."""

IR_VERSION = 10
"""Version of the ONNX file format that goes with the operator set."""

TRACE_BATCH = 2
"""Images in the example that a module is traced with; with one, torch.export fixes the batch size."""

_LARGEST_CONSTANT = 4
"""Numbers in the largest floating-point constant that is no weight: the factors of a Resize."""


def trace(module: nn.Module, input_name: str, shape: Sequence[int], output_names: Sequence[str]) -> ir.Model:
    """Write a module as an ONNX graph with a dynamic batch.

    torch's own optimizer is left out, because it folds batch normalisation into the convolutions: that would
    turn the one weight that both paths through an encoder share into two.

    Args:
        module: A module with one input.
        input_name: Name of the graph's input.
        shape: Shape of one example, without the batch axis.
        output_names: Names of the graph's outputs.

    Returns:
        The graph; its weights have the names of the module's state dict.
    """
    program = torch.onnx.export(
        module.eval(),
        (torch.zeros(TRACE_BATCH, *shape),),
        input_names=[input_name],
        output_names=list(output_names),
        dynamic_shapes=({0: torch.export.Dim("N")},),
        opset_version=OPSET,
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    assert program is not None, "torch.onnx.export returns the graph where it writes no file"
    return _simplify(program.model)


def fill(template: ir.Model, traced: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> ir.Model:
    """Copy a traced graph with the weights of another module of the same architecture.

    Args:
        template: The graph, possibly with more nodes than were traced.
        traced: State dict of the module that it was traced from.
        weights: State dict of the module whose weights it gets.

    Returns:
        The copy.

    Raises:
        ExportError: If the names in the graph are not those of the weights, or shapes differ.
    """
    _check_names(template.graph, traced)
    model = template.clone()
    for name, value in model.graph.initializers.items():
        if name not in traced:
            continue
        if name not in weights or weights[name].shape != traced[name].shape:
            raise ExportError(f"weight {name} of the graph is missing or of another shape in this module")
        value.const_value = ir.tensor(weights[name], name=name)
    return model


def _check_names(graph: ir.Graph, traced: Mapping[str, Tensor]) -> None:
    """Make sure that every weight in the graph is the one of its name, and that no other is there."""
    for name, value in graph.initializers.items():
        tensor = value.const_value
        assert tensor is not None, "initializers have values"
        if name in traced:
            if not torch.equal(torch.from_numpy(tensor.numpy()), traced[name]):
                raise ExportError(
                    f"torch.onnx gave another tensor the name {name}: expected that of the module"
                )
        elif tensor.dtype.is_floating_point() and tensor.size > _LARGEST_CONSTANT:
            raise ExportError(
                f"torch.onnx computed {name} from the weights: expected only the weights themselves"
            )


def _simplify(model: ir.Model) -> ir.Model:
    """Take out what the exporter writes around the operators: computed shapes and zero biases."""
    fold_constants(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    model = rewrite(model, [collapse_slice_rule, remove_optional_bias_from_conv_rule])
    return finish(model)


def finish(model: ir.Model) -> ir.Model:
    """Remove what no output needs, and the exporter's notes, and completes the shapes.

    Args:
        model: The graph, changed in place.

    Returns:
        The same graph.
    """
    passes.IdentityEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    for value in ir.convenience.create_value_mapping(model.graph).values():
        value.metadata_props.clear()
    passes.ShapeInferencePass()(model)
    return model
