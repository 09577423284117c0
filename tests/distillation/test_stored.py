"""Outputs of teachers in a file."""

import numpy as np
import pytest
import tf_keras as keras

from data.arrays import ArrayDataset
from network_pruning.distillation import stored
from network_pruning.distillation.stored import cache_logits
from network_pruning.runs import DamagedFile, RunDir
from network_pruning.views import rescaled


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    parts = {
        split: (rng.random((n, 3, 3, 1), np.float32), rng.integers(0, 4, n))
        for split, n in {"train": 11, "valid": 6, "test": 3}.items()
    }
    return ArrayDataset("tiny", parts, num_classes=4)


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path)


def make(end=None):
    layers = [keras.Input((3, 3, 1)), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(4, end, name="logits")])


def test_computed_once_and_read_again(dataset, run, monkeypatch):
    teachers = [make(), make("softmax")]
    made = cache_logits(teachers, dataset, run, "both.npz")
    alone = cache_logits(teachers[:1], dataset, run, "one.npz", "valid")
    assert (made.shape, made.dtype, alone.shape) == ((11, 2, 4), np.float32, (6, 4))
    images = dataset.x_train
    np.testing.assert_allclose(made[:, 0], teachers[0](images), rtol=1e-6)
    np.testing.assert_allclose(np.exp(made[:, 1]), teachers[1](images), rtol=1e-5)
    monkeypatch.setattr(stored, "predict_split", None)
    again = cache_logits(teachers, dataset, run, "both.npz")
    np.testing.assert_array_equal(again, made)


def test_what_does_not_fit_is_refused(dataset, run):
    teacher = make()
    cache_logits([teacher], dataset, run, "logits.npz")
    for teachers, view, split in (
        ([make()], dataset, "train"),
        ([teacher, make()], dataset, "train"),
        ([teacher], dataset, "valid"),
        ([teacher], rescaled(dataset, -1.0, 1.0), "train"),
    ):
        with pytest.raises(ValueError, match="outputs of other teachers") as caught:
            cache_logits(teachers, view, run, "logits.npz", split)
        assert "\n" not in str(caught.value)
    path = run.path / "logits.npz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFile, match="delete it to have it made again"):
        cache_logits([teacher], dataset, run, "logits.npz")
