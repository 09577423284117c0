from __future__ import annotations

import numpy as np
import pytest

from data import DatasetError, images


def test_resize_enlarges_bilinearly():
    ramp = np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1)
    out = images.resize(ramp, (1, 4))
    # centres of the new pixels lie at -.25, .25, .75, 1.25 of the old ones
    np.testing.assert_allclose(out[0, 0, :, 0], [0, 0.25, 0.75, 1], atol=1e-6)


def test_resize_keeps_channels_apart_and_the_dtype():
    two = np.zeros((2, 3, 4, 3), np.uint8)
    two[0, ..., 1] = 50
    two[1, ..., 2] = 200
    out = images.resize(two, (6, 2))
    assert (out.shape, out.dtype) == ((2, 6, 2, 3), np.uint8)
    assert np.unique(out[0, ..., 1]).tolist() == [50]
    assert np.unique(out[1, ..., 2]).tolist() == [200]
    assert out[0, ..., 2].max() == out[1, ..., 1].max() == 0


def test_resize_averages_where_images_shrink():
    stripes = np.tile(np.array([0, 250], np.uint8), (8, 4)).reshape(1, 8, 8, 1)
    out = images.resize(stripes, (2, 2))
    np.testing.assert_allclose(out, 125, atol=20)


@pytest.mark.parametrize("size", [None, (3, 4)])
def test_resize_to_the_same_size_is_nothing(size):
    there = np.random.default_rng(0).random((2, 3, 4, 1)).astype(np.float32)
    assert images.resize(there, size) is there


def test_unit_floats():
    out = images.to_unit_floats(np.array([0, 51, 255], np.uint8))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [0, 0.2, 1], rtol=1e-7)


def test_images_without_channels_get_one():
    assert images.check_images(np.zeros((2, 3, 4), np.uint8), "x").shape == (2, 3, 4, 1)
    halves = images.check_images(np.full((2, 3, 4, 3), 0.5), "x")
    assert halves.dtype == np.float32


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((2, 3), np.uint8), r"x: got shape \[2, 3\], expected \[n, height"),
        (np.zeros((2, 3, 3, 2), np.uint8), r"got shape \[2, 3, 3, 2\]"),
        (np.zeros((0, 3, 3, 1), np.uint8), r"got shape \[0, 3, 3, 1\]"),
        (np.zeros((2, 3, 3), np.int64), r"got dtype int64.*astype\('uint8'\)"),
        (np.full((2, 3, 3), 1.5), "got values from 1.5 to 1.5"),
        (np.full((2, 3, 3), -0.1), "got values from -0.1 to"),
        (np.full((2, 3, 3), np.nan), "got values from nan"),
    ],
)
def test_other_images_are_refused(bad, words):
    with pytest.raises(DatasetError, match=words):
        images.check_images(bad, "x")


def test_labels_of_one_column_are_flattened():
    out = images.check_labels(np.array([[1], [0]], np.uint8), 2, "y")
    assert (out.tolist(), out.dtype) == ([1, 0], np.int64)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.array(["cat", "dog"]), r"y: got dtype <U3.*np\.unique"),
        (np.array([0.0, 1.0]), "got dtype float64"),
        (np.array([0, 1, 2]), r"got shape \[3\], expected \[2\]"),
        (np.eye(2, dtype=int), r"got shape \[2, 2\]"),
    ],
)
def test_other_labels_are_refused(bad, words):
    with pytest.raises(DatasetError, match=words):
        images.check_labels(bad, 2, "y")


def test_classes_are_counted():
    assert images.count_classes(np.array([2, 0, 1, 1]), np.array([0, 2])) == 3
    assert images.count_classes(np.array([1, 0]), None) == 2


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([1, 2, 3], None, r"got 1, 2, 3 \(3 distinct\).*return_inverse"),
        ([0, 2], None, "got 0, 2"),
        ([-1, 0, 1], None, "got -1, 0, 1"),
        ([0, 0], None, r"got 0 \(1 distinct\)"),
        (list(range(1, 9)), None, r"got 1, 2, 3, 4, 5, \.\.\. \(8 distinct\)"),
        ([0, 1], [0, 2], r"test labels: got 2, expected 0\.\.1"),
        ([0, 1], [-1, 1], "test labels: got -1"),
    ],
)
def test_labels_that_do_not_number_the_classes_are_refused(train, test, words):
    test = None if test is None else np.array(test)
    with pytest.raises(DatasetError, match=words):
        images.count_classes(np.array(train), test)
