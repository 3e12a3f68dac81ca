"""The synthetic dermoscopy generator: what it draws, what it says about it, what it writes."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from train.synthesis import RenderedImage, paint_indicators, render_lesion, write_isic2018
from train.synthesis.cells import draw_cells
from train.synthesis.findings import Findings, draw_findings
from train.synthesis.noise import smooth_noise

SIZE = (96, 128)
"""Height and width: differing, so that a swap of the two shows."""


def render(number: int, size: tuple[int, int] = SIZE) -> RenderedImage:
    return render_lesion(np.random.default_rng([3, number]), *size)


@pytest.fixture(scope="module")
def rendered() -> list[RenderedImage]:
    return [render(number) for number in range(40)]


def grow(mask: np.ndarray, radius_px: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def test_render_lesion_repeats_for_a_seed() -> None:
    first, second = render(5), render(5)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.lesion_mask.tobytes() == second.lesion_mask.tobytes()
    assert first.melanoma == second.melanoma
    for name in INDICATORS:
        assert first.indicator_masks[name].tobytes() == second.indicator_masks[name].tobytes()


def test_render_lesion_differs_between_seeds(rendered: list[RenderedImage]) -> None:
    assert len({sample.image.tobytes() for sample in rendered}) == len(rendered)


@pytest.mark.parametrize("size", [(96, 128), (128, 96), (192, 192), (45, 60)])
def test_render_lesion_has_the_size_asked_for(size: tuple[int, int]) -> None:
    sample = render(1, size)
    assert sample.image.shape == (*size, 3)
    assert sample.image.dtype == np.uint8
    assert tuple(sample.indicator_masks) == INDICATORS
    for mask in (sample.lesion_mask, *sample.indicator_masks.values()):
        assert mask.shape == size
        assert mask.dtype == np.bool_


def test_render_lesion_masks_exactly_the_indicators_found(rendered: list[RenderedImage]) -> None:
    for number, sample in enumerate(rendered):
        findings = draw_findings(np.random.default_rng([3, number]))  # the first thing a rendering draws
        shown = {name for name, mask in sample.indicator_masks.items() if mask.any()}
        assert shown == findings.indicators


def test_render_lesion_shows_every_indicator_sometimes(rendered: list[RenderedImage]) -> None:
    for name in INDICATORS:
        present = [sample.indicator_masks[name].any() for sample in rendered]
        assert 0 < sum(present) < len(present), name


def test_render_lesion_keeps_indicators_in_the_lesion(rendered: list[RenderedImage]) -> None:
    for sample in rendered:
        assert sample.lesion_mask.any()
        near = grow(sample.lesion_mask, 3)
        for name, mask in sample.indicator_masks.items():
            assert not (mask & ~near).any(), name


def test_render_lesion_puts_streaks_at_the_border() -> None:
    found = 0
    for number in range(60):
        sample = render(number)
        streaks = sample.indicator_masks["streaks"]
        if not streaks.any():
            continue
        found += 1
        depth = cv2.distanceTransform(sample.lesion_mask.astype(np.uint8), cv2.DIST_L2, 5)
        assert depth[streaks].mean() < 0.5 * depth[sample.lesion_mask].max()
    assert found >= 3


def test_render_lesion_refuses_a_size_without_room() -> None:
    with pytest.raises(
        InputError, match=re.escape("at least 32 x 32 px, got 16 x 200; ask for a larger one")
    ):
        render_lesion(np.random.default_rng(0), 16, 200)


def test_melanoma_follows_its_drivers() -> None:
    """Over 300 renders, melanomas are more asymmetric, colourful and irregular than the rest."""
    drawn = []
    for number in range(300):
        rng = np.random.default_rng([11, number])
        melanoma = render_lesion(np.random.default_rng([11, number]), 32, 32).melanoma
        drawn.append((draw_findings(rng), melanoma))
    labels = np.array([melanoma for _, melanoma in drawn])
    assert 0.25 < labels.mean() < 0.45
    for driver in (
        [findings.asymmetric_axes for findings, _ in drawn],
        [len(findings.colours) for findings, _ in drawn],
        [findings.abrupt_eighths for findings, _ in drawn],
        [findings.checklist_points for findings, _ in drawn],
    ):
        values = np.array(driver, float)
        assert values[labels].mean() > values[~labels].mean() + 0.3 * values.std()
    score = np.array([findings.melanoma_probability for findings, _ in drawn])
    assert np.corrcoef(score, labels)[0, 1] > 0.4


def test_findings_score_by_the_published_rules() -> None:
    """By hand: 1.3 * 2 + 0.1 * 4 + 0.5 * 4 + 0.5 * 3 = 6.5; 2 (veil) + 2 (network) + 1 + 1 = 6 points."""
    findings = Findings(
        asymmetric_axes=2,
        abrupt_eighths=4,
        colours=frozenset({"light_brown", "dark_brown", "black", "blue_grey"}),
        indicators=frozenset({"pigment_network", "streaks"}),
        structureless=False,
        irregularity=0.9,
    )
    assert findings.total_dermoscopy_score == pytest.approx(6.5)
    assert findings.checklist_points == 6
    assert findings.melanoma_probability > 0.9


def test_paint_indicators_leaves_an_image_alone_without_indicators() -> None:
    photograph = render(2)
    painted = paint_indicators(photograph.image, photograph.lesion_mask, (), np.random.default_rng(0))
    assert np.array_equal(painted.image, photograph.image)
    assert painted.image is not photograph.image
    assert not any(mask.any() for mask in painted.indicator_masks.values())


@pytest.mark.parametrize("indicator", INDICATORS)
def test_paint_indicators_changes_pixels_near_its_mask_only(indicator: str) -> None:
    """Structures fade past their outline: a fifth of the lesion's radius on, nothing can be seen."""
    for number in range(12):
        photograph = render(number)
        before = photograph.image.copy()
        rng = np.random.default_rng(number)
        painted = paint_indicators(photograph.image, photograph.lesion_mask, [indicator], rng)
        assert np.array_equal(photograph.image, before)
        mask = painted.indicator_masks[indicator]
        assert mask.any()
        assert not any(painted.indicator_masks[name].any() for name in INDICATORS if name != indicator)
        change = np.abs(painted.image.astype(int) - before.astype(int)).max(axis=2)
        radius = np.sqrt(photograph.lesion_mask.sum() / np.pi)
        far = ~grow(mask, int(0.2 * radius) + 3)
        assert change[mask].max() >= 8
        if far.any():
            assert np.quantile(change[far], 0.99) <= 16
        # Outside the lesion and clear of the mask not one value changes.
        assert not change[~grow(photograph.lesion_mask | mask, 4)].any()


def test_paint_indicators_repeats_for_a_seed() -> None:
    photograph = render(4)
    first, second = (
        paint_indicators(photograph.image, photograph.lesion_mask, INDICATORS, np.random.default_rng(9))
        for _ in range(2)
    )
    assert first.image.tobytes() == second.image.tobytes()


def test_paint_indicators_ignores_the_order_of_names() -> None:
    photograph = render(4)
    forth = paint_indicators(photograph.image, photograph.lesion_mask, INDICATORS, np.random.default_rng(9))
    back = paint_indicators(
        photograph.image, photograph.lesion_mask, INDICATORS[::-1], np.random.default_rng(9)
    )
    assert np.array_equal(forth.image, back.image)


@pytest.mark.parametrize("pixels", [1, 12])
def test_paint_indicators_manages_a_tiny_lesion(pixels: int) -> None:
    image = np.full((64, 64, 3), 180, np.uint8)
    lesion = np.zeros((64, 64), bool)
    lesion[30:31, 20 : 20 + pixels] = True
    painted = paint_indicators(image, lesion, INDICATORS, np.random.default_rng(0))
    assert all(mask.any() for mask in painted.indicator_masks.values())


def test_paint_indicators_manages_a_lesion_that_fills_the_frame() -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    painted = paint_indicators(image, np.ones((64, 64), bool), INDICATORS, np.random.default_rng(0))
    assert all(mask.any() for mask in painted.indicator_masks.values())


def test_paint_indicators_refuses_what_it_cannot_paint() -> None:
    image, lesion = np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), bool)
    rng = np.random.default_rng(0)
    with pytest.raises(
        InputError, match=r"Expected indicators among pigment_network.*got dots; correct the name"
    ):
        paint_indicators(image, lesion, ["dots"], rng)
    with pytest.raises(
        InputError, match=re.escape("got (40, 50, 3) and (50, 40); resize the mask to the image")
    ):
        paint_indicators(image, lesion.T, ["globules"], rng)
    with pytest.raises(InputError, match="got an empty lesion mask; leave this image out"):
        paint_indicators(image, lesion, ["globules"], rng)


def test_write_isic2018_writes_the_layout_of_isic_2018(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_isic2018(
        tmp_path / "out", 3, 7, height=60, width=80, progress=lambda done, all_: seen.append((done, all_))
    )
    names = [f"ISIC_{9_700_000 + number}" for number in range(3)]
    expected = {f"ISIC2018_Task1-2_Training_Input/{name}.jpg" for name in names}
    expected |= {f"ISIC2018_Task1_Training_GroundTruth/{name}_segmentation.png" for name in names}
    expected |= {
        f"ISIC2018_Task2_Training_GroundTruth_v3/{name}_attribute_{indicator}.png"
        for name in names
        for indicator in INDICATORS
    }
    expected.add("diagnosis.csv")
    out = tmp_path / "out"
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == expected
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for path in out.rglob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert mask.shape == (60, 80)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
    for path in out.rglob("*.jpg"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image is not None
        assert image.shape == (60, 80, 3)
    with (out / "diagnosis.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "lesion_id", "melanoma"]
    assert [row["image"] for row in rows] == names
    assert len({row["lesion_id"] for row in rows}) == 3
    assert {row["melanoma"] for row in rows} <= {"0", "1"}


def test_write_isic2018_makes_image_i_from_seed_and_i_alone(tmp_path: Path) -> None:
    for name, images in (("short", 1), ("long", 2)):
        write_isic2018(tmp_path / name, images, 7, height=48, width=64)
    short = {path.name: path.read_bytes() for path in (tmp_path / "short").rglob("ISIC_*.*")}
    assert short
    for path in (tmp_path / "long").rglob("ISIC_9700000*.*"):
        assert path.read_bytes() == short[path.name]


def test_write_isic2018_refuses_a_folder_that_holds_files(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(
        InputError, match="to be an empty folder, but it holds files; name another or empty it first"
    ):
        write_isic2018(tmp_path, 1, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_write_isic2018_refuses_no_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected 1 to 100000 images, got 0; ask for another number"):
        write_isic2018(tmp_path / "out", 0, 0)


def test_smooth_noise_has_unit_spread() -> None:
    noise = smooth_noise(np.random.default_rng(0), 400, 500, 6.0)
    assert noise.shape == (400, 500)
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.05)


def test_smooth_noise_has_no_detail_below_its_wavelength() -> None:
    noise = smooth_noise(np.random.default_rng(0), 400, 500, 40.0)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.2


def test_draw_cells_covers_the_rectangle_with_cells_of_its_spacing() -> None:
    cells = draw_cells(np.random.default_rng(0), 60, 90, 10.0, jitter=0.1, warp=0.0)
    assert cells.shrink(cells.wall_distance).shape == (60, 90)
    assert len(np.unique(cells.label)) == pytest.approx(60 * 90 / (10.0**2 * np.sqrt(3) / 2), rel=0.45)
    assert cells.label.max() < cells.count
    assert cells.centre_distance.max() < 1.2  # spacings
