"""Networks that a pruned one learns from: a model's file, or the record of a chain."""

from __future__ import annotations

from collections.abc import Callable

import tf_keras as keras

from network_pruning.posterior import chain_folders
from network_pruning.posterior.recorded import posterior_predictive, read_positions
from network_pruning.prune_config import PruneConfig
from network_pruning.runs import RunDir
from network_pruning.types import Dataset


def find(
    config: PruneConfig, data: Dataset, build_model: Callable[..., keras.Model]
) -> keras.Model | None:
    """Loads the network that --teacher names.

    Args:
        config: Which; none returns None.
        data: Its images and classes must fit.
        build_model: `models.build`.

    Returns:
        The network; of a chain the mean prediction over its recorded positions, as one
        network.

    Raises:
        ValueError: If it does not fit the images, or a chain has seen others than these
            or some that validate here.
    """
    if config.teacher is None:
        return None
    chain = chain_folders.find(config.teacher)
    file = config.teacher if chain is None else str(chain / chain_folders.TEACHER)
    try:
        network = build_model(file, data.input_shape, data.num_classes)
        if chain is None:
            return network
        run = RunDir(chain)
        _check_images(config, data, run)
        positions = read_positions(run, chain_folders.RECORDED)
    except ValueError as error:
        raise ValueError(f"teacher: {str(error).removeprefix('model: ')}") from None
    return posterior_predictive(network, positions)


def _check_images(config: PruneConfig, data: Dataset, run: RunDir) -> None:
    """Judges whether a chain walked on the training images as they come here.

    Raises:
        ValueError: If it did not.
    """
    theirs, held = run.read_json(chain_folders.CONFIG), data.size("valid")
    walk = (
        f"walk one by python -m experiments.gped --dataset={config.dataset} "
        f"--num_valid={held}"
    )
    if config.input_range != (0.0, 1.0):
        low, high = config.input_range
        raise ValueError(
            f"the chain in {run.path} takes pixels in [0,1], got --input_range="
            f"{low:g},{high:g}"
        )
    if theirs["mask_size"]:
        side = theirs["mask_size"]
        raise ValueError(
            f"the chain in {run.path} walked on images without a square of {side} x "
            f"{side}, those here are whole: {walk}"
        )
    if not theirs["num_valid"]:
        raise ValueError(
            f"the chain in {run.path} held no image out, it has seen those that "
            f"validate here: {walk}"
        )
    if run.read_json(chain_folders.DONE)["data"] != data.fingerprint:
        raise ValueError(
            f"the chain in {run.path} walked on other images or another split than "
            f"those of {config.dataset} here: give --dataset={theirs['dataset']} "
            f"--num_valid={theirs['num_valid']}, or {walk}"
        )
