"""Contestant in PyTorch: Torch-Pruning cuts a ResNet-50."""

from __future__ import annotations

from typing import Any

import torch
import torch_pruning
from torch import nn

from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.worker import Ready
from models.resnet50 import BLOCKS, EXPANSION, WIDTHS

CLASSES = 1000


def cut(config: BenchmarkConfig, threads: int, pixels: int, share: float) -> Ready:
    """Makes the contestant that traces, ranks and cuts one network, once a job.

    Pruning changes a network in place, so one for each round is made beforehand.

    Args:
        config: Of the benchmark.
        threads: Of PyTorch.
        pixels: Side of the example that the graph is traced with.
        share: Of the channels of each group to remove.

    Returns:
        The contestant, warm; its result is the parameters that stay.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    networks = iter([ResNet50() for _ in range(config.rounds + 1)])
    example = torch.rand(1, 3, pixels, pixels)

    def run() -> dict[str, float]:
        network = next(networks)
        pruner = torch_pruning.pruner.MagnitudePruner(
            network,
            example,
            importance=torch_pruning.importance.MagnitudeImportance(p=1),
            pruning_ratio=share,
            ignored_layers=[network.logits],
        )
        pruner.step()
        return {"params": sum(p.numel() for p in network.parameters())}

    run()
    return Ready(run, {"threads": str(torch.get_num_threads())})


class ResNet50(nn.Module):
    """The ResNet-50 as torchvision lays it out: the stride in the 3x3 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_norm(3, WIDTHS[0], 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        channels = WIDTHS[0]
        for stage, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True)):
            for i in range(count):
                strides = 2 if stage and not i else 1
                blocks.append(_Bottleneck(channels, width, strides))
                channels = EXPANSION * width
        self.blocks = nn.Sequential(*blocks)
        self.logits = nn.Linear(channels, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [n, classes] of images [n, 3, height, width]."""
        x = self.blocks(self.pool(torch.relu(self.stem(x))))
        return self.logits(x.mean((2, 3)))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, strides: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.body = nn.Sequential(
            _conv_norm(channels, width, 1),
            nn.ReLU(),
            _conv_norm(width, width, 3, strides),
            nn.ReLU(),
            _conv_norm(width, out, 1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if strides > 1 or channels != out:
            self.shortcut = _conv_norm(channels, out, 1, strides)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _conv_norm(channels: int, out: int, size: int, strides: int = 1) -> nn.Sequential:
    options: dict[str, Any] = {"padding": size // 2, "bias": False}
    return nn.Sequential(
        nn.Conv2d(channels, out, size, strides, **options), nn.BatchNorm2d(out)
    )
