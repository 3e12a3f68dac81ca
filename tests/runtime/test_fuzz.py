"""Some seconds of fuzzing for each reader of strangers' files; fuzz_target.py goes on for longer."""

import importlib.util
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

if importlib.util.find_spec("atheris") is None:
    pytest.skip(
        "atheris is not installed; requirements/dev.txt has it for Linux on x86-64",
        allow_module_level=True,
    )

SECONDS = 3
TARGET = Path(__file__).with_name("fuzz_target.py")


def fuzz(target: str, folder: Path, corpus: dict[str, bytes]) -> None:
    (folder / "corpus").mkdir()
    for name, content in corpus.items():
        (folder / "corpus" / name).write_bytes(content)
    command = [sys.executable, str(TARGET), target, str(folder / "corpus"), f"-max_total_time={SECONDS}"]
    # Its peak starts at that of the process that started it, which holds whatever tests ran before.
    command += ["-seed=1", "-timeout=30", "-rss_limit_mb=0", "-malloc_limit_mb=4096"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "DONE" in process.stderr


def test_fuzzed_manifests_end_in_known_errors(bundle, tmp_path):
    fuzz("manifest", tmp_path, {"whole": (bundle.folder / "manifest.json").read_bytes()})


def test_fuzzed_images_end_in_known_errors(tmp_path, photograph, write_image):
    small = np.ascontiguousarray(photograph[::6, ::6])
    suffixes = (".jpg", ".png", ".bmp", ".tiff", ".webp")
    paths = [write_image(tmp_path / f"small{suffix}", small) for suffix in suffixes]
    fuzz("image", tmp_path, {path.name: path.read_bytes() for path in paths})


def test_fuzzed_tiff_and_heif_end_in_known_errors(tmp_path, photograph):
    small, corpus = Image.fromarray(np.ascontiguousarray(photograph[::6, ::6])), {}
    for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        file = BytesIO()
        small.save(file, "TIFF", compression=name, tiffinfo={317: 2} if name == "tiff_adobe_deflate" else {})
        corpus[name] = file.getvalue()
    if features.check("avif"):
        file = BytesIO()
        small.save(file, "AVIF")
        corpus["avif"] = file.getvalue()
    fuzz("image", tmp_path, corpus)


def test_fuzzed_dicom_ends_in_known_errors(tmp_path, photograph):
    pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    from .dicom_files import content, dataset

    small = np.ascontiguousarray(photograph[::6, ::6])
    fuzz("image", tmp_path, {"one": content(dataset(small))})


def test_fuzzed_graphs_end_in_known_errors(bundle, tmp_path):
    fuzz("graph", tmp_path, {"whole": (bundle.folder / "fusion.onnx").read_bytes()})


def test_fuzzed_golden_outputs_end_in_known_errors(tmp_path):
    np.savez_compressed(tmp_path / "small.npz", image=np.zeros((1, 2, 2, 3), np.uint8), heatmap=np.ones(3))
    fuzz("golden", tmp_path, {"small": (tmp_path / "small.npz").read_bytes()})
