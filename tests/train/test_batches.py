import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biounet_edge.errors import InputError
from train.config.run import TrainConfig
from train.config.stages import StageConfig
from train.data.batches import Batches, Material, Plan, Share, _rarity
from train.data.dataset import UNKNOWN, ImageSet, normalise, resize
from train.data.records import Record, read_source
from train.tasks import TASKS


@pytest.fixture(scope="module")
def rendered(data_root: Path) -> ImageSet:
    from tests.train.conftest import CONFIG

    config = TrainConfig.model_validate(tomllib.loads(CONFIG))
    return ImageSet(read_source(config.data.annotated[0], data_root), 64, cache=True)


def material(config: TrainConfig, images: ImageSet, share: Share, iteration: int = 0) -> Material:
    plan = Plan("streaks", config.indicator, ("streaks", "melanoma"), ("streaks",))
    (one,) = Batches(config, images, images, share).load(plan, iteration, iteration + 1)
    return one


def test_cached_masks_are_those_of_the_files(config: TrainConfig, rendered: ImageSet) -> None:
    uncached = ImageSet(rendered.records, 64, cache=False)
    chosen = rendered.with_filled_mask("streaks")[:4]
    for _ in range(2):
        torch.testing.assert_close(rendered.masks(chosen, "streaks"), uncached.masks(chosen, "streaks"))


def test_masks_that_nobody_drew_are_unknown_all_over(rendered: ImageSet) -> None:
    filled = rendered.with_filled_mask("streaks")[0]
    drawn = rendered.records[filled]
    nobody = Record(drawn.image_id, drawn.image, drawn.source)
    absent = replace(drawn, presence={**drawn.presence, "streaks": False})
    images = ImageSet([drawn, nobody, absent], 64, cache=True)
    masks = images.masks_or_unknown([0, 1, 2], ["streaks", "globules"])
    assert masks.dtype == torch.uint8
    torch.testing.assert_close(masks[0, 0].float(), rendered.masks([filled], "streaks")[0])
    assert masks[0, 0].any()
    assert (masks[1] == UNKNOWN).all()
    assert not masks[2, 0].any()


def test_a_share_of_supervised_masks_is_that_of_its_images(config: TrainConfig, rendered: ImageSet) -> None:
    stage = StageConfig(
        epochs=1,
        iterations=1,
        contrastive_batch=0,
        classification_batch=8,
        segmentation_batch=0,
        mask_supervision=1.0,
        augment="strong",
        image_size_px=96,
    )
    plan = Plan("x", stage, ("streaks", "globules", "melanoma"), ())

    def supervised(share: Share) -> torch.Tensor:
        batches = Batches(config, rendered, rendered, share)
        (one,) = batches.load(plan, 0, 1)
        assert one.masks is not None
        return batches.supervised(one.masks, plan, 0)

    whole = supervised(Share())
    assert whole.shape == (8, 2, 12, 12)
    assert 0 < whole.mean() < 1
    torch.testing.assert_close(torch.cat([supervised(Share(rank, 2)) for rank in (0, 1)]), whole)


def draw(config: TrainConfig, images: ImageSet, **stage: Any) -> torch.Tensor:
    """Indices that a stage with these settings draws for f_Res of streaks and melanoma."""
    return Batches(config, images, images, Share()).draw_classification(
        StageConfig(epochs=1, iterations=1, **stage),
        ("streaks", "melanoma"),
        torch.Generator().manual_seed(0),
    )


def test_classification_draws_only_labelled_images(config: TrainConfig, rendered: ImageSet) -> None:
    unlabelled = [Record(r.image_id, r.image, r.source) for r in rendered.records[:50]]
    images = ImageSet([*unlabelled, *rendered.records[50:]], 64, cache=False)
    drawn = draw(config, images, classification_batch=32)
    assert drawn.min() >= 50


def test_an_iteration_draws_the_same_every_time_and_another_one_differently(
    config: TrainConfig, rendered: ImageSet
) -> None:
    first, again, other = (material(config, rendered, Share(), iteration) for iteration in (3, 3, 4))
    assert torch.equal(first.contrastive, again.contrastive)
    assert torch.equal(first.segmentation[0].masks, again.segmentation[0].masks)
    assert not torch.equal(first.contrastive, other.contrastive)


def test_shares_of_two_processes_make_up_the_batch_of_one(config: TrainConfig, rendered: ImageSet) -> None:
    whole = material(config, rendered, Share())
    parts = [material(config, rendered, Share(rank, 2)) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.contrastive for part in parts]), whole.contrastive)
    assert torch.equal(torch.cat([part.classification for part in parts]), whole.classification)
    assert torch.equal(parts[1].labels, whole.labels)
    assert torch.equal(
        torch.cat([part.segmentation[0].images for part in parts]), whole.segmentation[0].images
    )


def test_views_of_two_processes_are_those_of_one(config: TrainConfig, rendered: ImageSet) -> None:
    plan = Plan("streaks", config.indicator, ("streaks",), ())
    images = rendered.images([0, 1, 2, 3])
    whole = Batches(config, rendered, rendered, Share()).views(images, plan, 0)
    second = Batches(config, rendered, rendered, Share(1, 2)).views(images[2:], plan, 0)
    torch.testing.assert_close(second, whole[[2, 3, 6, 7]])
    assert not torch.allclose(whole[:4], whole[4:])


def test_a_batch_that_cannot_be_shared_evenly_is_an_error() -> None:
    with pytest.raises(InputError, match=r"classification_batch is 9, which 2 processes cannot share evenly"):
        Share(0, 2).of(9, "classification_batch")


def test_f_seg_goes_round_the_indicators_of_a_multi_task_encoder(config: TrainConfig) -> None:
    plan = Plan("x", config.indicator, ("streaks", "globules"), ("streaks", "globules"))
    assert [plan.indicator(i) for i in range(3)] == ["streaks", "globules", "streaks"]


def test_positives_of_rare_tasks_weigh_more_within_the_limit(config: TrainConfig) -> None:
    rare = [Record(str(i), Path("x"), "rendered", presence={"streaks": i == 0}) for i in range(100)]
    common = [Record(f"c{i}", Path("x"), "rendered", melanoma=i % 4 == 0) for i in range(40)]
    images = ImageSet([*rare, *common], 64, cache=False)
    limited = config.model_copy(update={"positive_weight_limit": 8.0})
    weights = Batches(limited, images, images, Share()).positive_weight(("streaks", "melanoma"))
    assert weights.tolist() == [8.0, 3.0]
    assert TASKS[-1] == "melanoma"


def test_rarity_worked_by_hand() -> None:
    # Of five images one has the first finding, two of the four known have the second.
    labels = torch.tensor([[1, 0], [0, 1], [0, 1], [0, 0], [0, math.nan]])
    assert _rarity(labels, 1.0).tolist() == [4.0, 1.0, 1.0, 1.0, 1.0]
    assert _rarity(labels, 0.5).tolist() == [2.0, 1.0, 1.0, 1.0, 1.0]


def test_rarity_is_that_of_the_rarest_finding() -> None:
    # The first finding: 2 of 6; the second: 1 of 6, in an image that has both.
    labels = torch.tensor([[1, 1], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]]).float()
    assert _rarity(labels, 1.0).tolist() == [5.0, 2.0, 1.0, 1.0, 1.0, 1.0]


def test_common_findings_are_not_rare() -> None:
    # Nine of ten have it: 1 / 9 of a negative for each positive is no reason to draw one less often.
    labels = torch.tensor([[1.0]] * 9 + [[0.0]])
    assert _rarity(labels, 1.0).tolist() == [1.0] * 10


def drawn_with_streaks(config: TrainConfig, balance: float) -> float:
    """Part of the draws that have streaks, which 5 of 100 images have."""
    found = [Record(str(i), Path("x"), "rendered", presence={"streaks": i < 5}) for i in range(100)]
    images = ImageSet(found, 64, cache=False)
    drawn = draw(config, images, classification_batch=4000, balance=balance)
    return float((drawn < 5).float().mean())


@pytest.mark.parametrize(
    ("balance", "weight"),
    [(0.0, 1.0), (0.5, math.sqrt(19)), (1.0, 19.0)],
)
def test_images_with_rare_findings_are_drawn_more_often(
    config: TrainConfig, balance: float, weight: float
) -> None:
    expected = 5 * weight / (5 * weight + 95)
    # Four standard deviations of 4000 draws.
    tolerance = 4 * math.sqrt(expected * (1 - expected) / 4000)
    assert drawn_with_streaks(config, balance) == pytest.approx(expected, abs=tolerance)


def test_balanced_draws_still_need_a_known_task(config: TrainConfig) -> None:
    found = [
        Record("0", Path("x"), "rendered", presence={"globules": True}),
        *(Record(str(i), Path("x"), "rendered", presence={"streaks": i == 1}) for i in range(1, 9)),
    ]
    images = ImageSet(found, 64, cache=False)
    drawn = draw(config, images, classification_batch=200, balance=1.0)
    assert 0 not in drawn.tolist()


def test_a_stage_has_weights_of_its_own(config: TrainConfig) -> None:
    (first,) = config.data.annotated
    other = first.model_copy(update={"name": "other", "weight": 3.0})
    data = config.data.model_copy(update={"annotated": (first, other)})
    found = [Record(str(i), Path("x"), ("other", "rendered")[i % 2], melanoma=True) for i in range(20)]
    images = ImageSet(found, 64, cache=False)
    both = config.model_copy(update={"data": data})
    for weights, expected in [({}, 1 / 4), ({"other": 1.0}, 1 / 2), ({"rendered": 0.0}, 0.0)]:
        drawn = draw(both, images, classification_batch=4000, weights=weights)
        assert float((drawn % 2).float().mean()) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 4000))


def test_a_sample_is_drawn_by_the_weights_of_the_sources(config: TrainConfig) -> None:
    (first,) = config.data.annotated
    rare = first.model_copy(update={"name": "rare", "weight": 0.0})
    data = config.data.model_copy(update={"annotated": (first, rare)})
    found = [Record(str(i), Path("x"), "rare" if i % 2 else "rendered") for i in range(20)]
    images = ImageSet(found, 64, cache=False)
    batches = Batches(config.model_copy(update={"data": data}), images, images, Share())
    chosen = batches.sample(list(range(3, 20)), 5, "fusion")
    assert chosen == sorted(set(chosen)) == batches.sample(list(range(3, 20)), 5, "fusion")
    assert all(index >= 3 and index % 2 == 0 for index in chosen)
    assert chosen != batches.sample(list(range(3, 20)), 5, "another purpose")


@pytest.mark.parametrize("augment", ["none", "mild", "strong"])
def test_a_stage_sees_images_of_its_own_size(config: TrainConfig, rendered: ImageSet, augment: str) -> None:
    stage = config.indicator.model_copy(update={"image_size_px": 32, "augment": augment})
    plan = Plan("x", stage, ("streaks",), ())
    batches, images = Batches(config, rendered, rendered, Share()), rendered.images([0, 1, 2, 3])
    assert batches.classified(images, plan, 0).shape == (4, 3, 32, 32)
    assert batches.views(images, plan, 0).shape == (8, 3, 32, 32)


def test_images_that_are_not_augmented_are_those_of_prediction(
    config: TrainConfig, rendered: ImageSet
) -> None:
    images = rendered.images([0, 1, 2, 3])
    stage = config.indicator.model_copy(update={"augment": "none"})
    plan = Plan("x", stage, ("streaks",), ())
    plain = Batches(config, rendered, rendered, Share()).classified(images, plan, 0)
    assert torch.equal(plain, normalise(images))


def test_resized_input_is_the_mean_of_what_it_covers() -> None:
    pixels = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert resize(pixels, None) is pixels
    assert resize(pixels, 4) is pixels
    # With smoothing, a pixel of half the size has three neighbours' weights of 1/8, 3/8, 3/8, 1/8; at the
    # edge the outermost is missing: 3/7, 3/7, 1/7.
    edge = torch.tensor([3 / 7, 3 / 7, 1 / 7, 0.0])
    weights = torch.stack([edge, edge.flip(0)])
    torch.testing.assert_close(resize(pixels, 2), weights @ pixels @ weights.T)
