"""Objectives by slow loops and closed forms; each is another one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from network_pruning.inversion import objectives


@pytest.fixture
def drawn():
    generator = np.random.default_rng(0)
    taps = {"a": generator.normal(size=(3, 2, 2)), "b": generator.normal(size=(3, 5))}
    targets = {"a": generator.normal(size=(3, 4)), "b": generator.normal(size=(3, 5))}
    return taps, targets


@pytest.mark.parametrize("rectify", [True, False])
def test_layers_apart_by_loops(drawn, rectify):
    taps, targets = drawn
    weights = {"a": 0.5, "b": 2.0}
    found = objectives.layers_apart(taps, targets, weights, rectify)
    for i in range(3):
        expected = 0.0
        for name, weight in weights.items():
            for h, s in zip(taps[name][i].ravel(), targets[name][i], strict=True):
                gap = max(s, 0) - max(h, 0) if rectify else s - h
                expected += weight * gap**2
        assert float(found[i]) == pytest.approx(expected)


def test_layers_without_a_weight_do_not_count(drawn):
    taps, targets = drawn
    alone = objectives.layers_apart(taps, targets, {"b": 1.0})
    both = objectives.layers_apart(taps, targets, {"a": 1.0, "b": 1.0})
    assert (both.numpy() > alone.numpy()).all()


def test_a_target_below_zero_asks_for_any_value_below_zero():
    taps, targets = {"a": tf.constant([[-9.0, 2.0]])}, {"a": tf.constant([[-1.0, 2.0]])}
    assert float(objectives.layers_apart(taps, targets, {"a": 1.0})[0]) == 0
    raw = objectives.layers_apart(taps, targets, {"a": 1.0}, rectify=False)
    assert float(raw[0]) == 64


def test_dropped_units_are_zero_and_the_others_scaled():
    values = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    mask = tf.constant([[True, False, True, True]])
    found = objectives.dropped(values, mask, 0.25)
    np.testing.assert_allclose(found, [[4 / 3, 0, 4, 16 / 3]])
    many = np.random.default_rng(0).random((20_000, 4)) >= 0.25
    mean = objectives.dropped(tf.tile(values, [20_000, 1]), tf.constant(many), 0.25)
    np.testing.assert_allclose(tf.reduce_mean(mean, axis=0), values[0], rtol=0.03)


def slow_spectral(signal, targets, bases):
    return [
        np.mean([(c - u @ s) ** 2 for c, u in zip(target, basis.T, strict=True)])
        for s, target, basis in zip(signal, targets, bases, strict=True)
    ]


def test_spectral_apart_with_one_basis_of_classes_and_of_images():
    generator = np.random.default_rng(1)
    signal, targets = generator.normal(size=(6, 5)), generator.normal(size=(6, 3))
    bases = generator.normal(size=(2, 5, 3))
    one = objectives.spectral_apart(signal, targets, bases[0])
    np.testing.assert_allclose(one, slow_spectral(signal, targets, [bases[0]] * 6))
    in_turns = [bases[i % 2] for i in range(6)]
    by_class = objectives.spectral_apart(signal, targets, bases)
    np.testing.assert_allclose(by_class, slow_spectral(signal, targets, in_turns))
    shuffled = bases[[1, 1, 0, 1, 0, 0]]
    by_image = objectives.spectral_apart(signal, targets, shuffled)
    np.testing.assert_allclose(by_image, slow_spectral(signal, targets, shuffled))


def test_with_all_coefficients_the_spectral_loss_is_that_of_all_layers(drawn):
    taps, targets = drawn
    scales = {"a": 0.7, "b": 1.3}
    basis = np.linalg.qr(np.random.default_rng(2).normal(size=(9, 9)))[0]

    def signal(values):
        parts = [np.maximum(values[n], 0).reshape(3, -1) / scales[n] for n in scales]
        return np.hstack(parts)

    found = objectives.spectral_apart(signal(taps), signal(targets) @ basis, basis)
    weights = {name: 1 / scale**2 / 9 for name, scale in scales.items()}
    expected = objectives.layers_apart(taps, targets, weights)
    np.testing.assert_allclose(found, expected)
    few = objectives.spectral_apart(
        signal(taps), signal(targets) @ basis[:, :3], basis[:, :3]
    )
    assert not np.allclose(few * 3, expected * 9)


def test_batch_norm_apart():
    m, v = [np.array([1.0, 2.0])], [np.array([3.0, 4.0])]
    moving = [np.array([0.0, 2.5])], [np.array([2.0, 4.0])]
    found = objectives.batch_norm_apart(m, v, *moving)
    assert float(found) == pytest.approx((1 + 0.25) / 6 + 1 / 20)
    assert float(objectives.batch_norm_apart(m, v, m, v)) == 0
    twice = objectives.batch_norm_apart(m * 2, v * 2, *(x * 2 for x in moving))
    assert float(twice) == pytest.approx(2 * float(found))


def test_total_variation_by_loops():
    images = np.random.default_rng(3).random((2, 3, 4, 2))
    found = objectives.total_variation(tf.constant(images))
    for image, value in zip(images, found, strict=True):
        down = [(image[i + 1] - image[i]) ** 2 for i in range(2)]
        across = [(image[:, j + 1] - image[:, j]) ** 2 for j in range(3)]
        assert float(value) == pytest.approx(np.mean(down) + np.mean(across))
    flat = objectives.total_variation(tf.ones((2, 3, 4, 1)))
    np.testing.assert_array_equal(flat, [0, 0])


def test_blurring_by_loops():
    image = np.random.default_rng(4).random((4, 5))
    padded = np.pad(image, 1, "symmetric")
    expected = np.zeros_like(image)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    for i, j in itertools.product(range(4), range(5)):
        expected[i, j] = (padded[i : i + 3, j : j + 3] * kernel).sum()
    found = objectives.blurred(tf.constant(image[None, :, :, None]))
    np.testing.assert_allclose(found[0, :, :, 0], expected)


def test_the_gradient_of_squares_is_that_of_the_formula(drawn):
    taps, targets = drawn
    taps = {name: tf.constant(values) for name, values in taps.items()}
    upstream = np.array([1.0, 3.0, -2.0])
    with tf.GradientTape() as tape:
        tape.watch(taps)
        found = objectives.layers_apart(taps, targets, {"a": 0.5, "b": 2.0})
    gradient = tape.gradient(found, taps, tf.constant(upstream))
    for name, weight in (("a", 0.5), ("b", 2.0)):
        h = taps[name].numpy().reshape(3, -1)
        gap = np.maximum(h, 0) - np.maximum(targets[name], 0)
        expected = 2 * weight * upstream[:, None] * gap * (h > 0)
        np.testing.assert_allclose(gradient[name].numpy().reshape(3, -1), expected)
