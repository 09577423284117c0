"""Contestants of the suite posterior in PyTorch, eager."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks.config import CLASSES, IMAGE, BenchmarkConfig
from experiments.benchmarks.posterior import (
    BATCH_SIZE,
    CASES,
    ETA,
    PRECISION,
    STEPS,
    WIDTHS,
)
from experiments.benchmarks.worker import Ready, random_images


def chain(config: BenchmarkConfig, threads: int) -> Ready:
    """Makes the contestant that walks the same chain, its noise gaussian.

    Args:
        config: Of the benchmark.
        threads: Of PyTorch.

    Returns:
        The contestant, warm.
    """
    del config
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(a) for a in random_images(CASES))
    images = images.reshape(CASES, -1)
    network = perceptron()

    def run(steps: int = STEPS) -> dict[str, float]:
        total = torch.zeros(())
        for _ in range(steps):
            rows = torch.randint(CASES, (BATCH_SIZE,))
            total += step(
                network, images.index_select(0, rows), labels.index_select(0, rows)
            )
        return {"nll": float(total) / steps}

    run(3)
    facts = {
        "params": sum(weight.numel() for weight in network.parameters()),
        "threads": str(torch.get_num_threads()),
    }
    return Ready(run, facts)


def perceptron() -> nn.Sequential:
    """Returns the network."""
    sizes = math.prod(IMAGE), *WIDTHS
    parts: list[nn.Module] = []
    for inputs, width in zip(sizes[:-1], sizes[1:], strict=True):
        parts += [nn.Linear(inputs, width), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], CLASSES))


def step(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    noise: Sequence[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Takes one step of SGLD.

    Args:
        network: Its weights are the position.
        images: [n, pixels].
        labels: [n].
        noise: Of variance 1, one tensor a weight; by default drawn.

    Returns:
        Mean NLL of the minibatch before the step.
    """
    loss = functional.cross_entropy(network(images), labels)
    weights = list(network.parameters())
    gradients = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        for place, (weight, gradient) in enumerate(
            zip(weights, gradients, strict=True)
        ):
            each = torch.randn_like(weight) if noise is None else noise[place]
            weight.mul_(1 - ETA / 2 * PRECISION)
            weight.add_(gradient, alpha=-ETA / 2 * CASES)
            weight.add_(each, alpha=math.sqrt(ETA))
    return loss.detach()
