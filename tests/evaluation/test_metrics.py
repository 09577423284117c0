import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from network_pruning.evaluation import metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 5), scale=2.0)
LABELS = RNG.integers(0, 5, 200)


def softmax(row):
    exponentials = [math.exp(z) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def logits_of(confidences):
    """Two classes; class 0 has the given probability."""
    p = np.asarray(confidences)
    return np.log(np.stack([p, 1 - p], axis=1))


def test_accuracy_is_a_count():
    hits = sum(
        max(range(5), key=lambda c: LOGITS[i, c]) == LABELS[i] for i in range(200)
    )
    assert metrics.accuracy(LOGITS, LABELS) == hits / 200


def test_accuracy_gives_a_tie_to_the_lowest_class():
    assert metrics.accuracy([[1.0, 1.0]], [0]) == 1.0
    assert metrics.accuracy([[1.0, 1.0]], [1]) == 0.0


def test_attributes_are_judged_one_by_one():
    present = LOGITS + RNG.normal(size=LOGITS.shape) > 0.3
    hits = [(z > 0) == y for z, y in zip(LOGITS.flat, present.flat, strict=True)]
    assert metrics.attributes_accuracy(LOGITS, present) == sum(hits) / 1000
    p = 1 / (1 + np.exp(-LOGITS.ravel()))
    expected = log_loss(present.ravel(), p)
    found = metrics.attributes_cross_entropy(LOGITS, present.astype(np.uint8))
    assert found == pytest.approx(expected, rel=1e-12)
    assert metrics.attributes_cross_entropy([[1e4]], [[0]]) == 1e4
    for labels in (present[:, :3], 2 * np.ones((200, 5)), LABELS):
        with pytest.raises(ValueError, match="labels 0 or 1"):
            metrics.attributes_accuracy(LOGITS, labels)


@pytest.mark.parametrize("metric", [metrics.cross_entropy, metrics.nll])
def test_cross_entropy_is_sklearns_log_loss(metric):
    p = np.array([softmax(row) for row in LOGITS])
    expected = log_loss(LABELS, p, labels=range(5))
    assert metric(LOGITS, LABELS) == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_survives_huge_logits_and_float32():
    logits = np.array([[0.0, 1e4], [1e4, 0.0]], np.float32)
    assert metrics.cross_entropy(logits, [0, 0]) == pytest.approx(5e3)


def test_brier_is_a_double_loop():
    total = 0.0
    for row, label in zip(LOGITS, LABELS, strict=True):
        for c, p in enumerate(softmax(row)):
            total += (p - (c == label)) ** 2
    assert metrics.brier(LOGITS, LABELS) == pytest.approx(total / 200, rel=1e-12)


def test_ece_on_a_hand_made_table_of_three_bins():
    # (1/3, 2/3]: .55 wrong, .65 right -> |.5 - .6| over 2 of 5
    # (2/3, 1]:   .8 right, .9 right, .7 wrong -> |2/3 - .8| over 3 of 5
    logits = logits_of([0.55, 0.65, 0.8, 0.9, 0.7])
    labels = np.array([1, 0, 0, 0, 1])
    expected = 2 / 5 * 0.1 + 3 / 5 * (0.8 - 2 / 3)
    assert metrics.ece(logits, labels, bins=3) == pytest.approx(expected, abs=1e-12)


def test_reliability_of_a_hand_made_table_of_three_bins():
    logits, labels = logits_of([0.55, 0.65, 0.8, 0.9, 0.7]), np.array([1, 0, 0, 0, 1])
    found = metrics.reliability(logits, labels, bins=3)
    np.testing.assert_allclose(found.share, [0, 0.4, 0.6])
    np.testing.assert_allclose(found.confidence, [np.nan, 0.6, 0.8])
    np.testing.assert_allclose(found.accuracy, [np.nan, 0.5, 2 / 3])
    gaps = found.share * np.abs(found.accuracy - found.confidence)
    assert np.nansum(gaps) == pytest.approx(metrics.ece(logits, labels, bins=3))


def test_ece_bins_are_open_below_and_closed_above():
    # A confidence of exactly one half lies in (0, 1/2], apart from the wrong .6.
    logits = np.array([[0.0, 0.0], [np.log(1.5), 0.0]])
    got = metrics.ece(logits, [0, 1], bins=2)
    assert got == pytest.approx((0.5 + 0.6) / 2, abs=1e-12)


def test_ece_is_a_loop_over_bins():
    p = np.array([softmax(row) for row in LOGITS])
    confidence, right = p.max(axis=1), p.argmax(axis=1) == LABELS
    total = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(
                right[inside].mean() - confidence[inside].mean()
            )
    assert metrics.ece(LOGITS, LABELS) == pytest.approx(total, rel=1e-9)


def test_ece_of_a_sure_and_right_prediction_is_zero():
    assert metrics.ece([[1000.0, 0.0]], [0]) == 0.0


def test_per_seed_uses_the_sample_deviation():
    mean, sd = metrics.per_seed([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_array_equal(mean, [2.0, 5.0])
    np.testing.assert_allclose(sd, [math.sqrt(2.0), 0.0])


def test_one_seed_has_no_deviation():
    mean, sd = metrics.per_seed([4.0])
    assert mean == 4.0 and np.isnan(sd)


@pytest.mark.parametrize(
    ("logits", "labels", "told"),
    [
        (LOGITS, LABELS[:3], "got logits"),
        (LOGITS[0], LABELS, "got logits"),
        (np.zeros((0, 3)), np.zeros(0, int), "n > 0"),
        (LOGITS, LABELS.astype(float), "integers"),
        (LOGITS, LABELS + 1, r"expected 0\.\.4"),
        (LOGITS, LABELS - 1, r"expected 0\.\.4"),
    ],
)
def test_bad_input_is_refused(logits, labels, told):
    with pytest.raises(ValueError, match=told):
        metrics.accuracy(logits, labels)


def test_no_bins_and_no_seeds_are_refused():
    with pytest.raises(ValueError, match="bins"):
        metrics.ece(LOGITS, LABELS, bins=0)
    with pytest.raises(ValueError, match="seeds"):
        metrics.per_seed([])
