import json
import os

import pytest

from biounet_edge import BackendUnavailableError, Bundle, EngineMismatchError
from biounet_edge.doctor import diagnosis as doctor_module
from biounet_edge.doctor.diagnosis import diagnose

from .machines import CPU, GPU, with_packages


def by_name(findings):
    return {f.name: f for f in findings}


def test_diagnose_checks_the_demo_bundle_by_default(machine):
    found = by_name(diagnose())["Bundle"]
    assert found.status == "ok"
    demo = Bundle.open()
    assert found.text.startswith(f"{demo.manifest.name} {demo.manifest.version} in {demo.folder}: ")
    assert found.text.endswith(" files, checksums match")


def test_diagnose_says_whether_a_bundle_can_judge(bundle, judging_bundle, machine):
    found = by_name(diagnose(bundle.folder))["Familiarity"]
    assert found.status == "warning"
    assert "cannot judge whether a photograph is like those that it was trained on" in found.text
    found = by_name(diagnose(judging_bundle.folder))["Familiarity"]
    assert (found.status, found.text) == ("ok", "photographs with a score below 100 are not assessed")


def test_diagnose_finds_a_damaged_bundle(bundle_copy, machine):
    (bundle_copy / "full.onnx").write_bytes(b"damaged")
    found = by_name(diagnose(bundle_copy))["Bundle"]
    assert (found.status, found.remedy) == ("problem", "fetch the bundle again")
    assert "full.onnx is not the file that the bundle's manifest names" in found.text


def test_diagnose_finds_that_there_is_no_bundle(tmp_path, machine):
    found = by_name(diagnose(tmp_path))["Bundle"]
    assert found.status == "problem"
    assert f"there is no bundle at {tmp_path}" in found.text
    assert found.remedy == "name the folder that has the manifest.json of a bundle"


def test_diagnose_finds_a_bundle_of_a_newer_format(bundle_copy, machine):
    manifest = bundle_copy / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    found = by_name(diagnose(bundle_copy))["Bundle"]
    assert found.status == "problem"
    assert "format 99" in found.text
    assert "pip install --upgrade biounet-edge" in found.remedy


def test_diagnose_finds_that_nothing_compiled_can_be_kept(bundle, machine, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = by_name(diagnose(bundle.folder))["Compiled models"]
    assert found.status == "warning"
    assert "cannot be written to, so OpenVINO compiles the bundle at every start" in found.text
    assert found.remedy == "copy the bundle to a folder of your own, and name that folder"
    machine(with_packages(CPU, without=("openvino",)))
    assert "Compiled models" not in by_name(diagnose(bundle.folder))


@pytest.fixture
def engine(bundle_copy):
    """The name of the finding about an engine whose content does not matter."""
    folder = bundle_copy / "compiled"
    folder.mkdir(exist_ok=True)
    (folder / "classify.tensorrt.engine").write_bytes(b"an engine")
    return "Engine classify.tensorrt.engine"


def test_diagnose_finds_engines_that_no_gpu_runs(bundle_copy, engine, machine):
    found = by_name(diagnose(bundle_copy))[engine]
    assert found.status == "warning"
    assert found.text == "no NVIDIA GPU answers on this machine, so it cannot run here"
    assert found.remedy == "use tensorrt on the machine that it was built for"


def load_as(monkeypatch, outcome):
    """Makes reading any engine end so."""

    class Library:
        __version__ = "11.0"

    def read_engine(bundle, level, device, precision, version, gpu):
        assert (level, device, precision, version, gpu) == ("classify", "tensorrt", "float32", "11.0", "L4")
        if isinstance(outcome, Exception):
            raise outcome

    monkeypatch.setattr(doctor_module, "import_tensorrt", lambda device: Library)
    monkeypatch.setattr(doctor_module, "present_gpu", lambda device: "L4")
    monkeypatch.setattr(doctor_module, "read_engine", read_engine)


def test_diagnose_finds_engines_that_were_built_elsewhere(bundle_copy, engine, machine, monkeypatch):
    machine(GPU)
    load_as(monkeypatch, EngineMismatchError("it was built for something else: GPU"))
    found = by_name(diagnose(bundle_copy))[engine]
    assert (found.status, found.text) == ("problem", "it was built for something else: GPU")
    assert found.remedy == (
        f"biounet-edge build {bundle_copy} --device tensorrt --level classify --precision float32"
    )


def test_diagnose_finds_engines_whose_library_is_missing(bundle_copy, engine, machine, monkeypatch):
    machine(GPU)
    load_as(monkeypatch, BackendUnavailableError("device 'tensorrt' needs tensorrt"))
    found = by_name(diagnose(bundle_copy))[engine]
    assert (found.status, found.text) == ("problem", "device 'tensorrt' needs tensorrt")
    assert found.remedy == 'pip install "biounet-edge[tensorrt]"'


def test_diagnose_finds_engines_that_fit(bundle_copy, engine, machine, monkeypatch):
    machine(GPU)
    load_as(monkeypatch, None)
    found = by_name(diagnose(bundle_copy))[engine]
    assert (found.status, found.remedy) == ("ok", None)
    assert found.text == "fits this GPU, tensorrt 11.0 and the bundle"
