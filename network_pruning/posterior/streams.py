"""Random streams that are functions of a seed and a counter: nothing to remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor

NOISE, BATCHES, CASES, INPUTS = range(4)
"""Of the chain's noise, its minibatches, students' cases, noise on students' inputs."""


def seed_of(seed: int, stream: int, counter: Tensor) -> Tensor:
    """Returns the seed pair int [2] of one draw of a stream.

    Args:
        seed: Of everything, from 0 to 2^31 - 1.
        stream: One of this module's.
        counter: int, which draw.
    """
    pair = tf.constant([seed, stream], tf.int32)
    return tf.random.fold_in(pair, tf.cast(counter, tf.int64))


def rows_of(
    seed: int, stream: int, counter: Tensor, batch_size: int, cases: int
) -> Tensor:
    """Returns the rows of one batch out of an endless series of shuffled passes.

    Each pass takes every case at most once; the fewer than `batch_size` that remain at
    its end are left out, others in each pass.

    Args:
        seed: As for `seed_of`.
        stream: As for `seed_of`.
        counter: int, which batch.
        batch_size: Rows of it.
        cases: Rows there are.

    Returns:
        int32 [batch_size], all different.
    """
    in_a_pass = cases // batch_size
    counter = tf.cast(counter, tf.int64)
    pair = seed_of(seed, stream, counter // in_a_pass)
    first = tf.cast(counter % in_a_pass, tf.int32) * batch_size
    places = first + tf.range(batch_size)
    return tf.random.experimental.index_shuffle(places, pair, cases - 1)


def check_seed(seed: int) -> None:
    """Judges a seed.

    Raises:
        ValueError: If it is out of range.
    """
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed: got {seed}, expected a whole number in [0, 2^31)")


def check_batch(name: str, batch_size: int, cases: int) -> None:
    """Judges a batch size.

    Raises:
        ValueError: If there are not as many cases.
    """
    if not 1 <= batch_size <= cases:
        raise ValueError(
            f"{name}: got {batch_size}, expected 1 to {cases}, the number of cases"
        )
