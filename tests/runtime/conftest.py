"""What the runtime's tests share.

They need neither torch nor onnx: images are made with OpenCV or byte by byte.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from biounet_edge import INDICATORS, Bundle, Predictor, default_bundle
from biounet_edge.bundle.manifest import EncoderSpec, Manifest, OperatingPoint

from .familiar_bundles import make_judging, make_not_judging


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bundle", default=None, help="bundle folder to test with; the demo bundle if left out")


ENCODER = EncoderSpec(family="resnet50", base_width=12, decoder_width=16)
"""Stands for the encoders where a manifest of format 1 does not describe them."""

PRESENCE = (0.5, 0.3, 0.45, 0.6, 0.4)
"""Operating points of the indicators under test; different, so that no two are mixed up unnoticed."""

MASK = (0.4, 0.3, 0.5, 0.6, 0.7)
"""Operating points of their masks."""


def copy_bundle(bundle: Bundle, folder: Path, **changes: object) -> Bundle:
    """A copy without what was compiled, in whose manifest some fields are others."""
    shutil.copytree(bundle.folder, folder, ignore=shutil.ignore_patterns("compiled"))
    manifest = bundle.manifest.model_copy(update=changes)
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(folder)


@pytest.fixture(scope="session")
def embedded(request: pytest.FixtureRequest) -> Bundle:
    """The bundle as it is delivered."""
    return Bundle.open(request.config.getoption("--bundle", default=None) or default_bundle())


@pytest.fixture(scope="session")
def bundle(embedded: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The delivered model in a bundle of format 2 with a notice and operating points of the tests' own.

    What a test expects must not depend on the model that is embedded today. Tests draw their photographs,
    so the bundle cannot judge how familiar they are.
    """
    points = zip(INDICATORS, PRESENCE, MASK, strict=True)
    able = copy_bundle(
        embedded,
        tmp_path_factory.mktemp("bundle") / "b",
        format=2,
        encoder=embedded.manifest.encoder or ENCODER,
        notice="Model of a test. Not for clinical use.",
        operating_points={name: OperatingPoint(presence=p, mask=m) for name, p, m in points},
    )
    return make_not_judging(able)


@pytest.fixture
def bundle_copy(bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    compiled = shutil.ignore_patterns("compiled")
    return Path(shutil.copytree(bundle.folder, tmp_path / "bundle-copy", ignore=compiled))


ChangeBundle = Callable[..., Bundle]


@pytest.fixture(scope="session")
def change_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> ChangeBundle:
    """Copies the bundle with other values in some fields of its manifest."""
    return lambda **changes: copy_bundle(bundle, tmp_path_factory.mktemp("changed") / "b", **changes)


@pytest.fixture
def with_float16(bundle: Bundle, bundle_copy: Path) -> ChangeBundle:
    """Makes a bundle with float16 graphs of some levels and one component: copies of the float32 ones."""

    def make(*levels: str) -> Bundle:
        content = json.loads(bundle.manifest.to_json())
        content["components"] = {"float32": content["components"]["float32"]}
        for level in content["levels"].values():
            level["graphs"] = {"float32": level["graphs"]["float32"]}
        for name in (*levels, "encoder_streaks"):
            shutil.copyfile(bundle_copy / f"{name}.onnx", bundle_copy / f"{name}_float16.onnx")
            content["files"][f"{name}_float16.onnx"] = content["files"][f"{name}.onnx"]
        for level in levels:
            content["levels"][level]["graphs"]["float16"] = f"{level}_float16.onnx"
        content["components"]["float16"] = ["encoder_streaks_float16.onnx"]
        return Bundle(bundle_copy, Manifest.model_validate(content), bundle.checksum)

    return make


@pytest.fixture
def format_1(bundle: Bundle) -> dict[str, Any]:
    """The bundle's manifest as format 1 has it."""
    content: dict[str, Any] = json.loads(bundle.manifest.to_json()) | {"format": 1}
    for name in ("encoder", "presence_shifts", "familiarity"):
        del content[name]
    return content


@pytest.fixture(scope="session")
def undecided_bundle(bundle: Bundle, change_bundle: ChangeBundle) -> Bundle:
    """A bundle in which streaks have no operating point: probability only."""
    streaks = bundle.manifest.operating_points["streaks"].model_copy(update={"presence": None})
    return change_bundle(operating_points=bundle.manifest.operating_points | {"streaks": streaks})


@pytest.fixture(scope="session")
def undecided_predictor(undecided_bundle: Bundle) -> Iterator[Predictor]:
    with Predictor(undecided_bundle, device="cpu") as full:
        yield full


@pytest.fixture(scope="session")
def judging_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a familiarity score: the mean grey level, at least 100."""
    return make_judging(copy_bundle(bundle, tmp_path_factory.mktemp("judging") / "b"))


@pytest.fixture(scope="session")
def judge(judging_bundle: Bundle) -> Iterator[Predictor]:
    """Turns dark photographs away."""
    with Predictor(judging_bundle, device="cpu") as full:
        yield full


@pytest.fixture(scope="session")
def lenient(judging_bundle: Bundle) -> Iterator[Predictor]:
    """Assesses dark photographs too, with a warning."""
    with Predictor(judging_bundle, device="cpu", accept_unfamiliar=True) as full:
        yield full


@pytest.fixture(scope="session")
def predictor(bundle: Bundle) -> Iterator[Predictor]:
    with Predictor(bundle, device="cpu") as full:
        yield full


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A dark, uneven spot on skin, off centre, so that no rotation or flip looks like another."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:90, 0:120]
    spot = np.exp(-(((x - 42) / 22) ** 2 + ((y - 34) / 15) ** 2))
    spot += 0.6 * np.exp(-(((x - 88) / 8) ** 2 + ((y - 66) / 12) ** 2))
    skin = np.array([224, 180, 160]) - spot[..., np.newaxis] * np.array([150, 140, 110])
    return np.clip(skin + rng.normal(0, 5, (90, 120, 3)), 0, 255).astype(np.uint8)


WriteImage = Callable[[Path, np.ndarray], Path]


@pytest.fixture(scope="session")
def write_image() -> WriteImage:
    """Writes RGB pixels in the format of the path's ending, at the best quality."""

    def write(path: Path, image: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else []
        _, content = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]), quality)
        path.write_bytes(content.tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def paths(
    tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray, write_image: WriteImage
) -> list[Path]:
    """Five different photographs as PNG files."""
    folder = tmp_path_factory.mktemp("photographs")
    variants = [photograph, photograph[:, ::-1], photograph[::-1], photograph[20:, 30:], 255 - photograph]
    return [write_image(folder / f"{i}.png", image) for i, image in enumerate(variants)]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images that lie beside a development checkout and are no part of the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images of ../shared/data are not on this machine")
    return folder
