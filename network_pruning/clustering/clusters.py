"""The centres of one layer's activations, kept as BatchNormalization keeps its moments.

A call assigns the rows of a batch, moves the centres, adds the regulariser to the
layer's losses and draws starved centres anew. Under tf.distribute all replicas hold
equal centres: sums, counts and candidates are those of the global batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning.clustering import kmeans


@dataclass(frozen=True)
class Clustering:
    """How one layer is clustered.

    Attributes:
        kind: What a row is: sample, spatial or channel.
        clusters: Number of centres.
        weight: Of the regulariser.
        momentum: Share of the old centre when it moves, in [0, 1).
        legacy: Whether clusters without rows shrink, as in the original.
        reset_every: Steps after which starved centres are drawn anew; 0 never does.
        min_count: Rows that a centre must have had in these steps not to be starved.
        seed: Names what is drawn.
    """

    kind: str
    clusters: int
    weight: float
    momentum: float
    legacy: bool = False
    reset_every: int = 500
    min_count: int = 10
    seed: int = 0

    def check(self, where: str) -> None:
        """Judges every value.

        Args:
            where: The layer, for the message.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        for name, (kind, fits, text) in _EXPECTED.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or not fits(value):
                raise ValueError(f"{name} of {where}: got {value!r}, expected {text}")


_EXPECTED: dict[str, tuple[type, Callable[[Any], bool], str]] = {
    "kind": (str, lambda v: v in kmeans.KINDS, f"one of {', '.join(kmeans.KINDS)}"),
    "clusters": (Integral, lambda v: v >= 1, "a whole number above 0"),
    "weight": (Real, lambda v: 0 <= v < float("inf"), "a number of 0 or more"),
    "momentum": (Real, lambda v: 0 <= v < 1, "a share of the old centre in [0,1)"),
    "legacy": (bool, lambda v: True, "True or False"),
    "reset_every": (Integral, lambda v: v >= 0, "whole steps, 0 for never"),
    "min_count": (Integral, lambda v: v >= 0, "a whole number of rows"),
    "seed": (Integral, lambda v: 0 <= v < 2**31, "a whole number of 0 or more"),
}
"""Setting -> its kind, what it must be, and that in words."""


class Clusters(keras.layers.Layer):
    """Clusters the activation it is called with; called in training alone.

    Attributes:
        centres: [clusters, width of a row].
        held: int32; as many as there are clusters once the centres have begun.
        counts: Rows each cluster has had since the last reset [clusters].
        steps: int32, calls since the centres have begun.
    """

    def __init__(
        self, how: Clustering, shape: tuple[int | None, ...], path: str
    ) -> None:
        """Makes the centres.

        Args:
            how: Settings.
            shape: Of the activation, [n, ..., channels].
            path: Of the tapped layer; the names of metrics begin with it.

        Raises:
            ValueError: If a setting is unfit, or the width of a row is not settled.
        """
        how.check(path)
        name = path.replace("/", "_")
        # Rows of half precision are cast: squares of what is far away overflow there.
        super().__init__(name=f"{name}_clusters", dtype="float32")
        self.how, self.path, self.shape = how, path, shape
        width = kmeans.width(shape, how.kind)
        if width is None:
            raise ValueError(
                f"layer {path}: got activations {list(shape)}, expected a settled "
                f"height and width for kind={how.kind!r}: give the network an input "
                "shape without None, or take kind='spatial'"
            )
        self.centres = self._add("centres", [how.clusters, width], tf.float32)
        self.counts = self._add("counts", [how.clusters], tf.float32)
        self.held = self._add("held", [], tf.int32)
        self.steps = self._add("steps", [], tf.int32)
        self.regulariser = keras.metrics.Mean(f"{name}_regulariser", "float32")
        self.occupancy = Occupancy(how.clusters, f"{name}_occupancy")
        self.revivals = keras.metrics.Sum(f"{name}_revivals", "float32")

    def _add(self, name: str, shape: list[int], dtype: tf.DType) -> tf.Variable:
        # Each replica writes its own copy, as moving averages are; all write the same.
        return self.add_weight(
            name,
            shape,
            dtype,
            "zeros",
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def call(self, activation: tf.Tensor) -> tf.Tensor:
        """Takes a step of k-means, and adds the regulariser to the losses.

        Args:
            activation: [n, ..., channels], of this replica.

        Returns:
            The activation.
        """
        rows = kmeans.embed(activation, self.how.kind)
        seen = tf.stop_gradient(rows)
        centres, counts, held = self._renewed(seen)
        begun = held == self.how.clusters
        clusters = kmeans.assign(seen, centres)
        sums, members = kmeans.totals(seen, clusters, self.how.clusters)
        size = tf.cast(tf.size(rows), tf.float32)
        sums, members, size = _over_replicas([sums, members, size])
        members = tf.where(begun, members, 0.0)
        momentum = tf.where(begun, self.how.momentum, 1.0)
        centres = kmeans.move(centres, sums, members, momentum, self.how.legacy)
        self._keep(centres, counts + members, held)
        self.occupancy.update_state(members)
        loss = kmeans.regulariser(rows, centres, clusters, self.how.weight)
        self._regularise(tf.where(begun, loss, 0.0), size)
        return activation

    def check_examples(self, examples: int) -> None:
        """Judges whether a training set has a row for each centre.

        Raises:
            ValueError: If not.
        """
        rows = kmeans.rows_of_one(self.shape, self.how.kind)
        if rows is not None and rows * examples < self.how.clusters:
            self._refuse(rows * examples)

    def check_begun(self) -> None:
        """Judges whether all rows of an epoch could begin the centres.

        Raises:
            ValueError: If not.
        """
        held = int(self.held.numpy())
        if held < self.how.clusters:
            self._refuse(held)

    def _refuse(self, rows: int) -> None:
        raise ValueError(
            f"clusters of {self.path}: got {self.how.clusters}, expected at most "
            f"{rows}: an epoch has no more rows"
        )

    def _renewed(self, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Begins the centres, or draws the starved ones anew; most calls do neither.

        Returns:
            Centres, rows by cluster since the last reset, held rows.
        """
        state = self.centres.value(), self.counts.value(), self.held.value()
        begun = self.held == self.how.clusters
        due = ~begun
        if self.how.reset_every:
            due |= (self.steps > 0) & (self.steps % self.how.reset_every == 0)
        candidates = _candidates(rows, due)
        # No layer draws what another draws.
        seed = [self.how.seed, zlib.crc32(self.path.encode()) >> 1]
        seed = tf.random.experimental.stateless_fold_in(seed, self.steps)
        uniforms = tf.random.stateless_uniform([self.how.clusters], seed)

        def begin() -> tuple[tf.Tensor, ...]:
            centres, held = kmeans.begin(*state[::2], candidates, uniforms)
            return centres, state[1], held, tf.constant(0)

        def revive() -> tuple[tf.Tensor, ...]:
            starved = state[1] < self.how.min_count
            everyone = tf.ones_like(candidates[:, 0], tf.bool)
            drawn = kmeans.redraw(state[0], starved, candidates, everyone, uniforms)
            return drawn[0], tf.zeros_like(state[1]), state[2], drawn[1]

        *state, revived = tf.cond(
            due,
            lambda: tf.cond(begun, revive, begin),
            lambda: (*state, tf.constant(0)),
        )
        self.revivals.update_state(revived / _replicas())
        return tuple(state)

    def _keep(self, centres: tf.Tensor, counts: tf.Tensor, held: tf.Tensor) -> None:
        self.centres.assign(centres)
        self.counts.assign(counts)
        self.held.assign(held)
        begun = held == self.how.clusters
        self.steps.assign_add(tf.cast(begun, tf.int32))

    def _regularise(self, loss: tf.Tensor, size: tf.Tensor) -> None:
        """Adds the mean over the global batch to the losses.

        Its value is the same on all replicas. Its gradient is this replica's part times
        their number, by which trainers divide the losses of a model.

        Args:
            loss: Sum over this replica's rows.
            size: Numbers in the rows of all replicas.
        """
        mine = loss * _replicas() / size
        (all_of_it,) = _over_replicas([loss])
        mean = mine + tf.stop_gradient(all_of_it / size - mine)
        self.regulariser.update_state(mean)
        self.add_loss(mean)


class Occupancy(keras.metrics.Metric):
    """Share of the clusters that had a row since the epoch began."""

    def __init__(self, clusters: int, name: str) -> None:
        """Makes the counters."""
        super().__init__(name, "float32")
        self.rows = self.add_weight("rows", [clusters], initializer="zeros")

    def update_state(self, members: tf.Tensor) -> None:
        """Counts the rows of each cluster [clusters]."""
        self.rows.assign_add(members)

    def reset_state(self) -> None:
        """Begins an epoch."""
        self.rows.assign(tf.zeros_like(self.rows))

    def result(self) -> tf.Tensor:
        """Returns the share, in [0, 1]."""
        return tf.reduce_mean(tf.cast(self.rows > 0, tf.float32))


def _replicas() -> int:
    replica = tf.distribute.get_replica_context()
    return 1 if replica is None else replica.num_replicas_in_sync


def _over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns values summed over all replicas."""
    if _replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce("sum", values)


def _candidates(rows: tf.Tensor, due: tf.Tensor) -> tf.Tensor:
    """Returns the rows of all replicas, in the order of the global batch, if due."""
    if _replicas() == 1:
        return rows
    # Replicas cannot meet inside a branch; so they always do, mostly with a row each:
    # TensorFlow 2.21 crashes where none has any.
    count = tf.shape(rows)[0]
    count = tf.where(due, count, tf.minimum(count, 1))
    return tf.distribute.get_replica_context().all_gather(rows[:count], axis=0)
