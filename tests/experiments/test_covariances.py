"""Correlations of learnt switches: by law, counted by sign."""

import numpy as np
import pytest

from experiments.rankings import covariances
from experiments.rankings.covariances import Correlations, learn, markdown
from network_pruning.pruning.switch_laws import Dirichlet, GeneralisedDirichlet
from network_pruning.pruning.switches import Posterior
from tests import cases


def test_a_dirichlet_knows_no_positive_pair():
    theta = np.random.default_rng(0).normal(size=6)
    found = covariances.of(Posterior(Dirichlet(0, 0.5), theta, 0))
    assert found.positive == 0
    assert found.values.shape == (15,)
    assert np.abs(found.values - found.sampled).max() < 0.05


def test_a_generalised_one_may():
    # Late sticks share what the first one leaves: they rise and fall together.
    theta = np.array([[0.0, 5.0, 5.0], [0.0, 5.0, 5.0]])
    found = covariances.of(Posterior(GeneralisedDirichlet(0, 0.5), theta, 0))
    assert 0 < found.positive < 1
    assert found.values.max() > 0.5
    assert np.abs(found.values - found.sampled).max() < 0.05


def test_every_group_is_learnt_under_both_laws():
    model = cases.randomise(cases.normalised())
    found = learn(model, cases.dataset(model), seed=0, steps=2)
    assert list(found) == ["dirichlet", "generalised dirichlet"]
    for by_group in found.values():
        assert list(by_group) == ["hidden_1", "hidden_2"]
        assert by_group["hidden_2"].values.shape == (21,)


def test_the_page_says_shares_and_extremes():
    def two(*values):
        return Correlations(np.array(values), np.array(values) + 0.001)

    found = {
        seed: {
            "dirichlet": {"c1": two(-0.5, -0.25)},
            "generalised dirichlet": {"c1": two(-0.5, 0.25 + seed)},
        }
        for seed in (0, 1)
    }
    page = markdown(found, "python -m it")
    assert "| c1 | 0.00 ± 0.00 (-0.25) | 0.50 ± 0.00 (+1.25) | 0.001 |" in page
    assert "    python -m it" in page


@pytest.mark.parametrize("spread", [0.0])
def test_switches_that_do_not_vary_have_no_correlation(spread):
    covariance = np.zeros((3, 3)) + spread
    assert covariances._above_diagonal(covariance).tolist() == [0, 0, 0]
