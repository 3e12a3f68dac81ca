"""The command layers: what of a classifier can be explained."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_gradcam.cli.console import silence_converter
from onnx_gradcam.cli.options import ModelArgument, ScoresOption

if TYPE_CHECKING:
    from onnx_gradcam.layers import Layer


def layers(model: ModelArgument, scores: ScoresOption = None) -> None:
    """List the layers that can be explained, and which one is last."""
    from onnx_gradcam.explanation import list_layers
    from onnx_gradcam.layers import last_layer
    from onnx_gradcam.model_file import load_model

    silence_converter()
    found = list_layers(load_model(model), scores)
    Console().print(_table(found, last_layer(found)))


def _table(layers: "list[Layer]", last: "Layer") -> Table:
    table = Table("operator", "channels", "height x width", "", box=None)
    table.add_column("layer", overflow="fold")
    for layer in layers:
        height, width = ("?" if size is None else str(size) for size in layer.layout.grid)
        table.add_row(
            layer.operator,
            str(layer.channels or "?"),
            f"{height} x {width}",
            "last" if layer is last else "",
            escape(str(layer.value.name)),
        )
    return table
