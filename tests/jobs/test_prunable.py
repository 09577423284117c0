"""What a sweep cannot prune is said: before it trains, or in its report."""

import numpy as np
import pytest
import tf_keras as keras

from network_pruning.configs import SweepConfig
from network_pruning.jobs.prunable import check_prunable, idle

layers = keras.layers
GIVEN = {"widths": SweepConfig.widths, "l2_reg": 0.0}
"""What the tiny run has, and a file says by itself."""


def straight():
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Flatten(name="flat"),
        layers.Dense(10, name="logits"),
    ])


def behind_an_lstm():
    """Channels that a recurrent layer reads stay; single weights need not."""
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(3, 3, 3, name="conv"),
        layers.Reshape((81, 3), name="rows"),
        layers.LSTM(4, name="lstm"),
        layers.Dense(10, name="logits"),
    ])


def test_nothing_to_prune_is_refused():
    message = "nothing to prune: no kernel but that of the output layer; no unit that"
    with pytest.raises(ValueError, match=message):
        check_prunable(straight(), ("weight", "unit"))
    with pytest.raises(ValueError, match="no unit that can be cut .*lstm.*no rule for"):
        check_prunable(behind_an_lstm(), ("unit",))


def test_one_kind_alone_is_done_and_the_other_told():
    network = behind_an_lstm()
    check_prunable(network, ("weight", "unit"))
    (line,) = idle(network, ("weight", "unit"))
    assert line.startswith("no unit that can be cut (")
    assert idle(network, ("weight",)) == []


def test_the_command_says_it_before_it_trains(tmp_path, run_job):
    straight().save(tmp_path / "straight.keras")
    with pytest.raises(ValueError, match="has nothing to prune"):
        run_job(tmp_path, model=str(tmp_path / "straight.keras"), **GIVEN)
    assert not (tmp_path / "tiny" / "checkpoints").exists()


def test_the_report_says_of_which_kind_nothing_was_pruned(tmp_path, run_job):
    network = behind_an_lstm()
    network.save(tmp_path / "some.keras")
    model = str(tmp_path / "some.keras")
    folder = run_job(tmp_path, model=model, **GIVEN, epochs=1, k_vals=(0.5,))
    report = (folder / "report.md").read_text()
    assert "Nothing was pruned of one kind: no unit that can be cut (" in report
    kept = keras.models.load_model(folder / "networks/seed=0/unit-k=0.5.keras")
    assert [np.shape(w) for w in kept.get_weights()] == [
        np.shape(w) for w in network.get_weights()
    ]
