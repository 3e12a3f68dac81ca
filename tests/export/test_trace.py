"""Tracing once and filling with the weights of others."""

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from biounet_edge.errors import ExportError
from export.trace import fill, trace


class Small(nn.Module):
    """Convolution, batch norm and a scaled shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


@pytest.fixture(scope="module")
def modules() -> list[Small]:
    torch.manual_seed(0)
    return [Small().eval() for _ in range(2)]


@pytest.fixture
def template(modules: list[Small]) -> ir.Model:
    return trace(modules[0], "x", (3, 8, 8), ["y"])


def test_trace_keeps_batch_norm_and_the_names_of_weights(template: ir.Model, modules: list[Small]) -> None:
    assert [node.op_type for node in template.graph] == ["Conv", "BatchNormalization", "Relu"]
    assert set(template.graph.initializers) == set(modules[0].state_dict()) - {"bn.num_batches_tracked"}


def test_trace_has_a_dynamic_batch(template: ir.Model) -> None:
    shapes = [str(value.shape) for value in (*template.graph.inputs, *template.graph.outputs)]
    assert shapes == ["[N,3,8,8]", "[N,8,8,8]"]


def test_fill_gives_the_weights_of_the_other_module(template: ir.Model, modules: list[Small]) -> None:
    first, second = (module.state_dict() for module in modules)
    weight = fill(template, first, second).graph.initializers["conv.weight"].const_value
    assert weight is not None
    torch.testing.assert_close(torch.from_numpy(weight.numpy()), second["conv.weight"])


def test_fill_refuses_a_module_of_another_shape(template: ir.Model, modules: list[Small]) -> None:
    first = modules[0].state_dict()
    other = {**first, "conv.weight": torch.zeros(8, 3, 1, 1)}
    with pytest.raises(ExportError, match=r"weight conv\.weight of the graph is missing or of another shape"):
        fill(template, first, other)


def test_fill_refuses_a_graph_whose_weights_are_not_those_of_their_names(
    template: ir.Model, modules: list[Small]
) -> None:
    first, second = (module.state_dict() for module in modules)
    with pytest.raises(ExportError, match=r"gave another tensor the name conv\.weight"):
        fill(template, second, first)


def test_fill_refuses_a_graph_with_weights_of_unknown_names(template: ir.Model, modules: list[Small]) -> None:
    first = modules[0].state_dict()
    without = {name: value for name, value in first.items() if name != "bn.bias"}
    with pytest.raises(ExportError, match=r"computed bn\.bias from the weights"):
        fill(template, without, without)
