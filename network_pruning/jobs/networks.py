"""Trained networks to rank and cut: from a file, or from a finished training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.flags import is_model_file
from network_pruning.graph import fingerprint
from network_pruning.jobs.prunable import no_unit
from network_pruning.jobs.rankings import images_mark
from network_pruning.jobs.trainings import Training, finished
from network_pruning.network_config import NetworkConfig
from network_pruning.prune_config import PruneConfig
from network_pruning.pruning.units import Groups
from network_pruning.runs import DamagedFile, RunDir
from network_pruning.types import Dataset
from network_pruning.views import rescaled

DIGITS = 12
"""Of a fingerprint, where it stands in a folder's name."""
IMAGES = ("num_valid", "split", "image_size", "input_range")
"""Flags that say, beside --dataset, what a network was trained on."""


@dataclass(frozen=True)
class Found:
    """A trained network.

    Attributes:
        network: Images -> logits or probabilities, not compiled.
        fingerprint: Of the network.
        images: Fingerprint of the images, their splits and their range.
        home: Folder in which what is made of it is kept.
        source: Where it came from, in words.
    """

    network: keras.Model
    fingerprint: str
    images: str
    home: Path
    source: str

    @classmethod
    def of(
        cls, network: keras.Model, name: str, config: NetworkConfig, data: Dataset
    ) -> Found:
        """Marks a network that came from a file or a training of this name.

        Returns:
            It; equal networks of one name have one home.
        """
        mark = fingerprint(network)
        home = Path(config.output_dir) / f"{name}-{mark[:DIGITS]}"
        images = images_mark(data, config.input_range)
        return cls(network, mark, images, home, config.source)


def short_digest(*words: Any) -> str:
    """Returns 8 hex digits that change with any of the words."""
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:8]


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


def load_strangers(
    config: PruneConfig, data: Dataset, load: Callable[..., Any]
) -> Dataset | None:
    """Returns the set of strangers that --ood names, in the size of the images.

    Args:
        config: Which; none returns None.
        data: The familiar images, as the network takes them.
        load: `data.load`.

    Raises:
        ValueError: If it cannot be had, has other channels, or is no stranger.
    """
    if config.ood is None:
        return None
    height, width, channels = data.input_shape
    other = load(config.ood, image_size=(height, width))
    if other.input_shape != data.input_shape:
        raise ValueError(
            f"ood: {config.ood} has {other.input_shape[-1]} channels, expected "
            f"{channels} as {data.name}"
        )
    strangers = rescaled(other, *config.input_range)
    if strangers.in_memory and data.in_memory:
        check_others(config.ood, strangers.x_test, data)
    return strangers


def check_others(name: str, images: npt.NDArray[np.float32], data: Dataset) -> None:
    """Judges whether strangers are others than the familiar.

    Args:
        name: What --ood calls them.
        images: Their test images.
        data: The familiar.

    Raises:
        ValueError: If not.
    """
    if np.array_equal(images, data.x_test):
        raise ValueError(
            f"ood: got {name}, whose test images are those of {data.name}, "
            "expected others"
        )


def nothing_to_cut(network: keras.Model, groups: Groups) -> str:
    """Returns why there is nothing."""
    return f"model {network.name!r} has {no_unit(groups)}"


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
    # As in every training, so that what is cut is written alike whenever it is loaded.
    keras.backend.experimental.enable_tf_random_generator()
    if is_model_file(config.source):
        network = build_model(config.source, data.input_shape, data.num_classes)
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(config.source).stem)
        return Found.of(network, name, config, data)
    if config.pretrained:
        network = build_model(
            config.model, data.input_shape, data.num_classes, pretrained=True
        )
        return Found.of(network, config.model, config, data)
    run, training = _newest(config, data)
    network = training.load(run, config.monitor)
    found = Found.of(network, run.path.name, config, data)
    source = f"{run.path / training.folder / config.monitor}.keras"
    return dataclasses.replace(found, source=source)


def _newest(config: NetworkConfig, data: Dataset) -> tuple[RunDir, Training]:
    """Finds the newest finished training of the network on the images.

    Returns:
        Its run, and the training.

    Raises:
        ValueError: If there is none, with the command that makes it; or if it saw
            other images, among them some that validate here.
    """
    folder = f"checkpoints/seed={config.seed}"
    record = f"{folder}/training.json"
    done = [
        (run, settings, training)
        for run, settings in _runs(config)
        if (training := finished(run, folder)) is not None
    ]
    done.sort(key=lambda found: (found[0].path / record).stat().st_mtime)
    for run, settings, training in reversed(done):
        if _saw(training, settings, config, data):
            return run, training
    named = [each for each in done if _names(each[1], config)]
    if not named:
        raise ValueError(
            f"model: no finished training of {config.model} on {config.dataset} with "
            f"seed {config.seed} in {config.output_dir}: make one with python -m "
            f"network_pruning.train --model={config.model} --dataset={config.dataset} "
            f"--seeds={config.seed}, or give a file"
        )
    run, settings, _ = named[-1]
    flags = [
        f"--{name}={_text(settings[name])}"
        for name in IMAGES
        if name in settings and settings[name] != config.as_dict()[name]
    ]
    remedy = "give " + " ".join(flags) if flags else "train again, or give its file"
    raise ValueError(
        f"model: {run.path} was trained on other images or another split than those "
        f"of {config.dataset} here: {remedy}"
    )


def _saw(
    training: Training, settings: dict[str, Any], config: NetworkConfig, data: Dataset
) -> bool:
    """Returns whether a training was one on these images, in these splits.

    The images tell, for a dataset may have several names; older runs say only the name.
    """
    ours = config.as_dict()["input_range"]
    if settings.get("input_range", ours) != ours:
        return False
    if not training.identity:
        return _names(settings, config)
    return data.fingerprint[:16] in training.identity


def _names(settings: dict[str, Any], config: NetworkConfig) -> bool:
    return bool(settings.get("dataset") == config.dataset)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _runs(config: NetworkConfig) -> Iterator[tuple[RunDir, dict[str, Any]]]:
    for found in sorted(Path(config.output_dir).glob("[!.]*/config.json")):
        run = RunDir(found.parent)
        try:
            settings = run.read_json("config.json")
        except DamagedFile:
            continue
        if settings.get("model", "mlp") == config.model:
            yield run, settings
