"""Uncertainties and what judges them, against brute force and closed forms."""

import itertools

import numpy as np
import pytest
from scipy import stats

from network_pruning.evaluation import uncertainty


def slow_entropy(p):
    return -sum(q * np.log(q) for q in p if q > 0)


@pytest.fixture
def draws():
    """Predictions of 6 members for 4 inputs, 3 classes."""
    return np.random.default_rng(0).dirichlet([0.5, 1, 2], (6, 4))


def test_the_split_of_an_ensemble(draws):
    found = uncertainty.of_samples(np.log(draws))
    for i in range(4):
        mean = draws[:, i].mean(axis=0)
        assert found.total[i] == pytest.approx(slow_entropy(mean), abs=1e-12)
        data = np.mean([slow_entropy(p) for p in draws[:, i]])
        assert found.data[i] == pytest.approx(data, abs=1e-12)
        # Mutual information as the mean divergence from the mean prediction.
        information = np.mean([np.sum(p * np.log(p / mean)) for p in draws[:, i]])
        assert found.knowledge[i] == pytest.approx(information, abs=1e-12)
    assert (found.knowledge > 0).all()
    same = uncertainty.of_samples(np.log(draws[:1]))
    np.testing.assert_allclose(same.knowledge, 0, atol=1e-12)


def test_certain_predictions_have_no_entropy():
    with np.errstate(divide="ignore"):
        logs = np.log([[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(uncertainty.entropy(logs), [0, np.log(2)])


def test_a_dirichlet_law_equals_its_draws():
    logs = np.log([[0.7, 1.5, 4.0], [30.0, 1.0, 2.0]])
    found = uncertainty.of_dirichlet(logs)
    generator = np.random.default_rng(1)
    for i, alpha in enumerate(np.exp(logs)):
        drawn = generator.dirichlet(alpha, 100_000)
        with np.errstate(divide="ignore"):
            expected = uncertainty.of_samples(np.log(drawn)[:, None])
        assert found.total[i] == pytest.approx(expected.total[0], abs=0.01)
        assert found.data[i] == pytest.approx(expected.data[0], abs=0.01)


def test_a_dirichlet_law_may_be_sharp_beyond_float64():
    found = uncertainty.of_dirichlet([[800.0, 0.0, 0.0], [900.0, 900.0, 0.0]])
    np.testing.assert_allclose(found.data, [0, np.log(2)], atol=1e-12)
    np.testing.assert_allclose(found.knowledge, 0, atol=1e-12)


@pytest.fixture(params=range(4))
def scores(request):
    """Scores with many ties."""
    generator = np.random.default_rng(request.param)
    return generator.integers(0, 9, 30) / 2, generator.integers(2, 12, 17) / 2


def test_auroc_counts_pairs(scores):
    inside, outside = scores
    pairs = [
        1.0 if b > a else 0.5 if a == b else 0.0
        for a, b in itertools.product(inside, outside)
    ]
    assert uncertainty.auroc(inside, outside) == pytest.approx(np.mean(pairs))
    swapped = uncertainty.auroc(outside, inside)
    assert swapped == pytest.approx(1 - np.mean(pairs))


def slow_curve(inside, outside):
    """Returns (recall, precision, false positive rate) at every threshold, falling."""
    for threshold in sorted(set(inside) | set(outside), reverse=True):
        hits, alarms = np.sum(outside >= threshold), np.sum(inside >= threshold)
        yield hits / len(outside), hits / (hits + alarms), alarms / len(inside)


def test_aupr_and_fpr95_go_through_the_thresholds(scores):
    area, last, rate = 0.0, 0.0, None
    for recall, precision, false in slow_curve(*scores):
        area += (recall - last) * precision
        last = recall
        if rate is None and recall >= 0.95:
            rate = false
    assert uncertainty.aupr(*scores) == pytest.approx(area)
    assert uncertainty.fpr95(*scores) == pytest.approx(rate)


def test_perfect_scores():
    inside, outside = [0.0, 1.0, 2.0], [3.0, 4.0]
    assert uncertainty.auroc(inside, outside) == 1
    assert uncertainty.aupr(inside, outside) == 1
    assert uncertainty.fpr95(inside, outside) == 0
    assert uncertainty.fpr95(outside, inside) == 1


def slow_ndcg(relevance, scores, k):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    best = sorted(relevance, reverse=True)
    gain = sum(relevance[j] / np.log2(i + 2) for i, j in enumerate(order[:k]))
    return gain / sum(g / np.log2(i + 2) for i, g in enumerate(best[:k]))


@pytest.mark.parametrize("k", [3, 20])
def test_ndcg_equals_its_slow_twin(k):
    generator = np.random.default_rng(3)
    relevance, guess = generator.random(9), generator.integers(0, 4, 9)
    expected = slow_ndcg(relevance, guess, k)
    assert uncertainty.ndcg(relevance, guess, k) == pytest.approx(expected)
    assert uncertainty.ndcg(relevance, relevance, k) == pytest.approx(1)
    assert uncertainty.ndcg(np.zeros(5), np.arange(5), k) == 1


def test_ndcg_of_draws_takes_handfuls():
    generator = np.random.default_rng(4)
    relevance = generator.random(50)
    guess = relevance + 0.3 * generator.normal(size=50)
    found = uncertainty.ndcg_of_draws(relevance, guess, 7, trials=5, inputs=10, k=4)
    again = np.random.default_rng(7)
    values = []
    for _ in range(5):
        rows = again.choice(50, 10, replace=False)
        values.append(slow_ndcg(relevance[rows], guess[rows], 4))
    assert found == pytest.approx((np.mean(values), np.std(values)))
    whole = uncertainty.ndcg_of_draws(relevance, relevance, 0, trials=2, inputs=99)
    assert whole == pytest.approx((1, 0))


def test_entropy_mae():
    assert uncertainty.entropy_mae([1, 2], [1.5, 1]) == 0.75


def test_split_rhat():
    generator = np.random.default_rng(5)
    good = generator.normal(size=(4, 500))
    assert uncertainty.split_rhat(good) == pytest.approx(1, abs=0.02)
    apart = good + np.arange(4)[:, None]
    halves = [half for chain in apart for half in (chain[:250], chain[250:])]
    within = np.mean([np.var(half, ddof=1) for half in halves])
    between = 250 * np.var([half.mean() for half in halves], ddof=1)
    expected = np.sqrt((249 / 250 * within + between / 250) / within)
    assert uncertainty.split_rhat(apart) == pytest.approx(expected)
    drifting = good[:1] + np.linspace(0, 5, 500)
    assert uncertainty.split_rhat(drifting) > 1.5, "one chain that has not settled"
    assert np.isnan(uncertainty.split_rhat(np.ones((2, 4))))
    stuck = np.repeat([[0.5], [0.25]], 4, axis=1)
    assert uncertainty.split_rhat(stuck) == np.inf


def test_scores_of_a_normal_shift_have_the_known_area():
    generator = np.random.default_rng(6)
    inside, outside = generator.normal(size=20_000), generator.normal(1, size=20_000)
    expected = stats.norm.cdf(1 / np.sqrt(2))
    assert uncertainty.auroc(inside, outside) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uncertainty.of_samples([[0.0]]), r"got \(1, 1\), expected \[members"),
        (lambda: uncertainty.auroc([], [1.0]), r"scores \(0,\) inside"),
        (lambda: uncertainty.fpr95([np.nan], [1.0]), "no numbers"),
        (lambda: uncertainty.ndcg([1.0], [1.0, 2.0]), r"got \(1,\) and \(2,\)"),
        (lambda: uncertainty.ndcg([-1.0], [1.0]), "relevance: got -1.0"),
        (lambda: uncertainty.entropy_mae([1.0], [[1.0]]), r"\(1,\) and \(1, 1\)"),
        (lambda: uncertainty.split_rhat([[1, 2, 3]]), r"\(1, 3\), expected \[chains"),
    ],
)
def test_unfit_numbers_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
