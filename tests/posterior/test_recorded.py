"""A recorded chain teaches as it was, in any order, and goes on where it stopped."""

import numpy as np
import pytest
from scipy import special

from network_pruning.classifiers import ends_in_softmax
from network_pruning.graph import fingerprint
from network_pruning.posterior import checkpoints
from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.recorded import (
    Recorder,
    Replay,
    posterior_predictive,
    read_positions,
)
from network_pruning.posterior.samplers.cyclical import cyclical_sgld
from network_pruning.posterior.students import Student
from network_pruning.runs import RunDir
from tests.posterior.small import BATCH, CLASSES, network


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path)


@pytest.fixture
def positions(make, images, labels, run):
    """Four positions of a chain, which also end in files."""
    distiller = make(burn_in=2)
    distiller.watchers.append(Recorder(distiller, run, "recorded", 3))
    chain = ResidentChain(distiller, images, labels, BATCH, jit=False)
    seen = []
    chain.advance(2)
    for _ in range(4):
        chain.advance(3)
        seen.append(distiller.teacher.get_weights())
    return seen


def student():
    return Student(network("s"), estimator="uo", thin=1, batch_size=BATCH)


def test_positions_are_those_of_the_chain(positions, run):
    kept = read_positions(run, "recorded")
    assert len(kept) == len(positions)
    for a, b in zip(kept, positions, strict=True):
        for value, expected in zip(a, b, strict=True):
            np.testing.assert_array_equal(value, expected)


def test_each_pass_takes_every_position_once(make, positions):
    distiller = make([student])
    replay, seen = Replay(distiller, positions), []
    for _ in range(8):
        replay.advance(1)
        first = distiller.teacher.get_weights()[0]
        same = [np.array_equal(first, weights[0]) for weights in positions]
        seen.append(int(np.flatnonzero(same)[0]))
    assert sorted(seen[:4]) == sorted(seen[4:]) == [0, 1, 2, 3]
    assert distiller.lessons[0].visits.numpy() == replay.steps == 8


def test_a_replay_does_not_ask_the_sampler(make, positions):
    sampler = cyclical_sgld(0.01, cycle=100, exploring=0.8)
    distiller = make([student], sampler=sampler)
    Replay(distiller, positions).advance(4)
    assert distiller.lessons[0].visits.numpy() == 4


def test_a_stopped_replay_goes_on_bit_for_bit(make, positions, run):
    first, again = make([student]), make([student])
    whole = Replay(first, positions)
    whole.advance(3)
    checkpoints.save(first, run, "state.npz")
    whole.advance(3)
    checkpoints.restore(again, run, "state.npz")
    Replay(again, positions).advance(3)
    twin = checkpoints.variables(again)
    for name, variable in checkpoints.variables(first).items():
        np.testing.assert_array_equal(variable.numpy(), twin[name].numpy(), name)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_positions_join_to_the_mean_prediction(positions, images, run, activation):
    one = network("teacher", activation=activation)
    before, expected = one.get_weights(), np.zeros((len(images), CLASSES))
    for position in positions:
        first, bias, last, last_bias = (w.astype(np.float64) for w in position)
        hidden = np.maximum(images.reshape(len(images), -1) @ first + bias, 0)
        expected += special.softmax(hidden @ last + last_bias, axis=1) / 4
    joined = posterior_predictive(one, positions)
    np.testing.assert_allclose(joined(images), expected, rtol=1e-4)
    alone = posterior_predictive(one, positions[:1])
    assert ends_in_softmax(joined) and ends_in_softmax(alone)
    for value, kept in zip(one.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    run.write_model("joined.keras", joined)
    again = run.read_model("joined.keras")
    assert fingerprint(again) == fingerprint(joined)
    assert fingerprint(posterior_predictive(one, positions)) == fingerprint(joined)
    assert fingerprint(posterior_predictive(one, positions[:3])) != fingerprint(joined)
    with pytest.raises(ValueError, match="it is another teacher's"):
        posterior_predictive(network("teacher", width=9), positions)


def test_what_is_no_record_of_the_teacher_is_refused(make, positions, run):
    other = make([student], teacher=network("teacher", width=9))
    with pytest.raises(ValueError, match="expected .*: it is another teacher's"):
        Replay(other, positions)
    with pytest.raises(ValueError, match="holds no recorded position: distil first"):
        read_positions(run, "nothing")
    with pytest.raises(ValueError, match="every: got 0, expected at least 1"):
        Recorder(other, run, "recorded", 0)
