"""The image sets of an experiment: to walk on, to learn on, to be judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.gpeds import occlusion
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.words import stranger_name
from network_pruning.jobs.networks import check_others
from network_pruning.runs import RunDir

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
FOLDER = "occlusions"
"""Inside --output_dir: all experiments share the squares."""


@dataclass(frozen=True)
class Sets:
    """All images, each with its square missing where --mask_size says so.

    Attributes:
        train: Images and labels that the posterior is of.
        pool: Images that students learn on; the same pictures and more, other squares.
        valid: Held-out training images and labels; empty where none are held out.
        test: Images and labels of the test split.
        strangers: Images of out-of-distribution sets by name.
        fingerprint: Of the dataset.
        classes: Number of classes.
    """

    train: tuple[Images, Labels]
    pool: Images
    valid: tuple[Images, Labels]
    test: tuple[Images, Labels]
    strangers: Mapping[str, Images]
    fingerprint: str
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self.pool.shape[1:]


def load(config: GpedConfig, load_data: Callable[..., Any]) -> Sets:
    """Loads the sets.

    Args:
        config: Which.
        load_data: `data.load`.

    Returns:
        The sets.

    Raises:
        ValueError: If there are fewer images than asked for, or shapes do not fit.
    """
    try:
        data = load_data(config.dataset, num_valid=max(config.num_valid, 1))
    except ValueError as error:
        if str(error).startswith("num_valid: "):
            raise ValueError(f"{error}; or 0: students learn on them, too") from None
        raise
    if data.multi_label or not data.in_memory:
        raise ValueError(
            f"dataset: {data.name} has several labels an image or is too large to be "
            "held in memory, expected one class an image in memory"
        )
    x, y = data.x_train, data.y_train
    valid = data.x_valid, data.y_valid
    if not config.num_valid:
        x, y = np.concatenate([x, valid[0]]), np.concatenate([y, valid[1]])
        valid = valid[0][:0], valid[1][:0]
    count = config.num_training_samples or len(x)
    if count > len(x):
        raise ValueError(
            f"num_training_samples: got {count}, expected at most {len(x)} of "
            f"{data.name} with --num_valid={config.num_valid}"
        )
    cover = _Cover(config, data.fingerprint)
    return Sets(
        train=(cover(x[:count], "teacher"), y[:count]),
        pool=cover(x, "student"),
        valid=(cover(valid[0], "valid"), valid[1]),
        test=(cover(data.x_test, "test"), data.y_test),
        strangers={
            name: _strangers(name, data, cover, load_data) for name in config.ood
        },
        fingerprint=data.fingerprint,
        classes=data.num_classes,
    )


class _Cover:
    """Takes a square out of each image, the same in every experiment."""

    def __init__(self, config: GpedConfig, fingerprint: str) -> None:
        self.config, self.mark = config, fingerprint[:12]
        self.run = RunDir(Path(config.output_dir) / FOLDER)

    def __call__(self, images: Images, stream: str) -> Images:
        size, seed = self.config.mask_size, self.config.seed
        if not size or not len(images):
            return images
        side = images.shape[1], images.shape[2]
        corners = occlusion.draw_corners(len(images), side, size, stream, seed)
        name = f"{self.mark}-{size}-{stream}-{len(images)}-{seed}.npz"
        corners = occlusion.kept_corners(
            self.run, name, corners, self.config.persist_data
        )
        return occlusion.occlude(images, corners, size)


def _strangers(
    name: str, data: Any, cover: _Cover, load_data: Callable[..., Any]
) -> Images:
    """Loads an out-of-distribution set.

    Returns:
        As many images as there are test images, at most, in their shape.

    Raises:
        ValueError: If it has other channels, does not fit in memory, or is no stranger.
    """
    height, width, channels = data.input_shape
    other = load_data(name, image_size=(height, width))
    if not other.in_memory:
        raise ValueError(
            f"ood: {name} is too large to be held in memory, expected a smaller set"
        )
    check_others(name, other.x_test, data)
    images = np.concatenate([other.x_test, other.x_valid, other.x_train])
    images = images[: len(data.x_test)]
    if images.shape[-1] != channels:
        raise ValueError(
            f"ood: {name} has {images.shape[-1]} channels, expected {channels} as "
            f"{data.name}"
        )
    return cover(images, f"ood-{stranger_name(name)}")
