"""The gates themselves: what they let through, and what they do not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biounet_edge.bundle import Bundle
from biounet_edge.errors import ExportError
from export.parity import GATES, check_parity
from export.reference import Reference, compute_reference
from train.network import BioUNet


@pytest.fixture(scope="module")
def reference(exported: tuple[Path, object], small_model: BioUNet) -> Reference:
    return compute_reference(small_model, Bundle.open(exported[0]).golden().image)


def test_a_right_bundle_passes_every_gate(bundle: Path, reference: Reference) -> None:
    rows = check_parity(bundle, reference)
    assert {row.output for row in rows} == set(GATES)
    assert all(row.passed and row.typical_difference < row.gate for row in rows)


@pytest.mark.parametrize("output", ["heatmap_scale", "mask_probability"])
def test_a_wrong_output_is_named(bundle: Path, reference: Reference, output: str) -> None:
    wrong = replace(reference, outputs=reference.outputs | {output: reference.outputs[output] + 0.1})
    with pytest.raises(
        ExportError, match=f"do not compute what PyTorch computes: .*full.onnx {output} differs"
    ):
        check_parity(bundle, wrong)


def test_a_wrong_heatmap_of_the_stack_is_named(bundle: Path, reference: Reference) -> None:
    heatmaps = reference.heatmaps.copy()
    heatmaps[3, 0, 5] = 1 - heatmaps[3, 0, 5]
    with pytest.raises(ExportError, match=r"encoder_\*\.onnx heatmaps, nine others differs"):
        check_parity(bundle, replace(reference, heatmaps=heatmaps))


def test_a_switched_relu_on_one_image_is_let_through_and_on_all_is_not(
    bundle: Path, reference: Reference
) -> None:
    one, all_images = reference.heatmaps.copy(), reference.heatmaps.copy()
    one[3, 0, 5] += 0.01
    all_images[3, :, 5] += 0.01
    assert all(row.passed for row in check_parity(bundle, replace(reference, heatmaps=one)))
    with pytest.raises(ExportError, match=r"heatmaps, nine others differs by 0\.01"):
        check_parity(bundle, replace(reference, heatmaps=all_images))


def test_a_value_that_is_not_a_number_misses_its_gate(bundle: Path, reference: Reference) -> None:
    heatmap = np.full_like(reference.outputs["heatmap"], np.nan)
    wrong = replace(reference, outputs=reference.outputs | {"heatmap": heatmap})
    with pytest.raises(ExportError, match="heatmap differs by nan"):
        check_parity(bundle, wrong)


def test_heatmaps_of_zeros_are_no_comparison(bundle: Path, reference: Reference) -> None:
    heatmap = reference.outputs["heatmap"].copy()
    heatmap[:, 2] = 0
    hidden = replace(reference, outputs=reference.outputs | {"heatmap": heatmap})
    with pytest.raises(ExportError, match="last heatmaps of streaks are all zero on every golden image"):
        check_parity(bundle, hidden)


def test_equal_images_are_no_comparison(bundle: Path, small_model: BioUNet, reference: Reference) -> None:
    twice = compute_reference(small_model, reference.images[[0, 0]])
    twice = replace(twice, outputs=twice.outputs | {"heatmap": np.ones_like(twice.outputs["heatmap"])})
    with pytest.raises(ExportError, match="golden images 1 and 2 have the same heatmaps"):
        check_parity(bundle, twice)


def test_the_model_stays_in_float32(small_model: BioUNet, reference: Reference) -> None:
    assert {str(parameter.dtype) for parameter in small_model.parameters()} == {"torch.float32"}
    assert {str(value.dtype) for value in reference.outputs.values()} == {"float32"}
