from pathlib import Path

import cv2
import numpy as np
import pytest
from isic_challenge_scoring import task2

from train.evaluation.challenge import count_pixels, dice, jaccard, pooled_jaccard

Pairs = dict[str, list[tuple[np.ndarray, np.ndarray]]]


def row(bits: str) -> np.ndarray:
    return np.array([[bit == "1" for bit in bits]])


def pool(pairs: Pairs) -> dict[str, float]:
    return pooled_jaccard({name: [count_pixels(*pair) for pair in of] for name, of in pairs.items()})


def random_pairs() -> Pairs:
    """Masks of several sizes, empty ones among them."""
    rng = np.random.default_rng(0)
    pairs: Pairs = {}
    for name in ("streaks", "globules"):
        shapes = [(int(rng.integers(4, 9)), int(rng.integers(4, 9))) for _ in range(6)]
        pairs[name] = [(rng.random(s) > rng.random(), rng.random(s) > rng.random()) for s in shapes]
        pairs[name][2] = (pairs[name][2][0] & False, pairs[name][2][1] & False)
    return pairs


def test_pooled_jaccard_equals_a_hand_count() -> None:
    scores = pool(
        {
            "streaks": [(row("1100"), row("0110")), (row("0000"), row("0001"))],
            "globules": [(row("1111"), row("1100"))],
        }
    )
    # Streaks: 1 pixel in both, 1 in the truth alone, 2 predicted alone; globules: 2 in both, 2 in the truth.
    assert scores == pytest.approx(
        {"streaks": 1 / 4, "globules": 2 / 4, "mean": 3 / 8, "micro_average": 3 / 8}
    )


def test_each_image_weighs_the_same_whatever_its_size() -> None:
    small, large = (row("10"), row("11")), (row("11110000"), row("11110000"))
    # As parts of the image: 1/2 + 1/2 in both, 1/2 only predicted.
    assert pool({"streaks": [small, large]})["streaks"] == pytest.approx(1 / 1.5)


def test_pooled_jaccard_equals_the_package_reading_files(tmp_path: Path) -> None:
    pairs = random_pairs()
    for name, of in pairs.items():
        for number, masks in enumerate(of):
            for folder, mask in zip(("truth", "prediction"), masks, strict=True):
                (tmp_path / folder).mkdir(exist_ok=True)
                png = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1]
                (tmp_path / folder / f"ISIC_{number:07d}_attribute_{name}.png").write_bytes(png.tobytes())
    scores, reference = pool(pairs), task2.score(tmp_path / "truth", tmp_path / "prediction")
    assert scores["streaks"] == pytest.approx(reference["streaks"]["jaccard"])
    assert scores["globules"] == pytest.approx(reference["globules"]["jaccard"])
    assert scores["micro_average"] == pytest.approx(reference["overall"])


def test_pooled_jaccard_does_not_change_with_flipped_images() -> None:
    pairs = random_pairs()
    flipped = {name: [(t[:, ::-1], m[:, ::-1]) for t, m in of] for name, of in pairs.items()}
    assert pool(flipped) == pytest.approx(pool(pairs))


def test_no_masks_have_no_pooled_jaccard() -> None:
    assert pool({"streaks": []}) == {}


def test_dice_and_jaccard_of_one_mask_worked_by_hand() -> None:
    pixels = count_pixels(row("11100"), row("01110"))
    assert (dice(pixels), jaccard(pixels)) == pytest.approx((4 / 6, 2 / 4))
    nothing = count_pixels(row("000"), row("000"))
    assert (dice(nothing), jaccard(nothing)) == (1.0, 1.0)
