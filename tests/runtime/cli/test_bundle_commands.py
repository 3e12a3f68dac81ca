"""The commands about a bundle itself: info and verify."""

import json

import numpy as np
import pytest

from biounet_edge import INDICATORS
from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend
from biounet_edge.bundle.manifest import EncoderSpec


def test_info_describes_the_bundle(run, bundle):
    result = run("info", bundle.folder)
    assert result.exit_code == 0, result.output
    assert f"{bundle.manifest.name} {bundle.manifest.version}" in result.stdout
    assert "checksums match" in result.stdout


def test_info_says_whether_a_bundle_can_judge(run, bundle, judging_bundle):
    words = " ".join(run("info", bundle.folder).stdout.split())
    assert "cannot judge whether a photograph is like those" in words
    words = " ".join(run("info", judging_bundle.folder).stdout.split())
    assert "assessed from 100 on (mean grey level; A. Tester, 2026)" in words


def test_info_of_a_bundle_from_anyone_does_not_reach_the_terminal(run, bundle_copy):
    manifest = bundle_copy / "manifest.json"
    content = json.loads(manifest.read_text()) | {"name": "\x1b]0;title\x07", "notice": "\x1b[2J"}
    manifest.write_text(json.dumps(content))
    result = run("info", bundle_copy)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "\\x1b[2J" in result.stdout


def test_info_prints_json(run, bundle):
    content = json.loads(run("info", bundle.folder, "--json").stdout)
    assert content["checksum"] == bundle.checksum
    assert content["indicators"] == list(INDICATORS)
    assert content["levels"]["full"]["graphs"] == bundle.manifest.levels["full"].graphs


def test_verify_passes_and_writes_a_certificate(run, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("verify", bundle.folder)
    assert result.exit_code == 0, result.output
    assert f"reproduces {bundle.manifest.name} {bundle.manifest.version} in float32" in result.stdout
    certificate = json.loads((tmp_path / "verification.json").read_text(encoding="utf-8"))
    assert certificate["passed"] is True
    assert certificate["bundle_checksum"] == bundle.checksum


def test_verify_compares_photographs(run, bundle, folder, tmp_path):
    result = run("verify", bundle.folder, "--images", folder, "--certificate", tmp_path / "c.json", "--json")
    last = json.loads(result.stdout)["levels"][-1]
    assert (last["against"], last["agreement"]["images"]) == ("photographs", 5)
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8")) == json.loads(result.stdout)


def test_verify_ends_with_1_on_a_machine_that_computes_otherwise(run, bundle, tmp_path, monkeypatch):
    compute = OnnxRuntimeBackend.run

    def wrong(self, images):
        return {name: values + np.float32(0.2) for name, values in compute(self, images).items()}

    monkeypatch.setattr(OnnxRuntimeBackend, "run", wrong)
    monkeypatch.chdir(tmp_path)
    result = run("verify", bundle.folder)
    assert result.exit_code == 1
    assert f"does NOT reproduce {bundle.manifest.name}" in result.stdout
    assert "do not use its results: classify: melanoma_probability differs by 0.2" in result.stderr
    assert json.loads((tmp_path / "verification.json").read_text(encoding="utf-8"))["passed"] is False


def test_info_says_which_indicators_have_a_probability_only(run, undecided_bundle):
    result = run("info", undecided_bundle.folder)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "streaks probability only, milia-like cyst" in text
    assert "Format 2, ONNX opset" in text


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (
            EncoderSpec(family="resnet50", base_width=12, decoder_width=16),
            "Encoders resnet50, base width 12, decoder width 16",
        ),
        (
            EncoderSpec(family="efficientnet_lite0", base_width=None, decoder_width=32, common_blocks=5),
            "Encoders efficientnet_lite0, decoder width 32, first 5 blocks shared",
        ),
    ],
)
def test_info_describes_the_encoders(run, change_bundle, encoder, words):
    result = run("info", change_bundle(encoder=encoder).folder)
    assert result.exit_code == 0, result.output
    assert words in " ".join(result.stdout.split())


def test_info_of_format_1_says_that_the_encoders_are_not_described(run, bundle_copy, format_1):
    (bundle_copy / "manifest.json").write_text(json.dumps(format_1))
    assert "not described in format 1" in run("info", bundle_copy).stdout


def test_verify_passes_without_an_operating_point(run, undecided_bundle, folder, tmp_path):
    result = run(
        "verify", undecided_bundle.folder, "--images", folder, "--certificate", tmp_path / "c.json", "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["levels"][-1]["agreement"]["presence_flips"] == 0
