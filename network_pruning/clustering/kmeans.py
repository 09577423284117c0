"""k-means on the activations of a layer, one batch after another. No Keras.

R. Liao, A. Schwing, R. Zemel, R. Urtasun, "Learning Deep Parsimonious Representations",
NIPS 2016. Rows are vectors to be clustered; what is one row depends on the kind. Every
function is pure; who draws, draws from uniform numbers it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor

KINDS = ("sample", "spatial", "channel")
"""What one row is: an example, a place of an example, a channel of an example."""
PIECE = 2**21
"""Distances held at once: as much memory as is taken and given back cheaply."""
MANY = 10_000
"""Rows that are worth a second core when they are added up."""


def embed(activation: Tensor, kind: str) -> Tensor:
    """Lays out a layer's activation as rows.

    Args:
        activation: [n, ..., channels]; [n, units] has one row an example in any kind.
        kind: One of `KINDS`.

    Returns:
        sample: [n, places * channels]; spatial: [n * places, channels]; channel:
        [n * channels, places], the channels of one example behind one another.
    """
    rank, channels = activation.shape.rank, activation.shape[-1]
    if rank == 2:
        return activation
    if kind == "spatial":
        return tf.reshape(activation, [-1, channels])
    if kind == "channel":
        activation = tf.transpose(activation, [0, rank - 1, *range(1, rank - 1)])
        return tf.reshape(activation, [-1, activation.shape[2:].num_elements()])
    return tf.reshape(activation, [-1, activation.shape[1:].num_elements()])


def width(shape: tuple[int | None, ...], kind: str) -> int | None:
    """Returns the length of the rows that `embed` makes, None if it is not settled.

    Args:
        shape: Of the activation, [n, ..., channels].
        kind: One of `KINDS`.
    """
    if len(shape) == 2 or kind == "spatial":
        return shape[-1]
    inner = shape[1:-1] if kind == "channel" else shape[1:]
    return tf.TensorShape(inner).num_elements()


def rows_of_one(shape: tuple[int | None, ...], kind: str) -> int | None:
    """Returns how many rows `embed` makes of one example, None if it is not settled.

    Args:
        shape: Of the activation, [n, ..., channels].
        kind: One of `KINDS`.
    """
    if len(shape) == 2 or kind == "sample":
        return 1
    places = tf.TensorShape(shape[1:-1]).num_elements()
    return shape[-1] if kind == "channel" else places


def assign(rows: Tensor, centres: Tensor) -> Tensor:
    """Finds the nearest centre of each row.

    The squared distance |x|^2 - 2 (x . mu - |mu|^2 / 2) is least where the bracket is
    largest.

    Args:
        rows: [r, d].
        centres: [k, d].

    Returns:
        int32 [r]; of centres equally far, one of them.
    """
    offsets = -tf.reduce_sum(tf.square(centres), axis=1) / 2
    piece = max(1, PIECE // centres.shape[0])
    if rows.shape[0] is not None and rows.shape[0] <= piece:
        return _nearest(rows, centres, offsets)
    count = tf.shape(rows)[0]
    found = tf.TensorArray(
        tf.int32, size=-(-count // piece), infer_shape=False, element_shape=[None]
    )

    def take(i: Tensor, found: tf.TensorArray) -> tuple[Tensor, tf.TensorArray]:
        near = _nearest(rows[i * piece : (i + 1) * piece], centres, offsets)
        return i + 1, found.write(i, near)

    _, found = tf.while_loop(lambda i, _: i * piece < count, take, (0, found))
    return tf.ensure_shape(found.concat(), rows.shape[:1])


def _nearest(rows: Tensor, centres: Tensor, offsets: Tensor) -> Tensor:
    products = tf.matmul(rows, centres, transpose_b=True)
    # As bias_add it is fused into the product.
    return tf.argmax(tf.nn.bias_add(products, offsets), 1, output_type=tf.int32)


def totals(rows: Tensor, clusters: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Adds up the rows of each cluster.

    Args:
        rows: [r, d].
        clusters: Of each row, int32 [r].
        k: Number of clusters.

    Returns:
        Sums [k, d], and the numbers of rows [k], as floats.
    """
    if rows.shape[0] is not None and rows.shape[0] < MANY:
        return _totals(rows, clusters, k)
    # A scatter_nd keeps one core busy: two of them run side by side.
    half = tf.shape(clusters)[0] // 2
    sums, counts = _totals(rows[:half], clusters[:half], k)
    more_sums, more_counts = _totals(rows[half:], clusters[half:], k)
    return sums + more_sums, counts + more_counts


def _totals(rows: Tensor, clusters: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # scatter_nd is three times as fast as unsorted_segment_sum on a CPU.
    sums = tf.scatter_nd(clusters[:, None], rows, [k, rows.shape[1]])
    ones = tf.ones_like(clusters, rows.dtype)
    return sums, tf.scatter_nd(clusters[:, None], ones, [k])


def move(
    centres: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
    legacy: bool = False,
) -> Tensor:
    """Moves centres towards the means of their rows.

    mu_k <- momentum * mu_k + (1 - momentum) * sums_k / counts_k.

    Args:
        centres: [k, d].
        sums: Of the rows of each cluster [k, d].
        counts: Number of rows of each cluster [k].
        momentum: Share of the old centre, in [0, 1).
        legacy: A cluster without rows keeps its centre, but under the original's rule,
            whose mean of no rows is zero, takes momentum times it.

    Returns:
        [k, d].
    """
    share = tf.math.divide_no_nan(1 - momentum, counts)
    keep = tf.ones_like(counts) * momentum
    if not legacy:
        keep = tf.where(counts > 0, keep, tf.ones_like(counts))
    return centres * keep[:, None] + sums * share[:, None]


def regulariser(
    rows: Tensor, centres: Tensor, clusters: Tensor, weight: float
) -> Tensor:
    """Computes weight / 2 * the sum of (x - mu_z)^2 over all rows and their entries.

    Args:
        rows: [r, d].
        centres: [k, d]; they are constants, no gradient reaches them.
        clusters: z, of each row, int32 [r].
        weight: Factor.

    Returns:
        The sum, a scalar; over r * d it is the regulariser R of the publication.
    """
    nearest = tf.gather(tf.stop_gradient(centres), clusters)
    return weight * tf.nn.l2_loss(rows - nearest)


def squared_distances(rows: Tensor, centres: Tensor, alive: Tensor) -> Tensor:
    """Computes how far each row is from the nearest of some centres.

    Args:
        rows: [r, d].
        centres: [k, d].
        alive: Which of them count, bool [k].

    Returns:
        [r], not negative; infinite if none is alive.
    """
    offsets = tf.reduce_sum(tf.square(centres), axis=1) / 2
    brackets = tf.matmul(rows, centres, transpose_b=True) - offsets
    largest = tf.reduce_max(tf.where(alive, brackets, -float("inf")), axis=1)
    lengths = tf.reduce_sum(tf.square(rows), axis=1)
    return tf.maximum(lengths - 2 * largest, 0.0)


def pick(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draws an index with a probability that is proportional to its weight.

    Args:
        weights: [r], not negative, one of them positive.
        uniform: A number in [0, 1).

    Returns:
        int32, never an index of weight zero.
    """
    reached = tf.cumsum(tf.cast(weights, tf.float64))
    goal = tf.cast(uniform, tf.float64) * reached[-1]
    return tf.reduce_sum(tf.cast(reached <= goal, tf.int32))


def redraw(
    centres: Tensor, starved: Tensor, rows: Tensor, valid: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Puts rows in the place of starved centres, one after another.

    Each is drawn with a probability proportional to its squared distance to the nearest
    of all other centres, those just drawn among them; the first of all evenly. With all
    centres starved it is the start of k-means++ (D. Arthur, S. Vassilvitskii,
    "k-means++: The Advantages of Careful Seeding", SODA 2007).

    Args:
        centres: [k, d].
        starved: Which are to be drawn anew, bool [k].
        rows: Candidates [r, d].
        valid: Which of them may be drawn, bool [r].
        uniforms: Numbers in [0, 1) [k].

    Returns:
        Centres [k, d], and how many are new, int32: fewer than are starved where no row
        is left that lies away from all centres.
    """
    # Starved ones first, in their order.
    order = tf.argsort(tf.cast(~starved, tf.int32), stable=True)
    wanted = tf.reduce_sum(tf.cast(starved, tf.int32))
    far = tf.where(valid, squared_distances(rows, centres, ~starved), 0.0)

    def left(i: Tensor, centres: Tensor, far: Tensor) -> Tensor:
        del centres
        return (i < wanted) & (tf.reduce_max(far) > 0)

    def draw(i: Tensor, centres: Tensor, far: Tensor) -> tuple[Tensor, ...]:
        weights = tf.where(tf.math.is_inf(far), 1.0, far)
        row = rows[pick(weights, uniforms[i])]
        placed = tf.tensor_scatter_nd_update(centres, order[i][None, None], row[None])
        nearer = tf.reduce_sum(tf.square(rows - row), axis=1)
        return i + 1, placed, tf.minimum(far, nearer)

    drawn, centres, _ = tf.while_loop(left, draw, (tf.constant(0), centres, far))
    return centres, drawn


def begin(
    centres: Tensor, held: Tensor, rows: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Starts centres as k-means++ does, as soon as there are rows enough.

    Until then the rows are held where the centres will be.

    Args:
        centres: [k, d]; the first `held` are rows of earlier batches.
        held: int32, below k.
        rows: Of this batch [r, d].
        uniforms: Numbers in [0, 1) [k].

    Returns:
        Centres [k, d], and how many rows they hold, int32: k where they have begun.
    """
    k, count = centres.shape[0], tf.shape(rows)[0]

    def hold() -> tuple[Tensor, Tensor]:
        places = held + tf.range(count)
        return tf.tensor_scatter_nd_update(centres, places[:, None], rows), held + count

    def choose() -> tuple[Tensor, Tensor]:
        number = tf.range(k + count)
        valid = (number < held) | (number >= k)
        pool = tf.concat([centres, rows], axis=0)
        chosen, _ = redraw(centres, tf.ones([k], tf.bool), pool, valid, uniforms)
        return chosen, tf.constant(k)

    return tf.cond(held + count < k, hold, choose)
