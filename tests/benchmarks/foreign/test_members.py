"""Reading pictures from archives, without a registry."""

import hashlib
import io
import subprocess
import tarfile
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.foreign import archives
from benchmarks.foreign.archives import Archive, fetch
from benchmarks.foreign.members import LONGEST_PX, Member, read_picture, take_members
from biounet_edge.errors import InputError, IntegrityError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def encode(pixels, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


PNG = encode(PIXELS)


def archive_of(path, registry="pypi", version="1.0"):
    return Archive(
        path.name, registry, "package", version, "MIT", hashlib.sha256(path.read_bytes()).hexdigest()
    )


def member_of(path, content=PNG, part=""):
    sha256 = hashlib.sha256(content).hexdigest()
    return Member("judge", "photographs", "a", path.name, "images/a.png", part, "MIT", sha256)


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images/a.png", PNG)
    return path


@pytest.fixture
def tarball(tmp_path):
    path = tmp_path / "package-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        entry = tarfile.TarInfo("images/a.png")
        entry.size = len(PNG)
        file.addfile(entry, io.BytesIO(PNG))
    return path


@pytest.mark.parametrize("kind", ["wheel", "tarball"])
def test_a_member_of_an_archive_that_is_there_is_read(kind, request, tmp_path):
    path = request.getfixturevalue(kind)
    (picture,) = take_members([member_of(path)], {path.name: archive_of(path)}, tmp_path)
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert picture.source == "package 1.0: images/a.png"


def test_a_member_with_other_content_is_refused(wheel, tmp_path):
    member = member_of(wheel, b"another")
    with pytest.raises(
        IntegrityError, match=r"images/a\.png in .* should have SHA-256 .* change members\.csv"
    ):
        next(take_members([member], {wheel.name: archive_of(wheel)}, tmp_path))


def test_a_changed_archive_is_refused(wheel):
    archive = archive_of(wheel)
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="delete it and try again"):
        fetch(archive, wheel.parent)


@pytest.mark.parametrize(
    ("registry", "file", "expected"),
    [
        ("npm", "package-1.0.tgz", ["package@1.0"]),
        ("pypi", "package-1.0.tar.gz", ["--no-binary=:all:", "package==1.0"]),
        ("pypi", "package-1.0-py3-none-any.whl", ["--only-binary=:all:", "--platform=any", "package==1.0"]),
        (
            "pypi",
            "package-1.0-cp37-cp37m-manylinux1_x86_64.whl",
            ["--platform=manylinux1_x86_64", "--python-version=3.7", "--abi=cp37m", "package==1.0"],
        ),
    ],
)
def test_a_missing_archive_is_asked_for_by_version_and_platform(
    registry, file, expected, tmp_path, monkeypatch
):
    commands = []

    def run(command, **_):
        commands.append(command)
        (tmp_path / file).write_bytes(b"content")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(archives.subprocess, "run", run)
    sha256 = hashlib.sha256(b"content").hexdigest()
    assert fetch(Archive(file, registry, "package", "1.0", "MIT", sha256), tmp_path) == tmp_path / file
    (command,) = commands
    assert command[-len(expected) :] == expected


def test_a_failing_client_is_quoted(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "warning\nERROR: no such version")
    monkeypatch.setattr(archives.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(InputError, match="failed: ERROR: no such version"):
        fetch(Archive("package-1.0.tgz", "npm", "package", "1.0", "MIT", ""), tmp_path)


def test_a_box_is_cut_out():
    np.testing.assert_array_equal(read_picture(PNG, "a.png", "box 1 2 7 5"), PIXELS[2:5, 1:7])


def test_a_frame_is_chosen():
    frames = [Image.fromarray(PIXELS // (place + 1)) for place in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_picture(file.getvalue(), "a.tif", "frame 2"), PIXELS // 3)


def test_transparent_pixels_are_white():
    assert read_picture(encode(np.zeros((2, 2, 4), np.uint8)), "a.png", "").tolist() == [[[255] * 3] * 2] * 2


def test_sixteen_bits_are_stretched():
    ramp = np.arange(10_000, 40_000, 300, dtype=np.uint16).reshape(10, 10)
    picture = read_picture(encode(ramp), "a.png", "")
    assert (picture.min(), picture.max()) == (0, 255)


def test_a_large_picture_is_reduced():
    picture = read_picture(encode(np.zeros((100, 2 * LONGEST_PX, 3), np.uint8)), "a.png", "")
    assert picture.shape == (50, LONGEST_PX, 3)


@pytest.mark.parametrize(("meaning", "first"), [("MONOCHROME2", 0), ("MONOCHROME1", 255)])
def test_dicom_is_shown_as_a_viewer_shows_it(meaning, first):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PhotometricInterpretation = meaning
    dataset.PixelData = np.arange(16, dtype="<u2").tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    picture = read_picture(file.getvalue(), "a.dcm", "")
    assert picture.shape == (4, 4, 3)
    assert picture[0, 0].tolist() == [first] * 3
