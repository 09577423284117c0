"""Losses between logits, against loops and closed forms."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from network_pruning.distillation.soft_losses import (
    BATCHWISE,
    LABELLED,
    SOFT_LOSSES,
    attributes,
    dist,
    dkd,
    kd,
    mix,
    reversed_kd,
)

N, CLASSES = 7, 5


@pytest.fixture
def logits():
    """Student's, teacher's and labels."""
    rng = np.random.default_rng(0)
    student, teacher = 3 * rng.normal(size=(2, N, CLASSES))
    return tf.constant(student), tf.constant(teacher), rng.integers(0, CLASSES, N)


def bound(name, labels):
    """The loss as a function of student, teacher and temperature."""
    options = {"labels": labels} if name in LABELLED else {}
    return functools.partial(SOFT_LOSSES[name], **options)


def softmax(row):
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def gradient(loss, student, *words):
    with tf.GradientTape() as tape:
        tape.watch(student)
        mean = tf.reduce_mean(loss(student, *words))
    return tape.gradient(mean, student).numpy()


def slow_kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def slow_dkd(z_s, z_t, label, alpha, beta):
    pairs, others = [], []
    for z in (z_t, z_s):
        p = softmax(z)
        pairs.append([p[label], 1 - p[label]])
        others.append(softmax(np.delete(z, label)))
    return alpha * slow_kl(*pairs) + beta * slow_kl(*others)


def two_way(logit):
    return softmax(np.array([logit, 0.0]))


def slow_dist(student, teacher, temperature, beta, gamma):
    q = np.array([softmax(z / temperature) for z in student.numpy()])
    p = np.array([softmax(z / temperature) for z in teacher.numpy()])
    inter = [1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(N)]
    intra = [1 - np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(CLASSES)]
    return beta * np.array(inter) + gamma * np.mean(intra)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_all_equal_their_slow_twins(logits, temperature):
    student, teacher, labels = logits
    rows = list(zip(student.numpy(), teacher.numpy(), labels, strict=True))
    p = [softmax(z / temperature) for _, z, _ in rows]
    q = [softmax(z / temperature) for z, _, _ in rows]
    tempered = [(s / temperature, t / temperature, y) for s, t, y in rows]
    words = student, teacher, temperature
    expected = {
        kd: [slow_kl(*pair) for pair in zip(p, q, strict=True)],
        reversed_kd: [-(b @ np.log(a)) for a, b in zip(p, q, strict=True)],
        dist: slow_dist(student, teacher, temperature, 1.0, 1.0),
        attributes: [
            np.mean([
                slow_kl(two_way(b), two_way(a)) for a, b in zip(s, t, strict=True)
            ])
            for s, t, _ in tempered
        ],
    }
    for loss, values in expected.items():
        np.testing.assert_allclose(loss(*words), values, rtol=1e-9)
    found = dkd(*words, labels, alpha=0.7, beta=3.0)
    twin = [slow_dkd(*row, 0.7, 3.0) for row in tempered]
    np.testing.assert_allclose(found, twin, rtol=1e-9)
    found = dist(*words, beta=0.3, gamma=2.0)
    twin = slow_dist(student, teacher, temperature, 0.3, 2.0)
    np.testing.assert_allclose(found, twin, rtol=1e-9)


def test_gradient_of_kd_in_closed_form(logits):
    student, teacher, _ = logits
    temperature, weight = 4.0, 0.9

    def scaled(student):
        return weight * temperature**2 * kd(student, teacher, temperature)

    p = np.array([softmax(z / temperature) for z in teacher.numpy()])
    q = np.array([softmax(z / temperature) for z in student.numpy()])
    expected = temperature * weight * (q - p) / N
    np.testing.assert_allclose(gradient(scaled, student), expected, atol=1e-12)


def test_the_gradient_of_kd_no_longer_depends_on_a_high_temperature(logits):
    student, teacher, _ = logits
    norms = [
        t**2 * np.linalg.norm(gradient(kd, student, teacher, t))
        for t in (50.0, 100.0, 1.0, 2.0)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=0.02)
    assert abs(norms[2] - norms[3]) > 0.2 * norms[3]
    # In the limit it matches centred logits, equation 4 of Hinton et al.
    gap = student - teacher
    gap -= tf.reduce_mean(gap, axis=1, keepdims=True)
    assert norms[1] == pytest.approx(np.linalg.norm(gap) / (N * CLASSES), rel=0.02)


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "attributes"])
def test_equal_logits_have_no_loss_and_no_gradient(logits, name):
    _, teacher, labels = logits
    loss = bound(name, labels)
    np.testing.assert_allclose(loss(teacher, teacher, 3.0), 0, atol=1e-12)
    np.testing.assert_allclose(gradient(loss, teacher, teacher, 3.0), 0, atol=1e-12)
    assert np.abs(gradient(loss, teacher + np.eye(N, CLASSES), teacher, 3.0)).max() > 0


def test_the_reversed_loss_is_not_least_where_both_agree(logits):
    _, teacher, _ = logits
    assert np.abs(gradient(reversed_kd, teacher, teacher, 3.0)).max() > 1e-3
    sure = 1e3 * tf.one_hot(tf.argmax(teacher, axis=1), CLASSES, dtype=tf.float64)
    agreeing = reversed_kd(teacher, teacher, 3.0).numpy()
    assert (reversed_kd(sure, teacher, 3.0).numpy() < agreeing).all()


def test_dkd_puts_kd_together(logits):
    student, teacher, labels = logits
    p = np.array([softmax(z / 2.0) for z in teacher.numpy()])
    rest = 1 - p[np.arange(N), labels]
    whole = dkd(student, teacher, 2.0, labels, alpha=1.0, beta=rest)
    np.testing.assert_allclose(whole, kd(student, teacher, 2.0), rtol=1e-10)


def test_dist_is_blind_to_what_correlation_is_blind_to():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(CLASSES), N)
    q = 0.3 * p + 0.7 / CLASSES
    found = dist(tf.math.log(q), tf.math.log(p), 1.0)
    np.testing.assert_allclose(found, 0, atol=1e-10)
    lone = dist(tf.zeros((1, CLASSES)), tf.zeros((1, CLASSES)), 1.0)
    np.testing.assert_array_equal(lone, [2.0])


@pytest.mark.parametrize("name", SOFT_LOSSES)
@pytest.mark.parametrize("size", [0.0, 1e3, 1e6])
def test_extreme_logits_give_numbers(name, size):
    student = tf.constant([[size, -size, 0.0], [0, size, size], [-size, 0, 0]])
    teacher = tf.constant([[-size, size, 0.0], [0, size, size], [0, size, -size]])
    loss = bound(name, tf.constant([0, 1, 2]))
    assert student.dtype == tf.float32
    for temperature in (1.0, 20.0):
        assert np.isfinite(loss(student, teacher, temperature)).all()
        assert np.isfinite(gradient(loss, student, teacher, temperature)).all()


@pytest.mark.parametrize("name", SOFT_LOSSES)
def test_examples_stand_for_themselves_unless_said(logits, name):
    student, teacher, labels = logits
    whole = bound(name, labels)(student, teacher, 2.0).numpy()
    alone = [
        bound(name, labels[i : i + 1])(student[i : i + 1], teacher[i : i + 1], 2.0)[0]
        for i in range(N)
    ]
    assert whole.shape == (N,)
    assert np.allclose(whole, alone) == (name not in BATCHWISE)


def test_mixed_teachers_average_their_predictions():
    several = np.random.default_rng(2).normal(size=(N, 3, CLASSES)) * 4
    mixed = mix(tf.constant(several), 2.5).numpy()
    for i in range(N):
        expected = np.mean([softmax(z / 2.5) for z in several[i]], axis=0)
        np.testing.assert_allclose(softmax(mixed[i] / 2.5), expected, rtol=1e-12)
    alone = mix(tf.constant(several[:, :1]), 2.5).numpy()
    np.testing.assert_allclose(softmax(alone[0]), softmax(several[0, 0]), rtol=1e-12)
