"""A whole training run: pretraining, Algorithm 1 for each encoder, fusion, operating points.

A run folder holds everything: config.toml (the whole configuration), run.json (environment, git revision,
machine), split.csv, metrics.jsonl, tensorboard/, stages/<stage>.safetensors (the best weights of a finished
stage), last.safetensors (where the last stage stood), and at the end model.safetensors with model.json.
Started again on the same folder, a run goes on after its last checkpoint, and ends with the very weights of
an uninterrupted one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch.optim.swa_utils import AveragedModel

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.indicators import INDICATORS
from train.algorithm import SETTLING_BATCH
from train.checkpoint import load_tensors, write_text
from train.config.run import TrainConfig, format_config
from train.config.stages import StageConfig
from train.data.batches import Batches
from train.data.checks import find_copies, leave_out_held_out
from train.data.dataset import ImageSet
from train.data.records import Record, read_annotated, read_source
from train.data.splits import check_split, split_records, write_split
from train.engine import Engine, Machine
from train.finish import finish_model
from train.initial_weights import begin_heatmap_path
from train.network import BioUNet, IndicatorNetwork
from train.plan import describe_plan
from train.run import Reporter, Run, Silence, describe_environment, record_start
from train.stage import train_stage
from train.tasks import TASKS, encoder_name


def fit(
    config: TrainConfig,
    config_path: Path,
    data_root: Path,
    folder: Path,
    report: Reporter,
    machine: Machine | None = None,
    *,
    plan_only: bool = False,
) -> Path | None:
    """Train a model, or go on where an earlier call was stopped.

    Args:
        config: What to train.
        config_path: The file it came from; its name is kept.
        data_root: Folder that the paths of the data sources are relative to.
        folder: Run folder; created where missing.
        report: Progress; told the plan first.
        machine: What to train on; None for one device and its defaults.
        plan_only: Stop after the plan; no run folder is made.

    Returns:
        Path of model.safetensors; None after the plan alone, and in all processes but the first.

    Raises:
        DatasetError: If data is missing or contradicts itself, before any training.
        InputError: If the folder holds a run of another configuration.
        CheckpointError: If a checkpoint of the run is damaged.
    """
    engine = Engine(machine or Machine())
    try:
        run = prepare(config, data_root, folder, report if engine.is_first else Silence(), engine)
        for line in describe_plan(run):
            run.report.message(line)
        if plan_only:
            return None
        if engine.is_first:
            _open_folder(run)
        engine.wait()
        _check_shared(run)
        checkpoint = _train(run, config_path.name)
        return checkpoint if engine.is_first else None
    finally:
        engine.close()


def _train(run: Run, config_name: str) -> Path:
    _fill_caches(run)
    config = run.config
    common = _pretrain(run)
    networks = [
        train_stage(
            run, encoder_name(tasks), tasks, run.network_config.localised(index), config.indicator, common
        )
        for index, tasks in enumerate(config.model.encoders)
    ]
    if config.segmentation is not None:
        _train_masks(run, config.segmentation, networks)
    model = BioUNet(run.network_config)
    for network, trained in zip(model.all_networks(), networks, strict=True):
        network.load_state_dict(trained.state_dict())
    if run.engine.is_first:
        finish_model(run, model.to(run.engine.device), config_name)
    run.engine.wait()
    run.close()
    return run.folder / "model.safetensors"


def _train_masks(run: Run, stage: StageConfig, networks: list[IndicatorNetwork]) -> None:
    """Train f_Seg of each network, some from another's, and put the result in the network's place."""
    config = run.config
    for index in config.order_segmentation():
        network = networks[index]
        for indicator in network.localised:
            if other := config.segmentation_starts.get(indicator):
                donor = networks[run.network_config.owner(other)]
                begin_heatmap_path(network, indicator, donor.heatmap_path(other))
        name = f"{encoder_name(network.tasks)}-masks"
        networks[index] = train_stage(run, name, network.tasks, network.localised, stage, network)


def _pretrain(run: Run) -> IndicatorNetwork | None:
    """Train the common start; None where there is none."""
    config = run.config
    trained: dict[str, IndicatorNetwork] = {}
    network: IndicatorNetwork | None = None
    for index, stage in enumerate(config.pretrain):
        name = f"pretrain-{index + 1}"
        network = trained[stage.start] if stage.start else network
        network = trained[name] = train_stage(run, name, TASKS, (), stage, network)
    return average([trained[name] for name in config.soup]) if config.soup else network


def average(networks: Sequence[IndicatorNetwork]) -> IndicatorNetwork:
    """Return a network whose weights, and batch norm's statistics, are the mean of these networks'."""
    mean = AveragedModel(networks[0], use_buffers=True)
    for network in networks:
        mean.update_parameters(network)
    return cast(IndicatorNetwork, mean.module)


def prepare(config: TrainConfig, data_root: Path, folder: Path, report: Reporter, engine: Engine) -> Run:
    """Read and check all data. Everything wrong with the input is found here; nothing is written."""
    split = split_records(read_annotated(config.data, data_root), config.data.split_seed)
    find_copies(split)
    found = [record for source in config.data.unlabelled for record in read_source(source, data_root)]
    unlabelled, left_out = leave_out_held_out(found, split)
    if left_out:
        report.message(
            f"Dataset B: {left_out} of {len(found)} images are validation or test images of Dataset A, "
            "they are left out"
        )
    check_split({**split, "train": [*split["train"], *unlabelled]})
    _check_sufficient(config, split["train"], unlabelled)
    _check_validation(config, split["validation"])
    _check_shares(config, engine)
    _check_precision(config, engine)
    _check_folder(config, folder)
    size, cache = config.model.image_size_px, config.data.cache
    training, validation, contrastive = (
        ImageSet(records, size, cache=cache) for records in (split["train"], split["validation"], unlabelled)
    )
    batches = Batches(config, training, contrastive, engine.share, engine.machine.workers)
    return Run(config, folder, split, training, validation, batches, engine, report)


def _check_sufficient(config: TrainConfig, training: list[Record], unlabelled: list[Record]) -> None:
    stages = [stage for stage in config.stages if stage.epochs]
    if not unlabelled and any(stage.contrastive_batch or stage.adversarial for stage in stages):
        raise DatasetError(
            "f_CLR and the virtual adversarial loss need Dataset B, but no image is left in it; "
            "name `data.unlabelled` sources, or set contrastive_batch to 0 and leave out `adversarial`"
        )
    if any(stage.segmentation_batch for stage in stages):
        for indicator in INDICATORS:
            if not any(indicator in record.masks for record in training):
                raise DatasetError(
                    f"f_Seg needs masks of {indicator}, but no training image has one; "
                    "add a source with masks or set segmentation_batch to 0"
                )
    if any(stage.mask_supervision for stage in stages) and not any(record.masks for record in training):
        raise DatasetError(
            "mask_supervision needs masks, but no training image has one; add a source with masks or leave "
            "mask_supervision out"
        )
    diagnosed = sum(record.melanoma is not None for record in training)
    fitting, axes = min(diagnosed, config.fusion_images or diagnosed), config.model.familiarity_axes
    if axes >= fitting:
        raise DatasetError(
            f"familiarity with {axes} axes is fitted to more than {axes} training images with a diagnosis, "
            f"there are {fitting}; lower familiarity_axes, or set it to 0 for none"
        )
    if len({record.melanoma for record in training} - {None}) < 2:
        raise DatasetError(
            "the diagnosis needs training images with and without melanoma; name a label table that has both"
        )


def _check_validation(config: TrainConfig, validation: list[Record]) -> None:
    counted = {source.name for source in config.data.annotated if source.validates}
    if not any(record.source in counted for record in validation):
        raise DatasetError(
            "calibration and operating points need validation images of a source that validates, there is "
            "none; raise `validation`, or leave `validates` on for one source"
        )


def _check_shares(config: TrainConfig, engine: Engine) -> None:
    for stage in config.stages:
        for name in ("contrastive_batch", "classification_batch", "segmentation_batch"):
            engine.share.of(getattr(stage, name), name)
        if stage.adversarial is not None:
            engine.share.of(stage.adversarial.batch, "adversarial.batch")
            whole = (stage.classification_batch + 2 * stage.adversarial.batch) // engine.share.world
            if (engine.machine.micro_batch or whole) < whole:
                raise InputError(
                    "the virtual adversarial loss compares answers of one pass: --micro-batch must be at "
                    f"least {whole} here, classification_batch and twice adversarial.batch; it is "
                    f"{engine.machine.micro_batch}"
                )
    engine.share.of(SETTLING_BATCH, "the batch that batch norm settles on")


def _check_precision(config: TrainConfig, engine: Engine) -> None:
    if engine.machine.precision == "bfloat16" and any(stage.adversarial for stage in config.stages):
        raise InputError(
            "the virtual adversarial loss moves pixels by less than bfloat16 can tell apart; "
            "choose --precision float16 or float32"
        )


def _check_folder(config: TrainConfig, folder: Path) -> None:
    """Refuse a folder with a run of another configuration or seed."""
    kept = folder / "config.toml"
    if kept.is_file() and kept.read_text(encoding="utf-8") != format_config(config):
        raise InputError(
            f"{folder} holds a run of another configuration or seed ({kept} differs); "
            "give another run folder, or the configuration it began with"
        )
    last = folder / "last.safetensors"
    if last.is_file():
        load_tensors(last)


def _check_shared(run: Run) -> None:
    """Refuse processes that cannot see what the first one wrote: they would go on from somewhere else."""
    if not (run.folder / "config.toml").is_file():
        raise InputError(
            f"process {run.engine.share.rank} does not see {run.folder}, which the first process made; "
            "put the run folder on a file system that all machines share"
        )


def _open_folder(run: Run) -> None:
    """Make the run folder and write what describes the run."""
    (run.folder / "stages").mkdir(parents=True, exist_ok=True)
    write_text(run.folder / "config.toml", format_config(run.config))
    record_start(run.folder, describe_environment(run.config, run.engine))
    write_split(run.split, run.folder / "split.csv")


def _fill_caches(run: Run) -> None:
    """Read all images that are kept in memory, so that a damaged file shows before training."""
    image_sets = (run.training, run.validation, run.batches.unlabelled)
    run.report.begin("read images", sum(map(len, image_sets)))
    for images in image_sets:
        for _ in images.fill_cache():
            run.report.advance()
