"""What is damaged in a training's folder, or is another's, is said and kept."""

import dataclasses
import json

import pytest

from network_pruning.jobs.trainings import FILES
from network_pruning.runs import DamagedFile, RunDir
from tests.jobs.fitting import FOLDER, PLAN, make_network, stopping, train


@pytest.fixture
def stopped(few_digits, run):
    """A run that stopped after its first epoch."""
    with stopping():
        train(few_digits, run, identity="mine")
    return run


def contents(run):
    return {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_a_damaged_state_is_said_and_not_trained_over(few_digits, stopped):
    path = stopped.path / FOLDER / "state.npz"
    good = path.read_bytes()
    altered = bytearray(good)
    altered[len(good) // 3] ^= 1
    for damage in (good[: len(good) // 2], good[:-1], b"", bytes(altered)):
        path.write_bytes(damage)
        before = contents(stopped)
        with pytest.raises(DamagedFile, match=r"state\.npz is damaged") as caught:
            train(few_digits, stopped, identity="mine")
        assert "\n" not in str(caught.value)
        assert contents(stopped) == before


def test_a_state_of_something_else_is_said(few_digits, stopped):
    before = contents(stopped)
    with pytest.raises(ValueError, match="of other settings or data"):
        train(few_digits, stopped, identity="other")
    with pytest.raises(ValueError, match=r"another network's training \(at .*delete"):
        train(
            few_digits,
            stopped,
            make=lambda: make_network(widths=(13,)),
            identity="mine",
        )
    assert contents(stopped) == before


@pytest.fixture(scope="module")
def whole(few_digits, tmp_path_factory):
    run = RunDir(tmp_path_factory.mktemp("whole"))
    train(few_digits, run)
    return run


@pytest.fixture
def complete(whole, run):
    """A copy of the finished training, to be damaged."""
    run.adopt(whole.path / FOLDER, FOLDER)
    return run


def test_a_finished_training_of_something_else_is_said(few_digits, complete):
    with pytest.raises(ValueError, match="of other settings or data") as caught:
        train(few_digits, complete, identity="other")
    assert "--force_train" in str(caught.value)


@pytest.mark.parametrize("which", FILES)
def test_a_damaged_network_is_said_and_not_trained_again(few_digits, complete, which):
    path = complete.path / FOLDER / f"{which}.keras"
    good = path.read_bytes()
    altered = bytearray(good)
    altered[len(good) // 2] ^= 1
    for damage in (bytes(altered), good[:-5], None):
        path.unlink() if damage is None else path.write_bytes(damage)
        before = contents(complete)
        training = train(few_digits, complete)
        with pytest.raises(DamagedFile, match=f"{which}.keras is damaged") as caught:
            training.load(complete, which)
        assert "train again with --force_train" in str(caught.value)
        assert contents(complete) == before
        path.write_bytes(good)
    training.load(complete, which)


def change(**fields):
    return lambda record: record | fields


def without(name):
    return lambda record: {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: [],
        lambda record: {},
        lambda record: record | {"more": 1},
        without("history"),
        without("digests"),
        without("folder"),
        change(history=[]),
        change(history="text"),
        change(history=[{}]),
        change(history=[{"val_loss": 1.0}]),
        change(history=[{"val_loss": "a", "val_accuracy": "b"}]),
        change(history=None),
        change(digests={}),
        change(digests={"val_loss": "0"}),
        change(digests=None),
        change(folder="checkpoints/seed=1"),
        change(select_from="x"),
    ],
)
def test_a_record_that_is_json_and_wrong_is_said(few_digits, complete, damage):
    path = complete.path / FOLDER / "training.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    before = contents(complete)
    with pytest.raises(DamagedFile, match=r"training\.json is damaged") as caught:
        train(few_digits, complete)
    assert "\n" not in str(caught.value)
    assert contents(complete) == before


def test_a_truncated_record_is_said(few_digits, complete):
    path = complete.path / FOLDER / "training.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DamagedFile, match=r"training\.json is damaged"):
        train(few_digits, complete)


def test_a_network_damaged_before_the_end_is_found_out(few_digits, stopped):
    path = stopped.path / FOLDER / "val_loss.keras"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    plan = dataclasses.replace(PLAN, epochs=1)
    training = train(few_digits, stopped, plan, identity="mine")
    with pytest.raises(DamagedFile, match=r"val_loss\.keras is damaged"):
        training.load(stopped, "val_loss")
