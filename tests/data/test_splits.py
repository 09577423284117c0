from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data
from data import DatasetError, splits


def pool(size, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (size, 4, 4, 1), dtype=np.uint8)
    labels = generator.integers(0, classes, size)
    return splits.Pool(splits.digests(images, labels), labels)


def test_digest_is_sha256_of_image_then_label():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    labels = np.array([3, 4], np.int64)
    expected = [
        hashlib.sha256(bytes([0, 1, 2, 3]) + (3).to_bytes(8, "little")).digest(),
        hashlib.sha256(bytes([4, 5, 6, 7]) + (4).to_bytes(8, "little")).digest(),
    ]
    assert [row.tobytes() for row in splits.digests(images, labels)] == expected


def test_digest_does_not_depend_on_byte_order():
    images = np.random.default_rng(0).random((3, 2, 2, 1)).astype("<f4")
    labels = np.arange(3)
    swapped = splits.digests(images.astype(">f4"), labels.astype(">i8"))
    np.testing.assert_array_equal(swapped, splits.digests(images, labels))


def test_canonical_order_is_the_order_of_the_digests_as_bytes():
    digests = pool(200).digests.copy()
    digests[:100, :8] = 7  # equal first words: the later ones decide
    rows = splits.canonical_order(digests)
    expected = sorted(range(200), key=lambda row: digests[row].tobytes())
    assert rows.tolist() == expected


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        (None, 60_000, 10_000),
        (None, 20_000, 10_000),
        (None, 19_999, 3_999),
        (None, 5, 1),
        (7, 8, 7),
    ],
)
def test_num_valid(asked, size, expected):
    assert splits.pick_num_valid(asked, size) == expected


@pytest.mark.parametrize(
    ("asked", "size"), [(0, 9), (-1, 9), (9, 9), (10, 9), (None, 4)]
)
def test_num_valid_that_leaves_a_split_empty_is_refused(asked, size):
    with pytest.raises(DatasetError, match=r"num_valid: got .* of \d"):
        splits.pick_num_valid(asked, size)


def test_first_is_the_original_split():
    rows = splits.divide(pool(50), pool(20, seed=1), 10, "first", seed=3)
    assert rows["valid"].tolist() == list(range(10))
    assert rows["train"].tolist() == list(range(10, 50))
    assert rows["test"].tolist() == list(range(20))


@pytest.mark.parametrize("has_test", [True, False])
@pytest.mark.parametrize("how", data.HOW)
def test_every_row_is_in_one_split(how, has_test):
    test = pool(20, seed=1) if has_test else None
    rows = splits.divide(pool(50), test, 10, how, seed=3)
    drawn = [rows["train"], rows["valid"]] + ([] if has_test else [rows["test"]])
    assert sorted(np.concatenate(drawn).tolist()) == list(range(50))
    assert len(rows["valid"]) == 10
    assert not has_test or sorted(rows["test"].tolist()) == list(range(20))


@pytest.mark.parametrize("has_test", [True, False])
def test_random_split_does_not_depend_on_the_order_of_delivery(has_test):
    there, test = pool(60), pool(20, seed=1)
    shuffle = np.random.default_rng(9).permutation(60)
    moved = splits.Pool(there.digests[shuffle], there.classes[shuffle])
    here = splits.divide(there, test if has_test else None, 12, "random", seed=5)
    then = splits.divide(moved, test if has_test else None, 12, "random", seed=5)
    for split in ("train", "valid"):
        np.testing.assert_array_equal(
            there.digests[here[split]], moved.digests[then[split]]
        )


def test_random_split_follows_the_seed_and_the_test_split_does_not():
    drawn = [splits.divide(pool(60), None, 12, "random", seed) for seed in (0, 0, 1)]
    assert drawn[0]["valid"].tolist() == drawn[1]["valid"].tolist()
    assert drawn[0]["valid"].tolist() != drawn[2]["valid"].tolist()
    assert drawn[0]["test"].tolist() == drawn[2]["test"].tolist()


def test_stratified_fifth_by_hand():
    classes = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
    order = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    # 7 of class 0 give 1, 2 of class 1 give one, the single one of class 2 stays
    assert splits.stratified_fifth(classes, order).tolist() == [8, 6]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80))
def test_stratified_fifth_takes_a_fifth_of_every_class(labels):
    classes = np.array(labels)
    order = np.random.default_rng(0).permutation(len(classes))
    taken = classes[splits.stratified_fifth(classes, order)]
    for label in np.unique(classes):
        size = int((classes == label).sum())
        expected = 0 if size == 1 else max(1, round(size / 5))
        assert (taken == label).sum() == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 1000), st.data())
def test_seeded_runs_are_distinct_rows_in_few_runs(total, draw):
    count = draw.draw(st.integers(1, total - 1))
    rows = splits.seeded_runs(total, count, seed=1)
    assert len(set(rows.tolist())) == count
    assert rows.min() >= 0
    assert rows.max() < total
    assert np.all(np.diff(rows) > 0)
    assert len(splits.runs(rows)) <= splits.STREAM_RUNS


def test_seeded_runs_spread_over_all_records_and_follow_the_seed():
    rows = splits.seeded_runs(100_000, 10_000, seed=0)
    share = np.histogram(rows, bins=10, range=(0, 100_000))[0] / 1000
    np.testing.assert_allclose(share, 1, atol=0.2)
    assert rows.tolist() != splits.seeded_runs(100_000, 10_000, seed=1).tolist()


def test_runs_by_hand():
    rows = np.array([0, 1, 2, 5, 7, 8])
    assert splits.runs(rows) == [(0, 3), (5, 6), (7, 9)]
    assert splits.runs(rows, longest=2) == [(0, 2), (2, 3), (5, 6), (7, 9)]


@pytest.mark.parametrize("test_total", [30, None])
@pytest.mark.parametrize("how", data.HOW)
def test_stream_divides_every_record_once(how, test_total):
    rows = splits.divide_stream(500, test_total, 50, how, seed=2)
    drawn = [rows["train"], rows["valid"]] + ([rows["test"]] * (test_total is None))
    assert sorted(np.concatenate(drawn).tolist()) == list(range(500))
    assert len(rows["test"]) == (test_total or 100)
    assert len(rows["valid"]) == 50
    if how == "first" and test_total:
        assert rows["valid"].tolist() == list(range(50))


def test_mnist_sized_digests_take_less_than_a_second():
    images = np.zeros((70_000, 28, 28, 1), np.uint8)
    start = time.process_time()
    splits.canonical_order(splits.digests(images, np.arange(70_000)))
    assert time.process_time() - start < 1
