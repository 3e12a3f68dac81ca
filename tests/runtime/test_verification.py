import numpy as np
import pytest

from biounet_edge import VerificationError, verify
from biounet_edge.backends import open_backend
from biounet_edge.bundle import GoldenOutputs
from biounet_edge.verification import TOLERANCES, VerificationReport, compare


@pytest.fixture(scope="module")
def backend(bundle):
    opened = open_backend(bundle, "full")
    yield opened
    opened.close()


def problems(backend, golden: GoldenOutputs) -> dict[str, str | None]:
    return {check.output: check.problem for check in compare(backend, "full", golden)}


def changed(golden: GoldenOutputs, name: str, change) -> GoldenOutputs:
    return GoldenOutputs(golden.image, golden.outputs | {name: change(golden.outputs[name])})


def test_verify_passes_on_this_machine(bundle):
    report = verify(bundle)
    assert report.passed, report
    report.raise_if_failed()
    assert {check.level for check in report.checks} == set(bundle.manifest.levels)
    assert {check.output for check in report.checks} == set(TOLERANCES)
    assert report.to_dict()["passed"] is True


def test_golden_heatmaps_are_not_all_zero(bundle):
    heatmap = bundle.golden().outputs["heatmap"]
    assert (heatmap.max(axis=(1, 2, 3)) > 0.99).all()  # of each image, at least one of its five
    assert not np.allclose(heatmap[0], heatmap[1])


@pytest.mark.parametrize(
    "name", ["melanoma_probability", "melanoma_contribution", "heatmap", "mask_probability"]
)
def test_compare_names_an_output_that_differs(backend, bundle, name):
    golden = changed(bundle.golden(), name, lambda values: values + np.float32(0.1))
    found = problems(backend, golden)
    assert found.pop(name).startswith("differs by 0.1")
    assert set(found.values()) == {None}


def test_compare_judges_the_heatmap_scale_relative_to_itself(backend, bundle):
    close = changed(bundle.golden(), "heatmap_scale", lambda values: values * np.float32(1.005))
    far = changed(bundle.golden(), "heatmap_scale", lambda values: values * np.float32(1.5))
    assert problems(backend, close)["heatmap_scale"] is None
    assert problems(backend, far)["heatmap_scale"].startswith("differs by 0.33")


def test_compare_notices_a_heatmap_that_is_lost(bundle):
    golden = bundle.golden()
    faint = GoldenOutputs(golden.image, {"heatmap": np.full_like(golden.outputs["heatmap"], 1e-3)})

    class Zeros:
        def run(self, images):
            return {"heatmap": np.zeros_like(faint.outputs["heatmap"])}

    lost = golden.outputs["heatmap"].shape[0] * 5
    assert (
        problems(Zeros(), faint)["heatmap"] == f"{lost} heatmaps are all zero where the golden ones are not"
    )


def test_compare_refuses_what_is_no_number(backend, bundle):
    golden = changed(bundle.golden(), "heatmap", lambda values: values * np.float32(np.nan))
    assert problems(backend, golden)["heatmap"] == "a value is not a finite number"


def test_compare_refuses_another_shape(backend, bundle):
    golden = changed(bundle.golden(), "heatmap", lambda values: values[:, :, 1:])
    assert problems(backend, golden)["heatmap"].startswith("the shape is ")


def test_compare_wants_a_golden_value_for_each_output(backend, bundle):
    golden = bundle.golden()
    del golden.outputs["heatmap"]
    assert problems(backend, golden)["heatmap"] == "there is no golden output to compare with"


def test_raise_if_failed_names_machine_level_and_output(backend, bundle):
    golden = changed(bundle.golden(), "heatmap", lambda values: values + 1)
    report = VerificationReport(backend.description, 2, tuple(compare(backend, "full", golden)))
    assert not report.passed
    with pytest.raises(
        VerificationError, match=r"this machine \(onnxruntime .*do not use .*full/heatmap: differs by"
    ):
        report.raise_if_failed()
