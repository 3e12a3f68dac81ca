"""Only what can be a photograph of skin is read, by what its header says."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")

from pydicom.dataset import Dataset
from pydicom.uid import UID
from typer.testing import CliRunner

from biounet_edge import Category, ImageError, Predictor
from biounet_edge.cli.main import app
from biounet_edge.photographs.decoding import decode
from biounet_edge.photographs.dicom import Frame, frames_of
from biounet_edge.photographs.discovery import look_through
from biounet_edge.photographs.file import LARGE_FILE_BYTES

from ...dicom_files import PHOTOGRAPHIC, as_jpeg, content, dataset, jpeg, write

CT = UID("1.2.840.10008.5.1.4.1.1.2")
SLIDE = UID("1.2.840.10008.5.1.4.1.1.77.1.3")
REPORT = UID("1.2.840.10008.5.1.4.1.1.88.33")


def code(value: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a meaning"
    return item


def item(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"SOPClassUID": SLIDE},
            r"SOP Class UID \(0008,0016\) is VL Slide-Coordinates Microscopic Image Storage",
        ),
        ({"Modality": "CR"}, r"Modality \(0008,0060\) is CR, expected DMS, XC, ES, OT"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, r"Image Type \(0008,0008\) is DERIVED\\SECONDARY"),
        ({"ConversionType": "SD"}, r"Conversion Type \(0008,0064\) is SD"),
        ({"BurnedInAnnotation": "YES"}, r"Burned In Annotation \(0028,0301\) is YES, expected NO"),
        ({"BodyPartExamined": "HEART"}, r"Body Part Examined \(0018,0015\) is HEART"),
        ({"AnatomicRegionSequence": [code("80891009", "SCT")]}, r"Region Sequence \(0008,2218\) is HEART"),
        ({"AnatomicRegionSequence": [code("T-32000", "SRT")]}, r"Region Sequence \(0008,2218\) is HEART"),
    ],
)
def test_header_that_rules_skin_out_names_tag_and_value(change, message, photograph):
    whole = content(dataset(photograph, **change))
    with pytest.raises(ImageError, match=message) as raised:
        decode(whole)
    assert raised.value.category is Category.SKIPPED
    assert "--any-modality, or any_modality=True in Python" in str(raised.value)
    np.testing.assert_array_equal(decode(whole, any_modality=True), photograph)


@pytest.mark.parametrize(
    "change",
    [
        {"Modality": modality} for modality in ("DMS", "XC", "ES", "OT", "")
    ] + [
        {"BodyPartExamined": "CHEST"},  # a mole may be there
        {"AnatomicRegionSequence": [code("39937001", "SCT")]},
        {"ImageType": ["ORIGINAL", "PRIMARY"]},
        {"ImageType": ["DERIVED", "PRIMARY"], "DerivationCodeSequence": [code("113040", "DCM")]},
        {"BurnedInAnnotation": "NO"},
    ],
)  # fmt: skip
def test_header_that_leaves_skin_possible_is_read(change, photograph):
    np.testing.assert_array_equal(decode(content(dataset(photograph, **change))), photograph)


@pytest.mark.filterwarnings("ignore")  # pydicom's own
def test_text_in_place_of_a_code_is_not_repeated(photograph):
    whole = content(dataset(photograph, Modality="MUELLER EVA"))
    with pytest.raises(ImageError, match=r"Modality \(0008,0060\) is no code") as raised:
        decode(whole.replace(b"MUELLER EVA", b"Mueller^Eva"))
    assert "MUELLER" not in str(raised.value).upper()


@pytest.mark.filterwarnings("ignore")  # pydicom's own
def test_text_in_place_of_a_uid_is_not_repeated(photograph):
    whole = content(dataset(photograph))
    text = b"Mueller^Eva".ljust(len(PHOTOGRAPHIC))
    with pytest.raises(ImageError, match=r"SOP Class UID \(0008,0016\) is of no known kind") as raised:
        decode(whole.replace(PHOTOGRAPHIC.encode(), text))
    assert "Mueller" not in str(raised.value)


@pytest.mark.filterwarnings("ignore")
def test_text_in_place_of_a_number_is_not_repeated(photograph):
    made = dataset(photograph)
    whole = content(made).replace(b"US\x02\0" + (90).to_bytes(2, "little"), b"IS\x02\0EV", 1)
    with pytest.raises(ImageError, match="the DICOM header is damaged: Rows is no number"):
        decode(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"ManufacturerModelName": "biounet-edge"},
        {"Manufacturer": "biounet-edge"},
        {"ContributingEquipmentSequence": [item(Manufacturer="biounet-edge")]},
        {"CodingSchemeIdentificationSequence": [item(CodingSchemeDesignator="99BIOUNET")]},
        {"ImageComments": "Not for clinical use. biounet-edge 0.1.0, model demo, bundle SHA-256 69903010."},
    ],
)
def test_own_results_are_left_out_whoever_passes_them_on(change, photograph):
    with pytest.raises(ImageError, match="a result that biounet-edge wrote, and no photograph") as raised:
        decode(content(dataset(photograph, **change)), any_modality=True)
    assert raised.value.category is Category.SKIPPED


def test_file_without_a_preamble_is_read(tmp_path, photograph):
    path = tmp_path / "IM1"
    path.write_bytes(content(as_jpeg(dataset(photograph), [jpeg(photograph)]))[132:])
    assert [image.path for image in look_through([tmp_path]).images] == [path]
    assert decode(path).shape == photograph.shape
    frames = np.stack([photograph, photograph[::-1]])
    path.write_bytes(content(dataset(frames, frames=2))[132:])
    assert list(frames_of(path)) == [Frame(path, 1), Frame(path, 2)]
    np.testing.assert_array_equal(decode(Frame(path, 2)), photograph[::-1])


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\r\n", b"\xff"])
def test_padding_after_the_end_marker_is_ignored(padding, photograph):
    stream = jpeg(photograph)
    expected = decode(content(as_jpeg(dataset(photograph), [stream])))
    np.testing.assert_array_equal(decode(content(as_jpeg(dataset(photograph), [stream + padding]))), expected)


def test_frames_of_an_object_that_is_refused_are_one_source(tmp_path, photograph):
    frames = np.stack([photograph] * 3)
    path = write(tmp_path / "ct", dataset(frames, frames=3, Modality="CT"))
    assert list(frames_of(path)) == [path]
    assert len(list(frames_of(path, any_modality=True))) == 3
    damaged = write(tmp_path / "signed", dataset(frames, frames=3, PixelRepresentation=1))
    assert list(frames_of(damaged)) == [damaged]


def test_folder_counts_what_is_left_out_by_attribute(tmp_path, photograph):
    write(tmp_path / "a", dataset(photograph))
    for name in ("ct1", "ct2"):
        write(tmp_path / name, dataset(photograph, SOPClassUID=CT, Modality="CT"))
    write(tmp_path / "chest", dataset(photograph, Modality="CR"))
    report = dataset(photograph, SOPClassUID=REPORT)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    write(tmp_path / "report", report)
    write(tmp_path / "own", dataset(photograph, ManufacturerModelName="biounet-edge"))
    found = look_through([tmp_path])
    assert [image.stem for image in found.images] == ["a", "chest", "ct1", "ct2"]
    assert [part.sentence for part in found.left_out] == [
        "2 DICOM files that are no photographs: Comprehensive SR Storage, results of biounet-edge",
        "3 DICOM images that are no photographs of skin: Modality CR, SOP Class UID CT Image Storage",
    ]
    assert [part.count for part in look_through([tmp_path], any_modality=True).left_out] == [2]


def test_large_object_is_left_out_without_being_held(tmp_path, photograph):
    path = write(tmp_path / "video", dataset(photograph, SOPClassUID=CT))
    with path.open("ab") as file:
        file.truncate(LARGE_FILE_BYTES + 1)
    from biounet_edge.photographs.source import open_source

    opened = open_source(path)
    with pytest.raises(ImageError, match="CT Image Storage"), opened.read(8, 8):
        pass
    assert opened.sha256 is not None


def test_predictor_says_what_it_leaves_out(photograph, predictor, bundle):
    whole = content(dataset(photograph, Modality="CR"))
    (outcome,) = predictor.stream([whole])
    assert (outcome.status, outcome.category) == ("error", Category.SKIPPED)
    assert outcome.sha256 is not None
    with pytest.raises(ImageError, match="Modality") as raised:
        predictor.predict(whole)
    assert raised.value.category is Category.SKIPPED
    with Predictor(bundle, device="cpu", level="classify", any_modality=True) as other:
        assert 0 <= other.predict(whole).melanoma_probability <= 1


def test_study_with_other_objects_ends_with_0(tmp_path, photograph, bundle):
    folder, output = tmp_path / "in", tmp_path / "out"
    write(folder / "photograph", dataset(photograph))
    write(folder / "ct", dataset(np.stack([photograph] * 3), frames=3, Modality="CT"))
    write(folder / "overlay", dataset(photograph, ManufacturerModelName="biounet-edge"))
    arguments = [
        "predict",
        *sorted(folder.iterdir()),
        "-o",
        output,
        "--bundle",
        bundle.folder,
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, [*map(str, arguments), "--level", "classify"])
    assert result.exit_code == 0, result.output
    with (output / "predictions.csv").open(newline="") as file:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    assert {name: (row["status"], row["category"]) for name, row in rows.items()} == {
        "photograph": ("ok", ""), "ct": ("error", "skipped"), "overlay": ("error", "skipped"),
    }  # fmt: skip
    assert "Modality (0008,0060) is CT" in rows["ct"]["error"]
    assert rows["ct"]["melanoma_probability"] == ""
    assert "1 of 3 images read, 2 left out; results in" in result.stderr
    assert f"left out: {folder / 'ct'}: the DICOM object is no photograph of skin" in result.stderr
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["images"], summary["read"], summary["failed"], summary["skipped"]) == (3, 1, 0, 2)
    again = CliRunner().invoke(app, [*map(str, arguments), "--level", "classify", "--any-modality"])
    assert again.exit_code == 0, again.output
    assert "4 of 5 images read, 1 left out" in again.stderr
