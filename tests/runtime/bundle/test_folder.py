import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from biounet_edge import (
    Bundle,
    BundleNotFoundError,
    InputError,
    IntegrityError,
    ManifestError,
    default_bundle,
)


def update_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Changes a file together with its checksum, as a wrong export would."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    update_manifest(folder, files=files)


def test_open_identifies_the_bundle_by_its_manifest(bundle):
    text = (bundle.folder / "manifest.json").read_bytes()
    assert bundle.checksum == hashlib.sha256(text).hexdigest()


def test_open_says_where_there_is_no_bundle(tmp_path):
    with pytest.raises(
        BundleNotFoundError, match=r"there is no bundle at .*missing: expected a folder with a man"
    ):
        Bundle.open(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        Bundle.open(tmp_path)


def test_open_names_a_changed_file(bundle_copy):
    content = bytearray((bundle_copy / "weights.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / "weights.bin").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"weights.bin is not the file that the bundle's manifest names"):
        Bundle.open(bundle_copy)


def test_open_names_a_missing_file(bundle_copy):
    (bundle_copy / "cam.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"cam.onnx belongs to the bundle and cannot be read"):
        Bundle.open(bundle_copy)


def test_open_ignores_files_that_the_manifest_does_not_name(bundle_copy):
    (bundle_copy / "notes.txt").write_text("mine")
    assert Bundle.open(bundle_copy).folder == bundle_copy


def test_open_refuses_a_newer_format(bundle_copy):
    update_manifest(bundle_copy, format=3)
    with pytest.raises(ManifestError, match="a newer biounet-edge is needed"):
        Bundle.open(bundle_copy)


def test_graph_names_the_levels_there_are(bundle_copy):
    levels = json.loads((bundle_copy / "manifest.json").read_text())["levels"]
    update_manifest(bundle_copy, levels={"classify": levels["classify"]})
    opened = Bundle.open(bundle_copy)
    assert opened.graph("classify").is_file()
    with pytest.raises(InputError, match=r"has no level 'full': choose one of classify"):
        opened.graph("full")


def test_golden_holds_images_and_every_output(bundle):
    golden = bundle.golden()
    spec = bundle.manifest.input
    assert golden.image.dtype == np.uint8
    assert golden.image.shape[1:] == (spec.height, spec.width, 3)
    assert set(golden.outputs) >= set(bundle.manifest.levels["full"].outputs)


def test_golden_refuses_pickled_arrays(bundle_copy, tmp_path):
    np.savez(tmp_path / "evil.npz", image=np.array([{}], dtype=object))
    replace_file(bundle_copy, "golden.npz", (tmp_path / "evil.npz").read_bytes())
    with pytest.raises(IntegrityError, match=r"golden.npz is damaged: Object arrays cannot be loaded"):
        Bundle.open(bundle_copy).golden()


def test_golden_says_what_is_damaged(bundle_copy):
    replace_file(bundle_copy, "golden.npz", b"PK\x03\x04 and no more")
    with pytest.raises(IntegrityError, match=r"golden.npz is damaged"):
        Bundle.open(bundle_copy).golden()


def test_golden_says_where_there_is_none(bundle_copy):
    files = json.loads((bundle_copy / "manifest.json").read_text())["files"]
    del files["golden.npz"]
    update_manifest(bundle_copy, files=files)
    with pytest.raises(IntegrityError, match=r"has no golden.npz to verify against"):
        Bundle.open(bundle_copy).golden()


def test_golden_refuses_arrays_that_a_few_bytes_unpack_to(bundle_copy, monkeypatch):
    monkeypatch.setattr("biounet_edge.bundle.golden.MAX_GOLDEN_BYTES", 1000)
    with pytest.raises(
        IntegrityError, match=r"golden.npz is damaged: it unpacks to [\d,]+ bytes, at most 1,000"
    ):
        Bundle.open(bundle_copy).golden()


def test_golden_refuses_an_array_that_no_memory_holds(bundle_copy, tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 1048576), }\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "evil.npz", "w") as archive:
        archive.writestr("image.npy", array)
    replace_file(bundle_copy, "golden.npz", (tmp_path / "evil.npz").read_bytes())
    with pytest.raises(IntegrityError, match=r"golden.npz is damaged"):
        Bundle.open(bundle_copy).golden()


def test_open_compares_sizes_before_it_reads(bundle_copy):
    with (bundle_copy / "weights.bin").open("ab") as file:
        file.truncate(10**12)  # sparse: takes no space, and minutes to read
    with pytest.raises(
        IntegrityError, match=r"weights.bin is not the file .* \(1,000,000,000,000 bytes, expected"
    ):
        Bundle.open(bundle_copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["manifest.json", "weights.bin"])
def test_open_does_not_wait_on_a_pipe(bundle_copy, name):
    (bundle_copy / name).unlink()
    os.mkfifo(bundle_copy / name)
    with pytest.raises((BundleNotFoundError, IntegrityError), match="it is not a regular file"):
        Bundle.open(bundle_copy)


def test_open_refuses_a_manifest_without_end(bundle_copy):
    with (bundle_copy / "manifest.json").open("ab") as file:
        file.truncate(10**12)
    with pytest.raises(
        ManifestError, match=r"manifest.json is larger than any manifest: expected at most 4,"
    ):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("place", ["package/engines/demo", "engines/demo"])
def test_default_bundle_lies_in_the_package_or_beside_it(place, tmp_path, monkeypatch):
    demo = tmp_path / place
    demo.mkdir(parents=True)
    (demo / "manifest.json").touch()
    monkeypatch.setattr(
        "biounet_edge.bundle.folder.__file__", str(tmp_path / "package" / "bundle" / "folder.py")
    )
    assert default_bundle() == demo


def test_default_bundle_says_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "biounet_edge.bundle.folder.__file__", str(tmp_path / "package" / "bundle" / "folder.py")
    )
    with pytest.raises(BundleNotFoundError, match="the demo bundle is missing from this installation"):
        default_bundle()
