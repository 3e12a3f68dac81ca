from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision

from biounet_edge.errors import CheckpointError, InputError
from train.checkpoint import save_tensors
from train.config.run import TrainConfig, load_config
from train.fit import fit
from train.initial_weights import begin_heatmap_path, initialise
from train.network import IndicatorNetwork, NetworkConfig
from train.run import Silence
from train.tasks import TASKS

SMALL = NetworkConfig(base_width=4, image_size_px=64, heatmap_size_px=32)


def test_a_stage_takes_over_encoder_heads_and_scales(config: TrainConfig) -> None:
    torch.manual_seed(0)
    topology = replace(SMALL, skip_features=True)
    start, network = IndicatorNetwork(topology, TASKS), IndicatorNetwork(topology, ("streaks", "melanoma"))
    assert start.mask_head is not None
    assert network.mask_head is not None
    torch.nn.init.uniform_(start.encoder.layer2[1].bn2.weight)
    torch.nn.init.uniform_(start.mask_head.gain)
    initialise(network, start, config)
    assert torch.equal(network.encoder.conv1.weight, start.encoder.conv1.weight)
    assert torch.equal(network.classification_head.weight[0], start.classification_head.weight[2])
    assert torch.equal(network.classification_head.weight[1], start.classification_head.weight[5])
    assert torch.equal(network.mask_head.gain[0], start.mask_head.gain[2])
    assert torch.equal(
        network.heatmap_path("streaks").encoder.layer2[1].bn2.weight, start.encoder.layer2[1].bn2.weight
    )


def test_imagenet_weights_of_another_width_are_refused(config: TrainConfig) -> None:
    imagenet = config.model_copy(update={"initial_weights": "imagenet"})
    with pytest.raises(InputError, match="ImageNet weights are for base_width 64, the configuration has 4"):
        initialise(IndicatorNetwork(SMALL, TASKS), None, imagenet)


@pytest.fixture
def full_width(config: TrainConfig) -> TrainConfig:
    model = config.model.model_copy(update={"base_width": 64})
    return config.model_copy(update={"initial_weights": "imagenet", "model": model})


def test_imagenet_weights_reach_the_encoder(full_width: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    published = torchvision.models.resnet50(weights=None).state_dict()
    monkeypatch.setattr(
        "torchvision.models.ResNet50_Weights.get_state_dict", lambda self, progress: published
    )
    network = IndicatorNetwork(NetworkConfig(64, 64, 64), TASKS)
    initialise(network, None, full_width)
    assert torch.equal(network.encoder.layer4[2].conv3.weight, published["layer4.2.conv3.weight"])
    assert torch.equal(
        network.heatmap_path(TASKS[0]).encoder.layer4[2].conv3.weight, published["layer4.2.conv3.weight"]
    )


def test_no_network_says_what_to_do(full_width: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, progress: bool) -> None:
        raise URLError("no route")

    monkeypatch.setattr("torchvision.models.ResNet50_Weights.get_state_dict", fail)
    with pytest.raises(InputError, match=r"could not download the ImageNet weights .*no route.*connect"):
        initialise(IndicatorNetwork(NetworkConfig(64, 64, 64), TASKS), None, full_width)


@pytest.fixture
def from_file(config: TrainConfig, tmp_path: Path) -> TrainConfig:
    return config.model_copy(update={"initial_weights": str(tmp_path / "resnet50.pth")})


def test_a_file_of_weights_reaches_the_encoder(from_file: TrainConfig) -> None:
    weights = IndicatorNetwork(SMALL, TASKS).encoder.state_dict()
    torch.save({**weights, "fc.weight": torch.zeros(10, 128)}, from_file.initial_weights)
    network = IndicatorNetwork(SMALL, TASKS)
    initialise(network, None, from_file)
    assert torch.equal(network.encoder.layer1[0].conv1.weight, weights["layer1.0.conv1.weight"])


def test_a_missing_file_of_weights_is_an_error(from_file: TrainConfig) -> None:
    with pytest.raises(CheckpointError, match=r"expected weights at .*resnet50\.pth, found none; set"):
        initialise(IndicatorNetwork(SMALL, TASKS), None, from_file)


def test_a_damaged_file_of_weights_is_an_error(from_file: TrainConfig) -> None:
    Path(from_file.initial_weights).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        initialise(IndicatorNetwork(SMALL, TASKS), None, from_file)


def test_weights_of_another_network_are_refused(from_file: TrainConfig) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, from_file.initial_weights)
    with pytest.raises(
        CheckpointError, match=r"expected resnet50 weights .* at base_width 4; .*resnet50\.pth does not fit"
    ):
        initialise(IndicatorNetwork(SMALL, TASKS), None, from_file)


def test_a_file_of_weights_is_relative_to_the_configuration(config_path: Path) -> None:
    text = config_path.read_text().replace('"random"', '"weights/resnet50.pth"')
    config_path.write_text(text)
    assert load_config(config_path).initial_weights == str(config_path.parent / "weights/resnet50.pth")


def test_a_pretraining_stage_reaches_the_encoder(from_file: TrainConfig, tmp_path: Path) -> None:
    trained = IndicatorNetwork(SMALL, TASKS, ())
    stage = tmp_path / "pretrain-1.safetensors"
    save_tensors(stage, dict(trained.state_dict()), {"tasks": TASKS})
    network = IndicatorNetwork(SMALL, ("streaks", "melanoma"))
    initialise(network, None, from_file.model_copy(update={"initial_weights": str(stage)}))
    assert torch.equal(network.encoder.conv1.weight, trained.encoder.conv1.weight)
    assert torch.equal(network.classification_head.weight[0], trained.classification_head.weight[2])


def test_a_stage_without_a_task_is_refused(from_file: TrainConfig, tmp_path: Path) -> None:
    stage = tmp_path / "pretrain-1.safetensors"
    trained = IndicatorNetwork(SMALL, ("globules", "melanoma"), ())
    save_tensors(stage, dict(trained.state_dict()), {"tasks": trained.tasks})
    with pytest.raises(
        CheckpointError, match=r"expected a stage that learnt streaks, melanoma, .* no streaks"
    ):
        initialise(
            IndicatorNetwork(SMALL, ("streaks", "melanoma")),
            None,
            from_file.model_copy(update={"initial_weights": str(stage)}),
        )


def test_layers_that_a_file_lacks_are_named_and_stay_random(from_file: TrainConfig) -> None:
    published = IndicatorNetwork(SMALL, TASKS).encoder.state_dict()
    shallow = {name: weight for name, weight in published.items() if not name.startswith("layer4.")}
    torch.save(shallow, from_file.initial_weights)
    torch.manual_seed(1)
    network = IndicatorNetwork(SMALL, TASKS)
    before = network.encoder.layer4[0].conv1.weight.clone()
    missing = initialise(network, None, from_file)
    assert torch.equal(network.encoder.layer3[5].conv3.weight, published["layer3.5.conv3.weight"])
    assert torch.equal(network.encoder.layer4[0].conv1.weight, before)
    assert missing == ["layer4"]


def test_single_weights_that_a_file_lacks_are_named_whole(from_file: TrainConfig) -> None:
    published = IndicatorNetwork(SMALL, TASKS).encoder.state_dict()
    for name in ("layer2.0.conv1.weight", "layer2.0.bn1.running_var", "layer2.0.bn1.num_batches_tracked"):
        del published[name]
    torch.save(published, from_file.initial_weights)
    missing = initialise(IndicatorNetwork(SMALL, TASKS), None, from_file)
    assert missing == ["layer2.0.bn1.running_var", "layer2.0.conv1.weight"]


def test_a_whole_file_lacks_nothing(from_file: TrainConfig) -> None:
    torch.save(IndicatorNetwork(SMALL, TASKS).encoder.state_dict(), from_file.initial_weights)
    assert initialise(IndicatorNetwork(SMALL, TASKS), None, from_file) == []


def test_a_run_says_which_layers_its_initial_weights_lack(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    weights = IndicatorNetwork(SMALL, TASKS).encoder.state_dict()
    save_tensors(tmp_path / "shallow.safetensors", {k: v for k, v in weights.items() if "layer4" not in k})
    text = config_path.read_text().replace('"random"', '"shallow.safetensors"')
    config_path.write_text(text)
    lines: list[str] = []

    class Listener(Silence):
        def message(self, text: str) -> None:
            lines.append(text)
            if " epoch " in text:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(load_config(config_path), config_path, data_root, tmp_path / "run", Listener())
    (said,) = [line for line in lines if "initial weights" in line]
    assert said == "pretrain-1: the initial weights lack layer4; random there"


def test_weights_with_a_layer_of_another_network_are_refused(from_file: TrainConfig) -> None:
    weights = IndicatorNetwork(SMALL, TASKS).encoder.state_dict()
    torch.save({**weights, "layer5.0.conv1.weight": torch.zeros(1)}, from_file.initial_weights)
    with pytest.raises(CheckpointError, match=r"does not fit: it has layer5\.0\.conv1\.weight"):
        initialise(IndicatorNetwork(SMALL, TASKS), None, from_file)


def test_a_file_without_any_of_our_weights_is_refused(from_file: TrainConfig) -> None:
    torch.save({"fc.weight": torch.zeros(10, 128)}, from_file.initial_weights)
    with pytest.raises(CheckpointError, match="does not fit: it has none"):
        initialise(IndicatorNetwork(SMALL, TASKS), None, from_file)


def test_a_file_that_holds_no_weights_by_name_is_refused(from_file: TrainConfig) -> None:
    torch.save([torch.zeros(3)], from_file.initial_weights)
    with pytest.raises(CheckpointError, match=r"expected weights by name in .*resnet50\.pth, got a list"):
        initialise(IndicatorNetwork(SMALL, TASKS), None, from_file)


def test_a_further_stage_takes_over_its_heatmap_paths(config: TrainConfig) -> None:
    torch.manual_seed(0)
    start, network = (IndicatorNetwork(SMALL, ("streaks", "melanoma")) for _ in range(2))
    torch.nn.init.normal_(start.heatmap_path("streaks").encoder.layer1[0].bn1.weight)
    assert initialise(network, start, config) == []
    own, expected = network.state_dict(), start.state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in expected)


def test_f_seg_may_begin_with_that_of_another_encoder() -> None:
    torch.manual_seed(0)
    network, donor = (IndicatorNetwork(SMALL, (name, "melanoma")) for name in ("streaks", "globules"))
    torch.nn.init.normal_(donor.heatmap_path("globules").encoder.layer1[0].bn1.weight)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    begin_heatmap_path(network, "streaks", donor.heatmap_path("globules"))
    own, other = network.heatmap_path("streaks"), donor.heatmap_path("globules")
    for part in ("decoder.segmentation_head.weight", "encoder.conv1.weight", "encoder.layer1.0.bn1.weight"):
        assert torch.equal(own.state_dict()[part], other.state_dict()[part])
    assert own.encoder.layer1[0].conv1.weight is network.encoder.layer1[0].conv1.weight
    kept = [name for name in before if not name.startswith("heatmap_paths.")]
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in kept)


LITE0 = NetworkConfig(32, 64, 32, family="efficientnet_lite0", decoder_width=16)


@pytest.fixture
def lite0(config: TrainConfig) -> TrainConfig:
    model = config.model.model_copy(update={"family": "efficientnet_lite0", "base_width": 32})
    return config.model_copy(update={"initial_weights": "imagenet", "model": model})


def test_imagenet_weights_reach_lite0_and_the_scales_of_its_heatmap_path(
    lite0: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = IndicatorNetwork(LITE0, TASKS).encoder.state_dict()
    torch.nn.init.normal_(published["row.3.bn_project.weight"])
    monkeypatch.setattr(
        "train.encoders.efficientnet_lite0.EfficientNetLite0.read_imagenet", lambda: published
    )
    network = IndicatorNetwork(LITE0, ("streaks", "melanoma"))
    assert initialise(network, None, lite0) == []
    path = network.heatmap_path("streaks").encoder
    assert torch.equal(network.encoder.conv_head.weight, published["conv_head.weight"])
    assert path.row[3].project.weight is network.encoder.row[3].project.weight
    assert torch.equal(path.row[3].bn_project.weight, published["row.3.bn_project.weight"])
    assert path.row[3].bn_project.weight is not network.encoder.row[3].bn_project.weight


def test_imagenet_weights_of_a_family_have_its_width(lite0: TrainConfig) -> None:
    narrow = lite0.model_copy(update={"model": lite0.model.model_copy(update={"base_width": 64})})
    with pytest.raises(InputError, match="ImageNet weights are for base_width 32, the configuration has 64"):
        initialise(IndicatorNetwork(LITE0, TASKS), None, narrow)


def test_weights_of_another_family_are_refused(lite0: TrainConfig, tmp_path: Path) -> None:
    torch.save(IndicatorNetwork(SMALL, TASKS).encoder.state_dict(), tmp_path / "resnet50.pth")
    other = lite0.model_copy(update={"initial_weights": str(tmp_path / "resnet50.pth")})
    with pytest.raises(
        CheckpointError,
        match=r"expected efficientnet_lite0 weights with this project's names .* does not fit",
    ):
        initialise(IndicatorNetwork(LITE0, TASKS), None, other)
