import json
import shutil

import numpy as np
import pytest

from biounet_edge import Bundle, ImageError, VerificationError, verify
from biounet_edge.bundle.golden import GoldenOutputs
from biounet_edge.checks.agreement import AgreementMeter
from biounet_edge.checks.golden import TOLERANCES, check_backend, compare
from biounet_edge.checks.selection import open_backend


@pytest.fixture(scope="module")
def backend(bundle):
    opened = open_backend(bundle, "full", "cpu", "float32").backend
    yield opened
    opened.close()


def problems(bundle, backend, golden: GoldenOutputs) -> dict[str, str | None]:
    return {check.output: check.problem for check in compare(bundle, backend, "full", golden)[0]}


def changed(golden: GoldenOutputs, name: str, change) -> GoldenOutputs:
    return GoldenOutputs(golden.image, golden.outputs | {name: change(golden.outputs[name])})


class Altered:
    """A backend that computes something else."""

    def __init__(self, backend, change):
        self._backend, self._change = backend, change
        self.device, self.precision = backend.device, backend.precision
        self.description = backend.description

    def run(self, images):
        return self._change(self._backend.run(images))

    def close(self):
        pass


def test_verify_passes_on_this_machine(embedded):
    report = verify(embedded, "cpu", "float32")
    assert report.passed, report.problems
    report.raise_if_failed()
    assert [level.level for level in report.levels] == list(embedded.manifest.levels)
    outputs = {name for spec in embedded.manifest.levels.values() for name in spec.outputs}
    assert {check.output for level in report.levels for check in level.checks} == outputs
    assert outputs <= set(TOLERANCES)
    assert (report.device, report.precision) == ("cpu", "float32")


def test_the_certificate_is_json_and_names_bundle_machine_and_gates(bundle):
    report = verify(bundle, "cpu", "float32")
    content = json.loads(report.to_json())
    assert content["passed"] is True
    assert content["bundle_checksum"] == bundle.checksum
    assert content["gates"]["melanoma_flips"] == 0
    assert content["levels"][0]["agreement"]["images"] == len(bundle.golden().image)
    assert all(content[name] for name in ("machine", "software", "time", "backend", "bundle"))


def test_verify_compares_photographs_with_float32(bundle, tmp_path, photograph, write_image):
    paths = [write_image(tmp_path / f"{i}.png", np.roll(photograph, 9 * i, axis=1)) for i in range(5)]
    report = verify(bundle, "cpu", "float32", paths)
    last = report.levels[-1]
    assert (last.against, last.agreement.images, last.problems) == ("photographs", 5, ())
    assert last.agreement.probability_difference == 0  # the very same graph


def test_golden_heatmaps_are_not_all_zero(bundle):
    heatmap = bundle.golden().outputs["heatmap"]
    assert (heatmap.max(axis=(1, 2, 3)) > 0.99).all()  # of each image, at least one of its five
    assert not np.allclose(heatmap[0], heatmap[1])


@pytest.mark.parametrize(
    "name", ["melanoma_probability", "melanoma_contribution", "heatmap", "mask_probability"]
)
def test_compare_names_an_output_that_differs(backend, bundle, name):
    golden = changed(bundle.golden(), name, lambda values: values + np.float32(0.1))
    found = problems(bundle, backend, golden)
    assert found.pop(name).startswith("differs by 0.1")
    assert set(found.values()) == {None}


def test_compare_judges_masks_by_their_mean_over_the_pixels(backend, bundle):
    def with_a_point(masks):
        masks = masks.copy()
        masks[..., 0, 0] = 1 - masks[..., 0, 0]
        return masks

    point = changed(bundle.golden(), "mask_probability", with_a_point)
    moved = changed(bundle.golden(), "mask_probability", lambda masks: np.roll(masks, 60, axis=3))
    assert problems(bundle, backend, point)["mask_probability"] is None
    assert problems(bundle, backend, moved)["mask_probability"].startswith("differs by")


def test_compare_judges_the_heatmap_scale_relative_to_itself(backend, bundle):
    close = changed(bundle.golden(), "heatmap_scale", lambda values: values * np.float32(1.005))
    far = changed(bundle.golden(), "heatmap_scale", lambda values: values * np.float32(1.5))
    assert problems(bundle, backend, close)["heatmap_scale"] is None
    assert problems(bundle, backend, far)["heatmap_scale"].startswith("differs by 0.33")


def test_compare_refuses_what_is_no_number(backend, bundle):
    golden = changed(bundle.golden(), "heatmap", lambda values: values * np.float32(np.nan))
    assert problems(bundle, backend, golden)["heatmap"] == "has a value that is not a finite number"


def test_compare_refuses_another_shape(backend, bundle):
    golden = changed(bundle.golden(), "heatmap", lambda values: values[:, :, 1:])
    checks, agreement, _ = compare(bundle, backend, "full", golden)
    assert agreement is None
    assert {check.output: check.problem for check in checks}["heatmap"].startswith("is of shape ")


def test_compare_refuses_a_missing_output(backend, bundle):
    def lose(outputs):
        del outputs["heatmap"]
        return outputs

    found = problems(bundle, Altered(backend, lose), bundle.golden())
    assert found["heatmap"].startswith("is missing, expected ")


def test_compare_wants_a_golden_value_for_each_output(backend, bundle):
    golden = bundle.golden()
    del golden.outputs["heatmap"]
    assert problems(bundle, backend, golden)["heatmap"] == "has no golden output to compare with"


def test_a_backend_with_wrong_heatmaps_is_refused_before_it_serves(backend, bundle):
    def wrong(outputs):
        outputs["heatmap"] = outputs["heatmap"][..., ::-1].copy()  # plausible: the mirror image
        return outputs

    check_backend(bundle, backend, "full")
    with pytest.raises(VerificationError, match=r"cpu .*does not compute in float32 what PyTorch.*heatmap"):
        check_backend(bundle, Altered(backend, wrong), "full")


def test_raise_if_failed_names_machine_level_and_output(bundle, monkeypatch):
    monkeypatch.setitem(TOLERANCES, "heatmap", -1.0)
    report = verify(bundle, "cpu", "float32")
    assert not report.passed
    with pytest.raises(
        VerificationError, match=r"this machine \(onnxruntime .*do not use .*full: heatmap differs by"
    ):
        report.raise_if_failed()


def test_a_flipped_weight_is_refused(bundle_copy):
    content = bytearray((bundle_copy / "weights.bin").read_bytes())
    content[1001] ^= 0x80  # the sign of one weight
    (bundle_copy / "weights.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"weights.bin is not the file that the bundle's manifest names"):
        Bundle.open(bundle_copy)


def test_weights_of_another_model_are_refused_even_with_fitting_checksums(bundle, bundle_copy):
    weights = np.fromfile(bundle_copy / "weights.bin", np.uint8)
    quarter = len(weights) // 4 // 64 * 64
    weights[:quarter] = weights[quarter : 2 * quarter].copy()
    weights.tofile(bundle_copy / "weights.bin")
    forged = Bundle(bundle_copy, bundle.manifest, bundle.checksum)  # as if the checksums had been made anew
    with pytest.raises(VerificationError, match="does not compute in float32 what PyTorch computed"):
        open_backend(forged, "full", "cpu", "float32")


def test_photograph_that_cannot_be_read_is_named(bundle, tmp_path, photograph, write_image):
    paths = [write_image(tmp_path / "good.png", photograph), tmp_path / "bad.png"]
    paths[1].touch()
    with pytest.raises(ImageError, match=r"bad\.png: the file is empty"):
        verify(bundle, "cpu", "float32", paths)


def test_batches_of_photographs_are_all_compared(bundle, monkeypatch, tmp_path, photograph, write_image):
    added = []
    real = AgreementMeter.add
    monkeypatch.setattr(
        AgreementMeter,
        "add",
        lambda self, a, b: (
            (added.append(len(b["heatmap"])), real(self, a, b))[1] if "heatmap" in b else real(self, a, b)
        ),
    )
    paths = [write_image(tmp_path / f"{i}.png", photograph) for i in range(9)]
    verify(bundle, "cpu", "float32", paths)
    assert added[-3:] == [4, 4, 1]
    shutil.rmtree(tmp_path)
