import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.errors import InputError
from biounet_edge.evaluation.masks import continuous_dice
from biounet_edge.evaluation.probabilities import auc
from biounet_edge.indicators import INDICATORS
from train.checkpoint import ModelInfo
from train.config.run import TrainConfig
from train.data.dataset import ImageSet, normalise
from train.data.held_out import held_out
from train.data.records import Record
from train.evaluation import judge as module
from train.evaluation.judge import Options, draw_sample, judge
from train.evaluation.report import Evaluation
from train.gradcam import explain, stack_heatmaps
from train.network import BioUNet
from train.run import Silence

from .conftest import describe

QUICK = Options(resamples=20)


@pytest.fixture
def records(config: TrainConfig, data_root: Path) -> list[Record]:
    """A few images; each indicator is in one of them."""
    everything = held_out(config, data_root, "validation", "rendered")
    chosen = [next(record for record in everything if record.presence[name]) for name in INDICATORS]
    others = [record for record in everything if record not in chosen]
    return [*{record.image_id: record for record in chosen}.values(), *others[:4]]


def run(model: BioUNet, records: list[Record], options: Options = QUICK, **changes: object) -> Evaluation:
    info = describe(model).model_copy(update=changes)
    return judge(model, info, records, "validation", options, Silence())


def all_points(presence: float) -> dict[str, OperatingPoint]:
    return {name: OperatingPoint(presence=presence, mask=0.45) for name in INDICATORS}


def test_figures_equal_those_of_one_image_after_the_other(model: BioUNet, records: list[Record]) -> None:
    evaluation, images = run(model, records), ImageSet(records, 64, cache=False)
    network = model.network("globules")
    filled, probabilities = [], []
    for index in range(len(images)):
        pixels = normalise(images.images([index]))
        explained = explain(network.encoder, network.classification_head, pixels, 0)
        probabilities.append(float(torch.sigmoid(explained.logits[0, 0])))
        truth = images.masks([index], "globules")[0].numpy() > 0
        if truth.any():
            heatmaps = stack_heatmaps(explained.raw_heatmaps, 32)
            mask = torch.sigmoid(network.segment(heatmaps, "globules"))[0].numpy()
            camera = stack_heatmaps(explained.raw_heatmaps[-1:], 64)[0, 0].numpy()
            filled.append((continuous_dice(truth, camera), continuous_dice(truth, mask)))
    expected = np.mean(filled, axis=0)
    reached = [evaluation.localisation[name]["globules"].cdc_filled for name in ("grad_cam", "decoder")]
    assert [figure.value for figure in reached if figure] == pytest.approx(expected, abs=1e-4)
    assert len(filled) == evaluation.localisation["decoder"]["globules"].images_filled
    presence = evaluation.presence["globules"].auc
    assert presence is not None
    assert presence.value == pytest.approx(auc(images.labels[:, INDICATORS.index("globules")], probabilities))


def test_counts_are_those_of_the_labels(model: BioUNet, records: list[Record]) -> None:
    evaluation = run(model, records)
    counts = evaluation.data.counts["streaks"]
    present = sum(record.presence["streaks"] for record in records)
    assert (counts.present, counts.absent) == (present, len(records) - present)
    assert evaluation.presence["streaks"].positives == present
    assert evaluation.diagnosis is not None
    assert evaluation.diagnosis.melanomas == sum(bool(record.melanoma) for record in records)


def test_indicators_called_absent_have_empty_maps(model: BioUNet, records: list[Record]) -> None:
    evaluation = run(model, records, operating_points=all_points(1.0))
    for by_indicator in evaluation.localisation.values():
        for of in by_indicator.values():
            assert of.cdc_all is not None
            assert of.cdc_all.value == pytest.approx(1 - of.images_filled / of.images)
    filled = [name for name, of in evaluation.localisation["decoder"].items() if of.images_filled]
    assert [evaluation.pooled_jaccard["decoder"][name] for name in filled] == [0.0] * len(filled) != []


def test_the_presence_point_moves_nothing_over_filled_masks(model: BioUNet, records: list[Record]) -> None:
    shown, hidden = (run(model, records, operating_points=all_points(p)) for p in (0.0, 1.0))
    for indicator in INDICATORS:
        a, b = (e.localisation["decoder"][indicator] for e in (shown, hidden))
        assert (a.cdc_filled, a.dice, a.jaccard, a.cdc_filled_at) == (
            b.cdc_filled,
            b.dice,
            b.jaccard,
            b.cdc_filled_at,
        )
    assert shown.pooled_jaccard != hidden.pooled_jaccard


def test_batches_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, model: BioUNet, records: list[Record]
) -> None:
    whole = run(model, records[:6])
    monkeypatch.setattr(module, "BATCH", 4)
    parts = run(model, records[:6])
    for indicator, of in whole.localisation["decoder"].items():
        other = parts.localisation["decoder"][indicator]
        assert of.cdc_all is not None
        assert other.cdc_all is not None
        assert other.cdc_all.value == pytest.approx(of.cdc_all.value, abs=1e-4)


def test_multitask_models_are_judged_for_every_indicator(
    multitask_model: BioUNet, records: list[Record]
) -> None:
    evaluation = run(multitask_model, records)
    assert set(evaluation.localisation["decoder"]) == set(INDICATORS)
    assert set(evaluation.presence) == set(INDICATORS)
    assert evaluation.model.encoders == ((*INDICATORS, "melanoma"),)
    figures = [of.cdc_filled.value for of in evaluation.localisation["decoder"].values() if of.cdc_filled]
    assert len(set(figures)) == len(figures) > 2


def test_what_nobody_labelled_is_left_out(model: BioUNet, records: list[Record]) -> None:
    bare = [
        dataclasses.replace(r, melanoma=None, masks={}, presence={"streaks": r.presence["streaks"]})
        for r in records
    ]
    evaluation = run(model, bare)
    assert evaluation.diagnosis is None
    assert set(evaluation.presence) == {"streaks"}
    assert evaluation.localisation == {"grad_cam": {}, "decoder": {}}
    assert evaluation.pooled_jaccard == {}
    assert evaluation.data.counts["globules"].present == evaluation.data.counts["globules"].absent == 0


def test_models_without_a_decoder_have_heatmaps_only(model: BioUNet, records: list[Record]) -> None:
    assert set(run(model, records[:2], segmentation=False).localisation) == {"grad_cam"}
    with pytest.raises(InputError, match="trained without f_Seg, it has no decoder"):
        run(model, records[:2], Options(methods=("decoder",)), segmentation=False)


def test_a_sample_is_recorded(model: BioUNet, records: list[Record]) -> None:
    evaluation = run(model, records, Options(images=5, resamples=20))
    assert evaluation.data.images == 5
    assert evaluation.settings is not None
    assert evaluation.settings.sampled_from == len(records)
    whole = run(model, records[:5], Options(images=9, resamples=20)).settings
    assert whole is not None
    assert whole.sampled_from is None


def test_samples_repeat_with_their_seed(records: list[Record]) -> None:
    assert draw_sample(records, 6, 1) == draw_sample(records, 6, 1) != draw_sample(records, 6, 2)
    assert len({record.image_id for record in draw_sample(records, 6, 1)}) == 6


def test_lime_records_how_often_it_asks(model: BioUNet, records: list[Record]) -> None:
    settings = run(model, records[:1], Options(methods=("lime",), lime_samples=10, resamples=20)).settings
    assert settings is not None
    assert settings.lime_samples == 10


def test_info_is_described(model: BioUNet, records: list[Record]) -> None:
    info: ModelInfo = describe(model)
    section = run(model, records[:2]).model
    assert (section.name, section.row, section.seed, section.config) == ("tiny", "bio_u_net", 3, "tiny.toml")
    assert (section.base_width, section.image_size_px) == (4, 64)
    assert section.training == tuple(info.data)


def test_an_indicator_without_an_operating_point_is_nowhere_present(
    model: BioUNet, records: list[Record]
) -> None:
    points = all_points(0.0) | {"streaks": OperatingPoint(presence=None, mask=0.45)}
    evaluation = run(model, records, operating_points=points)
    assert evaluation.presence["streaks"].predictive_value is None
    assert evaluation.presence["streaks"].auc is not None
    assert evaluation.presence["globules"].predictive_value is not None
    of = evaluation.localisation["decoder"]["streaks"]
    assert of.cdc_all is not None
    assert of.cdc_all.value == pytest.approx(1 - of.images_filled / of.images)
    assert evaluation.pooled_jaccard["decoder"]["streaks"] == 0
    assert evaluation.pooled_jaccard["decoder"]["globules"] > 0


def test_what_is_called_present_is_judged_at_its_operating_point(
    model: BioUNet, records: list[Record]
) -> None:
    evaluation = run(model, records, operating_points=all_points(0.0))
    for indicator in INDICATORS:
        value, having = evaluation.presence[indicator].predictive_value, evaluation.data.counts[indicator]
        assert value is not None
        assert value.value == pytest.approx(having.present / len(records))
