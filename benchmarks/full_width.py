"""A full-width model to measure with: a narrow ResNet-50 bundle widened to 64 channels, at 512 x 512 pixels.

Nobody has to train for days to know how fast a ResNet-50 of full width is, but random weights will not do:
many of their heatmaps are all zero and float32 itself is uncertain about the others, so that no precision
could be judged on them. Widening keeps what the narrow model computes: each channel of the narrow network
becomes several, and what reads them divides its weights by their number; a little noise makes every weight
its own. The model says as much, or as little, about photographs at 512 pixels as the narrow one does when
it is shown them at that size.

    python -m benchmarks.full_width engines/narrow runs/full-width
    python -m export runs/full-width engines/full-width

Source: Net2WiderNet, Chen et al. 2016, arXiv:1511.05641, section 2.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from biounet_edge.bundle.folder import Bundle
from export.restore import restore_model
from train.checkpoint import save_model
from train.network import BioUNet

NOISE = 0.02
"""Standard deviation of the noise on a weight, as a part of that of its layer's weights."""

SEED = 0


def widen(model: BioUNet, base_width: int, image_size_px: int, heatmap_size_px: int) -> BioUNet:
    """Widens a model, in the sense of Net2WiderNet.

    Args:
        model: The narrow network.
        base_width: Channels of the new stem; more than the old one has.
        image_size_px: Height and width of the new input.
        heatmap_size_px: Height and width at which the new heatmaps enter the U-Net.

    Returns:
        The wide network in evaluation mode; without noise it would compute what the narrow one does.
    """
    generator = torch.Generator().manual_seed(SEED)
    config = replace(
        model.config, base_width=base_width, image_size_px=image_size_px, heatmap_size_px=heatmap_size_px
    )
    wide = BioUNet(config)
    narrow, state, drawn = model.state_dict(), {}, {}
    for name, target in wide.state_dict(keep_vars=True).items():
        source = narrow[name]
        if target.dim() == 0 or target.shape == source.shape:
            state[name] = source
        elif id(target) in drawn:  # the heatmap path reads the encoder's own convolutions
            state[name] = drawn[id(target)]
        else:
            state[name] = drawn[id(target)] = _widen_tensor(name, source, target.shape, generator)
    wide.load_state_dict(state)
    return wide.requires_grad_(False).eval()


def _widen_tensor(name: str, source: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Repeats a weight along its outputs, and along its inputs with each copy's share."""
    if name.startswith("fusion_head."):  # (J, D): outputs stay, D are inputs
        return _repeat_inputs(source, [source.shape[1]], [shape[1]])
    widened = source
    if source.dim() > 1:
        parts = _input_parts(name, source.shape[1], shape[1])
        widened = _repeat_inputs(source, *parts)
    widened = widened[_channel_map(source.shape[0], shape[0])]
    if source.dim() > 1:
        noise = torch.randn(widened.shape, generator=generator)
        widened = widened + NOISE * widened.std() * noise
    return widened


def _input_parts(name: str, old: int, new: int) -> tuple[list[int], list[int]]:
    """Widths of what a layer reads; a decoder block's first convolution reads two things."""
    if ".decoder.blocks." not in name or not name.endswith("conv1.weight"):
        return [old], [new]
    # Of 32 + 16, 4 + 8, 2 + 4 and 1 + 1 parts; the last block has no skip.
    upsampled = [(2, 3), (1, 3), (1, 3), (1, 2), (1, 1)][int(name.split(".decoder.blocks.")[1][0])]
    first = [width * upsampled[0] // upsampled[1] for width in (old, new)]
    return [first[0], old - first[0]], [first[1], new - first[1]]


def _repeat_inputs(weight: Tensor, old: list[int], new: list[int]) -> Tensor:
    """Repeats a weight (outputs, inputs, ...) along its inputs; the copies of an input share its weight."""
    parts = []
    for part, width in zip(weight.split(old, dim=1), new, strict=True):
        if width == 0:
            continue
        channels = _channel_map(part.shape[1], width)
        share = 1 / torch.bincount(channels, minlength=part.shape[1])[channels]
        parts.append(part[:, channels] * share.reshape(1, -1, *[1] * (weight.dim() - 2)))
    return torch.cat(parts, dim=1)


def _channel_map(old: int, new: int) -> Tensor:
    """Which old channel each new one copies."""
    return torch.arange(new) % old


def main(
    bundle: Annotated[Path, typer.Argument(help="Bundle with narrow ResNet-50 encoders.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new checkpoint.")],
    base_width: Annotated[int, typer.Option(help="Channels of the stem.")] = 64,
    image_size: Annotated[int, typer.Option(help="Height and width of the input in pixels.")] = 512,
    heatmap_size: Annotated[int, typer.Option(help="Height and width of the U-Net's input.")] = 256,
) -> None:
    """Write a full-width checkpoint that computes what a narrow bundle does."""
    model, info = restore_model(Bundle.open(bundle))
    if model.config.family != "resnet50":
        typer.echo(f"error: expected ResNet-50 encoders in {bundle}, got {model.config.family}", err=True)
        raise typer.Exit(1)
    wide = widen(model, base_width, image_size, heatmap_size)
    notice = "Made to measure with: a widened demonstration model. Not for clinical use."
    save_model(
        out, wide, info.model_copy(update={"network": wide.config, "notice": notice, "name": out.name})
    )
    typer.echo(f"{out}: base width {base_width}, {image_size} px, heatmaps at {heatmap_size} px")


if __name__ == "__main__":
    typer.run(main)
