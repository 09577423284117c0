"""Graphs of networks: edges by slow loops, bases orthonormal, leading and real."""

import itertools
import math

import numpy as np
import pytest

from network_pruning.inversion import spectral


def slow_overlap(fine, coarse):
    """Shares by counting the least common multiple of pieces."""
    pieces = math.lcm(fine, coarse)
    shares = np.zeros((fine, coarse))
    for piece in range(pieces):
        shares[piece * fine // pieces, piece * coarse // pieces] += 1
    return shares * coarse / pieces


@pytest.mark.parametrize("sides", [(28, 14), (5, 3), (3, 5), (4, 4), (7, 1), (1, 3)])
def test_overlaps_are_shares(sides):
    shares = spectral.overlap(*sides)
    np.testing.assert_allclose(shares, slow_overlap(*sides), atol=1e-12)
    np.testing.assert_allclose(shares.sum(axis=0), 1)


def test_overlaps_of_grids_pool_by_means():
    image = np.random.default_rng(0).random((4, 6))
    pooled = image.ravel() @ spectral.overlaps((4, 6), (2, 3))
    means = [[image[i : i + 2, j : j + 2].mean() for j in (0, 2, 4)] for i in (0, 2)]
    np.testing.assert_allclose(pooled.reshape(2, 3), means)


def test_grids_are_coarsened_until_the_graph_fits():
    shapes = [(28, 28, 6), (10, 10, 16), (120,), (10,)]
    assert spectral.choose_grids(shapes, 10_000) == [(28, 28), (10, 10), (), ()]
    assert spectral.choose_grids(shapes, 5000) == [(14, 14), (10, 10), (), ()]
    assert spectral.choose_grids(shapes, 1500) == [(7, 7), (5, 5), (), ()]
    assert spectral.choose_grids([(3, 3, 2)], 2) == [(1, 1)]
    with pytest.raises(ValueError, match="got 152 units, expected at most 100"):
        spectral.choose_grids(shapes, 100)


def test_edges_between_dense_layers_are_magnitudes():
    kernel = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_array_equal(spectral.edges(kernel, (), 5, ()), np.abs(kernel))


def test_edges_of_a_convolution():
    kernel = np.random.default_rng(2).normal(size=(3, 3, 2, 4))
    found = spectral.edges(kernel, (4, 4), 2, (2, 2)).reshape(4, 4, 2, 2, 2, 4)
    for i, j, c, p, q, m in itertools.product(
        range(4), range(4), range(2), range(2), range(2), range(4)
    ):
        share = 0.25 if (i // 2, j // 2) == (p, q) else 0.0
        expected = share * np.abs(kernel[:, :, c, m]).sum()
        assert found[i, j, c, p, q, m] == pytest.approx(expected)


def test_edges_of_a_dense_layer_behind_pooled_maps():
    kernel = np.random.default_rng(3).normal(size=(4 * 4 * 2, 3))
    by_place = np.abs(kernel).reshape(4, 4, 2, 3)
    found = spectral.edges(kernel, (2, 2), 2, ()).reshape(2, 2, 2, 3)
    for i, j in itertools.product(range(2), range(2)):
        there = by_place[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        np.testing.assert_allclose(found[i, j], there.mean(axis=(0, 1)))
    fine = spectral.edges(kernel, (8, 8), 2, ()).reshape(8, 8, 2, 3)
    np.testing.assert_allclose(fine[1::2, ::2], by_place)


def test_edges_behind_global_pooling():
    kernel = np.random.default_rng(4).normal(size=(6, 3))
    found = spectral.edges(kernel, (2, 2), 6, ()).reshape(4, 6, 3)
    np.testing.assert_allclose(found, np.tile(np.abs(kernel), (4, 1, 1)))


@pytest.mark.parametrize(
    ("shape", "source", "width"),
    [
        ((3, 3, 2, 4), (4, 4), 3),
        ((7, 3), (), 6),
        ((12, 3), (), 6),
        ((10, 3), (2, 2), 2),
    ],
)
def test_layers_that_do_not_follow_each_other_are_refused(shape, source, width):
    with pytest.raises(ValueError, match=f"layer of {width} channels .* basis=pca"):
        spectral.edges(np.ones(shape), source, width, ())


def test_a_chain_has_a_symmetric_matrix():
    blocks = [np.full((2, 3), 1.0), np.full((3, 1), 2.0)]
    expected = [
        [0, 0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 0],
        [1, 1, 0, 0, 0, 2],
        [1, 1, 0, 0, 0, 2],
        [1, 1, 0, 0, 0, 2],
        [0, 0, 2, 2, 2, 0],
    ]
    np.testing.assert_array_equal(spectral.adjacency(blocks), expected)


def test_normalising_by_degree():
    matrix = np.array([[0, 2.0, 0, 0], [2, 0, 6, 0], [0, 6, 0, 0], [0, 0, 0, 0]])
    normal = spectral.by_degree(matrix)
    assert normal[0, 1] == pytest.approx(2 / np.sqrt(2 * 8))
    assert normal[1, 2] == pytest.approx(6 / np.sqrt(8 * 6))
    assert not normal[3].any()
    assert np.abs(np.linalg.eigvalsh(normal)).max() == pytest.approx(1)


def test_the_basis_is_orthonormal_real_and_leading():
    generator = np.random.default_rng(5)
    blocks = [generator.random((6, 5)), generator.random((5, 3))]
    matrix = spectral.by_degree(spectral.adjacency(blocks))
    basis = spectral.leading(matrix, 4)
    assert basis.dtype == np.float64
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)
    values = np.diag(basis.T @ matrix @ basis)
    np.testing.assert_allclose(matrix @ basis, basis * values, atol=1e-12)
    sizes = np.sort(np.abs(np.linalg.eigvalsh(matrix)))[::-1]
    np.testing.assert_allclose(np.abs(values), sizes[:4], atol=1e-12)
    assert (basis[np.abs(basis).argmax(axis=0), range(4)] > 0).all()
    whole = spectral.leading(matrix, 14)
    np.testing.assert_allclose(whole @ whole.T, np.eye(14), atol=1e-12)


def test_blocks_above_the_diagonal_alone_have_no_spectrum():
    generator = np.random.default_rng(6)
    matrix = np.triu(spectral.adjacency([generator.random((3, 4)), np.ones((4, 2))]))
    assert not np.diag(matrix).any()
    assert not np.linalg.matrix_power(matrix, 3).any()


def test_a_share_of_the_nodes_is_rounded_up():
    assert spectral.count(2410) == 241
    assert spectral.count(2411) == 242
    assert spectral.count(10, 1.0) == spectral.count(10, 0.95) == 10
    assert spectral.count(30, 0.7) == 21
