import csv

import numpy as np
import pytest
from PIL import Image

from benchmarks.foreign.folder import write_pictures
from benchmarks.foreign.picture import Picture
from biounet_edge.errors import InputError


def picture(value, of="judge", name="a"):
    return Picture(of, "patterns", name, "made", np.full((4, 5, 3), value, np.uint8))


def test_pictures_are_written_by_set_and_kind_with_a_table(tmp_path):
    counts = write_pictures(tmp_path / "new", [picture(1), picture(2, "choose"), picture(3, name="b")])
    assert counts == {("judge", "patterns"): 2, ("choose", "patterns"): 1}
    assert (
        np.asarray(Image.open(tmp_path / "new/choose/patterns/a.png")).tolist() == picture(2).pixels.tolist()
    )
    with (tmp_path / "new/pictures.csv").open(newline="") as rows:
        table = list(csv.DictReader(rows))
    assert [row["picture"] for row in table] == [
        "choose/patterns/a.png", "judge/patterns/a.png", "judge/patterns/b.png",
    ]  # fmt: skip
    assert len({row["sha256"] for row in table}) == 3


def test_the_same_picture_in_both_sets_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"choose/patterns/b\.png and judge/patterns/a\.png are the same"):
        write_pictures(tmp_path, [picture(1), picture(1, "choose", "b")])


def test_pictures_of_an_earlier_run_are_kept(tmp_path):
    write_pictures(tmp_path, [picture(1)])
    with pytest.raises(InputError, match="has pictures already; name another folder or delete them"):
        write_pictures(tmp_path, [picture(2)])
