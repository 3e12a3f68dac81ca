import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge import BackendUnavailableError, ImageError, Predictor
from biounet_edge.photographs.decoding import decode, read_photograph

from .predictions import BATCH_TOLERANCE, assert_same


def test_predict_reads_path_bytes_and_pixels_alike(predictor, paths):
    by_path = predictor.predict(paths[0])
    assert by_path.source == str(paths[0])
    for source, name in ((paths[0].read_bytes(), "<bytes>"), (decode(paths[0]), "<array>")):
        prediction = predictor.predict(source)
        assert prediction.source == name
        assert_same(prediction, by_path, 0)


def test_predict_gives_masks_and_heatmaps_of_the_photographs_size(predictor, photograph):
    for finding in predictor.predict(photograph).indicators.values():
        assert finding.mask.shape == finding.heatmap.shape == photograph.shape[:2]


def test_predict_sums_bias_and_contributions_to_the_logit(predictor, photograph):
    prediction = predictor.predict(photograph)
    logit = prediction.melanoma_bias + sum(f.contribution for f in prediction.indicators.values())
    expected = 1 / (1 + np.exp(-logit / prediction.melanoma_temperature))
    assert prediction.melanoma_probability == pytest.approx(expected, abs=1e-5)


def test_predict_sees_an_exif_rotated_file_as_rotated_pixels(predictor, photograph, write_image, tmp_path):
    stored = write_image(tmp_path / "stored.jpg", photograph)
    segment = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data = stored.read_bytes()
    tagged = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    prediction = predictor.predict(tagged)
    assert prediction.size == (120, 90)
    assert prediction.indicators["streaks"].mask.shape == (120, 90)
    assert_same(prediction, predictor.predict(np.rot90(decode(data), -1)), 0)


def test_predict_gives_two_photographs_two_heatmaps(predictor, photograph):
    one, other = predictor.predict(photograph), predictor.predict(photograph[::-1, ::-1])
    # A heatmap is all zero where nothing in the photograph speaks for its indicator.
    pairs = [(f.heatmap, other.indicators[name].heatmap) for name, f in one.indicators.items()]
    shown = [(a, b) for a, b in pairs if a.any() or b.any()]
    assert shown
    assert not any(np.allclose(a, b, atol=1e-3) for a, b in shown)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_predict_says_what_pixels_it_expects(predictor, image):
    with pytest.raises(
        ImageError, match=r"expected RGB pixels of shape \(height, width, 3\) and type uint8, got"
    ):
        predictor.predict(image)


def test_predict_raises_where_a_file_cannot_be_read(predictor, tmp_path):
    with pytest.raises(ImageError, match="there is no such file"):
        predictor.predict(tmp_path / "missing.jpg")


def test_predict_reports_a_model_that_returns_no_number(bundle, photograph, monkeypatch):
    with Predictor(bundle, level="classify") as predictor:
        run = predictor.backend.run

        def broken(images):
            return run(images) | {"melanoma_probability": np.full(len(images), np.nan, np.float32)}

        monkeypatch.setattr(predictor.backend, "run", broken)
        with pytest.raises(ImageError, match="the model returned a value that is not a finite number"):
            predictor.predict(photograph)


def test_predictor_may_be_used_from_several_threads(predictor, paths):
    expected = [predictor.predict(path).melanoma_probability for path in paths]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(predictor.predict, paths * 4))
    assert [r.melanoma_probability for r in results] == pytest.approx(expected * 4, abs=BATCH_TOLERANCE)


@pytest.mark.parametrize("level", ["classify", "cam"])
def test_lower_levels_agree_with_the_full_one(bundle, photograph, level):
    with (  # in bfloat16 each level's graph rounds in its own way
        Predictor(bundle, device="cpu", precision="float32", level=level) as lower,
        Predictor(bundle, device="cpu", precision="float32") as complete,
    ):
        one, full = lower.predict(photograph), complete.predict(photograph)
    assert one.level == level
    assert one.melanoma_probability == pytest.approx(full.melanoma_probability, abs=1e-5)
    for name, finding in one.indicators.items():
        assert finding.probability == pytest.approx(full.indicators[name].probability, abs=1e-5)
        assert finding.mask is None
        assert (finding.heatmap is None) == (level == "classify")


def test_closed_predictor_says_so(bundle, photograph):
    predictor = Predictor(bundle, level="classify")
    predictor.close()
    predictor.close()
    with pytest.raises(BackendUnavailableError, match="this Predictor is closed: make a new one"):
        predictor.predict(photograph)


def test_predictor_runs_a_bundle_of_format_1(bundle, bundle_copy, format_1, photograph):
    (bundle_copy / "manifest.json").write_text(json.dumps(format_1), encoding="utf-8")
    with (
        Predictor(bundle, device="cpu", precision="float32", level="classify") as newest,
        Predictor(bundle_copy, device="cpu", precision="float32", level="classify") as oldest,
    ):
        assert oldest.bundle.manifest.format == 1
        assert oldest.predict(photograph).to_dict() == newest.predict(photograph).to_dict()


def test_predictor_opens_a_folder(bundle):
    with Predictor(bundle.folder, level="classify") as predictor:
        assert predictor.bundle.checksum == bundle.checksum


@pytest.fixture(scope="module")
def large_jpeg(photograph, write_image, tmp_path_factory) -> Path:
    """A photograph that is read at half its size."""
    image = cv2.resize(photograph, (2100, 1600), interpolation=cv2.INTER_CUBIC)
    return write_image(tmp_path_factory.mktemp("large") / "large.jpg", image)


def test_prediction_of_a_reduced_photograph_has_the_files_size(predictor, large_jpeg):
    prediction = predictor.predict(large_jpeg)
    assert prediction.size == (1600, 2100)
    finding = prediction.indicators["streaks"]
    assert finding.mask.shape == finding.heatmap.shape == (1600, 2100)


def test_network_sees_the_same_whatever_is_saved(predictor, large_jpeg):
    prepared = [predictor._prepare(large_jpeg, preview_px) for preview_px in (0, 60, 1600)]
    for other in prepared[1:]:
        np.testing.assert_array_equal(prepared[0].pixels, other.pixels)
    assert [None if p.preview is None else p.preview.shape for p in prepared] == [
        None,
        (46, 60, 3),
        (800, 1050, 3),
    ]


def test_reduced_decoding_keeps_the_melanoma_probability(bundle, shared_data, write_image, tmp_path):
    # INTER_AREA of the reduced photograph differs by a grey level here and there from that of all its pixels,
    # and the demo model minds single grey levels.
    paths = sorted((shared_data / "real-samples" / "images").iterdir())
    enlarged = [
        write_image(tmp_path / f"{path.stem}.jpg", cv2.resize(decode(path), (6000, 4000)))
        for path in paths[::6]
    ]
    spec, reduced = bundle.manifest.input, 0
    with Predictor(bundle, device="cpu", precision="float32", level="classify") as predictor:
        for path in paths + enlarged:
            pixels = decode(path)
            reduced += read_photograph(path, spec.height, spec.width).pixels.shape != pixels.shape
            expected = predictor.predict(pixels).melanoma_probability
            assert predictor.predict(path).melanoma_probability == pytest.approx(expected, abs=0.03)
    assert reduced == 2 + len(enlarged)


def test_pickled_predictor_is_loaded_anew_where_it_is_unpickled(bundle, photograph):
    with Predictor(bundle, device="cpu", precision="float32", level="classify") as predictor:
        expected = predictor.predict(photograph)
        with pickle.loads(pickle.dumps(predictor)) as copy:
            assert copy.backend is not predictor.backend
            assert (copy.level, copy.backend.device, copy.backend.precision) == ("classify", "cpu", "float32")
            assert copy.predict(photograph).melanoma_probability == expected.melanoma_probability


def test_predict_says_whether_a_failure_is_of_the_content(
    predictor, photograph, write_image, tmp_path, monkeypatch
):
    path = write_image(tmp_path / "a.png", photograph)
    with pytest.raises(ImageError) as raised:
        predictor.predict(path.read_bytes()[:300])
    assert raised.value.is_of_content

    def no_room(*_):
        raise MemoryError

    monkeypatch.setattr("biounet_edge.photographs.decoding._decode", no_room)
    with pytest.raises(ImageError, match="too large for the memory that is free now") as raised:
        predictor.predict(path)
    assert not raised.value.is_of_content
