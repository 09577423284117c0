"""Which players a game can spare: enumerations of removed sets. No Keras.

Size 1 is leave-one-out, the size of the game the Shapley value, and the best set of
each size the benchmark that no ranking beats.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from network_pruning.pruning.games import (
    Checkpoint,
    Estimate,
    Float64,
    Game,
    Samples,
    evaluate_all,
)
from network_pruning.pruning.masks import keep_count
from network_pruning.types import BoolArray

EXACT_LIMIT = 12
"""Players up to which `exact` enumerates: 4 096 coalitions."""

MOST_SETS = 1 << 16
"""Coalitions that an enumeration may ask for."""


def exact(
    game: Game,
    n: int,
    *,
    limit: int = EXACT_LIMIT,
    earlier: Samples | None = None,
    checkpoint: Checkpoint | None = None,
) -> Estimate:
    """Computes Shapley values from all 2^n coalitions.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * [v(S + i) - v(S)]
    (Shapley 1953, "A Value for n-Person Games").

    Args:
        game: Of n players.
        n: Number of players.
        limit: Players up to which to enumerate.
        earlier: State to resume from.
        checkpoint: Is handed the state after every batch.

    Returns:
        Values without error.

    Raises:
        ValueError: If there are more players than `limit`.
    """
    if n > limit:
        raise ValueError(
            f"exact Shapley values: got {n} players, that is 2^{n} coalitions, "
            f"expected at most {limit}: sample with 'permutation' or 'kernel'."
        )
    return partial(game, n, n, limit=2**limit, earlier=earlier, checkpoint=checkpoint)


def partial(
    game: Game,
    n: int,
    size: int,
    *,
    limit: int = MOST_SETS,
    earlier: Samples | None = None,
    checkpoint: Checkpoint | None = None,
) -> Estimate:
    """Averages marginal contributions over all removed sets of up to `size` players.

    phi_i = 1/size * sum over s = 0 ... size-1 of the mean of v(-K) - v(-K-i) over the
    removed sets K without i, |K| = s; -K is everyone but K. Size 1 is leave-one-out,
    size n the Shapley value. This is n/size times the partial sum of Adamczewski, Li
    and Van Gool 2024 ("Shapley Pruning for Neural Network Compression"), which orders
    players alike.

    Args:
        game: Of n players.
        n: Number of players.
        size: Largest number removed, in [1, n].
        limit: Coalitions to evaluate at most.
        earlier: State to resume from.
        checkpoint: Is handed the state after every batch.

    Returns:
        Values without error.

    Raises:
        ValueError: If the size is out of range or needs too many coalitions.
    """
    masks = removals(n, size, limit)
    v, samples = evaluate_all(game, masks, f"removals n={n}", earlier, checkpoint)
    total = np.zeros(n)
    for s in range(size):
        # Means over K without i, and over K + i: each is one product with the masks.
        smaller, larger = _of_size(masks, n - s), _of_size(masks, n - s - 1)
        count = math.comb(n - 1, s)
        total += v[smaller] @ masks[smaller] / count
        total -= v[larger] @ ~masks[larger] / count
    return Estimate(total / size, None, samples.evaluations, samples)


@dataclass(frozen=True)
class BestSets:
    """The best ways to remove a number of players.

    Attributes:
        size: Players removed.
        removed: Indices, best set first [top, size].
        values: Of what remains [top].
    """

    size: int
    removed: npt.NDArray[np.int64]
    values: Float64

    def overlap(self, scores: Float64) -> float:
        """Returns the share of the best set among the `size` lowest scores."""
        gone = ~keep_count(scores, len(scores) - self.size)
        return float(gone[self.removed[0]].mean())


def oracle(
    game: Game,
    n: int,
    size: int,
    *,
    top: int = 5,
    limit: int = MOST_SETS,
    earlier: Samples | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[list[BestSets], Samples]:
    """Finds the best sets to remove by trying all of them.

    The benchmark that no ranking can beat (Adamczewski, Li and Van Gool 2024).

    Args:
        game: Of n players.
        n: Number of players.
        size: Largest number removed, in [1, n].
        top: Sets to list for each size; ties to the one enumerated first.
        limit: Coalitions to evaluate at most.
        earlier: State to resume from, of `partial` too.
        checkpoint: Is handed the state after every batch.

    Returns:
        The best sets for each size 1 ... size, and the state.

    Raises:
        ValueError: If the size is out of range or needs too many coalitions.
    """
    masks = removals(n, size, limit)
    v, samples = evaluate_all(game, masks, f"removals n={n}", earlier, checkpoint)
    found = []
    for s in range(1, size + 1):
        rows = np.flatnonzero(_of_size(masks, n - s))
        best = rows[np.argsort(-v[rows], kind="stable")[:top]]
        removed = np.array([np.flatnonzero(~masks[row]) for row in best])
        found.append(BestSets(s, removed, v[best]))
    return found, samples


def removals(n: int, size: int, limit: int) -> BoolArray:
    """Lists the masks that lack up to `size` players, fewest first.

    Args:
        n: Number of players.
        size: Largest number removed.
        limit: Masks to list at most.

    Returns:
        [coalitions, n]; those of a larger size only follow.

    Raises:
        ValueError: If the size is out of range or needs too many coalitions.
    """
    if not 1 <= size <= n:
        raise ValueError(f"size: got {size}, expected 1 to {n}, the number of players.")
    count = sum(math.comb(n, s) for s in range(size + 1))
    if count > limit:
        raise ValueError(
            f"size: got {size}, that is {count} coalitions of {n} players, expected at "
            f"most {limit}: take a smaller size, or sample with 'permutation'."
        )
    masks = np.ones((count, n), bool)
    sets = itertools.chain.from_iterable(
        itertools.combinations(range(n), s) for s in range(size + 1)
    )
    for mask, removed in zip(masks, sets, strict=True):
        mask[list(removed)] = False
    return masks


def _of_size(masks: BoolArray, size: int) -> BoolArray:
    return masks.sum(axis=1) == size
