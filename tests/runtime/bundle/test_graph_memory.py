import pytest

from biounet_edge import IntegrityError, Predictor
from biounet_edge.bundle import graph_inspection
from biounet_edge.bundle.graph_inspection import checked_graph
from biounet_edge.bundle.graph_memory import Graph, needed_bytes
from biounet_edge.bundle.nodes import Node, read_node
from biounet_edge.bundle.protobuf import read_fields
from biounet_edge.bundle.shapes.inference import shapes_of
from biounet_edge.bundle.shapes.inputs import Inputs
from biounet_edge.bundle.tensors import Tensor, read_tensor

from .graphs import ATTRIBUTE, INITIALIZER, computed, floats, integer, integers, message, tensor

GB = 10**9


@pytest.fixture(autouse=True)
def free(monkeypatch):
    """As much free memory as a small machine has."""
    monkeypatch.setattr(graph_inspection, "free_bytes", lambda: 4 * GB)


def check(bundle) -> None:
    checked_graph(bundle, "classify", "float32")


@pytest.mark.parametrize(
    ("added", "needed"),
    [
        (integers("s", 6 * GB) + computed("ConstantOfShape", "s", "y"), "48,"),
        (integers("s", 10**13) + computed("ConstantOfShape", "s", "y"), "80,000,"),
        (integers("s", 1, 10**5, 10**5, 3) + computed("Expand", "one s", "y"), "120,"),
        (integers("s", 1, 10**4, 10**4, 1) + computed("Tile", "image s", "y"), r"\d+,\d{3},"),
        (integers("s", 1, 10**5, 10**5, 3) + computed("Resize", "image - - s", "y"), "120,"),
        (floats("s", 1, 10**4, 10**4, 1) + computed("Resize", "image - s", "y"), r"\d+,\d{3},"),
        (integers("s", *[0, 10**5, 10**5, 0] * 2) + computed("Pad", "image s", "y"), "481,"),
        (
            integers("s", 1, 10**6) + integers("t", 10**6, 1)
            + computed("Expand", "one s", "row") + computed("Expand", "one t", "column")
            + computed("Mul", "row column", "y"),
            "4,000,",
        ),
        (
            integers("s", 1, 10**6) + computed("Expand", "one s", "row")
            + computed("Einsum", "row row", "y", equation="ab,cd->abcd"),
            "4,000,",
        ),
        (
            b"".join(computed("Concat", f"{a} {a}", f"{a}+", axis=1)
                     for a in ("image" + "+" * i for i in range(24))),
            r"\d+,\d{3},",
        ),
    ],
    ids=["ConstantOfShape", "absurd ConstantOfShape", "Expand", "Tile", "Resize to sizes", "Resize by scales",
         "Pad", "outer product", "Einsum", "doubling"],
)  # fmt: skip
def test_graph_that_needs_more_memory_than_is_free_is_refused(tampered, added, needed):
    one = message(INITIALIZER, tensor("one", (), 1, bytes(4)))
    with pytest.raises(
        IntegrityError,
        match=rf"classify.onnx needs {needed}[\d,]* MB of memory for one photograph, and 4,000 MB are free",
    ):
        check(tampered(one + added))


def test_graph_that_needs_more_than_is_free_is_refused_before_anything_is_loaded(tampered, monkeypatch):
    def load(*_):
        raise AssertionError("the graph was loaded")

    monkeypatch.setattr("biounet_edge.backends.onnx_runtime._make_session", load)
    bundle = tampered(integers("s", 6 * GB) + computed("ConstantOfShape", "s", "y"))
    with pytest.raises(IntegrityError, match="of memory for one photograph"):
        Predictor(bundle, device="cpu", level="classify")


def test_graph_of_the_bundle_does_not_fit_where_too_little_is_free(bundle, monkeypatch):
    monkeypatch.setattr(graph_inspection, "free_bytes", lambda: 1000)
    with pytest.raises(IntegrityError, match=r"MB are free: free some, choose a lower level, or use another"):
        check(bundle)


def test_graph_is_bounded_where_the_system_tells_nothing(tampered, monkeypatch):
    monkeypatch.setattr(graph_inspection, "free_bytes", lambda: None)
    with pytest.raises(IntegrityError, match=r"and 68,719 MB are allowed"):
        check(tampered(integers("s", 10**13) + computed("ConstantOfShape", "s", "y")))


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        (
            computed("Shape", "image", "sizes") + integers("zero", 0) + computed("Gather", "sizes zero", "n")
            + computed("Concat", "n n", "nn", axis=0) + integers("i", 1) + computed("Expand", "i nn", "y"),
            r"'y' grows faster than the number of photographs",
        ),
        (computed("NonZero", "image", "y"), r"'y' cannot be told: it calls NonZero, and how much that needs"),
        (computed("ConstantOfShape", "image", "y"), "'y' cannot be told: its sizes are computed while it"),
        (computed("Relu", "nothing", "y"), r"it reads 'nothing', which nothing has computed before"),
        (computed("Relu", "image", "y") * 2, r"the tensor 'y' is computed twice"),
        (integers("s", 0) + computed("ConstantOfShape", "s", "y"), r"'y' would have the sizes \(0,\)"),
        (integers("s", -5) + computed("ConstantOfShape", "s", "y"), r"'y' would have the sizes \(-5,\)"),
        (integers("s", 7) + computed("Reshape", "image s", "y"), r"a Reshape makes \[7\] of \(1, "),
        (
            computed("MaxPool", "image", "y", kernel_shape=[2, 2], strides=[0, 0]),
            "'y' cannot be told: .*zero",
        ),
        (message(1, message(4, b"Relu")), "a node Relu has no output"),
    ],
)  # fmt: skip
def test_graph_whose_memory_cannot_be_told_is_refused(tampered, added, problem):
    with pytest.raises(
        IntegrityError,
        match=rf"classify.onnx may need memory without bound \(.*{problem}.*do not use the bundle",
    ):
        check(tampered(added))


def external(name: bytes, shape: tuple[int, ...], **place: int) -> bytes:
    pairs = {b"location": b"weights.bin"} | {key.encode(): b"%d" % value for key, value in place.items()}
    places = b"".join(message(13, message(1, key), message(2, value)) for key, value in pairs.items())
    sizes = b"".join(integer(1, size) for size in shape)
    return message(INITIALIZER, sizes + integer(2, 1) + message(8, name) + places + integer(14, 1))


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        (external(b"w", (1 << 40,), offset=0, length=4), "'w' declares 4,398,046,511,104 bytes and has 4"),
        (external(b"w", (1 << 40,)), r"'w' declares 4,398,046,511,104 bytes and has [\d,]{10}\)"),
        (external(b"w", (2, -3), offset=0, length=4), "'w' has a size below zero"),
        (message(INITIALIZER, tensor("w", (1 << 40,), 1, b"")), "'w' declares 4,398,046,511,104 bytes and"),
        (message(INITIALIZER, integer(1, 10**9) + integer(2, 7)), "'' declares 1,000,000,000 bytes and has "),
        (message(INITIALIZER, tensor("w", (1,), 8, b"text")), "'w' is of type 8"),
        (integers("w", 1) * 2, "'w' is there twice"),
    ],
)  # fmt: skip
def test_weight_that_declares_more_than_its_file_holds_is_refused(tampered, weight, problem):
    with pytest.raises(IntegrityError, match=rf"classify.onnx is no ONNX graph \(.*{problem}"):
        check(tampered(weight))


def test_attribute_that_declares_more_than_it_holds_is_refused(tampered):
    value = message(ATTRIBUTE, message(1, b"value"), message(5, tensor("", (1 << 40,), 1, bytes(4))))
    node = message(1, message(2, b"y"), message(4, b"Constant"), value)
    with pytest.raises(IntegrityError, match=r"declares 4,398,046,511,104 bytes and has 4"):
        check(tampered(node))


SHAPES = [
    (Node("Conv", [], [], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
     [(1, 3, 8, 9), (16, 3, 3, 3)], (1, 16, 4, 5)),
    (Node("Conv", [], [], {"auto_pad": memoryview(b"SAME_UPPER"), "strides": [2, 2]}),
     [(1, 3, 7, 7), (4, 3, 3, 3)], (1, 4, 4, 4)),
    (Node("ConvTranspose", [], [], {"strides": [2, 2], "group": 5}),
     [(1, 5, 4, 4), (5, 1, 2, 2)], (1, 5, 8, 8)),
    (Node("MaxPool", [], [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
     [(1, 2, 5, 5)], (1, 2, 3, 3)),
    (Node("GlobalAveragePool", [], []), [(1, 2, 5, 5)], (1, 2, 1, 1)),
    (Node("Gemm", [], [], {"transB": 1}), [(1, 7), (3, 7), (3,)], (1, 3)),
    (Node("MatMul", [], []), [(2, 1, 4, 5), (3, 5, 6)], (2, 3, 4, 6)),
    (Node("MatMul", [], []), [(4, 5), (5,)], (4,)),
    (Node("Einsum", [], [], {"equation": memoryview(b"njd,jd->nj")}), [(2, 5, 3), (5, 3)], (2, 5)),
    (Node("ReduceMean", [], [], {"axes": [-1, -2], "keepdims": 0}), [(1, 2, 3, 4)], (1, 2)),
    (Node("ReduceSum", [], []), [(1, 2)], (1, 1)),
    (Node("ArgMax", [], [], {"axis": 1, "keepdims": 0}), [(1, 2, 3)], (1, 3)),
    (Node("Transpose", [], [], {"perm": [0, 3, 1, 2]}), [(1, 8, 9, 3)], (1, 3, 8, 9)),
    (Node("Flatten", [], []), [(2, 3, 4)], (2, 12)),
    (Node("Squeeze", [], []), [(1, 2, 1)], (2,)),
    (Node("Unsqueeze", [], [], {"axes": [0, -1]}), [(2, 3)], (1, 2, 3, 1)),
    (Node("Concat", [], [], {"axis": -1}), [(2, 3), (2, 4)], (2, 7)),
    (Node("Gather", [], [], {"axis": 1}), [(2, 3, 4), ()], (2, 4)),
    (Node("GatherND", [], []), [(2, 3, 4), (5, 1)], (5, 3, 4)),
    (Node("Slice", [], [], {"starts": [1], "ends": [-1], "axes": [1]}), [(2, 5)], (2, 3)),
    (Node("Split", [], ["a", "b"], {"axis": 1}), [(2, 5)], (2, 3)),
    (Node("DepthToSpace", [], [], {"blocksize": 2}), [(1, 8, 3, 3)], (1, 2, 6, 6)),
    (Node("SpaceToDepth", [], [], {"blocksize": 2}), [(1, 2, 6, 6)], (1, 8, 3, 3)),
    (Node("Where", [], []), [(2, 1), (3,), ()], (2, 3)),
    (Node("Size", [], []), [(2, 1)], ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("node", "inputs", "expected"), SHAPES, ids=lambda value: getattr(value, "operator", "")
)
def test_shapes_are_those_that_onnx_says(node, inputs, expected):
    assert shapes_of(node, Inputs(Tensor(shape) for shape in inputs))[0] == expected


def read(part: bytes) -> memoryview:
    return next(value for _, value in read_fields(memoryview(part)))


@pytest.mark.parametrize(
    ("node", "constants", "shape", "expected"),
    [
        (computed("Slice", "x s e a t", "y"), [(3,), (-9,), (0,), (-2,)], (4, 2), (2, 2)),
        (computed("Slice", "x s e", "y"), [(1, 0), (1 << 62, 1)], (4, 2), (3, 1)),
        (computed("Split", "x p", "y z"), [(1, 3)], (4, 2), (1, 2)),
        (computed("Reshape", "x s", "y"), [(0, -1)], (4, 2, 3), (4, 6)),
        (computed("Pad", "x p", "y"), [(0, 1, 0, 2)], (4, 2), (4, 5)),
        (computed("Tile", "x r", "y"), [(3, 1)], (4, 2), (12, 2)),
    ],
)
def test_shapes_follow_from_constants(node, constants, shape, expected):
    values = [read_tensor(read(integers("", *numbers)), None)[1] for numbers in constants]
    assert shapes_of(read_node(read(node)), Inputs([Tensor(shape), *values]))[0] == expected


def test_memory_is_freed_once_a_tensor_was_read_for_the_last_time():
    graph = Graph(inputs={"x": (None, 1000)}, outputs=["c"])
    graph.nodes = [Node("Relu", [a], [b]) for a, b in ("xa", "ab", "bc")]
    assert needed_bytes(graph) == 3 * 4000
    graph.nodes[-1] = Node("Add", ["b", "a"], ["c"])
    assert needed_bytes(graph) == 4 * 4000


def test_memory_of_what_is_computed_while_loading_is_kept():
    graph = Graph(inputs={"x": (None, 1)}, outputs=["d"])
    graph.constants["w"] = Tensor((1000,), is_constant=True)
    graph.nodes = [
        Node("Relu", ["w"], ["a"]), Node("Relu", ["a"], ["b"]), Node("Add", ["x", "b"], ["c"]),
        Node("ReduceSum", ["c"], ["d"]),
    ]  # fmt: skip
    assert needed_bytes(graph) == 4 + 3 * 4000 + 4
