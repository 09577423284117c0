"""Noise of mean 0 and variance 1 for the tensors of a chain.

Drawing and shaping are apart: a draw is best made outside a function that XLA compiles
(its random numbers are slow on CPUs), what it is shaped into inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor

Kind = Literal["gaussian", "two_point"]
KINDS = ("gaussian", "two_point")
BITS = 32


def check_kind(kind: str) -> None:
    """Judges a kind of noise.

    Raises:
        ValueError: If it is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"noise: got {kind!r}, expected one of {', '.join(KINDS)}")


def draw(kind: Kind, shapes: Sequence[Sequence[int]], seed: Tensor) -> Tensor:
    """Draws what `shape_noise` turns into noise.

    Args:
        kind: gaussian, or two_point: +-1, from one random bit each. A chain with it
            has the same law to weak order 1 (G. Milstein, M. Tretyakov, "Stochastic
            Numerics for Mathematical Physics", 2004, chapter 2), at a fraction of the
            price.
        shapes: Of the tensors.
        seed: Integers [2].

    Returns:
        Normal deviates float32 [count], or random words uint32 [count]. The same seed
        gives the same words everywhere; normals are others where XLA makes them.
    """
    count = sum(_draws(kind, shape) for shape in shapes)
    if kind == "gaussian":
        return tf.random.stateless_normal([count], seed, alg="philox")
    return tf.random.stateless_uniform(
        [count], seed, None, None, tf.uint32, alg="philox"
    )


def shape_noise(
    kind: Kind, drawn: Tensor, shapes: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Turns a draw into noise.

    Args:
        kind: As it was drawn.
        drawn: What `draw` gave.
        shapes: As it was drawn for.

    Returns:
        One float32 tensor of each shape; all entries independent, mean 0, variance 1.
    """
    parts = tf.split(drawn, [_draws(kind, shape) for shape in shapes])
    if kind == "gaussian":
        pairs = zip(parts, shapes, strict=True)
        return [tf.reshape(part, shape) for part, shape in pairs]
    return [_signs(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def _draws(kind: Kind, shape: Sequence[int]) -> int:
    if kind == "gaussian":
        return int(np.prod(shape))
    rows, columns = _rows_and_columns(shape)
    return -(-rows // BITS) * columns


def _rows_and_columns(shape: Sequence[int]) -> tuple[int, int]:
    columns = shape[-1] if len(shape) else 1
    return int(np.prod(shape[:-1])), int(columns)


def _signs(words: Tensor, shape: Sequence[int]) -> Tensor:
    """Spreads bits over a tensor: bit i of a word goes to the i-th of 32 rows.

    So neighbours in a row come from neighbouring words, and the compiled loop along a
    row is one shift of many words.

    Returns:
        +-1.0 of the shape.
    """
    rows, columns = _rows_and_columns(shape)
    places = tf.constant(np.arange(BITS, dtype=np.uint32)[None, :, None])
    spread = tf.bitwise.left_shift(tf.reshape(words, [-1, 1, columns]), places)
    flat = tf.reshape(spread, [-1, columns])[:rows]
    sign = tf.bitwise.bitwise_and(flat, tf.constant(1 << 31, tf.uint32))
    one = tf.constant(int(np.float32(1).view(np.uint32)), tf.uint32)
    return tf.reshape(tf.bitcast(tf.bitwise.bitwise_or(sign, one), tf.float32), shape)
