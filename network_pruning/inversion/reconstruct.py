"""Images from a network and its records, without data.

R. Lopes, S. Fenu, T. Starner, "Data-Free Knowledge Distillation for Deep Neural
Networks", 2017; targets that are drawn for all layers together are ours.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras
from tqdm import tqdm

from network_pruning.classifiers import check_classifier
from network_pruning.inversion import shards
from network_pruning.inversion.aims import Aim, make_aim
from network_pruning.inversion.recipe import Recipe
from network_pruning.inversion.reconstructed import Reconstructed
from network_pruning.inversion.reconstructor import (
    Reconstructor,
    check_batch_norm,
    dropout_sites,
    mask_name,
)
from network_pruning.inversion.records import ActivationRecords
from network_pruning.inversion.shards import Shard
from network_pruning.runs import RunDir
from network_pruning.training import DivergedError

STRIDE = 50
"""Steps between two looks at the loss."""


def reconstruct(
    model: keras.Model,
    records: ActivationRecords,
    objective: str = "all_layers",
    n: int = 640,
    seed: int = 0,
    *,
    folder: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Reconstructed:
    """Makes images that a network takes for those it was trained on.

    No weight moves. The same arguments give the same images; with a folder, a call that
    was interrupted goes on behind its last finished shard.

    Args:
        model: The network that the records were taken of.
        records: Of it.
        objective: What the images are moved by: top_layer; all_layers; under fixed
            dropout masks, all_layers_dropout; spectral_all_layers;
            spectral_layer_pairs.
        n: Images of each class.
        seed: Of all that is drawn.
        folder: Where finished shards are written; None keeps them in memory alone.
        **options: Other fields of `recipe.Recipe`.

    Returns:
        A dataset with train and valid splits; its labels are the classes aimed at.

    Raises:
        DivergedError: If the loss is no number; finished shards stay.
        ValueError: If an option is unknown or out of range, the records are of another
            model or lack what the objective needs, or the folder holds images of other
            settings.
    """
    recipe = make_recipe(objective=objective, n=n, seed=seed, **options)
    check_classifier(model)
    if not isinstance(records, ActivationRecords):
        raise ValueError(
            f"records: got {type(records).__name__}, expected ActivationRecords, as "
            "ActivationRecords.load('records.npz') gives them"
        )
    records.check_model(model)
    check_batch_norm(model, recipe)
    maker = _Maker(model, records, recipe)
    run = None if folder is None else RunDir(folder)
    if run is not None:
        shards.claim(run, records, recipe)
    return shards.gathered(list(_made(maker, run)), records.classes)


def make_recipe(**options: Any) -> Recipe:
    """Returns a recipe.

    Raises:
        ValueError: If an option is unknown or out of range.
    """
    known = [field.name for field in dataclasses.fields(Recipe)]
    for name in options:
        if name not in known:
            raise ValueError(
                f"option: got {name!r}, expected one of {', '.join(known)}"
            )
    return Recipe(**options)


def _made(maker: _Maker, run: RunDir | None) -> Iterator[Shard]:
    """Yields all shards, those that are there as they are, under a bar."""
    steps = maker.recipe.steps
    total = len(maker.sizes) * steps
    with tqdm(total=total, unit="step", desc="images", disable=None, leave=None) as bar:
        for number in range(len(maker.sizes)):
            shard = None if run is None else shards.read(run, number)
            if shard is None:
                shard = maker.make(number, bar)
                if run is not None:
                    shards.write(run, number, shard)
            else:
                bar.update(steps)
            yield shard


class _Maker:
    """Makes shard after shard, each from its own draws.

    Attributes:
        sizes: Images of each shard.
    """

    def __init__(
        self, model: keras.Model, records: ActivationRecords, recipe: Recipe
    ) -> None:
        self.model, self.records, self.recipe = model, records, recipe
        self.aim: Aim = make_aim(model, records, recipe)
        dropout = recipe.objective == "all_layers_dropout"
        self.sites = dropout_sites(model, records.input_shape) if dropout else {}
        self.sizes = _sizes(recipe.n * records.classes, records.classes, recipe.batch)
        self._reconstructor: Reconstructor | None = None

    def make(self, number: int, bar: Any) -> Shard:
        """Makes one shard.

        Args:
            number: Which, from 0.
            bar: Is told of each step.

        Returns:
            The shard.

        Raises:
            DivergedError: If the loss is no number.
        """
        size, recipe = self.sizes[number], self.recipe
        generator = np.random.default_rng([recipe.seed, number])
        first = sum(self.sizes[:number])
        labels = np.arange(first, first + size) % self.records.classes
        reconstructor = self._of_size(size)
        drawn = self.aim.draw(labels, generator) | self._masks(size, generator)
        targets = {name: tf.constant(values) for name, values in drawn.items()}
        reconstructor.start(self._noise(size, generator))
        traces = []
        for done in range(0, recipe.steps, STRIDE):
            steps = min(STRIDE, recipe.steps - done)
            trace = reconstructor.run(targets, steps)
            bar.update(len(trace))
            traces.append(trace)
            if not np.isfinite(trace[-1]):
                raise DivergedError(
                    f"the loss became {trace[-1]} at step {done + len(trace)} of shard "
                    f"{number + 1} of {len(self.sizes)}: lower the learning rate (now "
                    f"{recipe.learning_rate:g}); finished shards are kept"
                )
        images = reconstructor.images.numpy()
        return Shard(images, labels.astype(np.int64), np.concatenate(traces))

    def _of_size(self, size: int) -> Reconstructor:
        known = self._reconstructor
        if known is None or known.images.shape[0] != size:
            pixels = self.records.pixels
            known = self._reconstructor = Reconstructor(
                self.model,
                self.aim,
                size,
                self.recipe,
                (pixels.low, pixels.high),
                self.records.input_shape,
            )
        return known

    def _masks(
        self, size: int, generator: np.random.Generator
    ) -> dict[str, npt.NDArray[Any]]:
        return {
            mask_name(path): generator.random((size, *shape)) >= rate
            for path, (rate, shape) in self.sites.items()
        }

    def _noise(
        self, size: int, generator: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        pixels, recipe = self.records.pixels, self.recipe
        mean = pixels.mean if recipe.start_mean is None else recipe.start_mean
        sd = pixels.sd if recipe.start_sd is None else recipe.start_sd
        noise = generator.standard_normal((size, *self.records.input_shape))
        return (mean + sd * noise).astype(np.float32)


def _sizes(total: int, classes: int, batch: int) -> list[int]:
    """Divides images into shards in which all classes are equally many.

    Where a batch has not room for all classes, shards are simply as large as it.

    Returns:
        Their sizes, the last the smallest.
    """
    size = min(total, batch // classes * classes or batch)
    sizes = [size] * (total // size)
    return sizes + ([total % size] if total % size else [])
