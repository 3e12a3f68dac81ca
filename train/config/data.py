"""The data of a run: which images there are, what is known of them, and what validates."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from train.config.section import Fraction, Section


class TableColumns(Section):
    """Which column of a label table holds what; a table need not have them all."""

    image: str = "image"
    """Image id: the file name without its ending."""
    lesion: str | None = None
    """Lesion id: images of one lesion stay on one side of the split."""
    diagnosis: str | None = None
    """Diagnosis, as a word or a 0/1 flag."""
    melanoma_values: tuple[str, ...] = ("1", "1.0", "mel", "melanoma")
    """Values of the diagnosis column that mean melanoma; an empty cell means unknown."""
    indicators: bool = False
    """Whether the table has a 0/1 presence column for each indicator, named like it."""


class DataSource(Section):
    """One data set on disk. Paths are relative to the data root."""

    name: str
    layout: Literal["isic2018_task2", "isic2019", "table"]
    images: Path
    table: Path | None = None
    """Label table (CSV): diagnosis for isic2018_task2, ground truth for isic2019, any labels for table."""
    masks: Path | None = None
    """Folder of <image>_attribute_<indicator>.png; isic2018_task2 only."""
    columns: TableColumns = TableColumns()
    validation: Fraction = 0.1
    """Part of the lesions that validates."""
    test: Fraction = 0.0
    """Part of the lesions that is held out."""
    validates: bool = True
    """Whether the labels of its validation images count in scores, temperatures and operating points; turn
    off for rendered images. Masks count in any case."""
    weight: float = Field(default=1.0, ge=0)
    """How often an image of this source is drawn for f_Res, relative to other sources."""
    stratify: Literal["melanoma", "findings"] = "melanoma"
    """What the sides have in proportion: melanomas alone, or each indicator too."""

    @model_validator(mode="after")
    def _check(self) -> "DataSource":
        if self.validation + self.test > 1:
            raise ValueError(f"{self.name}: validation + test is {self.validation + self.test}, more than 1")
        if self.layout == "isic2018_task2" and self.masks is None:
            raise ValueError(f"{self.name}: layout isic2018_task2 needs `masks`, the ground truth folder")
        if self.layout in ("isic2019", "table") and self.table is None:
            raise ValueError(f"{self.name}: layout {self.layout} needs `table`, a CSV file")
        return self


class DataConfig(Section):
    """Dataset A (labels, masks) and Dataset B (contrastive learning)."""

    annotated: tuple[DataSource, ...]
    """Dataset A. An image id or lesion that several sources share takes the split side of the first."""
    unlabelled: tuple[DataSource, ...] = ()
    """Dataset B; labels are not read, and images of Dataset A's validation and test sides are left out."""
    metadata: Path | None = None
    """CSV with a column `image` and any of `lesion_id`, `age`, `sex`, `site`: lesions for images whose own
    table names none, and the subgroups that a model is judged in."""
    split_seed: int = Field(default=0, ge=0)
    """Draws the split; apart from the run's seed, so that runs of several seeds share their test images."""
    cache: bool = True
    """Keep decoded images in memory; turn off where they do not fit."""
