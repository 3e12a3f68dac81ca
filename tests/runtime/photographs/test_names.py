import os

import pytest

from biounet_edge.photographs.names import comparable as folded
from biounet_edge.photographs.names import result_name


@pytest.mark.parametrize(
    "name", ["a", "sub/a", "病変/a", "a\nb", "2024.05.01/a", "a.jpg", os.fsdecode(b"\xff/a")]
)
def test_result_name_is_the_images_own_where_it_can_be(name):
    assert result_name(name) == name


@pytest.mark.parametrize("folder", ["a.jpg", "a_attribute_streaks.PNG"])
def test_result_name_keeps_folders_and_result_files_apart(folder):
    assert result_name(f"{folder}/b") == f"{folder}_/b"


@pytest.mark.parametrize("letter", ["a", "é", "病", "\udcff"])
def test_result_name_of_a_long_name_is_cut_and_still_its_own(letter):
    names = [result_name(letter * (250 // len(os.fsencode(letter))) + end) for end in ("", "x")]
    assert names[0] != names[1]
    for name in names:
        assert len(os.fsencode(name)) <= 200
        assert len(os.fsencode(f"{name}_attribute_milia_like_cyst.png")) <= 255


def test_result_name_of_a_long_path_is_one_name():
    name = result_name("/".join(["folder"] * 300) + "/a")
    assert "/" not in name
    assert len(name) <= 200


def test_folded_takes_names_for_one_that_a_file_system_may():
    assert folded("É.JPG") == folded("e\u0301.jpg")
    assert folded("a") != folded("b")
