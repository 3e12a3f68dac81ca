"""What a run is going to do, and about how long that takes: told before the first step."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import torch

from biounet_edge.indicators import INDICATORS
from train.config.stages import StageConfig
from train.encoders import HEATMAPS
from train.flops import SubnetworkFlops, count_flops
from train.gradcam import explain
from train.network import IndicatorNetwork
from train.run import Run
from train.tasks import TASKS, encoder_name

TIMED_GFLOPS = 200.0
"""Size of a timed update: about so much work, as far as up to 16 images make it. More images cost in
proportion, or less."""


def describe_plan(run: Run) -> list[str]:
    """Lines that say what a run will do.

    The time comes from one small update of each subnetwork on the device itself; reading images, validation
    and fusion are not in it. It is an upper bound where blocks are frozen or heatmaps kept.
    """
    config, flops = run.config, count_flops(run.network_config)
    size = config.model.image_size_px
    processes = run.engine.share.world
    machine = f"{run.engine.device}, {run.engine.machine.precision}"
    lines = [
        f"{config.model.name}: {len(config.model.encoders)} encoders {config.model.family} of base width "
        f"{config.model.base_width}, {size}x{size} px, on {machine}"
        + (f", {processes} processes" if processes > 1 else ""),
        f"Dataset A: {len(run.training)} training and {len(run.validation)} validation images, "
        f"{len(run.split['test'])} held out; Dataset B: {len(run.batches.unlabelled)} images",
    ]
    lines += [
        f"  {indicator}: {len(run.training.with_mask(indicator))} training masks, "
        f"{len(run.training.with_filled_mask(indicator))} of them filled"
        for indicator in INDICATORS
        if run.config.segments
    ]
    most = run.engine.machine.micro_batch or 16
    seconds = _measure(run, images=max(1, min(most, 16, int(TIMED_GFLOPS / flops.classification_update))))
    total = 0.0
    for name, stage, networks in _stages(run):
        count = networks * stage.epochs * stage.iterations
        updates = _images(stage)
        # Convolutions cost in proportion to the pixels.
        part = ((stage.image_size_px or size) / size) ** 2
        parts = {"f_CLR": part, "f_Res": part}
        images_of = {update: images * parts.get(update, 1.0) for update, images in updates.items()}
        per_iteration = sum(seconds[update] * images for update, images in images_of.items())
        work = sum(_gflops(flops, update) * images for update, images in images_of.items())
        total += count * per_iteration / processes
        at = f" at {stage.image_size_px}x{stage.image_size_px} px" if stage.image_size_px else ""
        lines.append(
            f"{name}: {networks} x {stage.epochs} epochs of {stage.iterations} iterations{at} "
            f"({_describe_updates(stage)}), {work:,.4g} GFLOPs an iteration"
        )
    per_image = ", ".join(f"{update} {_gflops(flops, update):.4g}" for update in seconds)
    lines.append(f"GFLOPs an image: {per_image}")
    lines.append(f"estimated time of the whole run: {timedelta(seconds=round(total))}, and reading images")
    return lines


def _stages(run: Run) -> Iterator[tuple[str, StageConfig, int]]:
    for index, stage in enumerate(run.config.pretrain):
        yield f"pretrain-{index + 1}", stage, 1
    names = ", ".join(encoder_name(tasks) for tasks in run.config.model.encoders)
    if run.config.indicator.epochs:
        yield f"Algorithm 1 ({names})", run.config.indicator, len(run.config.model.encoders)
    if run.config.segmentation is not None:
        yield "f_Seg", run.config.segmentation, len(run.config.model.encoders)


def _images(stage: StageConfig) -> dict[str, int]:
    """Images that each subnetwork trains on in an iteration."""
    labelled = stage.classification_batch
    if stage.adversarial is not None:
        # Clean and perturbed images, and the passes that look for the perturbation.
        labelled += stage.adversarial.batch * (2 + stage.adversarial.power_iterations)
    segmented = stage.segmentation_batch * stage.segmentation_repeats
    counts = {"f_CLR": stage.contrastive_batch, "f_Res": labelled, "Grad-CAM": segmented, "f_Seg": segmented}
    return {name: count for name, count in counts.items() if count}


def _describe_updates(stage: StageConfig) -> str:
    parts = []
    if stage.contrastive_batch:
        parts.append(f"f_CLR {stage.contrastive_batch}")
    if stage.classification_batch:
        virtual = f" + {stage.adversarial.batch} adversarial" if stage.adversarial else ""
        parts.append(f"f_Res {stage.classification_batch}{virtual}")
    if stage.segmentation_batch:
        repeats = f" {stage.segmentation_repeats} times" if stage.segmentation_repeats > 1 else ""
        parts.append(f"f_Seg {stage.segmentation_batch}{repeats}")
    return ", ".join(parts) or "no update"


def _gflops(flops: SubnetworkFlops, update: str) -> float:
    return {
        "f_CLR": flops.contrastive_update,
        "f_Res": flops.classification_update,
        "Grad-CAM": flops.grad_cam,
        "f_Seg": flops.segmentation_update,
    }[update]


def _measure(run: Run, images: int) -> dict[str, float]:
    """Seconds an image of each subnetwork's forward and backward pass on this device."""
    config, device, engine = run.network_config, run.engine.device, run.engine
    network = IndicatorNetwork(config, TASKS, TASKS[:1])
    engine.prepare(network)
    pixels = torch.rand(images, 3, config.image_size_px, config.image_size_px).to(device, engine.dtype)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    heatmaps = torch.rand(images, HEATMAPS, config.heatmap_size_px, config.heatmap_size_px).to(pixels)
    views = torch.cat([pixels, pixels])

    def explain_images() -> None:
        network.eval()
        explain(network.encoder, network.classification_head, pixels, 0)
        network.train()

    def train(compute: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def step() -> None:
            with engine.autocast():
                output = compute()
            output.float().mean().backward()  # type: ignore[no-untyped-call]

        return step

    passes = {
        "f_CLR": train(lambda: network.projection_head(network.encoder(views).features)),
        "f_Res": train(lambda: network.classify(pixels)),
        "Grad-CAM": explain_images,
        "f_Seg": train(lambda: network.segment(heatmaps, TASKS[0])),
    }
    wanted = {name for _, stage, _ in _stages(run) for name in _images(stage)}
    return {name: _time(compute, device) / images for name, compute in passes.items() if name in wanted}


def _time(compute: Callable[[], None], device: torch.device) -> float:
    compute()  # the first pass allocates
    _finish(device)
    began = time.perf_counter()
    compute()
    _finish(device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
