"""Augmented batches, against a twin that moves one image at a time."""

import numpy as np
import pytest
import tensorflow as tf

from network_pruning.augmentation import (
    ROTATION,
    batch_seeds,
    draw,
    draw_affine,
    draw_squares,
    make_augment,
)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((40, 6, 5, 2), np.float32)


def slow_augment(images, drawn, shift, black, flips):
    moved = np.full_like(images, black)
    _, height, width, _ = images.shape
    for n, (down, right, mirrored) in enumerate(drawn):
        for i in range(height):
            for j in range(width):
                column = width - 1 - j if flips and mirrored else j
                y, x = i + down - shift, column + right - shift
                if 0 <= y < height and 0 <= x < width:
                    moved[n, i, j] = images[n, y, x]
    return moved


@pytest.mark.parametrize("black", [0.0, -1.0])
@pytest.mark.parametrize(("kind", "shift"), [("shift", 2), ("flip_shift", 1)])
def test_each_image_is_moved_as_drawn(images, kind, shift, black):
    seed = tf.constant([3, 4])
    augment = tf.function(make_augment(kind, shift, black))
    drawn = draw(seed, len(images), shift).numpy()
    flips = kind == "flip_shift"
    expected = slow_augment(images, drawn, shift, black, flips)
    np.testing.assert_array_equal(augment(images, seed), expected)
    np.testing.assert_array_equal(augment(images, seed), expected)
    assert (augment(images, tf.constant([3, 5])).numpy() != expected).any()


def slow_affine(images, drawn, black):
    moved = np.empty_like(images)
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=black)
    x, y, down, right = drawn
    middle = np.array([height - 1, width - 1]) / 2
    for n in range(count):
        turn = np.array([[y[1][n], y[0][n]], [x[1][n], x[0][n]]], np.float64)
        for i in range(height):
            for j in range(width):
                place = turn @ (np.array([i, j]) - middle) + middle
                place += np.array([down[n], right[n]], np.float64)
                # Beyond the second row or column around the image all is black, too.
                place = np.clip(place + 2, 0, [height + 2, width + 2])
                (a, b), (s, t) = place.astype(int), place % 1
                moved[n, i, j] = (
                    (1 - s) * (1 - t) * padded[n, a, b]
                    + (1 - s) * t * padded[n, a, b + 1]
                    + s * (1 - t) * padded[n, a + 1, b]
                    + s * t * padded[n, a + 1, b + 1]
                )
    return moved


@pytest.mark.parametrize("black", [0.0, -1.0])
def test_each_image_is_turned_as_drawn(images, black):
    seed = tf.constant([3, 4])
    augment = tf.function(make_augment("affine", 1, black))
    drawn = [np.array(part) for part in draw_affine(seed, len(images), 1)]
    expected = slow_affine(images, drawn, black)
    np.testing.assert_allclose(augment(images, seed), expected, atol=1e-4)
    assert augment(images, seed).shape == images.shape
    assert abs(augment(images, tf.constant([3, 5])) - expected).numpy().max() > 0.1


def test_turns_are_small_and_centred():
    x, y, down, right = draw_affine(tf.constant([1, 2]), 20_000, 2)
    determinant = np.array(x[0] * y[1] - x[1] * y[0])
    assert determinant.min() > 0.85**2 - 1e-5
    assert determinant.max() < 1.15**2 + 1e-5
    turns = np.arctan2(y[0], x[0])
    assert abs(turns).max() == pytest.approx(ROTATION, rel=1e-3)
    for part in (turns, down, right):
        assert abs(np.mean(part)) < 0.05 * np.max(part)
    assert max(abs(down).numpy().max(), abs(right).numpy().max()) <= 2


def test_every_move_is_drawn_equally_often():
    drawn = draw(tf.constant([1, 2]), 30_000, 2).numpy()
    for column, ends in enumerate((5, 5, 2)):
        counts = np.bincount(drawn[:, column])
        np.testing.assert_allclose(counts, 30_000 / ends, rtol=0.06)
    assert abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.03


def slow_erase(images, middles, side):
    erased = images.copy()
    for n, middle in enumerate(middles):
        for i, j in np.ndindex(images.shape[1:3]):
            away = np.array([i, j]) - middle
            if (-(side // 2) <= away).all() and (away < side - side // 2).all():
                erased[n, i, j] = images[n].mean(axis=(0, 1))
    return erased


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_each_image_loses_a_square(images, side):
    seed = tf.constant([3, 4])
    augment = tf.function(make_augment("none", 2, erase=side))
    middles = draw_squares(seed, len(images), *images.shape[1:3]).numpy()
    expected = slow_erase(images, middles, side)
    np.testing.assert_allclose(augment(images, seed), expected, atol=1e-6)
    lost = (augment(images, seed) != images).numpy().any(axis=3).sum(axis=(1, 2))
    assert lost.max() == side**2


def test_images_move_before_they_lose_a_square(images):
    seed = tf.constant([3, 4])
    moved = make_augment("flip_shift", 1, -1.0)(images, seed)
    erased = make_augment("none", 1, erase=2)(moved, seed)
    both = make_augment("flip_shift", 1, -1.0, erase=2)(images, seed)
    np.testing.assert_array_equal(both, erased)


def test_every_square_is_drawn_equally_often_and_on_its_own():
    seed = tf.constant([1, 2])
    middles = draw_squares(seed, 30_000, 5, 4).numpy()
    for column, length in enumerate((5, 4)):
        counts = np.bincount(middles[:, column])
        np.testing.assert_allclose(counts, 30_000 / length, rtol=0.06)
    both = np.concatenate([middles, draw(seed, 30_000, 2)], axis=1)
    assert abs(np.corrcoef(both.T) - np.eye(5)).max() < 0.03


def test_none_changes_nothing():
    assert make_augment("none", 2) is None


def test_batch_seeds_are_those_of_the_datasets(few_examples=7):
    from data.arrays import ArrayDataset

    part = np.zeros((few_examples, 1, 1, 1), np.float32), np.arange(few_examples)
    data = ArrayDataset(
        "x", dict.fromkeys(("train", "valid", "test"), part), num_classes=7
    )

    def show(images, pair):
        return tf.zeros_like(images, tf.int32) + tf.reshape(pair, [1, 1, 1, 2])

    batches = data.batches("train", 3, [5, 6], show)
    seen = [images.numpy()[0, 0, 0] for images, _ in batches]
    np.testing.assert_array_equal(seen, batch_seeds((5, 6), 3))
