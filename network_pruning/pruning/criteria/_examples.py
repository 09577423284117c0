"""What the criteria that read data share: a draw of examples, means over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Price, Scores

Each = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
"""(images [n, ...], labels [n]) -> one value an example and unit, [n, n_units]."""


@dataclass(frozen=True)
class Mean:
    """A mean over examples.

    Attributes:
        values: float64 [n_units].
        standard_error: Of the mean, float64 [n_units]; NaN of a single example.
    """

    values: npt.NDArray[np.float64]
    standard_error: npt.NDArray[np.float64]


def require(data: Dataset | None, criterion: str, labels: bool = True) -> Dataset:
    """Returns the data a criterion cannot do without.

    Args:
        data: As the criterion got it.
        criterion: Its name, for the message.
        labels: Whether it needs the class of each example.

    Raises:
        ValueError: If there is none, or an example has several labels.
    """
    if data is None:
        raise ValueError(
            f"criterion {criterion!r} reads training data, got data=None: pass a "
            f"Dataset, score_units(model, {criterion!r}, data=...)."
        )
    if labels and data.multi_label:
        raise ValueError(
            f"criterion {criterion!r} needs one class an example, got the multi-label "
            f"dataset {data.name!r}: choose a criterion that reads no labels."
        )
    return data


def check_count(name: str, value: int) -> None:
    """Refuses what is no positive whole number.

    Raises:
        ValueError: Naming the option.
    """
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: got {value!r}, expected a positive integer.")


def draw(data: Dataset, images: int, batch_size: int, seed: int) -> tf.data.Dataset:
    """Draws examples of the training split without replacement.

    Args:
        data: Its "train" split alone is read.
        images: How many; all there are, if they are fewer.
        batch_size: Examples in a batch; the last may have fewer.
        seed: Of the draw.

    Returns:
        Batches (images, labels).
    """
    check_count("images", images)
    check_count("batch_size", batch_size)
    batches = data.batches("train", batch_size, seed=seed)
    return batches.unbatch().take(images).batch(batch_size)


def mean_over_examples(
    each: Each, groups: Sequence[UnitGroup], batches: tf.data.Dataset
) -> tuple[dict[str, Mean], int]:
    """Averages over examples in one traced pass that holds one batch at a time.

    Args:
        each: What is averaged, for all groups.
        groups: The units.
        batches: (images, labels).

    Returns:
        Means by group name, and the number of examples.
    """
    # A loop over the dataset itself, not its iterator, takes twice as long to build.
    sizes = {group.name: group.n_units for group in groups}

    @tf.function
    def run(
        batches: Any,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        count = tf.constant(0)
        sums = {name: tf.zeros(size, tf.float64) for name, size in sizes.items()}
        squares = {name: tf.zeros(size, tf.float64) for name, size in sizes.items()}
        for images, labels in batches:
            found = each(images, labels)
            wide = {name: tf.cast(found[name], tf.float64) for name in sizes}
            sums = {n: sums[n] + tf.reduce_sum(wide[n], 0) for n in sizes}
            squares = {n: squares[n] + tf.reduce_sum(wide[n] ** 2, 0) for n in sizes}
            count += tf.shape(images)[0]
        return count, sums, squares

    # Each criterion is a function of its own: TensorFlow need not warn of retracing.
    source = iter(batches)
    count, sums, squares = run.get_concrete_function(source)(source)
    n = int(count)
    means = {name: _mean(sums[name], squares[name], n) for name in sizes}
    return means, n


def _mean(total: tf.Tensor, squares: tf.Tensor, n: int) -> Mean:
    values = total.numpy() / n
    if n == 1:
        return Mean(values, np.full_like(values, np.nan))
    spread = np.maximum(squares.numpy() / n - values**2, 0)
    return Mean(values, np.sqrt(spread / (n - 1)))


def score_means(
    each: Each,
    groups: Sequence[UnitGroup],
    batches: tf.data.Dataset,
    backward: bool = False,
) -> dict[str, Scores]:
    """Scores units by means over examples.

    Args:
        each: What is averaged, for all groups.
        groups: The units.
        batches: (images, labels).
        backward: Whether `each` takes a backward pass.

    Returns:
        Scores by group name; what the pass has cost is shared out among the groups.
    """
    means, n = mean_over_examples(each, groups, batches)
    prices = share(Price(forward=n, backward=n if backward else 0), groups)
    return {
        name: Scores(mean.values, mean.standard_error, prices[name])
        for name, mean in means.items()
    }


def share(price: Price, groups: Sequence[UnitGroup]) -> dict[str, Price]:
    """Shares out what one pass for all groups has cost, so that prices add up.

    Args:
        price: Of the pass.
        groups: Those it served.

    Returns:
        Price by group name: equal parts, the first groups one example more.
    """
    n = len(groups)
    return {
        group.name: Price(
            forward=(price.forward + n - 1 - i) // n,
            backward=(price.backward + n - 1 - i) // n,
            seconds=price.seconds / n,
        )
        for i, group in enumerate(groups)
    }
