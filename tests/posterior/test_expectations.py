"""Targets, losses and heads of students: by hand, by Monte Carlo, by closed forms."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from network_pruning.posterior import expectations
from network_pruning.posterior.expectations import EXPECTATIONS, get, running_mean

P = np.array([[0.5, 0.25, 0.25], [0.9, 0.1, 0.0]])
LOGS = np.maximum(np.log(P, where=P > 0, out=np.full(P.shape, -1e3)), -1e3)


def entropy(p):
    return np.array([-sum(q * np.log(q) for q in row if q > 0) for row in p])


def tensor(values):
    return tf.constant(np.asarray(values, np.float64))


def test_targets_by_hand():
    both = np.column_stack([P, entropy(P)])
    for name, expected in (
        ("predictive", P),
        ("entropy", entropy(P)[:, None]),
        ("both", both),
        ("variance", P * (1 - P)),
        ("dirichlet", special.log_softmax(LOGS / 2.5, axis=1)),
    ):
        target = get(name).target(tensor(LOGS))
        np.testing.assert_allclose(target, expected, atol=1e-12, err_msg=name)


def test_losses_by_hand():
    outputs = np.random.default_rng(0).normal(size=(2, 3))
    logs = special.log_softmax(outputs, axis=1)
    cross = -(P * logs).sum(axis=1)
    h = entropy(P)
    gap = np.abs(h - np.exp(outputs[:, 0]))
    alpha = np.exp(outputs / 2.5)
    mean = special.log_softmax(LOGS / 2.5, axis=1)
    likelihood = (
        special.gammaln(alpha.sum(1))
        - special.gammaln(alpha).sum(1)
        + ((alpha - 1) * mean).sum(1)
    )
    v = P * (1 - P)
    for name, target, given, expected in (
        ("predictive", P, outputs, cross),
        ("entropy", h[:, None], outputs[:, :1], gap),
        (
            "both",
            np.column_stack([P, h]),
            np.column_stack([outputs, outputs[:, 0]]),
            cross + gap,
        ),
        ("variance", v, outputs, np.abs(v - np.exp(outputs)).sum(1)),
        ("dirichlet", mean, outputs, -likelihood),
    ):
        loss = get(name).loss(tensor(target), tensor(given))
        np.testing.assert_allclose(loss, expected, rtol=1e-9, err_msg=name)


def test_the_dirichlet_loss_is_the_density_s():
    given, p = np.array([[0.3, 1.2, -0.4]]), np.array([0.2, 0.5, 0.3])
    loss = expectations.dirichlet(1.0).loss(tensor(np.log([p])), tensor(given))
    expected = -stats.dirichlet.logpdf(p, np.exp(given[0]))
    assert float(loss[0]) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_the_temperature_is_on_both_sides(temperature):
    expectation = expectations.predictive_mean(temperature)
    target = expectation.target(tensor(LOGS))
    soft = special.softmax(LOGS / temperature, axis=1)
    np.testing.assert_allclose(target, soft, atol=1e-12)
    # A student with the teacher's logits has the least loss: the target's entropy.
    loss = expectation.loss(target, tensor(LOGS))
    np.testing.assert_allclose(loss, entropy(soft), atol=1e-9)
    said = expectation.read(tensor(LOGS))[expectations.LOG_PROBABILITIES]
    np.testing.assert_allclose(np.exp(said), P, atol=1e-12)


def test_what_outputs_say():
    outputs = tensor(np.column_stack([LOGS, np.log([0.1, 0.2])]))
    said = get("both").read(outputs)
    np.testing.assert_allclose(said[expectations.EXPECTED_ENTROPY], [0.1, 0.2])
    knowledge = entropy(P) - [0.1, 0.2]
    np.testing.assert_allclose(said[expectations.MUTUAL_INFORMATION], knowledge)
    (positive,) = get("variance").read(outputs[:, :3]).values()
    assert (positive.numpy() >= 0).all()
    mean = get("dirichlet").read(outputs[:, :3])[expectations.LOG_PROBABILITIES]
    alpha = np.exp(get("dirichlet").read(outputs[:, :3])["log_concentrations"])
    np.testing.assert_allclose(np.exp(mean), alpha / alpha.sum(1, keepdims=True))


def slope(name, mean, outputs):
    outputs = tensor(outputs)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = tf.reduce_sum(get(name).loss(tensor(mean), outputs))
    return tape.gradient(loss, outputs)


def test_losses_are_least_at_the_means_of_the_targets():
    draws = np.random.default_rng(1).dirichlet([2, 3, 4], (40, 2))
    mean = np.mean([get("predictive").target(np.log(each)) for each in draws], axis=0)
    np.testing.assert_allclose(mean, draws.mean(axis=0))
    np.testing.assert_allclose(slope("predictive", mean, np.log(mean)), 0, atol=1e-12)
    h = np.array([[0.3], [0.7]])
    assert not get("entropy").loss(tensor(h), tensor(np.log(h))).numpy().any()
    # E[ln p_c] of a Dirichlet law is psi(a_c) - psi(a_0): its own alpha is the best.
    alpha = np.array([[0.7, 2.0, 5.0]])
    logs = special.digamma(alpha) - special.digamma(alpha.sum())
    slopes = slope("dirichlet", logs, 2.5 * np.log(alpha))
    np.testing.assert_allclose(slopes, 0, atol=1e-9)


def test_the_running_mean_is_the_average_of_what_each_case_saw():
    generator = np.random.default_rng(2)
    values = generator.normal(size=(5, 4, 3))
    seen = generator.random((5, 4)) < 0.7
    mean, count = np.zeros((4, 3)), np.zeros(4, np.int64)
    for value, here in zip(values, seen, strict=True):
        after = running_mean(
            tensor(mean[here]), tf.constant(count[here]), tensor(value[here])
        )
        mean[here] = after
        count[here] += 1
    for case in range(4):
        np.testing.assert_allclose(mean[case], values[seen[:, case], case].mean(0))


def test_uo_of_no_history_is_us():
    value = tensor([[1.0, 2.0]])
    after = running_mean(tensor([[7.0, 7.0]]), tf.constant([0]), value)
    np.testing.assert_array_equal(after, value)


def test_any_function_is_an_expectation():
    def confidence(logs):
        return tf.exp(tf.reduce_max(logs, axis=1, keepdims=True))

    expectation = get(confidence)
    assert (expectation.name, expectation.width(3)) == ("confidence", 1)
    assert expectation.check(1, 3, "s") == 1
    flat = get(lambda logs: tf.exp(tf.reduce_max(logs, axis=1)))
    np.testing.assert_allclose(flat.target(tensor(LOGS)), [[0.5], [0.9]])
    with pytest.raises(ValueError, match="width: got 3, expected 1, as confidence"):
        expectations.expected(confidence, width=3).check(3, 3, "s")
    one = expectations.expected(confidence, width=1)
    np.testing.assert_allclose(one.target(tensor(LOGS)), [[0.5], [0.9]])
    loss = one.loss(tensor([[0.5], [0.9]]), tensor([[0.25], [1.0]]))
    np.testing.assert_allclose(loss, [0.25, 0.1])
    assert get(one) is one


def test_heads_are_judged():
    widths = {name: get(name).width(10) for name in EXPECTATIONS}
    expected = {"predictive": 10, "entropy": 1, "both": 11, "variance": 10}
    assert widths == expected | {"dirichlet": 10}
    assert get("both").check(11, 10, "small") == 11
    with pytest.raises(ValueError, match="student 'small': got 10 outputs, expected 1"):
        get("both").check(10, 10, "small")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": lambda logs: logs[:, 0]}, r"got values \(2,\) of 2 cases"),
        ({"loss": lambda mean, outputs: mean - outputs}, r"got losses \(2, 3\) of 2"),
    ],
)
def test_what_is_no_value_of_each_case_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(get("variance"), **changes).check(3, 3, "s")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: get("mean"), "expectation: got 'mean', expected one of predictive"),
        (lambda: expectations.predictive_mean(0.0), "temperature: got 0.0"),
        (lambda: expectations.dirichlet(np.inf), "temperature: got inf"),
        (lambda: expectations.check_estimator("u"), "estimator: got 'u', expected us"),
    ],
)
def test_bad_settings_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
