import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from biounet_edge.errors import DatasetError
from biounet_edge.photographs.decoding import decode, read_input, resize_to_input
from train.config.data import DataConfig, DataSource, TableColumns
from train.data.dataset import MEAN, STD, ImageSet, labels_of, normalise
from train.data.records import Record, read_annotated, read_source
from train.data.splits import split_records
from train.tasks import TASKS


def write_image(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.full((40, 60, 3), value, np.uint8))[1].tobytes())


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


@pytest.fixture
def isic2018(tmp_path: Path) -> DataSource:
    """Two photographs: one with a filled streaks mask and an empty globules mask, one without masks."""
    write_image(tmp_path / "images" / "ISIC_0000001.jpg")
    write_image(tmp_path / "images" / "ISIC_0000002.jpg")
    write_image(tmp_path / "images" / "ISIC_0000002_superpixels.png")
    masks = tmp_path / "masks"
    masks.mkdir()
    filled = np.zeros((40, 60), np.uint8)
    filled[5:10, 5:20] = 255
    for name, mask in (("streaks", filled), ("globules", filled * 0)):
        (masks / f"ISIC_0000001_attribute_{name}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    return DataSource(name="a", layout="isic2018_task2", images=Path("images"), masks=Path("masks"))


def test_isic2018_masks_say_what_is_present(isic2018: DataSource, tmp_path: Path) -> None:
    first, second = read_source(isic2018, tmp_path)
    assert first.presence == {"streaks": True, "globules": False}
    assert set(first.masks) == {"streaks", "globules"}
    assert second == Record("ISIC_0000002", tmp_path / "images/ISIC_0000002.jpg", "a")


def test_isic2018_diagnosis_table_adds_melanoma_and_lesion(isic2018: DataSource, tmp_path: Path) -> None:
    write_table(tmp_path / "dx.csv", [{"image": "ISIC_0000001", "lesion": "L7", "dx": "mel"}])
    columns = TableColumns(lesion="lesion", diagnosis="dx")
    first, second = read_source(
        isic2018.model_copy(update={"table": Path("dx.csv"), "columns": columns}), tmp_path
    )
    assert (first.melanoma, first.lesion_id) == (True, "L7")
    assert second.melanoma is None


def test_isic2018_without_mask_folder_says_where_it_looked(isic2018: DataSource, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"expected the folder of masks .* at .*nowhere, found none; set `masks`"
    ):
        read_source(isic2018.model_copy(update={"masks": Path("nowhere")}), tmp_path)


def test_masks_of_unknown_images_are_refused(isic2018: DataSource, tmp_path: Path) -> None:
    (tmp_path / "images" / "ISIC_0000001.jpg").unlink()
    with pytest.raises(DatasetError, match="name 1 images that are not there, such as ISIC_0000001"):
        read_source(isic2018, tmp_path)


def test_isic2019_ground_truth_is_read(tmp_path: Path) -> None:
    for image_id in ("ISIC_1", "ISIC_2"):
        write_image(tmp_path / "images" / f"{image_id}.jpg")
    rows = [{"image": "ISIC_1", "MEL": "1.0", "NV": "0.0"}, {"image": "ISIC_2", "MEL": "0.0", "NV": "1.0"}]
    write_table(tmp_path / "ISIC_2019_Training_GroundTruth.csv", rows)
    table = Path("ISIC_2019_Training_GroundTruth.csv")
    source = DataSource(name="b", layout="isic2019", images=Path("images"), table=table)
    assert [record.melanoma for record in read_source(source, tmp_path)] == [True, False]


def test_table_without_the_column_names_it(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "x.png")
    write_table(tmp_path / "t.csv", [{"image": "x", "label": "mel"}])
    columns = TableColumns(diagnosis="dx")
    source = DataSource(name="c", layout="table", images=Path("images"), table=Path("t.csv"), columns=columns)
    with pytest.raises(DatasetError, match="has no column dx; it has image, label; name its columns"):
        read_source(source, tmp_path)


def test_missing_image_folder_is_an_error(tmp_path: Path) -> None:
    source = DataSource(name="c", layout="table", images=Path("images"), table=Path("t.csv"))
    with pytest.raises(DatasetError, match=r"c: expected a folder of images at .*images, found none"):
        read_source(source, tmp_path)


def test_missing_labels_are_nan() -> None:
    labels = labels_of(Record("I", Path("I.jpg"), "a", presence={"streaks": True, "globules": False}))
    assert labels[2] == 1
    assert labels[4] == 0
    assert [math.isnan(labels[i]) for i in (0, 1, 3, 5)] == [True] * 4


def test_pixels_are_those_of_the_runtime(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", 200)
    images = ImageSet([Record("x", tmp_path / "x.png", "a")], 32, cache=True)
    np.testing.assert_array_equal(images.images([0])[0].numpy(), read_input(tmp_path / "x.png", 32, 32))
    value = (200 / 255 - MEAN[2]) / STD[2]
    torch.testing.assert_close(normalise(images.images([0]))[0, 2], torch.full((32, 32), value))


def test_large_photographs_are_reduced_as_by_the_runtime(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1700, 3), np.uint8)
    path = tmp_path / "x.jpg"
    path.write_bytes(cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 50])[1].tobytes())
    pixels = ImageSet([Record("x", path, "a")], 32, cache=False).images([0])[0].numpy()
    np.testing.assert_array_equal(pixels, read_input(path, 32, 32))
    assert (pixels != resize_to_input(decode(path), 32, 32)).any()


def test_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"x\.jpg: .*restore the file"):
        ImageSet([Record("x", tmp_path / "x.jpg", "a")], 32, cache=False).image(0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": "I0", "streaks": "yes"}], "expected 0, 1 or an empty cell for streaks of I0, got 'yes'"),
        (
            [{"image": "I0"}, {"image": "I0"}],
            "has 1 images in several rows, such as I0; keep one row an image",
        ),
    ],
)
def test_tables_that_contradict_themselves_are_refused(
    rows: list[dict[str, object]], message: str, tmp_path: Path
) -> None:
    write_image(tmp_path / "images" / "I0.png")
    write_table(tmp_path / "t.csv", [dict.fromkeys(TASKS[:5], "") | row for row in rows])
    source = DataSource(
        name="a", layout="table", images="images", table="t.csv", columns=TableColumns(indicators=True)
    )
    with pytest.raises(DatasetError, match=message):
        read_source(source, tmp_path)


def test_presence_may_be_written_as_a_float(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "I0.png")
    write_table(tmp_path / "t.csv", [dict.fromkeys(TASKS[:5], "0.0") | {"image": "I0", "streaks": "1.0"}])
    source = DataSource(
        name="a", layout="table", images="images", table="t.csv", columns=TableColumns(indicators=True)
    )
    (record,) = read_source(source, tmp_path)
    assert record.presence["streaks"]
    assert not record.presence["globules"]


def test_a_row_shorter_than_the_header_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "I0.png")
    (tmp_path / "t.csv").write_text("image,melanoma\nI0\n")
    source = DataSource(name="a", layout="table", images="images", table="t.csv")
    with pytest.raises(DatasetError, match=r"row 2 of .* has fewer cells than the header"):
        read_source(source, tmp_path)


@pytest.fixture
def with_metadata(isic2018: DataSource, tmp_path: Path) -> DataConfig:
    write_table(
        tmp_path / "metadata.csv",
        [
            {"image": "ISIC_0000001", "lesion_id": "L1", "age": "55", "sex": "female", "site": ""},
            {"image": "ISIC_0000009", "lesion_id": "L9", "age": "40", "sex": "male", "site": "head"},
        ],
    )
    return DataConfig(annotated=(isic2018,), metadata=Path("metadata.csv"))


def test_metadata_give_lesions_and_traits(with_metadata: DataConfig, tmp_path: Path) -> None:
    (entry, (first, second)), *rest = read_annotated(with_metadata, tmp_path)
    assert (entry.name, rest) == ("a", [])
    assert (first.lesion_id, first.traits) == ("L1", {"age": "55", "sex": "female"})
    assert (second.lesion_id, second.traits) == (None, {})


def test_a_lesion_of_the_sources_own_table_goes_before_that_of_the_metadata(
    with_metadata: DataConfig, tmp_path: Path
) -> None:
    rows = [{"image": "ISIC_0000001", "lesion": "own"}, {"image": "ISIC_0000002", "lesion": ""}]
    write_table(tmp_path / "lesions.csv", rows)
    own = with_metadata.annotated[0].model_copy(
        update={"table": Path("lesions.csv"), "columns": TableColumns(lesion="lesion")}
    )
    data = with_metadata.model_copy(update={"annotated": (own,)})
    ((_, (first, _)),) = read_annotated(data, tmp_path)
    assert (first.lesion_id, first.traits["sex"]) == ("own", "female")


def test_without_metadata_records_are_those_of_the_sources(with_metadata: DataConfig, tmp_path: Path) -> None:
    data = with_metadata.model_copy(update={"metadata": None})
    ((entry, found),) = read_annotated(data, tmp_path)
    assert found == read_source(entry, tmp_path)


def test_lesions_of_the_metadata_stay_on_one_side(tmp_path: Path) -> None:
    names = [f"ISIC_{number:07}" for number in range(40)]
    for name in names:
        write_image(tmp_path / "images" / f"{name}.png")
    write_table(tmp_path / "t.csv", [{"image": name} for name in names])
    write_table(
        tmp_path / "metadata.csv",
        [{"image": name, "lesion_id": f"L{number % 10}"} for number, name in enumerate(names)],
    )
    entry = DataSource(
        name="a", layout="table", images=Path("images"), table=Path("t.csv"), validation=0.2, test=0.3
    )
    data = DataConfig(annotated=(entry,), metadata=Path("metadata.csv"))
    split = split_records(read_annotated(data, tmp_path), seed=0)
    sides = [{record.lesion_id for record in side} for side in split.values()]
    assert [len(lesions) for lesions in sides] == [5, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"metadata: expected a label table at .*metadata\.csv, found none"),
        (
            "isic_id,age\nISIC_0000001,50\n",
            r"expected a column image in .*metadata\.csv, it has isic_id, age",
        ),
        ("image,age\n", r"metadata: .*metadata\.csv has no rows"),
        ("image,age\nISIC_0000001\n", r"metadata: row 2 of .* has fewer cells than the header"),
    ],
)
def test_metadata_that_cannot_be_read_are_refused(
    content: str | None, message: str, with_metadata: DataConfig, tmp_path: Path
) -> None:
    path = tmp_path / "metadata.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_annotated(with_metadata, tmp_path)
