import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from biounet_edge import INDICATORS, Predictor, default_bundle

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "examples" / "node"
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))


@pytest.fixture(scope="module")
def predict():
    """Runs the example on photographs; returns its objects."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not (NODE / "node_modules").is_dir():
        pytest.skip("its packages are not installed: npm ci --ignore-scripts in examples/node")

    def run(*paths: Path, bundle: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = ["node", "predict.mjs", str(bundle or default_bundle()), *map(str, paths)]
        return subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=120)

    return run


def test_node_reproduces_the_probabilities_of_python(predict):
    result = predict(*SAMPLES)
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == len(SAMPLES)
    with Predictor(device="cpu", precision="float32", level="classify") as predictor:
        for path, ours in zip(SAMPLES, found, strict=True):
            expected = predictor.predict(path).to_dict()
            assert (ours["width"], ours["height"]) == (expected["width"], expected["height"])
            assert ours["melanoma"] == expected["melanoma"]
            assert ours["melanoma_probability"] == pytest.approx(expected["melanoma_probability"], abs=1e-4)
            for name, finding in expected["indicators"].items():
                assert ours["indicators"][name]["present"] == finding["present"]
                for value in ("probability", "contribution"):
                    assert ours["indicators"][name][value] == pytest.approx(finding[value], abs=1e-4)


def test_node_turns_a_photograph_upright(predict, tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(b"\xff\xd8" + segment + SAMPLES[0].read_bytes()[2:])
    (line,) = predict(turned).stdout.splitlines()
    with Predictor(device="cpu", precision="float32", level="classify") as predictor:
        expected = predictor.predict(turned)
    assert (json.loads(line)["height"], json.loads(line)["width"]) == expected.size == (1022, 767)
    assert json.loads(line)["melanoma_probability"] == pytest.approx(expected.melanoma_probability, abs=1e-4)


@pytest.fixture
def bundle(tmp_path) -> Path:
    """The demo's model with a notice; globules absent, streaks undecided, the others present."""
    compiled = shutil.ignore_patterns("compiled")
    folder = Path(shutil.copytree(default_bundle(), tmp_path / "bundle", ignore=compiled))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest |= {"format": 2, "notice": "Made by a test. Not for clinical use."}
    for name, point in manifest["operating_points"].items():
        point["presence"] = {"streaks": None, "globules": 1}.get(name, 0)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_node_gives_null_without_an_operating_point(predict, bundle):
    result = predict(SAMPLES[0], bundle=bundle)
    assert result.returncode == 0, result.stderr
    present = {name: found["present"] for name, found in json.loads(result.stdout)["indicators"].items()}
    assert present == dict.fromkeys(INDICATORS, True) | {"streaks": None, "globules": False}


def test_node_shows_the_notice(predict, bundle):
    assert "Made by a test. Not for clinical use." in predict(SAMPLES[0], bundle=bundle).stderr


def test_node_refuses_a_bundle_of_another_format(predict, tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": 3}')
    result = predict(SAMPLES[0], bundle=tmp_path)
    assert result.returncode != 0
    assert "expected a bundle of format 1 or 2, got format 3" in result.stderr


@pytest.mark.parametrize("profile", ["red is green", "sRGB"])
def test_node_applies_the_profiles_that_python_applies(predict, tmp_path, profile):
    """A profile that exchanges colours, and one that is sRGB."""
    path, icc = tmp_path / "profiled.jpg", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if profile == "red is green":
        red, green = (icc.index(name) + 4 for name in (b"rXYZ", b"gXYZ"))
        icc = icc[:red] + icc[green : green + 8] + icc[red + 8 :]
    Image.open(SAMPLES[0]).save(path, quality=95, icc_profile=icc)
    found = json.loads(predict(path).stdout)
    with Predictor(device="cpu", precision="float32", level="classify") as predictor:
        expected = predictor.predict(path).melanoma_probability
    assert found["melanoma_probability"] == pytest.approx(expected, abs=1e-3)
