from pathlib import Path

import pytest

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from train.config.run import TrainConfig, format_config, load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def extending(config_path: Path) -> Path:
    path = config_path.with_name("own.toml")
    path.write_text('extends = "tiny.toml"\nseed = 8\n[indicator]\nepochs = 7\n[model]\nbase_width = 8\n')
    return path


def test_extending_files_change_the_keys_they_name_alone(extending: Path, config: TrainConfig) -> None:
    own = load_config(extending)
    assert (own.seed, own.indicator.epochs, own.model.base_width) == (8, 7, 8)
    back = own.model_copy(
        update={
            "seed": config.seed,
            "indicator": own.indicator.model_copy(update={"epochs": config.indicator.epochs}),
            "model": own.model.model_copy(update={"base_width": config.model.base_width}),
        }
    )
    assert back == config


def test_extending_itself_is_an_error(config_path: Path) -> None:
    config_path.write_text('extends = "tiny.toml"\n')
    with pytest.raises(InputError, match="extends itself"):
        load_config(config_path)


def test_extending_in_a_circle_is_an_error(extending: Path, config_path: Path) -> None:
    config_path.write_text('extends = "own.toml"\n')
    with pytest.raises(InputError, match=r"own\.toml extends itself, by way of .*tiny\.toml"):
        load_config(extending)


def test_one_contrastive_image_has_no_negative(config_path: Path) -> None:
    config_path.write_text(config_path.read_text().replace("contrastive_batch = 4", "contrastive_batch = 1"))
    with pytest.raises(InputError, match="f_CLR needs negatives"):
        load_config(config_path)


def test_extending_a_missing_file_is_an_error(extending: Path, config_path: Path) -> None:
    config_path.unlink()
    with pytest.raises(InputError, match=r"no configuration at .*tiny\.toml"):
        load_config(extending)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_formatted_configurations_read_as_they_were(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    whole = tmp_path / "config.toml"
    whole.write_text(format_config(config), encoding="utf-8")
    assert load_config(whole) == config


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ('[["streaks", "melanoma"]]', "no encoder predicts pigment_network"),
        ('[["melanoma"]]', "every encoder needs at least one indicator"),
        ('[["streaks"], ["streaks", "melanoma"]]', "two encoders have the same indicators"),
        ('[["freckles"]]', "no task 'freckles'; the tasks are pigment_network"),
    ],
)
def test_encoders_that_cannot_be_are_refused(encoders: str, message: str, config_path: Path) -> None:
    text = config_path.read_text().replace("base_width = 4", f"base_width = 4\nencoders = {encoders}")
    config_path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(config_path)


SEGMENTATION = """
[segmentation]
epochs = 1
iterations = 2
contrastive_batch = 0
classification_batch = 0
segmentation_batch = 2
averaging = 0.9
frozen_blocks = 16
"""


@pytest.fixture
def segmenting(config_path: Path) -> Path:
    """A configuration whose f_Seg trains in a stage of its own."""
    text = config_path.read_text()
    head, indicator = text.split("[indicator]")
    config_path.write_text(
        head
        + "[indicator]"
        + indicator.replace("segmentation_batch = 2", "segmentation_batch = 0")
        + SEGMENTATION
    )
    return config_path


def test_a_stage_of_f_seg_alone_follows_algorithm_1(segmenting: Path) -> None:
    config = load_config(segmenting)
    assert config.stages == (*config.pretrain, config.indicator, config.segmentation)
    assert config.segments


def test_without_any_f_seg_nothing_segments(config_path: Path) -> None:
    config_path.write_text(
        config_path.read_text().replace("segmentation_batch = 2", "segmentation_batch = 0")
    )
    config = load_config(config_path)
    assert config.stages == (*config.pretrain, config.indicator)
    assert not config.segments


@pytest.mark.parametrize(
    ("line", "other", "message"),
    [
        ("frozen_blocks = 16", "frozen_blocks = 15", "leaves the encoder as it is: set frozen_blocks = 16"),
        ("frozen_blocks = 16", "frozen_blocks = 17", "resnet50 has 16 blocks; freeze no more"),
        ("averaging = 0.9", "", "frozen blocks keep their batch norm, which is settled anew .*set averaging"),
        ("averaging = 0.9", "averaging = 1.0", r"segmentation\.averaging: Input should be less than 1"),
        (
            "classification_batch = 0",
            "classification_batch = 2",
            "trains f_Seg alone; set contrastive_batch and",
        ),
        ("contrastive_batch = 0", "contrastive_batch = 2", "trains f_Seg alone; set contrastive_batch and"),
        ("segmentation_batch = 2", "segmentation_batch = 0", "segmentation_batch to the images of an update"),
    ],
)
def test_stages_of_f_seg_alone_that_cannot_be_are_refused(
    line: str, other: str, message: str, segmenting: Path
) -> None:
    head, stage = segmenting.read_text().split("[segmentation]")
    segmenting.write_text(head + "[segmentation]" + stage.replace(line, other))
    with pytest.raises(InputError, match=message):
        load_config(segmenting)


def test_f_seg_is_trained_after_the_one_it_begins_with(segmenting: Path) -> None:
    starts = 'segmentation_starts = { pigment_network = "streaks", streaks = "globules" }\n'
    segmenting.write_text(starts + segmenting.read_text())
    order = [INDICATORS[index] for index in load_config(segmenting).order_segmentation()]
    assert sorted(order) == sorted(INDICATORS)
    assert order.index("globules") < order.index("streaks") < order.index("pigment_network")


def test_f_seg_that_begins_with_itself_in_a_circle_is_refused(segmenting: Path) -> None:
    starts = 'segmentation_starts = { globules = "streaks", streaks = "globules" }\n'
    segmenting.write_text(starts + segmenting.read_text())
    with pytest.raises(InputError, match="goes round in a circle of encoders; let one f_Seg begin anew"):
        load_config(segmenting)


def test_two_stages_that_train_f_seg_are_refused(config_path: Path) -> None:
    config_path.write_text(config_path.read_text() + SEGMENTATION)
    with pytest.raises(
        InputError, match="two stages train f_Seg; set segmentation_batch to 0 in `indicator`"
    ):
        load_config(config_path)


def test_pretraining_has_no_mask_to_learn(config_path: Path) -> None:
    config_path.write_text(
        config_path.read_text().replace("segmentation_batch = 0", "segmentation_batch = 2", 1)
    )
    with pytest.raises(InputError, match="pretrain stages have no mask to learn"):
        load_config(config_path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "base_width = 4",
            'base_width = 4\nfamily = "efficientnet_lite0"',
            "efficientnet_lite0 has base_width 32, not 4; set it",
        ),
        ("base_width = 4", 'base_width = 4\nfamily = "vgg"', r"model\.family: Input should be 'resnet50' or"),
        (
            "base_width = 4",
            "base_width = 4\ndecoder_width = 8",
            r"model\.decoder_width: .*greater than or equal",
        ),
        ('augment = "mild"', 'augment = "wild"', r"indicator\.augment: Input should be 'none', 'mild' or"),
        ('augment = "mild"', "augment = true", r"indicator\.augment: Input should be 'none', 'mild' or"),
        ('augment = "mild"', "balance = 1.5", r"indicator\.balance: Input should be less than or equal to 1"),
        (
            'augment = "mild"',
            "weights = { nowhere = 2.0 }",
            "a stage weights nowhere, but data.annotated has",
        ),
        ('augment = "mild"', "weights = { rendered = -1.0 }", r"weights\.rendered: .*greater than or equal"),
        ("[indicator]", '[indicator]\nstart = "pretrain-1"', "only pretraining stages have a `start`"),
        (
            "[[pretrain]]",
            '[[pretrain]]\nstart = "pretrain-1"',
            "pretrain-1 starts with pretrain-1; the stages before it: none",
        ),
        (
            "fusion_regularisation",
            'soup = ["pretrain-2"]\nfusion_regularisation',
            "soup names pretrain-2; the",
        ),
        (
            "classification_batch = 4\nsegmentation_batch = 2",
            "classification_batch = 0\nsegmentation_batch = 2\nmask_supervision = 1.0",
            "masks supervise the encoder in f_Res; set classification_batch",
        ),
        (
            "fusion_regularisation",
            'segmentation_starts = { streaks = "globules" }\nfusion_regularisation',
            "segmentation_starts is about the stage `segmentation`; add it",
        ),
        (
            "fusion_regularisation",
            'segmentation_starts = { streaks = "melanoma" }\nfusion_regularisation',
            "no indicator 'melanoma'; the indicators are pigment_network, ",
        ),
        (
            'augment = "mild"',
            "mask_supervision = 1.0",
            r"mask_supervision needs skip_features = true in `model`; set it",
        ),
        (
            'augment = "mild"',
            "mask_supervision = 1.0\nadversarial = {}",
            "f_Res takes mask_supervision or adversarial, not both",
        ),
        ('augment = "mild"', "image_size_px = 100", r"indicator\.image_size_px: .*multiple of 32"),
        (
            'augment = "mild"',
            'optimizer = { schedule = "steps" }',
            r"indicator\.optimizer\.schedule: Input should be 'constant', 'cosine' or 'one_cycle'",
        ),
        (
            'augment = "mild"',
            "optimizer = { gradient_norm = 0.0 }",
            r"indicator\.optimizer\.gradient_norm: Input should be greater than 0",
        ),
        (
            "validation = 0.3",
            'validation = 0.3\nstratify = "lesions"',
            r"data\.annotated\.0\.stratify: Input should be 'melanoma' or 'findings'",
        ),
        ("fusion_regularisation", "fusion_images = 1\nfusion_regularisation", r"fusion_images: .*equal to 2"),
    ],
)
def test_values_that_cannot_be_are_refused(before: str, after: str, message: str, config_path: Path) -> None:
    text = config_path.read_text()
    assert before in text
    config_path.write_text(text.replace(before, after))
    with pytest.raises(InputError, match=message):
        load_config(config_path)


def test_a_family_reaches_the_network(config_path: Path) -> None:
    text = config_path.read_text()
    text = text.replace(
        "base_width = 4", 'base_width = 32\nfamily = "efficientnet_lite0"\ndecoder_width = 16'
    )
    config_path.write_text(text)
    network = load_config(config_path).model.network
    assert (network.family, network.base_width, network.decoder_width) == ("efficientnet_lite0", 32, 16)
    assert network.features == 1280
