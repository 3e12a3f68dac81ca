"""A graph that computes something else is refused, whatever its checksums say."""

import re
import shutil
from pathlib import Path

import onnx_ir as ir
import pytest

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Precision
from biounet_edge.checks.selection import open_backend
from biounet_edge.errors import VerificationError

DEVICES = [("cpu", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")]


def forge(folder: Path, operator: str) -> Bundle:
    """A copy of the demo bundle in whose full graph one gradient has the wrong sign, for each indicator."""
    demo = Bundle.open()
    shutil.copytree(demo.folder, folder, ignore=shutil.ignore_patterns("compiled"))
    path = folder / "full.onnx"
    model = ir.load(path)
    negated = set()
    for node in reversed(list(model.graph)):
        encoder = str(node.name).partition("/")[0]
        # Backward nodes read weights that are computed from the forward ones.
        computed = node.op_type == operator and node.inputs[1].producer() is not None  # type: ignore[union-attr]
        if computed and encoder not in negated:
            negated.add(encoder)
            wrong = ir.node("Neg", [node.outputs[0]])
            wrong.outputs[0].name, wrong.name = f"{node.name}_negated", f"{node.name}_neg"
            node.outputs[0].replace_all_uses_with(wrong.outputs[0])
            wrong.replace_input_with(0, node.outputs[0])
            model.graph.insert_after(node, wrong)
    assert len(negated) == 5
    ir.save(model, path)
    return Bundle(folder, demo.manifest, demo.checksum)  # as if the checksums had been made anew


@pytest.mark.parametrize(("device", "precision"), DEVICES)
@pytest.mark.parametrize("operator", ["ConvTranspose"])
def test_a_wrong_sign_in_the_gradient_is_refused(
    device: str, precision: Precision, operator: str, tmp_path: Path
) -> None:
    if device == "openvino":
        openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
        if precision == "bfloat16" and "BF16" not in openvino.Core().get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            pytest.skip("this CPU does not multiply bfloat16")
    with pytest.raises(VerificationError, match="does not compute in") as refused:
        open_backend(forge(tmp_path / "forged", operator), "full", device, precision)
    right: VerificationError | None = None
    try:
        open_backend(Bundle.open(), "full", device, precision).backend.close()
    except VerificationError as error:
        right = error
    if right is not None:  # the demo model itself may not bear a short format
        assert precision != "float32"
        assert lost_masks(refused.value) > 2 * lost_masks(right)


def lost_masks(error: VerificationError) -> float:
    """What the masks lack to an IoU of 1, over all indicators that an error names."""
    return sum(1 - float(iou) for iou in re.findall(r"mask IoU of \w+ is (\d\.\d+)", str(error)))
