import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from biounet_edge.errors import InputError
from train.batch_norm import SharedBatchNorm
from train.engine import Engine, Machine
from train.losses import nt_xent

REPOSITORY = Path(__file__).parents[2]


def contrast(embeddings: Tensor) -> Tensor:
    return nt_xent(*embeddings.chunk(2), 0.5)


def gradients(machine: Machine) -> tuple[float, list[Tensor]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    inputs = torch.randn(8, 6, dtype=torch.float64)
    loss = Engine(machine).update(network, optimizer, inputs, contrast)
    return loss, [weight.grad for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batch: int) -> None:
    whole = gradients(Machine("cpu", "float64"))
    parts = gradients(Machine("cpu", "float64", micro_batch))
    assert parts[0] == pytest.approx(whole[0])
    assert len(whole[1]) == 4
    for of_parts, of_whole in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(of_parts, of_whole)


def test_an_update_moves_the_weights_and_returns_the_loss() -> None:
    torch.manual_seed(1)
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    loss = Engine(Machine("cpu")).update(
        network,
        torch.optim.SGD(network.parameters(), lr=0.1),
        torch.ones(4, 3),
        lambda out: out.square().mean(),
    )
    assert loss > 0
    assert not torch.equal(network.weight, before)


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_in_float32() -> None:
    seen = []

    class Spy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            seen.append(out.dtype)
            return out

    network = Spy(3, 2)
    Engine(Machine("cpu", "bfloat16")).update(
        network, torch.optim.SGD(network.parameters(), lr=0.1), torch.ones(4, 3), lambda out: out.mean()
    )
    assert seen == [torch.bfloat16]
    assert network.weight.dtype == torch.float32


@pytest.mark.parametrize(("limit", "reached"), [(None, 5.0), (10.0, 5.0), (0.5, 0.5)])
def test_a_long_gradient_is_scaled_to_the_limit(limit: float | None, reached: float) -> None:
    network = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(network.weight)
    Engine(Machine("cpu")).update(
        network,
        torch.optim.SGD(network.parameters(), lr=1.0),
        torch.tensor([[3.0, -4.0]]),
        lambda out: out.sum(),
        limit,
    )
    # The gradient is the input, of length 5: the step is it, or as much of it as the limit lets through.
    expected = -reached / 5 * torch.tensor([[3.0, -4.0]])
    torch.testing.assert_close(network.weight.detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_cuda_device_is_an_error() -> None:
    with pytest.raises(InputError, match="device cuda was asked for, and PyTorch finds none"):
        Engine(Machine("cuda"))


def test_shared_batch_norm_predicts_like_batch_norm() -> None:
    plain, shared = nn.BatchNorm2d(3), SharedBatchNorm(3)
    nn.init.uniform_(plain.running_var, 0.5, 2.0)
    shared.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(shared.eval()(x), plain.eval()(x))


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_shared_batch_norm_trains_like_batch_norm() -> None:
    torch.manual_seed(2)
    plain, shared = nn.BatchNorm2d(3).double(), SharedBatchNorm(3).double()
    nn.init.uniform_(plain.weight, 0.5, 2.0)
    shared.load_state_dict(plain.state_dict())
    features = torch.randn(4, 3, 5, 5, dtype=torch.float64).mul(3).add(1).requires_grad_()
    weight = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    outputs, gradients = [], []
    for norm in (plain, shared):
        out = norm(features)
        outputs.append(out)
        gradients.append(torch.autograd.grad((out * weight).sum(), [features, norm.weight, norm.bias]))
    torch.testing.assert_close(outputs[1], outputs[0])
    for of_shared, of_plain in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(of_shared, of_plain)
    torch.testing.assert_close(shared.running_mean, plain.running_mean)
    torch.testing.assert_close(shared.running_var, plain.running_var)


def test_a_diverged_loss_is_an_error() -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(
        InputError, match="expected a finite loss, got nan: training diverged; lower the learning"
    ):
        Engine(Machine("cpu")).update(
            network,
            torch.optim.SGD(network.parameters()),
            torch.full((4, 3), torch.nan),
            lambda out: out.mean(),
        )


def losses_of(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{"stage": line["stage"], **line["losses"]} for line in lines if "losses" in line]


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(config_path: Path, data_root: Path, tmp_path: Path) -> None:
    # In float64: Adam lets float32's rounding of another order of summation grow to 1e-2 in a few steps of
    # a batch this small, and the comparison would judge chaos. Any fault in the sums shows in float64 too.
    # Batches of 8 and heatmaps of 64 pixels: of 32, the last stage is one pixel, and batch norm over the two
    # numbers of a batch of 2 turns their rounding into plus and minus one.
    text = config_path.read_text().replace("heatmap_size_px = 32", "heatmap_size_px = 64")
    for name, size in (("contrastive", 4), ("classification", 4), ("segmentation", 2)):
        text = text.replace(f"{name}_batch = {size}", f"{name}_batch = 8")
    config_path.write_text(text)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = ["-m", "train", "fit", str(config_path), "--data-root", str(data_root)]
    arguments += ["--device", "cpu", "--precision", "float64", "--run-folder"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    runs = [
        subprocess.Popen([sys.executable, *launch, str(tmp_path / name)], cwd=REPOSITORY, env=environment)
        for launch, name in ((arguments, "one"), (torchrun, "two"))
    ]
    try:
        assert [run.wait(400) for run in runs] == [0, 0]
    finally:
        for run in runs:
            run.terminate()  # torchrun takes its processes with it; does nothing where the run has ended
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == 11
    assert set(one[-1]) == {"stage", "contrastive", "classification", "segmentation"}
    for of_one, of_two in zip(one, two, strict=True):
        assert of_two == pytest.approx(of_one, abs=1e-4)
