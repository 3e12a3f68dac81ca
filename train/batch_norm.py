"""Batch norm over the parts of a batch that several processes hold."""

import torch
from torch import Tensor, distributed, nn


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let every batch norm of a network take its statistics over all processes, in place.

    On CUDA this is PyTorch's SyncBatchNorm, which exists for GPUs only; elsewhere SharedBatchNorm.
    """
    for name, module in list(network.named_modules()):
        if type(module) is nn.BatchNorm2d:
            if device.type == "cuda":
                replacement: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
            else:
                replacement = SharedBatchNorm(module.num_features, module.eps, module.momentum)
                replacement.load_state_dict(module.state_dict())
                # The very weights: what is frozen stays so.
                replacement.weight, replacement.bias = module.weight, module.bias
                replacement.train(module.training)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, replacement)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose batch is that of all processes, each holding a part of the same size."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalised features, shape (n, C, h, w), of this process's part of the batch."""
        if not self.training:
            return super().forward(input)
        world = distributed.get_world_size()
        count = world * input.numel() // input.shape[1]
        mean = _sum_over_processes(input.sum((0, 2, 3))) / count
        centred = input - mean.view(1, -1, 1, 1)
        variance = _sum_over_processes(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None  # statistics are always tracked here
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(variance, part)


def _sum_over_processes(value: Tensor) -> Tensor:
    result: Tensor = _AllReduce.apply(value)
    return result


class _AllReduce(torch.autograd.Function):
    """Sum over processes; every process's result depends on every process's value, so gradients sum too."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient
