from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network_pruning.pruning import masks

K_VALS = [0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999]
KEPT_OF_1000 = [1000, 750, 500, 400, 300, 200, 100, 50, 30, 10, 5, 1]
KEPT_OF_500 = [500, 375, 250, 200, 150, 100, 50, 25, 15, 5, 3, 1]
KEPT_OF_200 = [200, 150, 100, 80, 60, 40, 20, 10, 6, 2, 1, 1]


def slow_keep(scores, kept):
    """Sorts by falling score, then rising index."""
    flat = scores.ravel()
    order = sorted(range(flat.size), key=lambda i: (-flat[i], i))
    mask = np.zeros(flat.size, bool)
    mask[order[:kept]] = True
    return mask.reshape(scores.shape)


@pytest.mark.parametrize(
    ("n", "kept"), [(1000, KEPT_OF_1000), (500, KEPT_OF_500), (200, KEPT_OF_200)]
)
def test_counts_of_the_published_sweep(n, kept):
    assert [n - masks.removed_count(n, k) for k in K_VALS] == kept


@pytest.mark.parametrize(
    ("n", "sparsity", "removed"),
    [(100, 0.29, 29), (100, 0.57, 57), (1000, 0.001, 1), (10, 0.999, 9), (1, 0.9, 0)],
)
def test_sparsity_is_read_as_a_decimal(n, sparsity, removed):
    assert masks.removed_count(n, sparsity) == removed
    assert masks.removed_count(n, np.float32(sparsity)) == removed


@pytest.mark.parametrize("bad", [1, 1.0, -0.1, 2, float("nan"), float("inf"), "0.5"])
def test_bad_sparsity(bad):
    with pytest.raises(ValueError, match="sparsity: got"):
        masks.removed_count(10, bad)


def test_ties_stay_at_the_lowest_index():
    mask = masks.keep_largest(np.array([[2.0, 1.0], [1.0, 1.0]]), 0.5)
    assert mask.tolist() == [[True, True], [False, False]]
    assert masks.keep_largest(np.ones(5), 0.4).tolist() == [True] * 3 + [False] * 2


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        masks.keep_largest(np.array([1.0, np.nan]), 0.0)
    with pytest.raises(ValueError, match="NaN"):
        masks.keep_largest_global({"a": np.array([1.0, np.nan])}, 0.5)


def test_kept_out_of_range():
    with pytest.raises(ValueError, match="kept: got 3"):
        masks.keep_count(np.ones(2), 3)


scores_of = st.lists(
    st.integers(-4, 4).map(float) | st.just(np.inf), min_size=1, max_size=40
)


@settings(max_examples=150, deadline=None)
@given(scores_of, st.sampled_from(K_VALS))
def test_keep_largest_equals_a_sort(values, sparsity):
    scores = np.array(values)
    kept = scores.size - masks.removed_count(scores.size, sparsity)
    assert np.array_equal(masks.keep_largest(scores, sparsity), slow_keep(scores, kept))


@settings(max_examples=100, deadline=None)
@given(st.lists(scores_of, min_size=1, max_size=4), st.sampled_from(K_VALS))
def test_global_without_protection_equals_one_sort(lists, sparsity):
    scores = {str(i): np.array(v) for i, v in enumerate(lists)}
    together = np.concatenate(list(scores.values()))
    kept = together.size - masks.removed_count(together.size, sparsity)
    found = masks.keep_largest_global(scores, sparsity, keep_one=False)
    assert np.array_equal(
        np.concatenate(list(found.values())), slow_keep(together, kept)
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(scores_of, min_size=1, max_size=4), st.sampled_from(K_VALS))
def test_global_keeps_one_of_each_and_the_exact_total(lists, sparsity):
    scores = {str(i): np.array(v) for i, v in enumerate(lists)}
    free = masks.keep_largest_global(scores, sparsity, keep_one=False)
    found = masks.keep_largest_global(scores, sparsity)
    total = sum(s.size for s in scores.values())
    kept = total - masks.removed_count(total, sparsity)
    assert all(mask.any() for mask in found.values())
    assert sum(m.sum() for m in found.values()) == max(kept, len(scores))
    if all(mask.any() for mask in free.values()):
        assert all(np.array_equal(free[name], found[name]) for name in scores)
    for name, mask in found.items():
        assert np.array_equal(mask, slow_keep(scores[name], mask.sum()))


def test_global_normalised_divides_by_the_mean_magnitude():
    scores = {"big": np.array([100.0, 300.0]), "small": np.array([1.0, 3.0])}
    plain = masks.keep_largest_global(scores, 0.5, keep_one=False)
    fair = masks.keep_largest_global(scores, 0.5, normalise=True)
    assert [m.tolist() for m in plain.values()] == [[True, True], [False, False]]
    assert [m.tolist() for m in fair.values()] == [[False, True], [False, True]]


def test_removed_share():
    share = masks.removed_share({"a": np.array([True, False]), "b": np.ones(2, bool)})
    assert share == 0.25
    assert masks.removed_share({}) == 0


def test_arithmetic_loads_no_keras():
    code = (
        "import sys, network_pruning.pruning.masks as m\n"
        "assert m.removed_count(4, .5) == 2\n"
        "names = {n.partition('.')[0] for n in sys.modules}\n"
        "print(sorted(names & {'tf_keras', 'tensorflow', 'keras', 'absl'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
