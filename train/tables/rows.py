"""The rows of the paper's Tables 2 to 5 that a training run can fill, and what each leaves in or out."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Row:
    """One way to train, as a row of a table names it."""

    label: str
    """As the paper prints it, in plain text."""
    contrastive: bool = False
    """Whether f_CLR trains."""
    segmentation: bool = False
    """Whether f_Seg trains, so that there is a decoder with a mask of its own."""
    repeats: int = 1
    """f_Seg updates in an iteration."""
    tasks: str = "one indicator and melanoma"
    """What each encoder predicts."""
    virtual_adversarial: bool = False
    """Whether the virtual adversarial loss trains."""


ROWS: Final[Mapping[str, Row]] = MappingProxyType(
    {
        "f_res": Row("f_Res"),
        "without_f_clr": Row("f_Res + f_Seg", segmentation=True),
        "without_f_seg": Row("f_Res + f_CLR", contrastive=True),
        "bio_u_net": Row("Bio-U-Net", contrastive=True, segmentation=True),
        "repeat_2": Row("Repeat 2", contrastive=True, segmentation=True, repeats=2),
        "repeat_3": Row("Repeat 3", contrastive=True, segmentation=True, repeats=3),
        "repeat_4": Row("Repeat 4", contrastive=True, segmentation=True, repeats=4),
        "repeat_5": Row("Repeat 5", contrastive=True, segmentation=True, repeats=5),
        "one_task": Row("Bio-U-Net (one task)", contrastive=True, segmentation=True, tasks="one indicator"),
        "two_tasks": Row(
            "Bio-U-Net (two tasks)", contrastive=True, segmentation=True, tasks="two indicators"
        ),
        "five_tasks": Row(
            "Bio-U-Net (five tasks)", contrastive=True, segmentation=True, tasks="five indicators"
        ),
        "six_tasks": Row(
            "Bio-U-Net (six tasks)", contrastive=True, segmentation=True, tasks="five indicators and melanoma"
        ),
        "vat": Row("VAT", tasks="five indicators and melanoma", virtual_adversarial=True),
    }
)
"""Key of a run's configuration (`row`) to what it stands for.

Source: the Bio-U-Net paper, Tables 2 to 5. `one_task` is ours: its encoders lack the diagnosis, which section
5.3 credits with part of the result.
"""

TABLE_3: Final = ("f_res", "without_f_clr", "without_f_seg", "bio_u_net")
TABLE_4: Final = ("f_res", "bio_u_net", "repeat_2", "repeat_3", "repeat_4", "repeat_5")
TABLE_5: Final = ("f_res", "bio_u_net", "one_task", "two_tasks", "five_tasks", "six_tasks")
