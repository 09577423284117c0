"""The arithmetic of Shapley values, on games solved by hand or by a slow twin."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest

from network_pruning.pruning import removals, shapley
from network_pruning.pruning.games import Cut, Samples


def additive(weights, none=2.0):
    return lambda masks: none + masks @ np.asarray(weights, float)


def table(n, seed=0):
    """A game whose every coalition has a value of its own."""
    values = np.random.default_rng(seed).normal(size=2**n)
    return lambda masks: values[masks @ (1 << np.arange(n))]


def noisy_additive(n, seed=0):
    """Mostly additive, as networks are: a spread of weights and some interaction."""
    random = table(n, seed)
    weights = np.arange(n) ** 2 / n
    return lambda masks: masks @ weights + 0.3 * random(masks)


class Counted:
    def __init__(self, game, dies_after=None):
        self.game, self.asked, self.calls = game, 0, 0
        self.dies_after = dies_after

    def __call__(self, masks):
        self.calls += 1
        if self.dies_after is not None and self.calls > self.dies_after:
            raise KeyboardInterrupt
        self.asked += len(masks)
        return self.game(masks)


def value(game, present, n):
    return game(np.isin(np.arange(n), list(present))[None])[0]


def slow_exact(game, n):
    """The mean over all orders, each walked one by one."""
    phi = np.zeros(n)
    for order in itertools.permutations(range(n)):
        present = set(range(n))
        for player in order:
            before = value(game, present, n)
            present -= {player}
            phi[player] += before - value(game, present, n)
    return phi / math.factorial(n)


def slow_partial(game, n, size):
    """Spec B7.3, term by term."""
    phi = np.zeros(n)
    everyone = set(range(n))
    for i in range(n):
        for s in range(size):
            weight = math.factorial(s) * math.factorial(n - s - 1) / math.factorial(n)
            for gone in itertools.combinations(everyone - {i}, s):
                left = everyone - set(gone)
                step = value(game, left, n) - value(game, left - {i}, n)
                phi[i] += weight * step
    return phi


ESTIMATORS = {
    "exact": lambda game, n, **o: removals.exact(game, n, **o),
    "permutation": lambda game, n, **o: shapley.permutation(game, n, 40, **o),
    "kernel": lambda game, n, **o: shapley.kernel(game, n, 50, **o),
    "kernel, all sets": lambda game, n, **o: shapley.kernel(game, n, 999, **o),
    "legacy": lambda game, n, **o: shapley.legacy(game, n, 50, **o),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_additive_games_return_their_weights(name):
    weights = [3.0, -1.0, 0.0, 4.0, 1.5, -9.0]
    estimate = ESTIMATORS[name](additive(weights), 6)
    assert np.allclose(estimate.values, weights, atol=1e-7)
    if estimate.standard_error is not None:
        assert np.allclose(estimate.standard_error, 0, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "legacy"])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_values_sum_to_what_all_add_to_none(name, n):
    game = table(n)
    none, everyone = game(np.array([[False] * n, [True] * n]))
    estimate = ESTIMATORS[name](game, n)
    assert np.isclose(estimate.values.sum(), everyone - none, atol=1e-9)


def test_exact_is_the_mean_over_all_orders():
    assert np.allclose(removals.exact(table(5), 5).values, slow_exact(table(5), 5))


def test_a_glove_game_by_hand():
    """One left glove, two right ones, a pair is worth 1: (4, 1, 1) / 6."""

    def game(masks):
        return (masks[:, 0] & (masks[:, 1] | masks[:, 2])).astype(float)

    assert np.allclose(removals.exact(game, 3).values, np.array([4, 1, 1]) / 6)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_partial_is_the_sum_of_the_paper(size):
    estimate = removals.partial(table(5), 5, size)
    slow = slow_partial(table(5), 5, size) * 5 / size
    assert np.allclose(estimate.values, slow)
    assert estimate.evaluations == sum(math.comb(5, s) for s in range(size + 1))


def test_partial_of_size_one_leaves_one_out():
    game = table(6)
    everyone = np.ones((1, 6), bool)
    expected = game(everyone) - game(~np.eye(6, dtype=bool))
    assert np.allclose(removals.partial(game, 6, 1).values, expected)


@pytest.mark.parametrize("seed", range(20))
def test_kernel_with_all_62_sets_is_exact(seed):
    game = table(6, seed)
    estimate = shapley.kernel(game, 6, 62)
    assert np.abs(estimate.values - removals.exact(game, 6).values).max() < 1e-6
    assert estimate.standard_error is None
    assert estimate.evaluations == 64


def test_kernel_fit_is_the_constrained_least_squares():
    """Against the same problem solved with the last player's value eliminated."""
    n, rng = 5, np.random.default_rng(0)
    masks, w = rng.random((30, n)) < 0.5, rng.random(30)
    v, ends = rng.normal(size=30), np.array([0.3, 2.0])
    design = masks[:, :-1] - masks[:, -1:].astype(float)
    target = v - ends[0] - masks[:, -1] * (ends[1] - ends[0])
    root = np.sqrt(w)[:, None]
    first = np.linalg.lstsq(root * design, root[:, 0] * target, rcond=None)[0]
    slow = [*first, ends[1] - ends[0] - first.sum()]
    values, residuals, _ = shapley.constrained_fit(masks, v, w, ends)
    assert np.allclose(values, slow, atol=1e-8)
    assert np.allclose(residuals, v - ends[0] - masks @ values)


@pytest.mark.parametrize("estimator", [shapley.permutation, shapley.kernel])
def test_sampling_is_unbiased_and_knows_its_error(estimator):
    n = 8
    exact = removals.exact(table(n), n).values
    estimate = estimator(table(n), n, 252 if estimator is shapley.kernel else 2000)
    z = (estimate.values - exact) / estimate.standard_error
    assert np.abs(z).max() < 4
    many = [estimator(table(n), n, 100, seed) for seed in range(200, 300)]
    spread = np.std([e.values for e in many], axis=0)
    claimed = np.sqrt(np.mean([e.standard_error**2 for e in many], axis=0))
    assert 0.75 < (claimed / spread).mean() < 1.25


def test_antithetic_pairs_reduce_the_variance():
    """In f(|S|) = |S|^2 a player's gain falls along the walk: reversal evens it out."""
    estimate = shapley.permutation(lambda masks: masks.sum(axis=1) ** 2.0, 6, 20)
    assert np.allclose(estimate.values, 6)
    assert np.allclose(estimate.standard_error, 0)

    def concave(masks):
        return (1 + masks.sum(axis=1)) ** 0.3 * (1 + masks @ np.arange(6) / 50)

    rows = shapley.permutation(concave, 6, 400).samples.rows
    scheme = shapley._Permutations(6, (0,), None)
    orders = scheme.orders(range(200))
    singles = np.empty((200, 2, 6))
    np.put_along_axis(singles, orders, -np.diff(rows, axis=2), axis=2)
    pairs = singles.mean(axis=1).var(axis=0)
    assert (pairs < 0.5 * singles.var(axis=(0, 1)) / 2).all()


def test_the_original_regression_ranks_wrongly_where_the_kernel_is_right():
    """Even in the limit of all sets, each size as likely as any other."""
    wrong = 0
    for seed in range(10):
        game = table(6, seed)
        order = np.argsort(removals.exact(game, 6).values)
        old = shapley.legacy(game, 6, 3000).values
        wrong += not np.array_equal(np.argsort(old), order)
        assert np.array_equal(np.argsort(shapley.kernel(game, 6, 62).values), order)
    assert wrong >= 5


def test_the_original_regression_by_hand():
    """v = 3 - [1 removed] * 2 - [2 removed]; a line drawn twice counts once."""
    game = Counted(lambda masks: 3 - (~masks) @ np.array([2.0, 1.0, 0.0]))
    estimate = shapley.legacy(game, 3, 40)
    assert np.allclose(estimate.values, [2, 1, 0])
    assert game.asked == 40


def test_oracle_finds_the_best_removals():
    game = noisy_additive(6)
    found, _ = removals.oracle(game, 6, 3, top=2)
    assert [best.size for best in found] == [1, 2, 3]
    for best in found:
        sets = list(itertools.combinations(range(6), best.size))
        values = [value(game, set(range(6)) - set(gone), 6) for gone in sets]
        order = np.argsort(values)[::-1][:2]
        assert best.removed.tolist() == [list(sets[i]) for i in order]
        assert np.allclose(best.values, np.array(values)[order])
    scores = np.array([0.0, 1, 9, 9, 9, 9])
    best = removals.BestSets(2, np.array([[0, 5]]), np.array([1.0]))
    assert best.overlap(scores) == 0.5


@pytest.mark.parametrize("name", ["permutation", "truncated", "kernel", "legacy"])
def test_extending_is_drawing_more(name):
    network = noisy_additive(9)

    def draw(samples, earlier=None, game=network):
        if name == "truncated":
            function, options = shapley.permutation, {"tolerance": 3.0}
        else:
            function, options = getattr(shapley, name), {}
        return function(game, 9, samples, 5, earlier=earlier, **options)

    whole, part = draw(180), draw(70)
    extended = draw(180, part.samples)
    assert np.array_equal(whole.values, extended.values)
    assert whole.evaluations == extended.evaluations > part.evaluations
    free = Counted(noisy_additive(9))
    again = draw(70, whole.samples, free)
    assert np.array_equal(again.values, part.values)
    assert free.asked == 0
    assert np.array_equal(draw(70, part.samples).values, part.values)


@pytest.mark.parametrize(
    "name", ["exact", "permutation", "kernel", "legacy", "partial", "oracle"]
)
def test_a_killed_run_resumes_to_the_same_result(name):
    arguments = {"exact": (), "partial": (4,), "oracle": (4,)}.get(name, (2000,))
    arguments = (300,) if name == "permutation" else arguments
    function = getattr(shapley, name, None) or getattr(removals, name)
    kept = []

    def run(dies_after=None, earlier=None):
        game = Counted(noisy_additive(11), dies_after)
        result = function(game, 11, *arguments, earlier=earlier, checkpoint=kept.append)
        return result, game

    with pytest.raises(KeyboardInterrupt):
        run(dies_after=2)
    file = io.BytesIO()
    np.savez(file, **kept[-1].arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        earlier = Samples.from_arrays(arrays)
    (whole, all_asked), (resumed, rest) = run(), run(earlier=earlier)
    assert 0 < rest.asked < all_asked.asked
    if name == "oracle":
        assert np.array_equal(whole[0][-1].removed, resumed[0][-1].removed)
    else:
        assert np.array_equal(whole.values, resumed.values)


def test_truncation_walks_less_and_keeps_the_sum():
    n = 12

    def game(masks):
        return np.maximum(masks.sum(axis=1) - 8.0, 0) * masks[:, 0]

    whole, cut = Counted(game), Counted(game)
    expected = shapley.permutation(whole, n, 60).values
    estimate = shapley.permutation(cut, n, 60, tolerance=1e-9)
    assert np.allclose(estimate.values, expected)
    assert estimate.evaluations == cut.asked < 0.7 * whole.asked
    rough = shapley.permutation(game, n, 60, tolerance=1.5).values
    assert np.isclose(rough.sum(), 4)


@pytest.mark.parametrize("estimator", [shapley.permutation, shapley.kernel])
def test_sampling_stops_once_the_cut_is_decided(estimator):
    n, most = 9, 500
    few = Counted(noisy_additive(n))
    early = estimator(few, n, most, cut=Cut(kept=4))
    assert few.asked < 0.6 * most * (8 if estimator is shapley.permutation else 1)
    exact = removals.exact(noisy_additive(n), n).values
    assert set(np.argsort(early.values)[-4:]) == set(np.argsort(exact)[-4:])
    # Resuming, even from more samples than it needed, ends at the same place.
    more = estimator(noisy_additive(n), n, most)
    again = estimator(noisy_additive(n), n, most, cut=Cut(4), earlier=more.samples)
    assert np.array_equal(again.values, early.values)
    assert early.decided and again.decided and more.decided is None
    assert early.drawn == again.drawn < more.drawn == most


def test_a_tie_is_never_decided():
    same = Counted(lambda masks: masks.sum(axis=1).astype(float))
    estimate = shapley.permutation(same, 6, 100, cut=Cut(3))
    assert len(estimate.samples.rows) == 50
    assert (estimate.drawn, estimate.decided) == (100, False)
    assert Cut(6).decided(np.ones(6), np.ones((1, 6)))
    assert not Cut(3).decided(np.arange(6.0), np.tile(np.arange(6.0), (3, 1)))


def test_too_few_samples_have_no_error():
    for estimator in (shapley.permutation, shapley.kernel):
        estimate = estimator(table(6), 6, 2)
        assert np.isinf(estimate.standard_error).all()
        assert np.isfinite(estimate.values).all()


def test_many_players():
    weights = np.linspace(-1, 1, 1100)
    for estimator, samples in ((shapley.kernel, 8), (shapley.permutation, 2)):
        estimate = estimator(additive(weights), 1100, samples)
        assert np.isclose(estimate.values.sum(), weights.sum())


def test_refusals_name_the_remedy():
    game = table(4)
    with pytest.raises(ValueError, match=r"13 players.*at most 12: sample"):
        removals.exact(game, 13)
    with pytest.raises(ValueError, match="size: got 5, expected 1 to 4"):
        removals.partial(game, 4, 5)
    with pytest.raises(ValueError, match=r"11 coalitions.*at most 10: take a smaller"):
        removals.oracle(game, 4, 2, limit=10)
    with pytest.raises(ValueError, match="samples: got 0, expected at least 1"):
        shapley.permutation(game, 4, 0)
    samples = shapley.permutation(game, 4, 2, seed=1).samples
    with pytest.raises(ValueError, match=r"seed=\[1\].*expected.*seed=\[0\].*resume"):
        shapley.permutation(game, 4, 2, seed=0, earlier=samples)
