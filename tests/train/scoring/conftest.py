from pathlib import Path

import numpy as np
import pytest

from tests.train.scoring.written import write_map
from train.data.records import Record


@pytest.fixture
def masked(tmp_path: Path) -> list[Record]:
    """Three photographs of 20 x 30 pixels: two with streaks, one without; the second is in b too."""
    first, second = np.zeros((20, 30)), np.zeros((20, 30))
    first[4:9, 5:15], second[10:14, 10:20] = 255, 255
    parts = ["a", "also in b", "a"]
    records = []
    for index, truth in enumerate((first, second, np.zeros((20, 30)))):
        path = tmp_path / "truth" / f"I{index}.png"
        write_map(path, truth)
        records.append(
            Record(
                f"I{index}",
                Path(f"I{index}.jpg"),
                "a",
                presence={"streaks": index < 2},
                masks={"streaks": path},
                traits={"part": parts[index], "sex": "male" if index else "female"},
            )
        )
    return records
