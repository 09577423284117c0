"""Contestants of the suite clustering in PyTorch, eager."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks.clustering import (
    BATCH_SIZE,
    CLASSES,
    CLUSTERS,
    LEARNING_RATE,
    MOMENTUM,
    OLD_SHARE,
    PIXELS,
    SOFT_WEIGHT,
    STUDENT,
    TEACHER,
    TEMPERATURE,
    WEIGHT,
)
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.worker import Ready


def distilled(config: BenchmarkConfig, threads: int) -> Ready:
    """Makes the contestant that distils with stored outputs of a teacher.

    Args:
        config: Of the benchmark.
        threads: Of PyTorch.

    Returns:
        The contestant, warm.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    n = config.steps * BATCH_SIZE
    images = torch.rand(n, PIXELS[-1], *PIXELS[:-1])
    labels = torch.randint(CLASSES, (n,))
    with torch.no_grad():
        stored = torch.cat([quick(TEACHER)(x) for x in images.split(BATCH_SIZE)])
    student = quick(STUDENT)
    optimizer = torch.optim.SGD(student.parameters(), LEARNING_RATE, MOMENTUM)

    def run() -> dict[str, float]:
        loss_sum = torch.zeros(())
        for rows in torch.randperm(n).split(BATCH_SIZE):
            optimizer.zero_grad()
            loss = loss_of(student(images[rows]), stored[rows], labels[rows])
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach()
        return {"loss": float(loss_sum) / config.steps}

    run()
    params = sum(weight.numel() for weight in student.parameters())
    return Ready(run, {"params": params, "threads": str(torch.get_num_threads())})


def clustered(config: BenchmarkConfig, kind: str, first: bool, threads: int) -> Ready:
    """Makes the contestant whose activations are clustered.

    Args:
        config: Of the benchmark.
        kind: sample, spatial or channel.
        first: Whether the first layer is clustered, too.
        threads: Of PyTorch.

    Returns:
        The contestant, warm.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    n = config.steps * BATCH_SIZE
    images = torch.rand(n, PIXELS[-1], *PIXELS[:-1])
    labels = torch.randint(CLASSES, (n,))
    network = quick(TEACHER)
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, MOMENTUM)
    with torch.no_grad():
        _, taps = run_tapped(network, images[:BATCH_SIZE])
    taps = taps[0 if first else 1 :]
    centres = [rows_of(tap, kind)[:CLUSTERS].clone() for tap in taps]

    def run() -> dict[str, float]:
        loss_sum = torch.zeros(())
        for rows in torch.randperm(n).split(BATCH_SIZE):
            optimizer.zero_grad()
            logits, taps = run_tapped(network, images[rows])
            loss = functional.cross_entropy(logits, labels[rows])
            for place, tap in enumerate(taps[0 if first else 1 :]):
                pulled, centres[place] = pull(rows_of(tap, kind), centres[place])
                loss = loss + pulled
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach()
        return {"loss": float(loss_sum) / config.steps}

    run()
    params = sum(weight.numel() for weight in network.parameters())
    return Ready(run, {"params": params, "threads": str(torch.get_num_threads())})


def run_tapped(
    network: nn.Module, images: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Returns logits, and what weighted layers compute before their activation."""
    taps = []
    x = images
    for layer in network.children():
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            taps.append(x)
    return x, taps


def rows_of(tap: torch.Tensor, kind: str) -> torch.Tensor:
    """Returns an activation [n, channels, height, width] laid out as rows."""
    if tap.ndim == 2 or kind == "sample":
        return tap.flatten(1)
    if kind == "spatial":
        return tap.permute(0, 2, 3, 1).reshape(-1, tap.shape[1])
    return tap.flatten(2).flatten(0, 1)


def pull(
    rows: torch.Tensor, centres: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Moves centres towards the rows that are nearest to them.

    Args:
        rows: [r, d].
        centres: [k, d].

    Returns:
        The regulariser, and the new centres.
    """
    seen = rows.detach()
    offsets = centres.square().sum(dim=1) / 2
    nearest = torch.addmm(-offsets, seen, centres.T).argmax(dim=1)
    counts = torch.bincount(nearest, minlength=len(centres)).to(rows.dtype)
    sums = torch.zeros_like(centres).index_add_(0, nearest, seen)
    keep = torch.where(counts > 0, OLD_SHARE, 1.0)[:, None]
    means = sums / counts.clamp(min=1)[:, None]
    moved = keep * centres + (1 - keep) * means
    return WEIGHT / 2 * functional.mse_loss(rows, moved[nearest]), moved


def loss_of(
    logits: torch.Tensor, stored: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Returns the loss of a batch of a Distiller, the mean over the examples.

    Args:
        logits: Of the student [n, classes].
        stored: Of the teacher [n, classes].
        labels: int [n].
    """
    soft = functional.kl_div(
        functional.log_softmax(logits / TEMPERATURE, dim=1),
        functional.log_softmax(stored / TEMPERATURE, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = functional.cross_entropy(logits, labels)
    return SOFT_WEIGHT * TEMPERATURE**2 * soft + (1 - SOFT_WEIGHT) * hard


def quick(filters: Sequence[int]) -> nn.Module:
    """Returns the network of `clustering_jobs.quick`.

    Poolings that reach beyond the image at its end alone, and leave out what lies
    there, do as Keras' "same" does.
    """
    parts: list[nn.Module] = []
    inputs = PIXELS[-1]
    pools = (
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
    )
    for width, pool in zip(filters, pools, strict=True):
        parts += [nn.Conv2d(inputs, width, 5, padding="same"), nn.ReLU(), pool]
        inputs = width
    size = inputs * (PIXELS[0] // 8) * (PIXELS[1] // 8)
    return nn.Sequential(
        *parts, nn.Flatten(), nn.Linear(size, 64), nn.Linear(64, CLASSES)
    )
