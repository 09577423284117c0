"""Games of players, and what playing them gives. Plain arrays, no Keras.

A game gives each coalition, a bool mask with True = present, a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from network_pruning.pruning.masks import keep_count
from network_pruning.types import BoolArray, Price

Float64 = npt.NDArray[np.float64]
Game = Callable[[BoolArray], Float64]
"""Masks [m, n], True = present -> values [m]."""

BATCH = 256
"""Coalitions between two checkpoints, about."""

LEAST_PAIRS = 8
"""Pairs of samples before a spread is trusted to decide anything."""


@dataclass(frozen=True)
class Samples:
    """What a stream of coalitions has given so far: all that resuming it needs.

    Attributes:
        stream: What was drawn: estimator, players, seed.
        rows: One entry per sample, in order [samples, ...] float64.
        ends: v(none) and v(all) [2], empty where the rows hold them.
        evaluations: Coalitions the game was asked for.
        price: What they have cost so far.
    """

    stream: str
    rows: Float64
    ends: Float64 = field(default_factory=lambda: np.empty(0))
    evaluations: int = 0
    price: Price = Price()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the state as named arrays, for np.savez."""
        return {
            "stream": np.array(self.stream),
            "rows": self.rows,
            "ends": self.ends,
            "evaluations": np.array(self.evaluations),
            "price": np.array(astuple(self.price), np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Samples:
        """Returns the state that `arrays` gave."""
        return cls(
            str(arrays["stream"]),
            np.asarray(arrays["rows"], np.float64),
            np.asarray(arrays["ends"], np.float64),
            int(arrays["evaluations"]),
            _price(arrays.get("price")),
        )


def _price(stored: npt.NDArray[Any] | None) -> Price:
    if stored is None:
        return Price()
    forward, backward, seconds = stored.tolist()
    return Price(int(forward), int(backward), seconds)


Checkpoint = Callable[[Samples], None]
"""Is handed the state after every batch."""


@dataclass(frozen=True)
class Estimate:
    """Values of the players, and how sure they are.

    Attributes:
        values: [n] float64.
        standard_error: [n] float64, inf where too little was drawn to tell; None where
            the estimator is exact or has none.
        evaluations: Coalitions the game was asked for in all, resumed ones included.
        samples: The state, to resume or extend from.
        drawn: Samples that the values are made of, if they are drawn.
        decided: Whether these decide the cut; None if there is none.
    """

    values: Float64
    standard_error: Float64 | None
    evaluations: int
    samples: Samples
    drawn: int | None = None
    decided: bool | None = None


@dataclass(frozen=True)
class Cut:
    """Sampling ends early once it is clear which players are kept.

    Attributes:
        kept: Number of players to keep.
        z: Standard errors by which every kept player must lead every other one.
    """

    kept: int
    z: float = 1.96

    def decided(self, values: Float64, replicates: Float64) -> bool:
        """Tells whether the samples decide the cut.

        For each pair over the cut, mean difference > z * its own standard error: paired
        samples share their noise, so the difference is surer than either value.

        Args:
            values: Estimates [n].
            replicates: Independent estimates [pairs, n] whose mean `values` is.

        Returns:
            Whether each confidence interval excludes zero; False before `LEAST_PAIRS`.
        """
        pairs, n = replicates.shape
        if not 0 < self.kept < n:
            return True
        if pairs < LEAST_PAIRS:
            return False
        kept = keep_count(values, self.kept)
        covariance = np.cov(replicates, rowvar=False) / pairs
        own = np.diag(covariance)
        variance = own[:, None] + own - 2 * covariance
        error = np.sqrt(np.maximum(variance[np.ix_(kept, ~kept)], 0))
        gap = values[kept][:, None] - values[~kept]
        return bool((gap > self.z * error).all())


def standard_error(replicates: Float64) -> Float64:
    """Computes the standard error of the mean of independent estimates.

    Args:
        replicates: [samples, n].

    Returns:
        [n]; inf from fewer than two samples.
    """
    count, n = replicates.shape
    if count < 2:
        return np.full(n, np.inf)
    return replicates.std(axis=0, ddof=1) / math.sqrt(count)


def evaluate_all(
    game: Game,
    masks: BoolArray,
    stream: str,
    earlier: Samples | None,
    checkpoint: Checkpoint | None,
) -> tuple[Float64, Samples]:
    """Evaluates masks in order, those that `earlier` holds excepted.

    Args:
        game: Of n players.
        masks: [m, n].
        stream: Name of the enumeration that the masks are the beginning of.
        earlier: State to resume from.
        checkpoint: Is handed the state after every batch.

    Returns:
        A value for each mask, and the state, which may hold more.

    Raises:
        ValueError: If `earlier` is of another stream.
    """
    samples = continued(stream, earlier, np.empty(0))
    while len(samples.rows) < len(masks):
        start = len(samples.rows)
        values = game(masks[start : start + BATCH])
        rows = np.concatenate([samples.rows, values])
        samples = Samples(stream, rows, evaluations=len(rows))
        if checkpoint:
            checkpoint(samples)
    return samples.rows[: len(masks)], samples


def continued(stream: str, earlier: Samples | None, empty: Float64) -> Samples:
    """Checks a state to resume from.

    Args:
        stream: What is to be drawn.
        earlier: The state, or None.
        empty: Rows to begin with if there is none.

    Returns:
        The state to go on from.

    Raises:
        ValueError: If it is of another stream.
    """
    if earlier is None:
        return Samples(stream, empty)
    if earlier.stream != stream:
        raise ValueError(
            f"earlier samples: got those of {earlier.stream!r}, expected {stream!r}: "
            "resume with the options they were drawn with, or draw anew."
        )
    return earlier
