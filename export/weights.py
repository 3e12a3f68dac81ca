"""All weights of all graphs in one file, each tensor once."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from biounet_edge.bundle.manifest import WeightFormat

WEIGHTS_NAME = "weights.bin"
"""File that the graphs' external data lies in."""

HALF_SUFFIX = "_float16"
"""What the name of a weight that is stored in float16 ends in."""

ALIGNMENT = 64
"""Offsets are multiples of this many bytes: a cache line, and what vector instructions like best."""


def round_convolutions(module: nn.Module) -> None:
    """Round the weights of all convolutions to float16, in place and still as float32.

    A bundle that stores them in float16 then holds exactly this model. Convolutions are nine tenths of the
    weights; all others, batch norm and the heads, keep their float32 digits.

    Args:
        module: The network.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(part.weight.half())


def write_graphs(models: Mapping[str, ir.Model], folder: Path, weights: WeightFormat = "float32") -> None:
    """Write graphs and their weights.

    Args:
        models: Graph of each file name; they stay as they are.
        folder: Where to write the graphs and weights.bin.
        weights: Number format of the stored convolution weights. In float16 they take half the space, and a
            Cast that every engine folds when it loads the graph makes them float32 again.
    """
    copies = {name: model.clone() for name, model in models.items()}
    if weights == "float16":
        for model in copies.values():
            _store_half(model.graph)
    with (folder / WEIGHTS_NAME).open("wb") as file:
        store = _Store(file, folder)
        for model in copies.values():
            for value in model.graph.initializers.values():
                if is_weight(value):
                    value.const_value = store.put(value)
    for name, model in copies.items():
        _forget_inner_shapes(model.graph)
        ir.save(model, folder / name)


def _store_half(graph: ir.Graph) -> None:
    """Put a float16 initializer and a Cast in the place of each convolution weight, exactly its value."""
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if (
            tensor is None
            or tensor.dtype != ir.DataType.FLOAT
            or len(tensor.shape) != 4
            or not is_weight(value)
        ):
            continue
        half = ir.tensor(tensor.numpy().astype(np.float16), name=f"{name}{HALF_SUFFIX}")
        stored = ir.val(half.name, const_value=half)
        cast = ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)})
        value.replace_all_uses_with(cast.outputs[0])
        del graph.initializers[name]
        cast.outputs[0].name, cast.name = name, f"{name}_cast"
        graph.register_initializer(stored)
        graph.insert_before(graph[0], cast)


def is_weight(value: ir.Value) -> bool:
    """Tell weights from constants of the graph, which stay in the graph because shapes follow from them.

    Args:
        value: An initializer.

    Returns:
        True for floating-point tensors and quantized kernels; False for other integers, scalars and the
        factors of a Resize.
    """
    tensor = value.const_value
    assert tensor is not None, "initializers have values"
    resizes = any(use.node.op_type == "Resize" for use in value.uses())
    kernel = tensor.dtype == ir.DataType.INT8 and len(tensor.shape) == 4
    return (kernel or tensor.dtype.is_floating_point()) and tensor.size > 1 and not resizes


def _forget_inner_shapes(graph: ir.Graph) -> None:
    """Leave the shapes of inputs and outputs; the others follow from them and would be half of the file."""
    for value in ir.convenience.create_value_mapping(graph).values():
        if not value.is_graph_input() and not value.is_graph_output():
            value.shape, value.type = None, None


class _Store:
    """Writes each content once and remembers where it lies."""

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self._file = file
        self._folder = folder
        self._offsets: dict[bytes, int] = {}
        self._keys: dict[int, tuple[ir.TensorProtocol, bytes]] = {}

    def put(self, value: ir.Value) -> ir.ExternalTensor:
        """Store an initializer's content, or find it, and return a reference to it."""
        tensor = value.const_value
        assert tensor is not None, "initializers have values"
        return ir.ExternalTensor(
            WEIGHTS_NAME,
            self._offsets[self._write_once(tensor)],
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=str(value.name),
            base_dir=self._folder,
        )

    def _write_once(self, tensor: ir.TensorProtocol) -> bytes:
        """Write a content that is new, and return its key. Graphs share tensors: each is hashed once."""
        if id(tensor) in self._keys:
            return self._keys[id(tensor)][1]
        content = tensor.tobytes()
        key = hashlib.sha256(content).digest()
        if key not in self._offsets:
            self._file.write(bytes(-self._file.tell() % ALIGNMENT))
            self._offsets[key] = self._file.tell()
            self._file.write(content)
        self._keys[id(tensor)] = (tensor, key)  # holds the tensor, so that its id stays its own
        return key
