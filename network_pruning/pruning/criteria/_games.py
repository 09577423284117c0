"""What the criteria share that judge coalitions of units."""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import tf_keras as keras

from network_pruning.pruning.coalitions import Coalitions, valid_images
from network_pruning.pruning.games import Estimate, Samples
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Price, Scores

Checkpoint = Callable[[str, Samples], None]
"""(group name, state so far): called after every batch of coalitions."""

Resume = Mapping[str, Samples]
"""States by group name, to resume or extend from."""


def play(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None,
    seed: int,
    value: str,
    images: int,
    estimate: Callable[[UnitGroup, Coalitions, dict[str, Any]], Estimate],
    earlier: Resume | None,
    checkpoint: Checkpoint | None,
) -> dict[str, Scores]:
    """Estimates the values of each group's units, all other groups complete.

    Args:
        model: Images -> logits [n, classes], or their softmax.
        groups: The units.
        data: Its validation split is read.
        seed: Of the images drawn.
        value: Of a coalition: "cross_entropy" (minus it, in nats) or "accuracy".
        images: Validation images to judge by.
        estimate: (group, game, {earlier, checkpoint}) -> estimate.
        earlier: States to resume or extend from.
        checkpoint: Is handed each group's state after every batch.

    Returns:
        Scores by group name.

    Raises:
        ValueError: If there are no data, or an option is out of range.
    """
    x, y = valid_images(data, images, seed)
    scores = {}
    for group in groups:
        had = (earlier or {}).get(group.name)
        paid = Price() if had is None else had.price
        start = time.perf_counter()
        game = Coalitions(model, group, x, y, value)
        price = functools.partial(_price, paid, game, start)
        note = functools.partial(_note, group.name, price, checkpoint)
        found = estimate(group, game, {"earlier": had, "checkpoint": note})
        scores[group.name] = Scores(
            found.values,
            found.standard_error,
            price(),
            samples=found.drawn,
            decided=found.decided,
        )
    return scores


def _price(paid: Price, game: Coalitions, start: float) -> Price:
    """Returns what a group has cost up to now, earlier processes included."""
    seconds = paid.seconds + time.perf_counter() - start
    return Price(paid.forward + game.forward, paid.backward, seconds)


def _note(
    name: str,
    price: Callable[[], Price],
    checkpoint: Checkpoint | None,
    samples: Samples,
) -> None:
    if checkpoint:
        checkpoint(name, replace(samples, price=price()))


def stream_seed(group: UnitGroup, seed: int) -> tuple[int, int]:
    """Returns the seed of a group's coalitions: by its name, not by its place."""
    return seed, zlib.crc32(group.name.encode())
