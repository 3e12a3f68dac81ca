import pytest

from biounet_edge import InputError
from biounet_edge.results.kinds import parse_save


@pytest.mark.parametrize(
    ("text", "level", "kinds"),
    [
        (None, "full", ("masks", "overlays")),
        (None, "cam", ("overlays",)),
        (None, "classify", ()),
        ("none", "full", ()),
        ("heatmaps, masks", "full", ("masks", "heatmaps")),
        ("probabilities,heatmaps,overlays,masks", "full", ("masks", "overlays", "heatmaps", "probabilities")),
        ("heatmaps", "cam", ("heatmaps",)),
    ],
)
def test_parse_save_reads_the_list(text, level, kinds):
    assert parse_save(text, level) == kinds


def test_parse_save_lists_what_there_is():
    with pytest.raises(
        InputError, match=r"nothing, pdf cannot be saved: choose from masks, overlays, heatmaps"
    ):
        parse_save("pdf,masks,nothing", "full")


@pytest.mark.parametrize(
    ("text", "level"), [("masks", "cam"), ("overlays", "classify"), ("probabilities", "cam")]
)
def test_parse_save_refuses_what_the_level_does_not_compute(text, level):
    with pytest.raises(
        InputError, match=rf"level {level} computes no {text}: choose a higher level or save less"
    ):
        parse_save(text, level)
