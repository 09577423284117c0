"""Trained networks to rank and cut: from a file, or from a finished training."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tf_keras as keras

from network_pruning.configs import is_model_file
from network_pruning.cut_configs import NetworkConfig
from network_pruning.graph import fingerprint
from network_pruning.jobs.trainings import Training, finished
from network_pruning.runs import DamagedFile, RunDir
from network_pruning.types import Dataset
from network_pruning.views import rescaled, without_test

DIGITS = 12
"""Of a fingerprint, where it stands in a folder's name."""


@dataclass(frozen=True)
class Found:
    """A trained network.

    Attributes:
        network: Images -> logits or probabilities, not compiled.
        fingerprint: Of the network.
        home: Folder in which what is made of it is kept.
        source: Where it came from, in words.
    """

    network: keras.Model
    fingerprint: str
    home: Path
    source: str


def load_data(config: NetworkConfig, load: Callable[..., Any]) -> Dataset:
    """Returns the dataset as the network takes it.

    Args:
        config: Which.
        load: `data.load`.

    Raises:
        ValueError: If it cannot be had, or has several labels an image.
    """
    size: Any = config.image_size
    data = load(
        config.dataset, num_valid=config.num_valid, split=config.split, image_size=size
    )
    if data.multi_label:
        raise ValueError(
            f"dataset {data.name} has several labels an image, units are ranked and "
            "retrained by one: choose a set with one class an image"
        )
    return rescaled(data, *config.input_range)


def unseen_test(data: Dataset) -> Dataset:
    """Returns the dataset as criteria and choices may see it."""
    return without_test(data)


def find(
    config: NetworkConfig, data: Dataset, build_model: Callable[..., keras.Model]
) -> Found:
    """Loads the network that the flags name.

    Args:
        config: Which.
        data: Its images and classes must fit.
        build_model: `models.build`.

    Returns:
        The network.

    Raises:
        ValueError: If there is no such training, with the command that makes it, or
            the file does not fit.
    """
    if is_model_file(config.source):
        network = build_model(config.source, data.input_shape, data.num_classes)
        mark = fingerprint(network)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(config.source).stem)
        home = Path(config.output_dir) / f"{stem}-{mark[:DIGITS]}"
        return Found(network, mark, home, config.source)
    if config.pretrained:
        network = build_model(
            config.model, data.input_shape, data.num_classes, pretrained=True
        )
        mark = fingerprint(network)
        home = Path(config.output_dir) / f"{config.model}-{mark[:DIGITS]}"
        return Found(network, mark, home, f"{config.model} at its ImageNet weights")
    run, training = _newest(config)
    network = training.load(run, config.monitor)
    if network.input_shape[1:] != tuple(data.input_shape):
        raise ValueError(
            f"{run.path} trained on images {network.input_shape[1:]}, got "
            f"{tuple(data.input_shape)}: give the flags it was trained with"
        )
    source = f"{run.path / training.folder / config.monitor}.keras"
    return Found(network, fingerprint(network), run.path, source)


def _newest(config: NetworkConfig) -> tuple[RunDir, Training]:
    """Finds the newest finished training of the network on the dataset.

    Returns:
        Its run, and the training.

    Raises:
        ValueError: If there is none, with the command that makes it.
    """
    folder = f"checkpoints/seed={config.seed}"
    done = [(run, finished(run, folder)) for run in _runs(config)]
    fitting = [(run, training) for run, training in done if training is not None]
    if not fitting:
        raise ValueError(
            f"model: no finished training of {config.model} on {config.dataset} with "
            f"seed {config.seed} in {config.output_dir}: make one with python -m "
            f"network_pruning.train --model={config.model} --dataset={config.dataset} "
            f"--seeds={config.seed}, or give a file"
        )
    record = f"{folder}/training.json"
    return max(fitting, key=lambda pair: (pair[0].path / record).stat().st_mtime)


def _runs(config: NetworkConfig) -> Iterator[RunDir]:
    for found in sorted(Path(config.output_dir).glob("[!.]*/config.json")):
        run = RunDir(found.parent)
        try:
            settings = run.read_json("config.json")
        except DamagedFile:
            continue
        same = {"model": config.model, "dataset": config.dataset}
        if all(settings.get(name, "mlp") == value for name, value in same.items()):
            yield run
