"""Readers of the published on-disk layouts. Each returns records; no pixel is read here."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from biounet_edge.errors import DatasetError
from biounet_edge.indicators import INDICATORS
from train.config.data import DataConfig, DataSource, TableColumns

FLAGS: Final = {"0": False, "0.0": False, "1": True, "1.0": True}
"""How tables write whether an indicator is there; programs that know no missing integer write 1.0."""

TRAITS: Final = ("age", "sex", "site")
"""Columns of the table of metadata that make subgroups."""

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Record:
    """One image with whatever is known about it."""

    image_id: str
    """File name without its ending; the same id in two sources is the same photograph."""
    image: Path
    source: str
    """Name of the data source."""
    lesion_id: str | None = None
    melanoma: bool | None = None
    """None where nobody said."""
    presence: dict[str, bool] = field(default_factory=dict)
    """Indicators whose presence or absence is known."""
    masks: dict[str, Path] = field(default_factory=dict)
    """Indicators whose mask is known, empty masks included."""
    traits: dict[str, str] = field(default_factory=dict)
    """What is known of the patient: age in years, sex, site."""


def read_annotated(data: DataConfig, root: Path) -> list[tuple[DataSource, list[Record]]]:
    """Read every source of Dataset A, each with its records.

    Args:
        data: Where they are, and the table of lesions and traits if there is one.
        root: Folder that the paths are relative to.

    Raises:
        DatasetError: If a folder, table or column is missing.
    """
    sources = [(source, read_source(source, root)) for source in data.annotated]
    if data.metadata is None:
        return sources
    path = root / data.metadata
    rows = _read_rows(path, "metadata")
    if "image" not in rows[0]:
        raise DatasetError(f"expected a column image in {path}, it has {', '.join(rows[0])}; name it so")
    known = {row["image"]: row for row in rows}
    return [
        (source, [_complete(r, known.get(r.image_id, {})) for r in records]) for source, records in sources
    ]


def _complete(record: Record, row: Mapping[str, str]) -> Record:
    """A record with its lesion and traits from the table of metadata."""
    traits = {name: row[name] for name in TRAITS if row.get(name)}
    return replace(record, lesion_id=record.lesion_id or row.get("lesion_id") or None, traits=traits)


def read_source(source: DataSource, root: Path) -> list[Record]:
    """Read one data source by its layout.

    Args:
        source: Where its parts are and how they are named.
        root: Folder that the source's paths are relative to.

    Raises:
        DatasetError: If a folder or table is missing, or a table names an image that is not there.
    """
    images = _find_images(root / source.images, source.name)
    if source.layout == "isic2018_task2":
        return read_isic2018_task2(source, images, root)
    if source.layout == "isic2019":
        return read_isic2019(source, images, root)
    return read_table(source, images, root)


def read_isic2018_task2(source: DataSource, images: dict[str, Path], root: Path) -> list[Record]:
    """ISIC 2018 Task 2: masks `<image>_attribute_<indicator>.png`, and a diagnosis table if there is one.

    An indicator without a mask file is unknown for that image; an empty mask means that it is absent, a
    filled one that it is present, unless the table says.

    Source: Codella et al. 2018, arXiv:1902.03368; https://challenge.isic-archive.com/data/#2018
    """
    folder = root / (source.masks or Path())
    if not folder.is_dir():
        raise DatasetError(
            f"{source.name}: expected the folder of masks <image>_attribute_<indicator>.png at {folder}, "
            "found none; set `masks` in the configuration"
        )
    masks: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*_attribute_*.png")):
        image_id, _, indicator = path.stem.partition("_attribute_")
        if indicator in INDICATORS:
            masks.setdefault(image_id, {})[indicator] = path
    if not masks:
        raise DatasetError(
            f"{source.name}: {folder} holds no file named <image>_attribute_<indicator>.png; "
            "point `masks` at the Task 2 ground truth"
        )
    _check_known(masks, images, f"{source.name}: masks in {folder}")
    labels = {record.image_id: record for record in read_table(source, images, root)} if source.table else {}
    records = []
    for image_id, path in images.items():
        labelled = labels.get(image_id)
        own = masks.get(image_id, {})
        records.append(
            Record(
                image_id,
                path,
                source.name,
                labelled.lesion_id if labelled else None,
                labelled.melanoma if labelled else None,
                {
                    **{name: _any_pixel(mask) for name, mask in own.items()},
                    **(labelled.presence if labelled else {}),
                },
                own,
            )
        )
    return records


def read_isic2019(source: DataSource, images: dict[str, Path], root: Path) -> list[Record]:
    """ISIC 2019 training data: `ISIC_2019_Training_GroundTruth.csv` has a 0/1 column for each diagnosis.

    Source: https://challenge.isic-archive.com/data/#2019
    """
    columns = TableColumns(image="image", diagnosis="MEL", lesion=source.columns.lesion)
    return read_table(source.model_copy(update={"columns": columns}), images, root)


def read_table(source: DataSource, images: dict[str, Path], root: Path) -> list[Record]:
    """A CSV with one row an image, its columns named in the configuration.

    Images without a row are left out; a row without its image is an error.
    """
    path, columns = root / (source.table or Path()), source.columns
    rows = _read_rows(path, source.name)
    wanted = [columns.image, columns.lesion, columns.diagnosis, *(INDICATORS if columns.indicators else ())]
    missing = [name for name in wanted if name and name not in rows[0]]
    if missing:
        raise DatasetError(
            f"{source.name}: {path} has no column {', '.join(missing)}; it has {', '.join(rows[0])}; "
            "name its columns under `columns` in the configuration"
        )
    counts = Counter(row[columns.image] for row in rows)
    repeated = [image_id for image_id, count in counts.items() if count > 1]
    if repeated:
        raise DatasetError(
            f"{source.name}: {path} has {len(repeated)} images in several rows, such as {repeated[0]}; "
            "keep one row an image"
        )
    _check_known({row[columns.image]: row for row in rows}, images, f"{source.name}: rows of {path}")
    return [_record(row, source, images) for row in rows]


def _record(row: dict[str, str], source: DataSource, images: dict[str, Path]) -> Record:
    columns, image_id = source.columns, row[source.columns.image]
    diagnosis = row[columns.diagnosis].strip() if columns.diagnosis else ""
    named = [name for name in INDICATORS if columns.indicators and row[name].strip()]
    unknown = [name for name in named if row[name].strip() not in FLAGS]
    if unknown:
        raise DatasetError(
            f"{source.name}: expected 0, 1 or an empty cell for {unknown[0]} of {image_id}, got "
            f"{row[unknown[0]]!r}; correct the table"
        )
    presence = {name: FLAGS[row[name].strip()] for name in named}
    return Record(
        image_id,
        images[image_id],
        source.name,
        (row[columns.lesion] or None) if columns.lesion else None,
        diagnosis in columns.melanoma_values if diagnosis else None,
        presence,
    )


def _find_images(folder: Path, name: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError(
            f"{name}: expected a folder of images at {folder}, found none; set `images` or --data-root"
        )
    found = {path.stem: path for path in _sorted_files(folder) if path.suffix.lower() in IMAGE_SUFFIXES}
    if not found:
        raise DatasetError(
            f"{name}: {folder} holds no {', '.join(IMAGE_SUFFIXES)} file; point `images` at the photographs"
        )
    return found


def _sorted_files(folder: Path) -> Iterator[Path]:
    # The ISIC downloads put superpixel maps beside the photographs.
    return (path for path in sorted(folder.iterdir()) if "_superpixels" not in path.name)


def _check_known(
    named: dict[str, object] | dict[str, dict[str, Path]] | dict[str, dict[str, str]],
    images: dict[str, Path],
    what: str,
) -> None:
    unknown = sorted(set(named) - set(images))
    if unknown:
        raise DatasetError(
            f"{what} name {len(unknown)} images that are not there, such as {unknown[0]}; "
            "complete the images or remove what names them"
        )


def _read_rows(path: Path, name: str) -> list[dict[str, str]]:
    if not path.is_file():
        raise DatasetError(f"{name}: expected a label table at {path}, found none; set `table`")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise DatasetError(f"{name}: {path} has no rows; expected one an image")
    short = [number for number, row in enumerate(rows, start=2) if None in row.values()]
    if short:
        raise DatasetError(f"{name}: row {short[0]} of {path} has fewer cells than the header; complete it")
    return rows


def read_mask(path: Path) -> np.ndarray:
    """An expert mask, shape (H0, W0), bool; 0/255 files are cut at 127.

    Raises:
        DatasetError: If the file is not a readable image.
    """
    mask = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE) if path.stat().st_size else None
    if mask is None:
        raise DatasetError(f"expected a mask image at {path}, it cannot be decoded; restore the file")
    return np.asarray(mask > 127)


def _any_pixel(path: Path) -> bool:
    return bool(read_mask(path).any())
