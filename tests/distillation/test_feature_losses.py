"""Losses between activations, against loops."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from network_pruning.distillation.feature_losses import (
    FEATURE_LOSSES,
    attention_transfer,
    hint,
    relational,
    relations,
    similarity_preserving,
)

N = 5


@pytest.fixture
def activations():
    """Of a student [n, 2, 3, 4] and a teacher of the same shape."""
    student, teacher = np.random.default_rng(0).normal(size=(2, N, 2, 3, 4))
    return tf.constant(student), tf.constant(teacher)


def unit(vector):
    return vector / np.linalg.norm(vector)


def slow_attention(student, teacher):
    found = []
    for s, t in zip(student, teacher, strict=True):
        maps = [unit([[sum(c**2) for c in row] for row in x]).ravel() for x in (s, t)]
        found.append(sum((a - b) ** 2 for a, b in zip(*maps, strict=True)))
    return found


def slow_similarity(student, teacher):
    rows = []
    for x in (student, teacher):
        flat = x.reshape(N, -1)
        rows.append([unit([a @ b for b in flat]) for a in flat])
    gap = np.array(rows[0]) - np.array(rows[1])
    return [np.mean(row**2) for row in gap]


def huber(gap):
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def slow_relational(student, teacher, distance_weight, angle_weight):
    flats = [x.reshape(N, -1) for x in (student, teacher)]
    pairs = list(itertools.permutations(range(N), 2))
    mu = [np.mean([np.linalg.norm(x[i] - x[j]) for i, j in pairs]) for x in flats]
    found = []
    for j in range(N):
        others = [i for i in range(N) if i != j]
        distances, angles = [], []
        for i in others:
            d = [
                np.linalg.norm(x[i] - x[j]) / m for x, m in zip(flats, mu, strict=True)
            ]
            distances.append(huber(d[0] - d[1]))
        for i, k in itertools.permutations(others, 2):
            cos = [unit(x[i] - x[j]) @ unit(x[k] - x[j]) for x in flats]
            angles.append(huber(cos[0] - cos[1]))
        both = distance_weight * np.mean(distances) + angle_weight * np.mean(angles)
        found.append(both)
    return found


def test_all_equal_their_slow_twins(activations):
    student, teacher = (x.numpy() for x in activations)
    expected = {
        hint: [np.mean((s - t) ** 2) for s, t in zip(student, teacher, strict=True)],
        attention_transfer: slow_attention(student, teacher),
        similarity_preserving: slow_similarity(student, teacher),
        relational: slow_relational(student, teacher, 1.0, 2.0),
    }
    assert [loss.compute for loss in FEATURE_LOSSES.values()] == list(expected)
    for loss, values in expected.items():
        np.testing.assert_allclose(loss(*activations), values, rtol=1e-9)
    far = 40 * activations[0] ** 3
    found = relational(far, activations[1], 3.0, 0.5)
    values = slow_relational(far.numpy(), teacher, 3.0, 0.5)
    np.testing.assert_allclose(found, values, rtol=1e-9)


@pytest.mark.parametrize("name", FEATURE_LOSSES)
def test_equal_activations_have_no_loss_and_no_gradient(activations, name):
    student, teacher = activations
    loss = FEATURE_LOSSES[name].compute
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([student, teacher])
        same, other = loss(teacher, teacher), loss(student, teacher)
    np.testing.assert_allclose(same, 0, atol=1e-12)
    np.testing.assert_allclose(tape.gradient(same, teacher), 0, atol=1e-12)
    assert np.abs(tape.gradient(other, student)).max() > 1e-4


@pytest.mark.parametrize("name", FEATURE_LOSSES)
def test_what_need_not_fit_does_not_matter(activations, name):
    student, teacher = activations
    loss = FEATURE_LOSSES[name]
    if not loss.same_channels:
        assert loss.compute(student[..., :2], teacher).shape == (N,)
    if not loss.same_places:
        assert loss.compute(student[:, :1, 0], teacher).shape == (N,)
    assert loss.compute(student[:1], teacher[:1]).shape == (1,)
    alone = [loss.compute(student[i : i + 1], teacher[i : i + 1])[0] for i in range(N)]
    whole = loss.compute(student, teacher)
    assert np.allclose(whole, alone) == (not loss.batchwise)


def test_relations_know_nothing_of_place_size_and_orientation():
    points = np.random.default_rng(1).normal(size=(N, 3))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    moved = 7 * points @ turn + 100
    for found, expected in zip(relations(moved), relations(points), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", FEATURE_LOSSES)
@pytest.mark.parametrize("size", [0.0, 1e-8, 1e8])
def test_extreme_activations_give_numbers(name, size):
    rng = np.random.default_rng(3)
    student = tf.constant(size * rng.normal(size=(4, 2, 2, 3)), tf.float32)
    student = tf.concat([student, student[:1]], axis=0)
    teacher = tf.constant(rng.normal(size=(5, 2, 2, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = FEATURE_LOSSES[name].compute(student, teacher)
    assert np.isfinite(loss).all()
    assert np.isfinite(tape.gradient(loss, student)).all()
