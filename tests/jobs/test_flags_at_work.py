"""The main job on a model file, with other criteria and recipes."""

import json

import numpy as np
import pytest
import tf_keras as keras

from network_pruning.configs import SweepConfig
from network_pruning.jobs import sweep
from network_pruning.pruning.criteria import CRITERIA, score_units
from tests.jobs.folders import load, rows_of

PLAIN = {"widths": (1000, 1000, 500, 200), "l2_reg": 0.0, "experiment_id": None}
"""What undoes those flags of the tiny run that a model file does not take."""


def save_network(path, end="softmax", width=12):
    x = inputs = keras.Input((28, 28, 1), name="images")
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(width, "relu", name="hidden")(x)
    outputs = keras.layers.Dense(10, end, name="end")(x)
    keras.Model(inputs, outputs, name="mine").save(path)
    return load(path)


@pytest.fixture(scope="module")
def as_it_is(tmp_path_factory, run_job):
    """A model file, and the folder of its run without training."""
    folder = tmp_path_factory.mktemp("file")
    save_network(folder / "mine.keras")
    model = str(folder / "mine.keras")
    flags = {"model": model, "epochs": 0, "k_vals": (0.0, 0.5)}
    return folder, run_job(folder, **PLAIN, **flags)


def test_a_model_file_is_pruned_as_it_is(as_it_is, digits):
    folder, run = as_it_is
    network = load(folder / "mine.keras")
    probabilities = network(digits.x_test).numpy().astype(np.float64)
    own = probabilities[np.arange(len(digits.y_test)), digits.y_test]
    unit, weight = rows_of(run)[:2]
    for row in (unit, weight):
        assert row.cross_entropy == pytest.approx(-np.log(own).mean(), abs=1e-5)
    small = load(run / "networks/seed=0/unit-k=0.5.keras")
    assert small.layers[-1].activation.__name__ == "softmax"
    assert small.get_layer("hidden").units == 6
    training = json.loads((run / "checkpoints/seed=0/training.json").read_text())
    assert training["epochs"] == 0
    assert "as it was given" in (run / "report.md").read_text()


@pytest.mark.slow
def test_a_model_file_is_trained_on(as_it_is, run_job, bare, digits):
    folder, run = as_it_is
    flags = {"model": str(folder / "mine.keras"), "epochs": 2, "k_vals": (0.0,)}
    trained = run_job(folder, **PLAIN, **flags, input_range=(-1.0, 1.0))
    assert trained != run
    assert rows_of(trained)[0].accuracy > rows_of(run)[0].accuracy + 0.2
    network = load(trained / "checkpoints/seed=0/val_loss.keras")
    outputs = network(2 * digits.x_test - 1).numpy()
    right = outputs.argmax(axis=1) == digits.y_test
    assert rows_of(trained)[0].accuracy == pytest.approx(right.mean())


def test_another_file_of_the_same_name_is_another_training(
    tmp_path, run_job, bare, load_data
):
    path = tmp_path / "mine.keras"
    save_network(path)
    flags = {"model": str(path), "epochs": 0, "k_vals": (0.5,), "kinds": ("weight",)}
    run_job(tmp_path, **PLAIN, **flags)
    keras.utils.set_random_seed(7)
    save_network(path)
    with pytest.raises(ValueError, match="or the model file has changed"):
        run_job(tmp_path, **PLAIN, **flags)


def test_a_file_for_other_images_is_said(tmp_path, run_job):
    save_network(tmp_path / "mine.keras")
    flags = {"model": str(tmp_path / "mine.keras"), "image_size": (8, 8)}
    with pytest.raises(ValueError, match="takes images 28x28x1, .* --image_size=28,28"):
        run_job(tmp_path, **PLAIN, **flags)


def test_the_command_judges_files_and_their_options(tmp_path, command):
    words = ["--dataset=uci_digits", f"--output_dir={tmp_path}"]
    code, line = command(*words, f"--model={tmp_path}/no.keras")
    assert (code, "there is no" in line) == (2, True)
    save_network(tmp_path / "mine.keras")
    words.append(f"--model={tmp_path}/mine.keras")
    for flag, option in (("--widths=3", "widths"), ("--l2_reg=0.1", "l2")):
        code, line = command(*words, flag)
        assert code == 2
        assert f"got '{option}', expected none: the file says all" in line
    code, line = command(*words, "--criterion=nothing")
    assert (code, "criterion: got 'nothing'" in line) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.keras"]


def test_a_criterion_ranks_once_and_never_sees_the_test_split(
    tmp_path, run_job, light, monkeypatch
):
    calls = []

    def score(model, groups, data=None, seed=0):
        calls.append(seed)
        assert data.size("valid")
        with pytest.raises(AttributeError, match="train and valid alone"):
            _ = data.x_test
        return CRITERIA["random"](model, groups, data, seed)

    flags = {"criterion": "l1", "seeds": (0, 3), "experiment_id": "ranked"}
    monkeypatch.setitem(CRITERIA, "l1", score)
    folder = run_job(tmp_path, **flags)
    assert calls == [0, 3]
    dense = load(folder / "checkpoints/seed=3/val_loss.keras")
    scores = score_units(dense, "random", seed=3)
    kept = load(folder / "networks/seed=3/unit-k=0.5.keras").get_layer("hidden_2")
    best = np.sort(np.argsort(-scores["hidden_2"].values)[:8])
    assert kept.kernel.shape == (16, 8)
    expected = dense.get_layer("hidden_2").kernel.numpy()[:, best]
    assert np.isin(kept.kernel.numpy(), expected).all()
    run_job(tmp_path, **flags, k_vals=(0.0, 0.25, 0.5))
    assert calls == [0, 3], "ranked again"
    assert "units ranked by l1" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_seeds_that_end_at_different_epochs_share_a_figure(tmp_path, run_job, light):
    folder = run_job(
        tmp_path,
        experiment_id="patient",
        seeds=(0, 1),
        epochs=12,
        optimizer="sgd",
        learning_rate=0.5,
        early_stopping=1,
        k_vals=(0.0,),
    )
    epochs = [
        json.loads((folder / f"checkpoints/seed={seed}/training.json").read_text())
        for seed in (0, 1)
    ]
    assert [len(one["history"]) for one in epochs] == [one["epochs"] for one in epochs]


def test_the_plans_carry_every_flag_of_the_training():
    config = SweepConfig(
        optimizer="sgd", augment="shift", early_stopping=4, input_range=(-1.0, 1.0)
    )
    plan = sweep.training_plan(config, 5)
    assert (plan.seed, plan.optimizer, plan.early_stopping) == (5, "sgd", 4)
    assert (plan.black, plan.l2_decay) == (-1.0, 0.0)
    again = sweep.retraining_plan(config, 5)
    assert (again.optimizer, again.augment, again.schedule) == (
        "sgd",
        "shift",
        "cosine",
    )
    assert again.early_stopping == 0
