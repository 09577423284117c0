"""Arithmetic across the replicas of tf.distribute; alone, a replica is the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from network_pruning import losses


def share_of_mean(each: tf.Tensor) -> tf.Tensor:
    """Returns this replica's share of the mean over the global batch.

    The shares of all replicas, whose gradients tf.distribute adds, sum to the mean; it
    holds for ragged batches, which replicas split unevenly.

    Args:
        each: One value an example of this replica [n].
    """
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return tf.reduce_mean(each)
    count = tf.cast(tf.size(each), each.dtype)
    return tf.reduce_sum(each) / replicas.all_reduce("sum", count)


def share_of_sum(terms: list[tf.Tensor]) -> tf.Tensor:
    """Returns this replica's share of a sum that every replica computes whole."""
    replicas = tf.distribute.get_replica_context()
    count = 1 if replicas is None else replicas.num_replicas_in_sync
    return losses.total(terms) / count


def over_whole_batch(
    compute: Callable[..., tf.Tensor], *values: tf.Tensor
) -> tf.Tensor:
    """Computes values of this replica's examples that depend on the whole batch.

    Every replica computes those of all examples; gradients flow back to all of them.

    Args:
        compute: Takes the values of the global batch [N, ...], returns [N].
        *values: Of this replica's examples [n, ...].

    Returns:
        Those of this replica's examples [n].
    """
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return compute(*values)
    count = tf.shape(values[0])[0]
    counts = replicas.all_gather(count[None], axis=0)
    start = tf.reduce_sum(counts[: replicas.replica_id_in_sync_group])
    each = compute(*(replicas.all_gather(value, axis=0) for value in values))
    return each[start : start + count]


def summed(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the sums over all replicas."""
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return values
    return replicas.all_reduce("sum", values)


def assign_all(variables: list[tf.Variable], values: list[tf.Tensor]) -> None:
    """Assigns the same values on all replicas."""
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return

    def assign(strategy: Any, values: list[tf.Tensor]) -> None:
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(
                variable, lambda v, new: v.assign(new), args=(value,)
            )

    replicas.merge_call(assign, args=(values,))
