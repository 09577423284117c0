"""Distances to nearest neighbours, by loops."""

import numpy as np
import pytest

from network_pruning.evaluation import neighbours


def test_nearest_by_loops(monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", 3)
    generator = np.random.default_rng(0)
    queries, others = generator.random((7, 3, 3, 1)), generator.random((5, 3, 3, 1))
    expected = [min(np.linalg.norm(q - o) for o in others) for q in queries]
    np.testing.assert_allclose(
        neighbours.nearest(queries, [others[:3], others[3:]]), expected, rtol=1e-4
    )
    np.testing.assert_allclose(neighbours.nearest(others, [others]), 0, atol=2e-3)


def test_a_leak_shows():
    generator = np.random.default_rng(1)
    unseen = generator.normal(10, 1, 5000)
    alike = neighbours.leak(generator.normal(10, 1, 5000), unseen)
    assert alike.nearer == pytest.approx(0.01, abs=0.006)
    assert (alike.made, alike.unseen) == pytest.approx((10, 10), abs=0.1)
    copied = neighbours.leak(np.concatenate([np.zeros(50), unseen[:50]]), unseen)
    assert copied.nearer >= 0.5
