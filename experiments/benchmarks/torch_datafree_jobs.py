"""Contestants of the suite datafree in PyTorch, eager."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import datafree_jobs
from experiments.benchmarks.config import CLASSES, BenchmarkConfig
from experiments.benchmarks.datafree import IMAGES, LEARNING_RATE, NETWORKS
from experiments.benchmarks.worker import Ready


def images(config: BenchmarkConfig, name: str, threads: int) -> Ready:
    """Makes the contestant that makes images.

    Args:
        config: Of the benchmark.
        name: Of the network.
        threads: Of PyTorch.

    Returns:
        The contestant, warm.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = make_network(name).requires_grad_(False)
    height, width, channels = NETWORKS[name]
    moved = torch.rand(IMAGES, channels, height, width, requires_grad=True)
    with torch.no_grad():
        targets = [torch.randn_like(tap) for tap in run_tapped(network, moved)]
    optimizer = torch.optim.Adam([moved], LEARNING_RATE, eps=1e-12)

    def run(steps: int = config.steps) -> dict[str, float]:
        for _ in range(steps):
            optimizer.zero_grad()
            each = apart(run_tapped(network, moved), targets)
            each.sum().backward()
            optimizer.step()
            with torch.no_grad():
                moved.clamp_(0, 1)
        return {"loss": float(each.mean())}

    run(2)
    return Ready(run, {"threads": str(torch.get_num_threads())})


def run_tapped(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Returns what weighted layers compute before their activation [n, ...]."""
    taps = []
    for layer in network.children():
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            taps.append(x)
    return taps


def apart(taps: list[torch.Tensor], targets: list[torch.Tensor]) -> torch.Tensor:
    """Returns the loss of each image [n]: over layers, the mean of the squares.

    Args:
        taps: Activations, in units of their layers' scales.
        targets: For them.
    """
    losses = [
        (functional.relu(target) - functional.relu(tap)).square().flatten(1).mean(1)
        for tap, target in zip(taps, targets, strict=True)
    ]
    return torch.stack(losses).sum(dim=0)


def make_network(name: str) -> nn.Module:
    """Returns the network of `datafree_jobs.make_network`, without dropout."""
    if name == "hinton1200":
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(784, 1200), nn.ReLU()),
            *(nn.Linear(1200, 1200), nn.ReLU(), nn.Linear(1200, CLASSES)),
        )
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, CLASSES),
    )


def floor(config: BenchmarkConfig, name: str, threads: int) -> Ready:
    """Makes the contestant that only multiplies.

    Args:
        config: Of the benchmark.
        name: Of the network.
        threads: Of PyTorch.

    Returns:
        The contestant, warm.
    """
    torch.set_num_threads(threads)
    network = datafree_jobs.make_network(name)
    factors = [_factors(*shape) for shape in datafree_jobs.products(network)]

    def run(steps: int = config.steps) -> Mapping[str, float]:
        for _ in range(steps):
            for left, kernel, right, forward, backward in factors:
                torch.mm(left, kernel, out=forward)
                torch.mm(right, kernel.T, out=backward)
        return {"products": float(2 * steps * len(factors))}

    run(1)
    return Ready(run, {"flops": config.steps * datafree_jobs.flops(network)})


def _factors(rows: int, inputs: int, outputs: int) -> tuple[torch.Tensor, ...]:
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    drawn = [torch.rand(shape) for shape in shapes]
    return *drawn, torch.empty(shapes[2]), torch.empty(shapes[0])
