"""`python -m benchmarks.zoo agreement|cost|page`: measures, and writes the tables of docs/gradcam.md."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torchvision
import typer
from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.zoo.agreement import Agreement, compare, failed
from benchmarks.zoo.cost import measure
from benchmarks.zoo.models import FAMILIES, all_models, make_specimen
from benchmarks.zoo.page import agreement_table, cost_table, method_table, replace_table
from biounet_edge.backends.processor import usable_threads
from biounet_edge.errors import BiounetEdgeError
from onnx_gradcam.cam_methods import CAM_METHODS, Method
from onnx_gradcam.errors import OnnxGradcamError

METHOD_MODEL = "resnet18"
"""Model whose heatmaps are compared with every method."""

TOO_LARGE = frozenset({"vit_h_14", "vit_l_16", "vit_l_32", "regnet_y_128gf"})
"""Models of 300 million weights and more, which want more than 16 GB in float64."""

ONE_OF_EACH = (
    "alexnet", "vgg11", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "squeezenet1_1",
    "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_large", "mnasnet1_0", "shufflenet_v2_x1_0",
    "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "convnext_tiny", "swin_t", "swin_v2_t",
    "maxvit_t", "vit_b_16",
)  # fmt: skip
"""One model of each family."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Models = Annotated[list[str] | None, typer.Argument(help="Names in torchvision.", show_default="all")]
Results = Annotated[Path, typer.Option(help="JSON lines; what they have is not measured again.")]


@app.command()
def agreement(models: Models = None, results: Results = Path("zoo-agreement.jsonl")) -> None:
    """Compare heatmaps of two layers of each model with pytorch-grad-cam's, small models first.

    One model of each family is compiled with TensorRT for RTX too.
    """
    names = models or sorted(set(all_models()) - TOO_LARGE, key=_number_of_weights)
    tasks: list[tuple[str, Method]] = [(name, "gradcam") for name in names]
    if models is None:
        tasks = [(METHOD_MODEL, method) for method in CAM_METHODS] + tasks
    for name, method in tasks:
        key = {"model": name, "method": method}
        _measure(results, key, lambda: _compare(name, method))  # noqa: B023


@app.command()
def cost(models: Models = None, results: Results = Path("zoo-cost.jsonl")) -> None:
    """Measure what heatmaps cost."""
    for name in models or ONE_OF_EACH:
        _measure(results, {"model": name}, lambda: [measure(make_specimen(name)).to_dict()])  # noqa: B023


@app.command()
def page(
    agreements: Annotated[Path, typer.Option(help="Results of agreement.")] = Path("zoo-agreement.jsonl"),
    costs: Annotated[Path, typer.Option(help="Results of cost.")] = Path("zoo-cost.jsonl"),
    file: Annotated[Path, typer.Option(help="The page.")] = Path("docs/gradcam.md"),
) -> None:
    """Write the tables."""
    order, methods = [family.name for family in FAMILIES], list(CAM_METHODS)
    found = [Agreement.from_dict(record) for record in _read(agreements)]
    found.sort(key=lambda item: (order.index(item.family), item.parameters, methods.index(item.method)))
    replace_table(file, "agreement", agreement_table([item for item in found if item.method == "gradcam"]))
    replace_table(file, "methods", method_table([item for item in found if item.model == METHOD_MODEL]))
    replace_table(file, "cost", cost_table(_read(costs)))


def _number_of_weights(name: str) -> int:
    return int(torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"])


def _compare(name: str, method: Method) -> list[dict[str, Any]]:
    agreements = compare(make_specimen(name), method, engines=name in ONE_OF_EACH)
    for line in failed(agreements):
        Console(stderr=True).print(f"not within its gate: {line}", style="red", markup=False, soft_wrap=True)
    return [item.to_dict() for item in agreements]


def _measure(results: Path, key: dict[str, Any], work: Callable[[], list[dict[str, Any]]]) -> None:
    """Append what a measurement gives, unless it is there; report one that fails."""
    if any(key.items() <= record.items() for record in _read(results)):
        return
    console = Console(stderr=True)
    try:
        records = work()
    except (BiounetEdgeError, OnnxGradcamError) as error:
        console.print(f"{key}: {error}", style="red", markup=False, soft_wrap=True)
        return
    machine = str(describe_machine(usable_threads()))
    with results.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record | {"machine": machine}) + "\n" for record in records)
    console.print(f"{key}", markup=False, highlight=False)


def _read(results: Path) -> list[dict[str, Any]]:
    if not results.is_file():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    app()
