"""Contestants in PyTorch, eager: a training epoch of the same network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from experiments.benchmarks.config import (
    BATCH_SIZE,
    CLASSES,
    LEARNING_RATE,
    BenchmarkConfig,
)
from experiments.benchmarks.worker import Ready, random_images

Batches = Iterator[Any]


def epoch(
    config: BenchmarkConfig, threads: int, loader: bool = False, fused: bool = False
) -> Ready:
    """Makes the contestant that trains an epoch.

    Args:
        config: Of the benchmark.
        threads: Of PyTorch.
        loader: Whether a DataLoader makes the batches; by default they are picked
            from tensors that stay where they are.
        fused: Whether Adam updates in one fused kernel.

    Returns:
        The contestant, warm.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(a) for a in random_images(config.epoch_images))
    images = images.reshape(len(images), -1)
    network = _network(images.shape[1], config.widths)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=LEARNING_RATE, fused=fused or None
    )
    batches = _loaded(images, labels) if loader else _picked(images, labels)

    def run() -> dict[str, float]:
        return _train(network, optimizer, batches())

    _train(network, optimizer, itertools.islice(batches(), 3))
    return Ready(run, {"threads": str(torch.get_num_threads())})


def _network(inputs: int, widths: tuple[int, ...]) -> nn.Module:
    parts: list[nn.Module] = []
    for width in widths:
        parts += [nn.Linear(inputs, width, bias=False), nn.ReLU()]
        inputs = width
    network = nn.Sequential(*parts, nn.Linear(inputs, CLASSES, bias=False))
    for weight in network.parameters():
        nn.init.xavier_uniform_(weight)
    return network


def _picked(images: torch.Tensor, labels: torch.Tensor) -> Callable[[], Batches]:
    def batches() -> Batches:
        for rows in torch.randperm(len(images)).split(BATCH_SIZE):
            yield images.index_select(0, rows), labels.index_select(0, rows)

    return batches


def _loaded(images: torch.Tensor, labels: torch.Tensor) -> Callable[[], Batches]:
    pairs = TensorDataset(images, labels)
    loader = DataLoader(pairs, batch_size=BATCH_SIZE, shuffle=True)
    return lambda: iter(loader)


def _train(
    network: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches
) -> dict[str, float]:
    """Returns mean loss and accuracy of the steps it takes, one for each batch."""
    seen, loss_sum, right = 0, torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for images, labels in batches:
        optimizer.zero_grad()
        logits = network(images)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        seen += len(labels)
        loss_sum += loss.detach() * len(labels)
        right += (logits.detach().argmax(1) == labels).sum()
    return {"loss": float(loss_sum) / seen, "accuracy": int(right) / seen}
