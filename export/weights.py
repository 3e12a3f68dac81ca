"""All weights of all graphs in one file, each tensor once."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import onnx_ir as ir

WEIGHTS_NAME = "weights.bin"
"""File that the graphs' external data lies in."""

ALIGNMENT = 64
"""Offsets are multiples of this many bytes: a cache line, and what vector instructions like best."""


def write_graphs(models: Mapping[str, ir.Model], folder: Path) -> None:
    """Writes graphs and their weights.

    Args:
        models: Graph of each file name; they stay as they are.
        folder: Where to write the graphs and weights.bin.
    """
    copies = {name: model.clone() for name, model in models.items()}
    with (folder / WEIGHTS_NAME).open("wb") as file:
        store = _Store(file, folder)
        for model in copies.values():
            for value in model.graph.initializers.values():
                if is_weight(value):
                    value.const_value = store.put(value)
    for name, model in copies.items():
        _forget_inner_shapes(model.graph)
        ir.save(model, folder / name)


def is_weight(value: ir.Value) -> bool:
    """Tells weights from constants of the graph, which stay in the graph because shapes follow from them.

    Args:
        value: An initializer.

    Returns:
        False for integers, scalars and the factors of a Resize.
    """
    tensor = value.const_value
    assert tensor is not None, "initializers have values"
    resizes = any(use.node.op_type == "Resize" for use in value.uses())
    return tensor.dtype.is_floating_point() and tensor.size > 1 and not resizes


def _forget_inner_shapes(graph: ir.Graph) -> None:
    """Leaves the shapes of inputs and outputs; the others follow from them and would be half of the file."""
    for value in ir.convenience.create_value_mapping(graph).values():
        if not value.is_graph_input() and not value.is_graph_output():
            value.shape, value.type = None, None


class _Store:
    """Writes each content once and remembers where it lies."""

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self._file = file
        self._folder = folder
        self._offsets: dict[bytes, int] = {}

    def put(self, value: ir.Value) -> ir.ExternalTensor:
        """Stores an initializer's content, or finds it, and returns a reference to it."""
        tensor = value.const_value
        assert tensor is not None, "initializers have values"
        content = tensor.tobytes()
        key = hashlib.sha256(content).digest()
        if key not in self._offsets:
            self._file.write(bytes(-self._file.tell() % ALIGNMENT))
            self._offsets[key] = self._file.tell()
            self._file.write(content)
        return ir.ExternalTensor(
            WEIGHTS_NAME,
            self._offsets[key],
            len(content),
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=str(value.name),
            base_dir=self._folder,
        )
