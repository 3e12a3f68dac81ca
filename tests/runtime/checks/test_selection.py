import json
import sys

import numpy as np
import pytest

from biounet_edge import BackendUnavailableError, Bundle, EngineMismatchError, InputError, VerificationError
from biounet_edge.backends import DEVICES, PRECISIONS
from biounet_edge.backends import onnx_runtime as ort
from biounet_edge.backends import open_vino as ov
from biounet_edge.backends.requirements import graph_precision
from biounet_edge.backends.tensor_rt import backend as trt
from biounet_edge.bundle.folder import MANIFEST_NAME
from biounet_edge.checks.selection import FASTEST_FIRST, open_backend


class FakeBackend:
    """Answers with the golden outputs, or with others."""

    def __init__(self, bundle, device, precision, wrong):
        self.device, self.precision, self.description = device, precision, f"fake {device}"
        golden = bundle.golden()
        self.image, self.outputs, self.wrong, self.runs, self.closed = (
            golden.image,
            golden.outputs,
            wrong,
            0,
            0,
        )

    def run(self, images):
        self.runs += 1
        rows = [int(np.flatnonzero((self.image == image).all(axis=(1, 2, 3)))[0]) for image in images]
        return {name: array[rows] + 0.9 * self.wrong for name, array in self.outputs.items()}

    def close(self):
        self.closed += 1


class Machine:
    """What may be opened: devices, by default in any precision, and what goes wrong with others."""

    def __init__(self, monkeypatch):
        self.there, self.errors, self.wrong = set(), {}, set()
        self.tried, self.opened = [], []
        for module, name in (
            (ort, "OnnxRuntimeBackend"),
            (ov, "OpenVinoBackend"),
            (trt, "TensorRtBackend"),
        ):
            monkeypatch.setattr(module, name, self.open)

    def open(self, bundle, level, device, precision):
        bundle.graph(level, graph_precision(precision))
        self.tried.append((device, precision))
        if (error := self.errors.get(device)) is not None:
            raise error
        if device not in self.there:
            raise BackendUnavailableError(f"there is no {device}")
        wrong = (device, precision) in self.wrong
        self.opened.append(FakeBackend(bundle, device, precision, wrong))
        return self.opened[-1]


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.fixture
def folder(bundle, tmp_path):
    """The bundle's files in a folder of the test's own, in which nothing is remembered."""
    for name in (MANIFEST_NAME, *bundle.manifest.files):
        (tmp_path / name).symlink_to(bundle.folder / name)
    return tmp_path


@pytest.fixture
def all_formats(bundle, folder):
    """The bundle as if it had each of its levels in each precision."""
    content = json.loads(bundle.manifest.to_json())
    for level in content["levels"].values():
        level["graphs"] = dict.fromkeys(("float32", "float16", "int8"), level["graphs"]["float32"])
    return Bundle(folder, type(bundle.manifest).model_validate(content), bundle.checksum)


@pytest.fixture
def float32_only(bundle, folder):
    content = json.loads(bundle.manifest.to_json())
    for level in content["levels"].values():
        level["graphs"] = {"float32": level["graphs"]["float32"]}
    return Bundle(folder, type(bundle.manifest).model_validate(content), bundle.checksum)


def test_every_device_has_its_precisions():
    assert set(PRECISIONS) == set(DEVICES) - {"auto"}
    assert set(FASTEST_FIRST) < set(PRECISIONS)


def test_open_backend_runs_on_the_cpu(bundle):
    selection = open_backend(bundle, "classify", "cpu", "float32")
    assert selection.passed_over == ()
    assert selection.reason == f"cpu in float32 ({selection.backend.description})"
    outputs = selection.backend.run(bundle.golden().image[:1])
    assert set(outputs) == set(bundle.manifest.levels["classify"].outputs)
    selection.backend.close()


def test_auto_tries_the_fastest_first_in_the_formats_of_the_bundle(all_formats, machine):
    with pytest.raises(BackendUnavailableError, match="there is no cpu"):
        open_backend(all_formats, "classify")
    assert machine.tried == [(device, fmt) for device in FASTEST_FIRST for fmt in PRECISIONS[device]]


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"cpu"}, ("cpu", "float32")),
        ({"cpu", "openvino"}, ("openvino", "bfloat16")),
        ({"cpu", "openvino", "cuda"}, ("cuda", "float32")),
        ({"cpu", "tensorrt-rtx", "cuda"}, ("tensorrt-rtx", "float32")),
        ({"cpu", "openvino-gpu"}, ("cpu", "float32")),
    ],
)
def test_auto_takes_the_fastest_that_is_there(there, chosen, float32_only, machine):
    machine.there = there
    backend = open_backend(float32_only, "classify").backend
    assert (backend.device, backend.precision) == chosen


def test_a_selection_says_what_is_not_there(float32_only, machine):
    machine.there = {"cpu"}
    selection = open_backend(float32_only, "classify")
    assert selection.reason == (
        "cpu in float32 (fake cpu); not available: tensorrt, tensorrt-rtx, cuda, openvino"
    )
    passed = [(choice.device, choice.precision) for choice in selection.passed_over]
    assert passed[-2:] == [("openvino", "bfloat16"), ("openvino", "float32")]


def test_auto_passes_over_what_computes_something_else_and_closes_it(float32_only, machine):
    machine.there, machine.wrong = {"cpu", "openvino"}, {("openvino", "bfloat16")}
    selection = open_backend(float32_only, "classify")
    wrong, right = machine.opened
    assert selection.backend is right
    assert (right.device, right.precision, right.closed) == ("openvino", "float32", 0)
    assert wrong.closed == 1
    assert "openvino in bfloat16 refused: openvino (fake openvino) does not compute" in selection.reason


@pytest.mark.parametrize("device", ["auto", "openvino"])
def test_what_was_refused_once_is_not_opened_again(device, float32_only, machine):
    pytest.importorskip("openvino")
    machine.there, machine.wrong = {"openvino"}, {("openvino", "bfloat16")}
    first = open_backend(float32_only, "classify", device)
    machine.tried.clear()
    again = open_backend(float32_only, "classify", device)
    assert ("openvino", "bfloat16") not in machine.tried
    assert again.backend.precision == "float32"
    assert "openvino in bfloat16 refused: openvino (fake openvino) does not compute" in first.reason
    assert "openvino in bfloat16 refused: at an earlier start; " in again.reason


def test_what_was_refused_is_tried_where_it_is_asked_for_or_measured(float32_only, machine):
    pytest.importorskip("openvino")
    machine.there, machine.wrong = {"openvino"}, {("openvino", "bfloat16")}
    open_backend(float32_only, "classify")
    assert open_backend(float32_only, "classify", check=False).backend.precision == "bfloat16"
    machine.tried.clear()
    with pytest.raises(VerificationError, match="Do not use it here"):
        open_backend(float32_only, "classify", "openvino", "bfloat16")
    assert machine.tried == [("openvino", "bfloat16")]


def test_auto_passes_over_an_engine_that_does_not_fit(float32_only, machine):
    machine.there = {"cpu"}
    machine.errors["tensorrt"] = EngineMismatchError("it was built for another GPU")
    reason = open_backend(float32_only, "classify").reason
    assert "; tensorrt in float32 refused: it was built for another GPU" in reason


@pytest.mark.parametrize("device", sorted(PRECISIONS))
def test_what_is_asked_for_is_never_replaced(device, float32_only, machine):
    machine.there = set(PRECISIONS) - {device}
    with pytest.raises(BackendUnavailableError, match=f"there is no {device}"):
        open_backend(float32_only, "classify", device, "float32")
    assert machine.tried == [(device, "float32")]


def test_a_device_that_computes_something_else_is_refused(float32_only, machine):
    machine.there, machine.wrong = {"cpu"}, {("cpu", "float32")}
    with pytest.raises(
        VerificationError, match=r"cpu \(fake cpu\) does not compute in float32 what PyTorch.*Do not use it"
    ):
        open_backend(float32_only, "classify", "cpu")
    assert machine.opened[0].closed == 1


def test_the_check_may_be_left_out(float32_only, machine):
    machine.there, machine.wrong = {"cpu"}, {("cpu", "float32")}
    backend = open_backend(float32_only, "classify", "cpu", check=False).backend
    assert (backend.runs, backend.closed) == (0, 0)


def test_the_precision_asked_for_is_the_only_one_tried(all_formats, machine):
    with pytest.raises(BackendUnavailableError):
        open_backend(all_formats, "classify", "auto", "float16")
    assert {fmt for _, fmt in machine.tried} == {"float16"}


def test_open_backend_lists_the_devices_there_are(bundle):
    with pytest.raises(InputError, match=rf"there is no device 'tpu': choose one of {', '.join(DEVICES)}"):
        open_backend(bundle, "full", "tpu")


def test_open_backend_lists_the_levels_there_are(bundle):
    with pytest.raises(InputError, match="no level 'all': choose one of classify, cam, full"):
        open_backend(bundle, "all", "cpu")


@pytest.mark.parametrize(
    ("device", "precision", "formats"),
    [
        ("cpu", "float16", "device cpu computes in float32, int8"),
        ("cuda", "float16", "device cuda computes in float16, float32"),
        ("auto", "int8", "device auto computes in float32, float16, bfloat16, int8"),
    ],
)
def test_a_precision_that_cannot_be_had_is_refused(device, precision, formats, float32_only, machine):
    with pytest.raises(
        InputError,
        match=rf"{precision} was asked for: {formats}, and the bundle .* has level full in float32",
    ):
        open_backend(float32_only, "full", device, precision)
    assert machine.tried == []


def test_bfloat16_is_computed_from_the_float32_graph():
    formats = ("float32", "float16", "bfloat16", "int8")
    assert [graph_precision(fmt) for fmt in formats] == ["float32", "float16", "float32", "int8"]


def test_no_library_has_to_be_installed_but_the_one_asked_for(bundle, monkeypatch):
    for name in ("openvino", "tensorrt", "tensorrt_rtx", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    assert open_backend(bundle, "classify", "cpu", "float32").backend.device == "cpu"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailableError, match="'cpu' needs onnxruntime, which cannot be imported"):
        open_backend(bundle, "classify", "cpu", "float32")
