import json

import pytest

from biounet_edge import INDICATORS, Bundle, ManifestError, default_bundle
from biounet_edge.bundle.manifest import (
    FORMAT,
    EncoderSpec,
    FamiliaritySpec,
    Manifest,
    bundle_file_name,
    parse_manifest,
)


@pytest.fixture
def content(undecided_bundle: Bundle) -> dict:
    """A manifest of format 2 in which streaks have no operating point."""
    return json.loads(undecided_bundle.manifest.to_json())


def test_parse_manifest_reads_what_to_json_writes(bundle):
    assert parse_manifest(bundle.manifest.to_json()) == bundle.manifest


def test_parse_manifest_refuses_a_newer_format_before_anything_else():
    with pytest.raises(
        ManifestError,
        match=r"has format 3, and this biounet-edge reads up to format 2: a newer biounet-edge is needed "
        r"\(pip install --upgrade biounet-edge\)",
    ):
        parse_manifest(json.dumps({"format": FORMAT + 1, "unknown": True}))


def test_parse_manifest_reads_format_1(format_1):
    manifest = parse_manifest(json.dumps(format_1))
    assert (manifest.format, manifest.encoder, manifest.presence_shifts) == (1, None, {})


def test_to_json_writes_format_1_without_the_fields_of_format_2(format_1):
    assert json.loads(parse_manifest(json.dumps(format_1)).to_json()) == format_1


def test_to_json_writes_the_demo_bundles_manifest_as_it_is():
    text = (default_bundle() / "manifest.json").read_text(encoding="utf-8")
    assert parse_manifest(text).to_json() == text


def test_parse_manifest_reads_format_2(content):
    content["encoder"] = {"family": "resnet50", "base_width": 12, "decoder_width": 16}
    content["presence_shifts"] = {"globules": -0.25}
    content["familiarity"] = {"threshold": 0.1, "score": "a method", "source": "a paper"}
    content["outputs"]["familiarity"] = {"shape": ["N"], "meaning": "likeness"}
    for level in content["levels"].values():
        level["outputs"].append("familiarity")
    manifest = parse_manifest(json.dumps(content))
    assert manifest.encoder == EncoderSpec(
        family="resnet50", base_width=12, decoder_width=16, common_blocks=0
    )
    assert manifest.operating_points["streaks"].presence is None
    assert manifest.presence_shifts == {"globules": -0.25}
    assert manifest.familiarity == FamiliaritySpec(threshold=0.1, score="a method", source="a paper")
    assert parse_manifest(manifest.to_json()) == manifest


def test_parse_manifest_reads_an_encoder_of_one_width(content):
    content["encoder"] = {
        "family": "efficientnet_lite0", "base_width": None, "decoder_width": 32, "common_blocks": 5,
    }  # fmt: skip
    assert parse_manifest(json.dumps(content)).encoder.common_blocks == 5


def test_manifest_is_written_in_the_newest_format(undecided_bundle):
    fields = {name: value for name, value in undecided_bundle.manifest if name != "format"}
    assert Manifest(**fields).format == FORMAT


@pytest.mark.parametrize("encoder", [None, "left out"])
def test_parse_manifest_wants_the_encoders_described_in_format_2(content, encoder):
    del content["encoder"]
    if encoder is None:
        content["encoder"] = None
    with pytest.raises(
        ManifestError, match=r"of format 2: manifest: encoder is missing: a manifest of format 2"
    ):
        parse_manifest(json.dumps(content))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder", {"family": "resnet50", "base_width": 12, "decoder_width": 16}),
        ("presence_shifts", {"streaks": 0.5}),
        ("familiarity", {"threshold": 0.0, "score": "a method", "source": "a paper"}),
    ],
)
def test_parse_manifest_refuses_fields_of_format_2_in_format_1(format_1, field, value):
    format_1[field] = value
    with pytest.raises(
        ManifestError,
        match=rf"of format 1: manifest: {field} came with format 2: expected none in a manifest",
    ):
        parse_manifest(json.dumps(format_1))


def test_parse_manifest_wants_every_threshold_in_format_1(format_1):
    format_1["operating_points"]["streaks"]["presence"] = None
    with pytest.raises(
        ManifestError, match=r"presence of streaks is null, which came with format 2: expected a threshold"
    ):
        parse_manifest(json.dumps(format_1))


@pytest.mark.parametrize("field", ["base_width", "decoder_width"])
def test_parse_manifest_wants_encoders_with_channels(content, field):
    content["encoder"][field] = 0
    with pytest.raises(ManifestError, match=rf"encoder.{field}: Input should be greater than or equal to 1"):
        parse_manifest(json.dumps(content))


def test_parse_manifest_names_the_format_that_it_does_not_know(content):
    with pytest.raises(ManifestError, match=r"is not a manifest of format 0: format: Input should be 1 or 2"):
        parse_manifest(json.dumps(content | {"format": 0}))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff\xfe"])
def test_parse_manifest_refuses_what_is_no_json(text):
    with pytest.raises(ManifestError, match=r"manifest.json is not valid JSON"):
        parse_manifest(text)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "1"}', '{"format": true}', "null"])
def test_parse_manifest_wants_a_format_number(text):
    with pytest.raises(ManifestError, match=r'has no format number: expected "format": 2'):
        parse_manifest(text)


def test_parse_manifest_names_each_wrong_field(content):
    content["input"]["height"] = 0
    del content["melanoma"]["bias"]
    content["surprise"] = 1
    with pytest.raises(
        ManifestError, match=r"input.height: .*melanoma.bias: Field required.*surprise: Extra"
    ):
        parse_manifest(json.dumps(content))


@pytest.mark.parametrize("name", ["../weights.bin", "/etc/passwd", "a/b", "..", "", "C:x", "a\\b"])
def test_parse_manifest_keeps_files_inside_the_bundle(content, name):
    content["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    with pytest.raises(ManifestError, match="expected a plain file name inside the bundle"):
        parse_manifest(json.dumps(content))


@pytest.mark.parametrize("name", ["full.ort", "full.pb", "full.onnx.tflite", "full.ONNX", "full.onnx\n", "x"])
@pytest.mark.parametrize("place", ["level", "component"])
def test_parse_manifest_takes_graphs_that_libraries_read_as_onnx_only(content, place, name):
    content["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    if place == "level":
        content["levels"]["full"]["graphs"]["float32"] = name
    else:
        content["components"]["float32"].append(name)
    with pytest.raises(ManifestError, match=r"float32.*: String should match pattern '\\.onnx\$'"):
        parse_manifest(json.dumps(content))


def test_bundle_file_name_returns_a_plain_name():
    assert bundle_file_name("weights.bin") == "weights.bin"


def test_parse_manifest_wants_the_five_indicators_in_order(content):
    content["indicators"] = sorted(INDICATORS)
    with pytest.raises(ManifestError, match=r"indicators must be pigment_network, .* in this order, got"):
        parse_manifest(json.dumps(content))


def test_parse_manifest_wants_an_operating_point_per_indicator(content):
    del content["operating_points"]["streaks"]
    with pytest.raises(ManifestError, match="operating_points must name each indicator once, got"):
        parse_manifest(json.dumps(content))


def test_parse_manifest_wants_every_graph_among_the_files(content):
    del content["files"][content["levels"]["full"]["graphs"]["float32"]]
    with pytest.raises(ManifestError, match=r"full.onnx is used but is not listed under files"):
        parse_manifest(json.dumps(content))


def test_parse_manifest_wants_every_output_described(content):
    content["levels"]["full"]["outputs"].append("mystery")
    with pytest.raises(ManifestError, match=r"level full has outputs that are not described: \['mystery'\]"):
        parse_manifest(json.dumps(content))


def test_manifest_cannot_be_changed(bundle):
    with pytest.raises(ValueError, match="frozen"):
        bundle.manifest.name = "other"
    assert isinstance(bundle.manifest, Manifest)


def test_parse_manifest_wants_a_float32_graph_of_each_level(content):
    content["levels"]["full"]["graphs"] = {"float16": "full_float16.onnx"}
    with pytest.raises(ManifestError, match=r"levels.full.graphs: expected a float32 graph, got float16"):
        parse_manifest(json.dumps(content))


def test_parse_manifest_refuses_an_input_that_no_machine_holds(content):
    content["input"]["height"] = 1_000_000
    with pytest.raises(ManifestError, match=r"input.height: Input should be less than or equal to 8192"):
        parse_manifest(json.dumps(content))


@pytest.mark.parametrize("part", ["section", "output"])
def test_parse_manifest_wants_threshold_and_output_of_familiarity_together(content, part):
    if part == "section":
        content["familiarity"] = {"threshold": 0.1, "score": "a method", "source": "a paper"}
    else:
        content["outputs"]["familiarity"] = {"shape": ["N"], "meaning": "likeness"}
        content["levels"]["cam"]["outputs"].append("familiarity")
    with pytest.raises(ManifestError, match=r"the output familiarity of level .* expected both or neither"):
        parse_manifest(json.dumps(content))
