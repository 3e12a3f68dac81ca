"""The gates themselves: what they let through, and what they do not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import FAMILIARITY
from biounet_edge.errors import ExportError
from export.parity import GATES, check_parity
from export.reference import Reference, compute_reference
from train.network import BioUNet


@pytest.fixture(scope="module")
def reference(exported: tuple[Path, object], small_model: BioUNet) -> Reference:
    return compute_reference(small_model, Bundle.open(exported[0]).golden().image)


def test_a_right_bundle_passes_every_gate(bundle: Path, reference: Reference) -> None:
    rows = check_parity(bundle, reference)
    assert {row.output for row in rows} == set(GATES) - {FAMILIARITY}  # the small model has no score
    assert all(row.passed and row.typical_difference < row.gate for row in rows)


def shift(reference: Reference, output: str, by: float) -> Reference:
    """The reference with one output moved, in both of PyTorch's precisions, so that the graphs are wrong."""
    return replace(
        reference,
        outputs=reference.outputs | {output: reference.outputs[output] + by},
        single_outputs=reference.single_outputs | {output: reference.single_outputs[output] + by},
    )


def with_heatmaps(reference: Reference, change: Callable[[NDArray[np.float32]], None]) -> Reference:
    """The reference with the twelve heatmaps changed, in both of PyTorch's precisions."""
    heatmaps, single = reference.heatmaps.copy(), reference.single_heatmaps.copy()
    change(heatmaps)
    change(single)
    return replace(reference, heatmaps=heatmaps, single_heatmaps=single)


@pytest.mark.parametrize("output", ["heatmap_scale", "mask_probability"])
def test_a_wrong_output_is_named(bundle: Path, reference: Reference, output: str) -> None:
    with pytest.raises(
        ExportError, match=f"do not compute what PyTorch computes: .*full.onnx {output} differs"
    ):
        check_parity(bundle, shift(reference, output, 0.1))


def test_a_graph_may_be_as_far_off_as_pytorchs_float32_and_no_further(
    bundle: Path, reference: Reference
) -> None:
    """Only float64 moved: then PyTorch's float32 is as far from it as the graph is."""
    moved = replace(
        reference, outputs=reference.outputs | {"heatmap_scale": reference.outputs["heatmap_scale"] * 1.01}
    )
    assert all(row.passed for row in check_parity(bundle, moved))
    single = reference.single_outputs["heatmap_scale"] * 1.007  # now three tenths as far, beyond twice that
    moved = replace(moved, single_outputs=reference.single_outputs | {"heatmap_scale": single})
    with pytest.raises(ExportError, match=r"heatmap_scale differs by 0\.0099"):
        check_parity(bundle, moved)


def test_a_wrong_heatmap_of_the_stack_is_named(bundle: Path, reference: Reference) -> None:
    def invert(heatmaps: NDArray[np.float32]) -> None:
        heatmaps[3, 0, 5] = 1 - heatmaps[3, 0, 5]

    with pytest.raises(ExportError, match=r"encoder_\*\.onnx heatmaps, nine others differs"):
        check_parity(bundle, with_heatmaps(reference, invert))


def test_a_switched_relu_on_one_image_is_let_through_and_on_all_is_not(
    bundle: Path, reference: Reference
) -> None:
    def on_one_image(heatmaps: NDArray[np.float32]) -> None:
        heatmaps[3, 0, 5] += 0.01

    def on_all_images(heatmaps: NDArray[np.float32]) -> None:
        heatmaps[3, :, 5] += 0.01

    assert all(row.passed for row in check_parity(bundle, with_heatmaps(reference, on_one_image)))
    with pytest.raises(ExportError, match=r"heatmaps, nine others differs by 0\.01"):
        check_parity(bundle, with_heatmaps(reference, on_all_images))


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
