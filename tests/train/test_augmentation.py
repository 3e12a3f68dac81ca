from dataclasses import replace

import pytest
import torch

from train.data.augmentation import (
    CLASSIFICATION,
    CONTRASTIVE,
    OF_CLASSIFICATION,
    STRONG,
    Augmentation,
    Drawn,
    apply,
    move,
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def drawn(
    theta: list[list[float]],
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0),
    channels: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Drawn:
    return Drawn(
        torch.tensor([theta] * 4).float(),
        torch.tensor([colour] * 4),
        torch.tensor([channels] * 4),
        blur=torch.zeros(4),
        noise=torch.zeros(4),
        noise_seeds=torch.arange(4),
    )


def test_identity_changes_nothing(images: torch.Tensor) -> None:
    torch.testing.assert_close(apply(images, drawn([[1.0, 0, 0], [0, 1, 0]])), images)


def test_a_quarter_turn_is_a_rotation(images: torch.Tensor) -> None:
    turned = apply(images, drawn([[0, -1, 0], [1, 0, 0]]))
    torch.testing.assert_close(turned, images.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_brightness_multiplies(images: torch.Tensor) -> None:
    brighter = apply(images * 0.5, drawn([[1.0, 0, 0], [0, 1, 0]], (1.5, 1.0, 1.0)))
    torch.testing.assert_close(brighter, images * 0.75)


def test_a_part_of_a_batch_undergoes_what_it_would_in_the_whole(images: torch.Tensor) -> None:
    whole = CONTRASTIVE.draw(4, torch.Generator().manual_seed(1))
    part = apply(images[1:3], whole.part(slice(1, 3)))
    torch.testing.assert_close(part, apply(images, whole)[1:3])


def test_draws_keep_to_their_ranges() -> None:
    draw = CONTRASTIVE.draw(500, torch.Generator().manual_seed(2))
    area = torch.linalg.det(draw.theta[:, :, :2]).abs()
    assert 0.25 <= area.min() < 0.27
    assert 0.98 < area.max() <= 1.0001
    assert 0.6 <= draw.colour.min() < 0.62
    unchanged = (draw.colour == 1).all(1).float().mean()
    assert unchanged == pytest.approx(0.2, abs=0.06)
    # The part lies in the (rotated) image: centre and half width together reach its edge at most.
    linear = draw.theta[:, :, :2]
    half = linear.norm(dim=1)  # (N, 2)
    centre = ((linear / half[:, None]).mT @ draw.theta[:, :, 2:])[..., 0].abs()
    assert (centre + half.clamp_max(1)).max() <= 1.0001


def test_half_of_the_images_are_mirrored() -> None:
    draw = CLASSIFICATION.draw(500, torch.Generator().manual_seed(3))
    mirrored = (torch.linalg.det(draw.theta[:, :, :2]) < 0).float().mean()
    assert mirrored == pytest.approx(0.5, abs=0.08)


def test_a_fixed_augmentation_is_exact() -> None:
    half = Augmentation(area=(0.25, 0.25)).draw(3, torch.Generator().manual_seed(4))
    lengths = half.theta[:, :, :2].norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((3, 2), 0.5))


def test_channels_multiply_apart(images: torch.Tensor) -> None:
    changed = apply(images * 0.5, drawn([[1.0, 0, 0], [0, 1, 0]], channels=(1.5, 1.0, 0.5)))
    torch.testing.assert_close(changed, images * 0.5 * torch.tensor([1.5, 1.0, 0.5]).view(3, 1, 1))


def test_values_stay_between_black_and_white(images: torch.Tensor) -> None:
    changed = apply(images, drawn([[1.0, 0, 0], [0, 1, 0]], channels=(2.0, 1.0, 1.0)))
    torch.testing.assert_close(changed[:, 0], (2 * images[:, 0]).clamp(0, 1))


def test_the_result_may_have_another_size(images: torch.Tensor) -> None:
    half = apply(images, drawn([[1.0, 0, 0], [0, 1, 0]]), 16)
    assert half.shape == (4, 3, 16, 16)
    # At half the size each sample lies in the middle of four pixels.
    torch.testing.assert_close(half, torch.nn.functional.avg_pool2d(images, 2))


def test_a_size_of_its_own_does_not_change_what_is_drawn(images: torch.Tensor) -> None:
    clean = replace(STRONG, blur=0.0, noise=0.0)  # which are in pixels of the result
    whole = clean.draw(4, torch.Generator().manual_seed(5))
    large = torch.nn.functional.interpolate(images, scale_factor=8.0, mode="bilinear")
    same, half = apply(large, whole), apply(large, whole, 128)
    # But for interpolation: the image is smooth.
    assert (torch.nn.functional.avg_pool2d(same, 2) - half).abs().mean() < 0.01


def test_blur_smooths_the_images_that_drew_it_and_no_other(images: torch.Tensor) -> None:
    still = drawn([[1.0, 0, 0], [0, 1, 0]])
    blurred = apply(images, replace(still, blur=torch.tensor([0.0, 1.0, 0.0, 1.5])))
    torch.testing.assert_close(blurred[[0, 2]], images[[0, 2]])
    roughness = [float((x[:, 1:] - x[:, :-1]).abs().mean()) for x in (images[1], blurred[1], blurred[3])]
    assert roughness[0] > 2 * roughness[1] > 2 * roughness[2]


def test_noise_has_the_drawn_strength_and_depends_on_the_seed_alone() -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    still = replace(drawn([[1.0, 0, 0], [0, 1, 0]]), noise=torch.tensor([0.0, 0.02, 0.04, 0.04]))
    noisy = apply(grey, still)
    assert noisy.std((1, 2, 3)).tolist() == pytest.approx([0, 0.02, 0.04, 0.04], abs=1e-3)
    assert not torch.equal(noisy[2], noisy[3])
    moved = replace(still, noise_seeds=torch.tensor([0, 1, 3, 2]))
    torch.testing.assert_close(apply(grey, moved)[2:], noisy[2:].flip(0))


def test_half_of_the_strong_draws_are_blurred_and_half_are_noisy() -> None:
    draw = STRONG.draw(500, torch.Generator().manual_seed(6))
    for amounts, largest in ((draw.blur, STRONG.blur), (draw.noise, STRONG.noise)):
        assert float((amounts > 0).float().mean()) == pytest.approx(0.5, abs=0.07)
        assert 0.98 * largest < float(amounts.max()) <= largest
    assert float(((draw.blur > 0) & (draw.noise > 0)).float().mean()) == pytest.approx(0.25, abs=0.07)


def test_masks_move_with_their_images(images: torch.Tensor) -> None:
    clean = replace(STRONG, blur=0.0, noise=0.0, colour=0.0, channels=0.0)
    whole = clean.draw(4, torch.Generator().manual_seed(7))
    torch.testing.assert_close(move(images, whole, 64), apply(images, whole, 64))


def test_strong_draws_keep_to_their_ranges() -> None:
    draw = STRONG.draw(500, torch.Generator().manual_seed(2))
    area = torch.linalg.det(draw.theta[:, :, :2]).abs()
    assert 0.5 <= area.min() < 0.52
    assert 1.08 < area.max() <= 1.1001
    assert 0.9 <= draw.channels.min() < 0.91
    assert 1.09 < draw.channels.max() <= 1.1
    assert 0.75 <= draw.colour.min() < 0.77


def test_mild_draws_leave_the_channels_as_they_are() -> None:
    draw = CLASSIFICATION.draw(50, torch.Generator().manual_seed(2))
    assert torch.equal(draw.channels, torch.ones(50, 3))
    assert OF_CLASSIFICATION == {"mild": CLASSIFICATION, "strong": STRONG}


def test_a_part_of_a_strongly_augmented_batch_undergoes_what_it_would_in_the_whole(
    images: torch.Tensor,
) -> None:
    whole = STRONG.draw(4, torch.Generator().manual_seed(1))
    part = apply(images[1:3], whole.part(slice(1, 3)), 16)
    torch.testing.assert_close(part, apply(images, whole, 16)[1:3])
