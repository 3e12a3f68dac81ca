"""What encoders have in common is in a composed graph once, and the results stay the same."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from biounet_edge.backends.telemetry import import_openvino
from biounet_edge.bundle.manifest import InputSpec
from biounet_edge.indicators import INDICATORS
from export.components import encoder_name
from export.compose import compose
from export.half import to_float16
from export.parity import open_graph
from export.weights import write_graphs
from tests.export.conftest import COMMON_BLOCKS, SIZE_PX, rendered_images
from train.data.dataset import MEAN, STD

LITE0_SIZE_PX = 96

Convert = Callable[[ir.Model], ir.Model]


def spec(size_px: int) -> InputSpec:
    return InputSpec(height=size_px, width=size_px, mean=MEAN, std=STD)


def unmerged(level: Any, components: dict[str, ir.Model], size_px: int) -> ir.Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.compose.merge_equal", lambda model: model)
        return compose(level, components, spec(size_px))


def counts(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return rendered_images(2, LITE0_SIZE_PX, seed=4).numpy()


@pytest.fixture(scope="module")
def merged(lite0_components: dict[str, ir.Model]) -> ir.Model:
    return compose("full", lite0_components, spec(LITE0_SIZE_PX))


def test_merging_changes_no_bit(
    lite0_components: dict[str, ir.Model], merged: ir.Model, images: NDArray[np.uint8]
) -> None:
    expected = open_graph(unmerged("full", lite0_components, LITE0_SIZE_PX))(image=images)
    for name, values in open_graph(merged)(image=images).items():
        assert values.any()
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_common_blocks_are_there_once(lite0_components: dict[str, ir.Model]) -> None:
    before = unmerged("classify", lite0_components, LITE0_SIZE_PX)
    after = compose("classify", lite0_components, spec(LITE0_SIZE_PX))
    convolutions = 1 + 2 + 3 * (COMMON_BLOCKS - 1)  # the stem, and of each block; the first expands nothing
    saved = (len(INDICATORS) - 1) * convolutions
    for operator in ("Conv", "BatchNormalization"):
        assert counts(before)[operator] - counts(after)[operator] == saved
    # A weight of each convolution, and four vectors of each batch norm.
    assert len(before.graph.initializers) - len(after.graph.initializers) >= 5 * saved


@pytest.mark.parametrize("level", ["classify", "cam", "full"])
def test_encoders_with_nothing_in_common_keep_all_their_nodes(
    components: dict[str, ir.Model], level: Any
) -> None:
    before, after = unmerged(level, components, SIZE_PX), compose(level, components, spec(SIZE_PX))
    assert counts(after) == counts(before)
    weights = [
        sum(len(value.shape or ()) == 4 for value in model.graph.initializers.values())
        for model in (before, after)
    ]
    # The encoder and the decoder of an indicator read the same convolutions, but for the stem.
    shared = len(INDICATORS) * 52 if level == "full" else 0
    assert weights[0] - weights[1] == shared


@pytest.mark.parametrize("family", ["resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize("convert", [ir.Model.clone, to_float16], ids=["float32", "float16"])
def test_no_transposed_convolution_reads_the_weight_of_a_convolution(
    family: str, convert: Convert, request: pytest.FixtureRequest
) -> None:
    name = {"resnet50": "components", "efficientnet_lite0": "lite0_components"}[family]
    parts = {name: convert(model) for name, model in request.getfixturevalue(name).items()}
    model = compose("full", parts, spec({"resnet50": SIZE_PX, "efficientnet_lite0": LITE0_SIZE_PX}[family]))
    weights = {
        operator: {node.inputs[1] for node in model.graph if node.op_type == operator}
        for operator in ("Conv", "ConvTranspose")
    }
    assert weights["ConvTranspose"]
    assert weights["Conv"].isdisjoint(weights["ConvTranspose"])


@pytest.mark.parametrize(
    ("convert", "typical"), [(ir.Model.clone, 0.9999), (to_float16, 0.999)], ids=["float32", "float16"]
)
def test_openvino_computes_the_heatmaps_of_onnxruntime(
    lite0_components: dict[str, ir.Model],
    images: NDArray[np.uint8],
    convert: Convert,
    typical: float,
    tmp_path: Path,
) -> None:
    """Where OpenVINO takes one weight for another, they correlate by 0.3; a ReLU6 may switch on one image."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    openvino = import_openvino()
    parts = {name: convert(model) for name, model in lite0_components.items()}
    model = compose("full", parts, spec(LITE0_SIZE_PX))
    stacks = [f"{encoder_name(indicator)}/heatmaps" for indicator in INDICATORS]
    values = ir.convenience.create_value_mapping(model.graph)
    model.graph.outputs.extend(values[name] for name in stacks)
    write_graphs({"full.onnx": model}, tmp_path)
    expected = open_graph(model)(image=images)
    compiled = openvino.Core().compile_model(
        tmp_path / "full.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    # By place: a tensor may have several names in OpenVINO.
    results = (np.array(result) for result in compiled({"image": images}).values())
    actual = dict(zip(expected, results, strict=True))
    for name in ("heatmap", *stacks):
        maps = [array[name].reshape(-1, np.prod(array[name].shape[-2:])) for array in (actual, expected)]
        shown = maps[1].any(axis=1)
        assert shown.mean() > 0.5
        assert (maps[0].any(axis=1) == shown).all()
        found = [
            np.corrcoef(one, other)[0, 1] for one, other in zip(maps[0][shown], maps[1][shown], strict=True)
        ]
        assert np.median(found) > typical, name
        assert min(found) > 0.95, name


def test_a_shared_weight_stored_in_float16_has_one_cast(merged: ir.Model, tmp_path: Path) -> None:
    write_graphs({"full.onnx": merged}, tmp_path, "float16")
    graph = ir.load(tmp_path / "full.onnx").graph
    halves = [value for value in graph.initializers.values() if value.dtype == ir.DataType.FLOAT16]
    stem = next(value for value in halves if "conv_stem" in str(value.name) and "encoder_" in str(value.name))
    assert len({value.name for value in halves}) == len(halves) == len({*map(id, halves)})
    assert all([use.node.op_type for use in value.uses()] == ["Cast"] for value in halves)
    (cast,) = (use.node for use in stem.uses())
    assert [use.node.op_type for use in cast.outputs[0].uses()] == ["Conv"]
