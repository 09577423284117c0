"""Shapley values of games, sampled. Plain arrays, no Keras.

The Shapley value of a player is its mean marginal contribution over all orders in which
players may leave (Shapley 1953); `removals.exact` enumerates it. Every estimator asks
the game for whole batches of coalitions; what is drawn depends on the seed and the
number of the sample alone, so that a stream can be stopped, resumed and extended
without changing what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from network_pruning.pruning.games import (
    BATCH,
    Checkpoint,
    Cut,
    Estimate,
    Float64,
    Game,
    Samples,
    continued,
    evaluate_all,
    standard_error,
)
from network_pruning.pruning.removals import removals
from network_pruning.types import BoolArray

SINGULAR = 1e-10
"""Eigenvalues below this share of the largest count as zero."""


class _Scheme(Protocol):
    """A way to draw coalitions in pairs, and to make values of them."""

    @property
    def stream(self) -> str: ...

    @property
    def batch(self) -> int:
        """Pairs between two checkpoints."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""

    def evaluate(
        self, game: Game, indices: range, ends: Float64
    ) -> tuple[Float64, int]:
        """Returns the rows of some pairs, and the coalitions they took."""

    def estimate(self, rows: Float64, ends: Float64) -> tuple[Float64, Float64]:
        """Returns values [n] and their replicates [pairs, n]."""


def _sample(
    scheme: _Scheme,
    game: Game,
    n: int,
    pairs: int,
    cut: Cut | None,
    earlier: Samples | None,
    checkpoint: Checkpoint | None,
) -> Estimate:
    """Draws up to `pairs` pairs, batch by batch.

    The cut is judged at the same places whether rows are drawn or resumed, so that the
    result depends on seed and options alone.

    Returns:
        The estimate from the pairs up to there.
    """
    samples = continued(scheme.stream, earlier, np.empty((0, *scheme.shape)))
    if not samples.ends.size:
        ends = game(np.repeat([[False], [True]], n, axis=1))
        samples = Samples(scheme.stream, samples.rows, ends, 2)
    ends, decided = samples.ends, None
    for stop in _stops(pairs, scheme.batch):
        start = len(samples.rows)
        if start < stop:
            rows, cost = scheme.evaluate(game, range(start, stop), ends)
            rows = np.concatenate([samples.rows, rows])
            cost += samples.evaluations
            samples = Samples(scheme.stream, rows, ends, cost)
            if checkpoint:
                checkpoint(samples)
        if cut:
            decided = cut.decided(*scheme.estimate(samples.rows[:stop], ends))
        if decided:
            break
    values, replicates = scheme.estimate(samples.rows[:stop], ends)
    error = standard_error(replicates)
    return Estimate(
        values, error, samples.evaluations, samples, drawn=2 * stop, decided=decided
    )


def _stops(pairs: int, batch: int) -> Iterator[int]:
    """Yields the numbers of pairs at which to pause: full batches, then the rest."""
    yield from range(batch, pairs, batch)
    yield pairs


def _pairs(samples: int) -> int:
    if samples < 1:
        raise ValueError(f"samples: got {samples}, expected at least 1.")
    return -(-samples // 2)


def _generator(seed: Sequence[int], index: int) -> np.random.Generator:
    return np.random.default_rng([*seed, index])


def _seed(seed: int | Sequence[int]) -> tuple[int, ...]:
    return (seed,) if isinstance(seed, int) else tuple(seed)


def permutation(
    game: Game,
    n: int,
    samples: int,
    seed: int | Sequence[int] = 0,
    *,
    tolerance: float | None = None,
    cut: Cut | None = None,
    earlier: Samples | None = None,
    checkpoint: Checkpoint | None = None,
) -> Estimate:
    """Estimates Shapley values from random orders of leaving.

    phi_i = mean over permutations of v(before i leaves) - v(after) (Castro, Gomez and
    Tejada 2009). Each permutation is followed by its reverse, an antithetic pair
    (Mitchell et al. 2022, "Sampling Permutations for Shapley Value Estimation",
    section 4.1), and standard errors are those of the pairs' means. The values sum to
    v(all) - v(none) exactly.

    Args:
        game: Of n players.
        n: Number of players.
        samples: Permutations, n - 1 coalitions each; rounded up to whole pairs.
        seed: Pair j depends on the seed and j alone.
        tolerance: A walk ends where its value is within this distance of v(none), and
            takes v(none) from there on (Ghorbani and Zou 2019, algorithm 1, at the
            other end); None walks to the end.
        cut: When to stop early.
        earlier: State to resume or extend from.
        checkpoint: Is handed the state after every batch.

    Returns:
        Values with standard errors.

    Raises:
        ValueError: If samples is below 1, or `earlier` is of another stream.
    """
    scheme = _Permutations(n, _seed(seed), tolerance)
    return _sample(scheme, game, n, _pairs(samples), cut, earlier, checkpoint)


@dataclass(frozen=True)
class _Permutations:
    """Rows are the values along both walks of a pair, ends included [2, n + 1]."""

    n: int
    seed: tuple[int, ...]
    tolerance: float | None

    @property
    def stream(self) -> str:
        return (
            f"permutation n={self.n} seed={list(self.seed)} tolerance={self.tolerance}"
        )

    @property
    def batch(self) -> int:
        return max(1, BATCH // 2 // self.n)

    @property
    def shape(self) -> tuple[int, ...]:
        return 2, self.n + 1

    def orders(self, indices: range) -> npt.NDArray[np.int64]:
        """Returns who leaves first, second ... [pairs, 2, n]."""
        drawn = [_generator(self.seed, j).permutation(self.n) for j in indices]
        return np.stack([np.stack([order, order[::-1]]) for order in drawn])

    def evaluate(
        self, game: Game, indices: range, ends: Float64
    ) -> tuple[Float64, int]:
        places = self.orders(indices).reshape(-1, self.n).argsort(axis=1)
        walks = np.full((len(places), self.n + 1), ends[0])
        walks[:, 0] = ends[1]
        going = np.arange(len(places))
        cost = 0
        for gone in self._steps():
            if not going.size:
                break
            masks = places[going][:, None, :] >= gone[:, None]
            values = game(masks.reshape(-1, self.n)).reshape(len(going), len(gone))
            cost += values.size
            ended = self._ended(values, ends[0])
            walks[going[:, None], gone] = np.where(ended, ends[0], values)
            going = going[~ended[:, -1]]
        return walks.reshape(-1, *self.shape), cost

    def _steps(self) -> list[npt.NDArray[np.int64]]:
        """Returns the numbers of players gone, in parts that are evaluated at once."""
        inner = np.arange(1, self.n)
        if not inner.size:
            return []
        parts = 1 if self.tolerance is None else min(8, inner.size)
        return np.array_split(inner, parts)

    def _ended(self, values: Float64, none: float) -> BoolArray:
        if self.tolerance is None:
            return np.zeros(values.shape, bool)
        return np.logical_or.accumulate(np.abs(values - none) <= self.tolerance, axis=1)

    def estimate(self, rows: Float64, ends: Float64) -> tuple[Float64, Float64]:
        del ends
        orders = self.orders(range(len(rows)))
        marginals = np.empty(orders.shape)
        np.put_along_axis(marginals, orders, rows[:, :, :-1] - rows[:, :, 1:], axis=2)
        replicates = marginals.mean(axis=1)
        return replicates.mean(axis=0), replicates


def kernel(
    game: Game,
    n: int,
    samples: int,
    seed: int | Sequence[int] = 0,
    *,
    cut: Cut | None = None,
    earlier: Samples | None = None,
    checkpoint: Checkpoint | None = None,
) -> Estimate:
    """Estimates Shapley values by weighted least squares.

    Minimises sum w(S) [v(S) - v(none) - sum of phi_i over S]^2 under the constraint
    sum phi_i = v(all) - v(none), with w(S) = (n - 1) / (C(n, r) r (n - r)), r = |S|
    (Charnes et al. 1988; Lundberg and Lee 2017, theorem 2). Sets are drawn with
    probability ~ w, each with its complement (Covert and Lee 2021, sections 3 and 4.2),
    and fitted without weights; if `samples` covers all 2^n - 2 sets they are
    enumerated with weights, and the values are exact.

    Args:
        game: Of n players.
        n: Number of players.
        samples: Coalitions; rounded up to whole pairs.
        seed: Pair j depends on the seed and j alone.
        cut: When to stop early.
        earlier: State to resume or extend from.
        checkpoint: Is handed the state after every batch.

    Returns:
        Values, with standard errors from the residuals of the pairs (sandwich
        covariance, clustered by pair); None if enumerated.

    Raises:
        ValueError: If samples is below 1, or `earlier` is of another stream.
    """
    pairs = _pairs(samples)
    if n == 1 or samples >= 2**n - 2:
        return _kernel_enumerated(game, n, earlier, checkpoint)
    scheme = _Kernel(n, _seed(seed))
    return _sample(scheme, game, n, pairs, cut, earlier, checkpoint)


def _kernel_enumerated(
    game: Game, n: int, earlier: Samples | None, checkpoint: Checkpoint | None
) -> Estimate:
    masks = removals(n, n, limit=2**n)
    if earlier is not None and earlier.stream.startswith("kernel "):
        earlier = None  # Samples that now would cost more than all sets together.
    v, samples = evaluate_all(game, masks, f"removals n={n}", earlier, checkpoint)
    inner = masks[1:-1]
    r = inner.sum(axis=1)
    weights = np.array([(n - 1) / (math.comb(n, k) * k * (n - k)) for k in r])
    values, _, _ = constrained_fit(inner, v[1:-1], weights, v[[-1, 0]])
    return Estimate(values, None, samples.evaluations, samples)


def constrained_fit(
    masks: BoolArray, values: Float64, weights: Float64, ends: Float64
) -> tuple[Float64, Float64, Float64]:
    """Fits an additive game, its values summing to v(all) - v(none).

    With phi = (v(all) - v(none)) / n + u and sum u = 0: u = M Z'W y, where M is the
    pseudo-inverse of P Z'WZ P and P takes the mean away. So u is of minimum norm, the
    limit of a ridge that vanishes: players the samples never tell apart share evenly.

    Args:
        masks: Z, coalitions [m, n].
        values: v of each [m].
        weights: w of each [m].
        ends: v(none), v(all) [2].

    Returns:
        phi [n]; residuals [m]; M [n, n].
    """
    z = masks.astype(np.float64)
    n = z.shape[1]
    share = (ends[1] - ends[0]) / n
    y = values - ends[0] - z.sum(axis=1) * share
    centred = z - z.mean(axis=1, keepdims=True)
    a = centred.T @ (weights[:, None] * centred)
    m = np.linalg.pinv(a, rcond=SINGULAR, hermitian=True)
    u = m @ (centred.T @ (weights * y))
    return share + u, y - z @ u, m


@dataclass(frozen=True)
class _Kernel:
    """Rows are the values of a set and of its complement [2]."""

    n: int
    seed: tuple[int, ...]

    @property
    def stream(self) -> str:
        return f"kernel n={self.n} seed={list(self.seed)}"

    @property
    def batch(self) -> int:
        return BATCH // 2

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def masks(self, indices: range) -> BoolArray:
        """Returns the sets drawn, each before its complement [2 * pairs, n]."""
        sizes = np.arange(1, self.n)
        chances = 1 / (sizes * (self.n - sizes))
        chances /= chances.sum()
        masks = np.zeros((len(indices), 2, self.n), bool)
        for mask, j in zip(masks, indices, strict=True):
            generator = _generator(self.seed, j)
            size = generator.choice(sizes, p=chances)
            mask[0, generator.permutation(self.n)[:size]] = True
        masks[:, 1] = ~masks[:, 0]
        return masks.reshape(-1, self.n)

    def evaluate(
        self, game: Game, indices: range, ends: Float64
    ) -> tuple[Float64, int]:
        del ends
        values = game(self.masks(indices))
        return values.reshape(-1, 2), values.size

    def estimate(self, rows: Float64, ends: Float64) -> tuple[Float64, Float64]:
        pairs = len(rows)
        masks = self.masks(range(pairs))
        ones = np.ones(len(masks))
        values, residuals, m = constrained_fit(masks, rows.ravel(), ones, ends)
        freedom = pairs - (self.n - 1)
        if freedom < 1:
            return values, values[None]  # One replicate: its spread is unknown.
        scores = (masks * residuals[:, None]).reshape(pairs, 2, self.n).sum(axis=1)
        # Scaled so that the spread of the replicates is the sandwich covariance
        # M (sum g g') M * pairs / freedom.
        scale = pairs * math.sqrt((pairs - 1) / freedom)
        return values, values + scale * scores @ m


def legacy(
    game: Game,
    n: int,
    samples: int,
    seed: int | Sequence[int] = 0,
    *,
    earlier: Samples | None = None,
    checkpoint: Checkpoint | None = None,
) -> Estimate:
    """Estimates as the original did, for comparison: not the Shapley value.

    Ordinary least squares v ~ b_0 + sum b_j [j removed] over distinct sets whose sizes
    are uniform on 1 ... n - 1; phi_j = -b_j, of minimum norm where the samples leave it
    open (kamadforge/dirichlet_pruning, methods/shapley_rank). Without the kernel's
    weights and its constraint even infinitely many samples rank wrongly in most games.

    Args:
        game: Of n players.
        n: Number of players.
        samples: Coalitions.
        seed: Sample j depends on the seed and j alone.
        earlier: State to resume or extend from.
        checkpoint: Is handed the state after every batch.

    Returns:
        Values without standard errors.

    Raises:
        ValueError: If samples is below 1, or `earlier` is of another stream.
    """
    _pairs(samples)
    seed = _seed(seed)
    masks = np.ones((samples, n), bool)
    for j, mask in enumerate(masks):
        generator = _generator(seed, j)
        size = generator.integers(1, max(n, 2))
        mask[generator.permutation(n)[:size]] = False
    stream = f"legacy n={n} seed={list(seed)}"
    v, drawn = evaluate_all(game, masks, stream, earlier, checkpoint)
    distinct, first = np.unique(masks, axis=0, return_index=True)
    design = np.column_stack([np.ones(len(distinct)), ~distinct])
    slopes = np.linalg.lstsq(design, v[first], rcond=None)[0]
    return Estimate(-slopes[1:], None, drawn.evaluations, drawn)
