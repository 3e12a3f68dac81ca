import dataclasses
import json

import pytest

from biounet_edge import VerificationError
from biounet_edge.checks import refusals
from biounet_edge.checks.refusals import Refusals


@pytest.fixture
def own(bundle, tmp_path):
    """The bundle as if it were in an empty folder."""
    return dataclasses.replace(bundle, folder=tmp_path)


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Versions of libraries, whatever is installed here."""
    versions = {"openvino": "2026.4", "onnxruntime": "1.32"}
    monkeypatch.setattr(refusals, "version", versions.__getitem__)
    return versions


def refuse(bundle, device="openvino", precision="bfloat16", level="full"):
    Refusals(bundle, level).add(device, precision, VerificationError("it computes something else"))


def test_a_refusal_is_found_at_the_next_start(own):
    assert Refusals(own, "full").find("openvino", "bfloat16") is None
    refuse(own)
    error = Refusals(own, "full").find("openvino", "bfloat16")
    file = own.folder / "compiled" / "refusals.json"
    assert str(error) == f"at an earlier start; {file} says why, and without that file it is tried again"
    assert list(json.loads(file.read_text()).values()) == ["it computes something else"]


def test_a_refusal_holds_for_its_choice_alone(own):
    refuse(own)
    assert Refusals(own, "full").find("openvino", "float32") is None
    assert Refusals(own, "full").find("cpu", "bfloat16") is None
    assert Refusals(own, "classify").find("openvino", "bfloat16") is None


@pytest.mark.parametrize("changed", ["bundle", "library", "processor", "version"])
def test_what_may_compute_otherwise_is_tried_again(own, changed, installed, monkeypatch):
    refuse(own)
    if changed == "bundle":
        own = dataclasses.replace(own, checksum="0" * 64)
    elif changed == "library":
        installed["openvino"] = "2026.5"
    elif changed == "processor":
        monkeypatch.setattr(refusals, "processor_name", lambda: "another")
    else:
        monkeypatch.setattr(refusals, "__version__", "99")
    assert Refusals(own, "full").find("openvino", "bfloat16") is None


def test_two_refusals_stand_beside_each_other(own):
    first, second = Refusals(own, "full"), Refusals(own, "cam")
    first.add("openvino", "bfloat16", VerificationError("one"))
    second.add("cpu", "int8", VerificationError("two"))
    assert Refusals(own, "full").find("openvino", "bfloat16") is not None
    assert Refusals(own, "cam").find("cpu", "int8") is not None
    kept = json.loads((own.folder / "compiled" / "refusals.json").read_text())
    assert sorted(kept.values()) == ["one", "two"]


def test_a_gpu_is_judged_at_every_start(own):
    refuse(own, "cuda", "float16")
    assert Refusals(own, "full").find("cuda", "float16") is None
    assert not (own.folder / "compiled").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff"])
def test_a_damaged_memory_remembers_nothing_and_is_written_anew(own, content):
    path = own.folder / "compiled" / "refusals.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert Refusals(own, "full").find("openvino", "bfloat16") is None
    refuse(own)
    assert Refusals(own, "full").find("openvino", "bfloat16") is not None


def test_a_bundle_that_cannot_be_written_is_judged_each_time(own, monkeypatch):
    def fail(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(refusals, "replace_file", fail)
    refuse(own)
    assert Refusals(own, "full").find("openvino", "bfloat16") is None
