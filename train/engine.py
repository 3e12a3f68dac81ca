"""The machine that a run trains on: device, precision, gradient accumulation, one process or several.

Losses see whole batches. Where a batch is divided, over processes or into micro-batches, the outputs of its
parts are put together before the loss is taken, so that NT-Xent keeps all its negatives and every mean its
denominator; the gradient then goes back through the parts one after the other.

Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021,
arXiv:2101.06983
"""

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from biounet_edge.errors import InputError
from train.batch_norm import synchronise_batch_norm
from train.data.batches import Share
from train.data.dataset import normalise

Precision = Literal["float32", "bfloat16", "float16", "float64"]

PATIENCE: Final = timedelta(days=1)
"""How long processes wait for the first one, which alone validates and fits the fusion head."""

HALF: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Machine:
    """What a run may use. It changes nothing but rounding, and with micro-batches what batch norm sees."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "float32"
    """Of the forward and backward passes; with half precision, weights stay in float32. float64 is for
    comparing runs: Adam divides gradients by their size, so that in float32 the rounding of another order of
    summation grows with every step."""
    micro_batch: int | None = None
    """Largest number of images in one pass; larger batches are accumulated. Batch norm sees micro-batches."""
    workers: int = 0
    """Processes that read images ahead."""
    checkpoint_minutes: float = 10.0
    """Time between checkpoints within an epoch; each epoch ends with one."""


class Engine:
    """Runs updates on a machine. Under torchrun each process has one, and they share each batch."""

    def __init__(self, machine: Machine) -> None:
        """Take the device and join the other processes.

        Raises:
            InputError: If there is no CUDA device where one is asked for.
        """
        self.machine = machine
        self.device = choose_device(machine.device)
        if machine.precision == "float32":
            # Not TF32, which convolutions take by default. By the older switch: torch.export asks for it, and
            # raises once the newer one was set.
            torch.backends.cudnn.allow_tf32 = False
        self.share = Share()
        if distributed.is_torchelastic_launched():
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=PATIENCE)
            self.share = Share(distributed.get_rank(), distributed.get_world_size())
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=machine.precision == "float16")

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.share.rank == 0

    def prepare(self, network: nn.Module) -> None:
        """Move a network to the device, batch norm over all processes included."""
        if self.share.world > 1:
            synchronise_batch_norm(network, self.device)
        network.to(self.device, self.dtype)
        network.to(memory_format=torch.channels_last)  # convolutions of all devices are faster so

    def distribute(self, subnetwork: nn.Module) -> nn.Module:
        """Let the processes average the gradients of a subnetwork, all of whose weights it uses."""
        if self.share.world == 1:
            return subnetwork
        # Batch norm keeps its buffers equal without help.
        return DistributedDataParallel(subnetwork, forward_sync_buffers=False)

    def update(
        self,
        subnetwork: nn.Module,
        optimizer: Optimizer,
        inputs: Tensor,
        loss_of: Callable[[Tensor], Tensor],
        gradient_norm: float | None = None,
    ) -> float:
        """One step of an optimizer.

        Args:
            subnetwork: Trains; from `distribute`.
            optimizer: Of its weights.
            inputs: This process's part of the batch, shape (n, ...).
            loss_of: The loss of the whole batch, from this part's outputs; it gathers what it needs.
            gradient_norm: Largest norm of the gradient; a longer one is scaled to it. None for no limit.

        Returns:
            The loss.

        Raises:
            InputError: If the loss is not finite.
        """
        optimizer.zero_grad()
        parts = torch.split(inputs, self.machine.micro_batch or len(inputs))
        if len(parts) == 1:
            loss = loss_of(self._run(subnetwork, inputs))
            self._backward(loss)
        else:
            loss = self._accumulate(subnetwork, parts, loss_of)
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(
                f"expected a finite loss, got {value}: training diverged; lower the learning rate, or choose "
                "--precision float32"
            )
        if gradient_norm is not None:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(subnetwork.parameters(), gradient_norm)
        self._scaler.step(optimizer)
        self._scaler.update()
        return value

    def _accumulate(
        self, subnetwork: nn.Module, parts: tuple[Tensor, ...], loss_of: Callable[[Tensor], Tensor]
    ) -> Tensor:
        with torch.no_grad():
            outputs = torch.cat([self._run(subnetwork, part) for part in parts]).requires_grad_()
        loss = loss_of(outputs)
        (gradient,) = torch.autograd.grad(self._scaled(loss), outputs)
        gradients = torch.split(gradient, [len(part) for part in parts])
        for part, of_part in zip(parts[:-1], gradients[:-1], strict=True):
            with _without_averaging(subnetwork):
                self._run(subnetwork, part).backward(of_part)  # type: ignore[no-untyped-call]
        self._run(subnetwork, parts[-1]).backward(gradients[-1])  # type: ignore[no-untyped-call]
        return loss

    def _run(self, subnetwork: nn.Module, inputs: Tensor) -> Tensor:
        layout = torch.channels_last if inputs.ndim == 4 else torch.contiguous_format
        with self.autocast():
            outputs: Tensor = subnetwork(inputs.contiguous(memory_format=layout))
        return outputs.to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, inputs and losses."""
        return torch.float64 if self.machine.precision == "float64" else torch.float32

    def autocast(self) -> torch.autocast:
        """The precision of forward passes."""
        half = HALF.get(self.machine.precision)
        return torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None)

    def normalise(self, images: Tensor) -> Tensor:
        """Network input on the device, shape (n, 3, H, W), of RGB images (n, H, W, 3) uint8."""
        return normalise(images.to(self.device)).to(self.dtype)

    def _backward(self, loss: Tensor) -> None:
        self._scaled(loss).backward()  # type: ignore[no-untyped-call]

    def _scaled(self, loss: Tensor) -> Tensor:
        # Every process has the whole batch's loss and its own part's gradient of it: their sum is wanted,
        # DistributedDataParallel takes their mean.
        return self._scaler.scale(loss * self.share.world)

    def gather(self, part: Tensor) -> Tensor:
        """The whole batch (N, ...) of which each process has a part (n, ...); gradients reach the own."""
        if self.share.world == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.share.world)]
        distributed.all_gather(parts, part.detach().contiguous())
        parts[self.share.rank] = part
        return torch.cat(parts)

    def broadcast(self, value: Any) -> Any:
        """The first process's value, everywhere."""
        if self.share.world == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, 0)
        return held[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.share.world > 1:
            distributed.barrier()

    def scaler_state(self) -> dict[str, Any]:
        """State of float16's loss scale; empty in the other precisions."""
        return self._scaler.state_dict()

    def load_scaler_state(self, state: dict[str, Any]) -> None:
        """Put back what scaler_state gave."""
        if state:
            self._scaler.load_state_dict(state)

    def close(self) -> None:
        """Leave the other processes."""
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _without_averaging(subnetwork: nn.Module) -> AbstractContextManager[None]:
    return subnetwork.no_sync() if isinstance(subnetwork, DistributedDataParallel) else nullcontext()


def choose_device(name: str) -> torch.device:
    """The device of a name: auto is CUDA where there is one; under torchrun each process has its own.

    Raises:
        InputError: If there is no CUDA device where one is asked for.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "device cuda was asked for, and PyTorch finds none; install a CUDA build of torch "
            "and its driver, or choose --device cpu"
        )
    if name == "cpu" or not available:
        return torch.device("cpu")
    # torchrun tells each process its GPU by this variable alone.
    index = int(os.environ.get("LOCAL_RANK", "0"))
    if index >= torch.cuda.device_count():
        raise InputError(
            f"expected a CUDA device for each process, this machine has {torch.cuda.device_count()}; start "
            "no more with --nproc-per-node"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
