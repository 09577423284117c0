"""Positions of a chain kept in files, and students that learn from them afterwards.

Many more students than could follow a chain learn from its record, and each as often as
it likes: search and fine-tuning need not walk again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.classifiers import ends_in_softmax
from network_pruning.posterior.chain_folders import DONE
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.runs import RunDir

Position = list[npt.NDArray[Any]]


class Recorder:
    """Writes the teacher's weights at each of its turns, one file a turn.

    Attributes:
        every: Steps of the chain from one turn to the next.
    """

    def __init__(
        self, distiller: PosteriorDistiller, run: RunDir, folder: str, every: int
    ) -> None:
        """Names the place.

        Args:
            distiller: Whose chain it is; append the recorder to its watchers.
            run: Where.
            folder: Of the files.
            every: From 1.

        Raises:
            ValueError: If `every` is unfit.
        """
        if every < 1:
            raise ValueError(f"every: got {every}, expected at least 1 step")
        self.every = every
        self._teacher, self._run, self._folder = distiller.teacher, run, folder

    def look(self, step: int) -> None:
        """Writes the position; a chain that goes on again writes the same."""
        weights = self._teacher.trainable_variables
        arrays = {str(i): weight.numpy() for i, weight in enumerate(weights)}
        self._run.write_arrays(f"{self._folder}/{step:09d}.npz", arrays)


def position_files(run: RunDir, folder: str) -> list[Path]:
    """Returns the files of recorded positions, in the order of the chain."""
    return sorted((run.path / folder).glob("[!.]*.npz"))


def read_positions(run: RunDir, folder: str) -> list[Position]:
    """Returns the recorded positions in the order of the chain.

    Raises:
        ValueError: If there is none, or some that the finished chain left are gone.
        DamagedFile: If a file is not what was written.
    """
    files = position_files(run, folder)
    done = run.read_json(DONE) if run.exists(DONE) else {}
    if len(files) != done.get(folder, len(files)):
        raise ValueError(
            f"{run.path / folder} holds {len(files)} positions of {done[folder]}: "
            f"delete {DONE} and chain.npz there, and distil again"
        )
    if not files:
        raise ValueError(
            f"{run.path / folder} holds no recorded position: distil first, with a "
            "chain longer than its burn-in"
        )
    found = []
    for file in files:
        arrays = run.read_arrays(f"{folder}/{file.name}")
        found.append([arrays[str(i)] for i in range(len(arrays))])
    return found


def posterior_predictive(
    network: keras.Model, positions: Sequence[Position]
) -> keras.Model:
    """Joins positions to one network: images -> E[p(y | x, theta)] [n, classes].

    Its name, and those of its layers, are the same each time it is made.

    Args:
        network: The chain's, functional or Sequential; stays as it is.
        positions: At least one.

    Returns:
        A functional model with a copy of the network for each position, that ends in
        probabilities.

    Raises:
        ValueError: If the shapes of a position are not those of the network.
    """
    _check_shapes(network, positions)
    softmax = ends_in_softmax(network)
    inputs = keras.Input(network.inputs[0].shape[1:], name="images")
    said = []
    for number, position in enumerate(positions):
        member = keras.models.clone_model(network)
        member.set_weights(network.get_weights())
        for weight, value in zip(member.trainable_variables, position, strict=True):
            weight.assign(value)
        named = keras.Model(member.inputs, member.outputs, name=f"position_{number}")
        outputs = named(inputs)
        if not softmax:
            outputs = keras.layers.Softmax(name=f"softmax_{number}")(outputs)
        said.append(outputs)
    mean = keras.layers.Average(name="mean")(said) if len(said) > 1 else said[0]
    return keras.Model(inputs, mean, name="posterior_predictive")


class Replay:
    """Lets students learn from recorded positions instead of a walk.

    Each pass takes every position once, in another order; a step of the distiller's is
    one position.
    """

    def __init__(
        self, distiller: PosteriorDistiller, positions: Sequence[Position]
    ) -> None:
        """Judges whether the record is the teacher's.

        Args:
            distiller: Compiled; its sampler is not used, its students' `thin` counts
                positions.
            positions: At least one.

        Raises:
            ValueError: If their shapes are others.
        """
        _check_shapes(distiller.teacher, positions)
        self.distiller, self.positions = distiller, list(positions)

    @property
    def steps(self) -> int:
        """Positions that were taken in all."""
        return int(self.distiller.steps.numpy())

    def advance(self, steps: int) -> dict[str, float]:
        """Goes on.

        Args:
            steps: Positions to take.

        Returns:
            The students' mean losses on the way.

        Raises:
            DivergedError: If a student's loss is no number.
        """
        for metric in self.distiller.metrics:
            metric.reset_state()
        weights = self.distiller.teacher.trainable_variables
        for step in range(self.steps, self.steps + steps):
            for weight, value in zip(weights, self._position(step), strict=True):
                weight.assign(value)
            self.distiller.steps.assign_add(1)
            self.distiller.take_turns(step + 1)
        return self.distiller.told()

    def _position(self, step: int) -> Position:
        count = len(self.positions)
        generator = np.random.default_rng([self.distiller.seed, step // count])
        return self.positions[generator.permutation(count)[step % count]]


def _check_shapes(network: keras.Model, positions: Sequence[Position]) -> None:
    """Judges whether positions are a network's.

    Raises:
        ValueError: If one is not.
    """
    expected = [tuple(weight.shape) for weight in network.trainable_variables]
    for position in positions:
        shapes = [value.shape for value in position]
        if shapes != expected:
            raise ValueError(
                f"recorded position: got weights {shapes}, expected {expected}: it is "
                "another teacher's"
            )
