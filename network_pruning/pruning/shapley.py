"""Shapley values of cooperative games, exact and sampled. Plain arrays, no Keras.

A game gives each coalition, a bool mask with True = present, a value. The Shapley value
of a player is its mean marginal contribution over all orders in which players may leave
(Shapley 1953). Every estimator asks the game for whole batches of coalitions; what is
drawn depends on the seed and the number of the sample alone, so that a stream can be
stopped, resumed and extended without changing what was drawn before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from network_pruning.pruning.masks import keep_count
from network_pruning.types import BoolArray

Float64 = npt.NDArray[np.float64]
Game = Callable[[BoolArray], Float64]
"""Masks [m, n], True = present -> values [m]."""

EXACT_LIMIT = 12
"""Players up to which `exact` enumerates: 4 096 coalitions."""

MOST_SETS = 1 << 16
"""Coalitions that an enumeration may ask for."""

BATCH = 256
"""Coalitions between two checkpoints, about."""

LEAST_PAIRS = 8
"""Pairs of samples before a spread is trusted to decide anything."""

SINGULAR = 1e-10
"""Eigenvalues below this share of the largest count as zero."""


@dataclass(frozen=True)
class Samples:
    """What a stream of coalitions has given so far: all that resuming it needs.

    Attributes:
        stream: What was drawn: estimator, players, seed.
        rows: One entry per sample, in order [samples, ...] float64.
        ends: v(none) and v(all) [2], empty where the rows hold them.
        evaluations: Coalitions the game was asked for.
    """

    stream: str
    rows: Float64
    ends: Float64 = field(default_factory=lambda: np.empty(0))
    evaluations: int = 0

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the state as named arrays, for np.savez."""
        return {
            "stream": np.array(self.stream),
            "rows": self.rows,
            "ends": self.ends,
            "evaluations": np.array(self.evaluations),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Samples:
        """Returns the state that `arrays` gave."""
        return cls(
            str(arrays["stream"]),
            np.asarray(arrays["rows"], np.float64),
            np.asarray(arrays["ends"], np.float64),
            int(arrays["evaluations"]),
        )


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
    """

    values: Float64
    standard_error: Float64 | None
    evaluations: int
    samples: Samples


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


# Enumeration: exact, partial, oracle.


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
    masks = _removals(n, size, limit)
    v, samples = _evaluate_all(game, masks, f"removals n={n}", earlier, checkpoint)
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
    masks = _removals(n, size, limit)
    v, samples = _evaluate_all(game, masks, f"removals n={n}", earlier, checkpoint)
    found = []
    for s in range(1, size + 1):
        rows = np.flatnonzero(_of_size(masks, n - s))
        best = rows[np.argsort(-v[rows], kind="stable")[:top]]
        removed = np.array([np.flatnonzero(~masks[row]) for row in best])
        found.append(BestSets(s, removed, v[best]))
    return found, samples


def _removals(n: int, size: int, limit: int) -> BoolArray:
    """Lists the masks that lack up to `size` players, fewest first.

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


def _evaluate_all(
    game: Game,
    masks: BoolArray,
    stream: str,
    earlier: Samples | None,
    checkpoint: Checkpoint | None,
) -> tuple[Float64, Samples]:
    """Evaluates masks in order, those that `earlier` holds excepted.

    Returns:
        A value for each mask, and the state, which may hold more.
    """
    samples = _continued(stream, earlier, np.empty(0))
    while len(samples.rows) < len(masks):
        start = len(samples.rows)
        values = game(masks[start : start + BATCH])
        rows = np.concatenate([samples.rows, values])
        samples = Samples(stream, rows, evaluations=len(rows))
        if checkpoint:
            checkpoint(samples)
    return samples.rows[: len(masks)], samples


def _continued(stream: str, earlier: Samples | None, empty: Float64) -> Samples:
    if earlier is None:
        return Samples(stream, empty)
    if earlier.stream != stream:
        raise ValueError(
            f"earlier samples: got those of {earlier.stream!r}, expected {stream!r}: "
            "resume with the options they were drawn with, or draw anew."
        )
    return earlier


# Sampling: permutations, kernel regression.


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
    samples = _continued(scheme.stream, earlier, np.empty((0, *scheme.shape)))
    if not samples.ends.size:
        ends = game(np.repeat([[False], [True]], n, axis=1))
        samples = Samples(scheme.stream, samples.rows, ends, 2)
    ends = samples.ends
    for stop in _stops(pairs, scheme.batch):
        start = len(samples.rows)
        if start < stop:
            rows, cost = scheme.evaluate(game, range(start, stop), ends)
            rows = np.concatenate([samples.rows, rows])
            cost += samples.evaluations
            samples = Samples(scheme.stream, rows, ends, cost)
            if checkpoint:
                checkpoint(samples)
        if cut and cut.decided(*scheme.estimate(samples.rows[:stop], ends)):
            break
    values, replicates = scheme.estimate(samples.rows[:stop], ends)
    error = standard_error(replicates)
    return Estimate(values, error, samples.evaluations, samples)


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
    masks = _removals(n, n, limit=2**n)
    if earlier is not None and earlier.stream.startswith("kernel "):
        earlier = None  # Samples that now would cost more than all sets together.
    v, samples = _evaluate_all(game, masks, f"removals n={n}", earlier, checkpoint)
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
    v, drawn = _evaluate_all(game, masks, stream, earlier, checkpoint)
    distinct, first = np.unique(masks, axis=0, return_index=True)
    design = np.column_stack([np.ones(len(distinct)), ~distinct])
    slopes = np.linalg.lstsq(design, v[first], rcond=None)[0]
    return Estimate(-slopes[1:], None, drawn.evaluations, drawn)
