import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from train.config.run import TrainConfig
from train.config.stages import StageConfig
from train.data.batches import Batches, Share
from train.data.dataset import ImageSet
from train.data.records import Record, read_source


@pytest.fixture(scope="module")
def rendered(data_root: Path) -> ImageSet:
    from tests.train.conftest import CONFIG

    config = TrainConfig.model_validate(tomllib.loads(CONFIG))
    return ImageSet(read_source(config.data.annotated[0], data_root), 64, cache=True)


def f_seg(count: int, **stage: Any) -> StageConfig:
    return StageConfig(epochs=1, iterations=1, segmentation_batch=count, **stage)


def indices(drawn: list[tuple[int, int]]) -> list[int]:
    return [index for index, _ in drawn]


def test_half_of_a_segmentation_batch_has_the_indicator(config: TrainConfig, rendered: ImageSet) -> None:
    batches = Batches(config, rendered, rendered, Share())
    drawn = indices(batches.draw_segmentation(f_seg(8), "streaks", torch.Generator()))
    assert rendered.masks(drawn[::2], "streaks").flatten(1).amax(1).all()


def with_streaks(present: int, absent: int) -> ImageSet:
    """Images with a mask of streaks, filled in the first of them."""
    found = [
        Record(
            str(i), Path("x"), "rendered", presence={"streaks": i < present}, masks={"streaks": Path("mask")}
        )
        for i in range(present + absent)
    ]
    return ImageSet(found, 64, cache=False)


def test_f_seg_may_learn_from_a_part_of_the_masks(config: TrainConfig) -> None:
    images = with_streaks(40, 200)
    batches = Batches(config, images, images, Share())
    filled, known = set(), set()
    for iteration in range(60):
        generator = batches.generator("x", iteration, "draw")
        drawn = indices(batches.draw_segmentation(f_seg(8, segmentation_images=10), "streaks", generator))
        filled |= set(drawn[::2])
        known |= set(drawn[1::2])
    # Ten that have streaks, and five of all that have a mask.
    assert len(filled) == 10
    assert max(filled) < 40
    assert len(known) == 5
    assert max(known) >= 40


def test_the_part_of_the_masks_is_that_of_the_run(config: TrainConfig) -> None:
    images = with_streaks(40, 200)

    def part(seed: int) -> set[int]:
        batches = Batches(config.model_copy(update={"seed": seed}), images, images, Share())
        stage = f_seg(400, segmentation_images=10)
        drawn = batches.draw_segmentation(stage, "streaks", torch.Generator().manual_seed(0))
        return set(indices(drawn[::2]))

    assert part(1) == part(1) != part(2)


def test_a_limit_above_the_number_of_masks_changes_nothing(config: TrainConfig) -> None:
    images = with_streaks(4, 8)
    batches = Batches(config, images, images, Share())
    plain, limited = (
        batches.draw_segmentation(
            f_seg(16, segmentation_images=limit), "streaks", torch.Generator().manual_seed(0)
        )
        for limit in (None, 24)
    )
    assert plain == limited


@pytest.mark.parametrize("part", [0.0, 0.25, 0.75, 1.0])
def test_a_part_of_each_processs_images_has_the_indicator(config: TrainConfig, part: float) -> None:
    """Of two processes, each has the same number; the others may have it by chance, here they hardly do."""
    images = with_streaks(5, 5000)
    drawn = Batches(config, images, images, Share()).draw_segmentation(
        f_seg(16, segmentation_filled=part), "streaks", torch.Generator().manual_seed(0)
    )
    assert [sum(index < 5 for index in indices(half)) for half in (drawn[:8], drawn[8:])] == [8 * part] * 2


@pytest.mark.parametrize(("limit", "views"), [(None, 5), (20, 5), (12, 3), (3, 1)])
def test_views_fill_up_to_the_limit(config: TrainConfig, limit: int | None, views: int) -> None:
    images = with_streaks(4, 8)
    stage = f_seg(200, segmentation_filled=1.0, segmentation_images=limit, segmentation_views=5)
    drawn = Batches(config, images, images, Share()).draw_segmentation(stage, "streaks", torch.Generator())
    assert {view for _, view in drawn} == set(range(views))


def test_a_view_is_the_same_at_every_draw_and_moves_the_mask_with_the_image(
    config: TrainConfig, rendered: ImageSet
) -> None:
    index = rendered.with_filled_mask("streaks")[0]
    plain = rendered.images([index])

    class Marked(ImageSet):
        """White where the mask is and black elsewhere."""

        def images(self, indices: Any) -> torch.Tensor:
            return (
                (self.masks(indices, "streaks")[..., None] * 255)
                .expand(-1, -1, -1, 3)
                .to(torch.uint8)
                .clone()
            )

    marked = Marked(rendered.records, 64, cache=True)
    of_marked = Batches(config, marked, marked, Share())
    part = of_marked.segmented([(index, 0), (index, 1), (index, 2), (index, 1)], "streaks")
    assert part.indices == [index] * 4
    assert part.views == [0, 1, 2, 1]
    torch.testing.assert_close(part.images[1], part.images[3])
    assert (part.masks[1] != part.masks[2]).any()
    for image, mask in zip(part.images.float().mean(-1), part.masks, strict=True):
        assert image[mask == 1].mean() > image[mask == 0].mean() + 60
    as_it_is = Batches(config, rendered, rendered, Share()).segmented([(index, 0)], "streaks")
    torch.testing.assert_close(as_it_is.images, plain)
    torch.testing.assert_close(as_it_is.masks, rendered.masks([index], "streaks"))
