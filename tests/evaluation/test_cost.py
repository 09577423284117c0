import dataclasses
import io
import math
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tf_keras.src.saving import saving_lib

from models import build
from network_pruning.evaluation import cost, metrics
from network_pruning.evaluation.macs import count_macs
from network_pruning.pruning.plan import plan

layers = keras.layers


def tiny():
    keras.utils.set_random_seed(0)
    return build("mlp", (4, 4, 1), 3, widths=(6, 5))


class Images:
    """A Dataset of noise, as small as its Protocol allows."""

    name, num_classes, input_shape = "noise", 3, (4, 4, 1)

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = {s: rng.random((23, 4, 4, 1), np.float32) for s in ("train", "test")}
        self.y = {s: rng.integers(0, 3, 23) for s in ("train", "test")}
        self.in_memory = True
        self.x_train, self.y_train = self.x["train"], self.y["train"]
        self.x_test, self.y_test = self.x["test"], self.y["test"]

    def batches(self, split, size, seed=None, augment=None):
        pairs = tf.data.Dataset.from_tensor_slices((self.x[split], self.y[split]))
        return pairs.batch(size if self.in_memory else 5)


def test_counts_of_the_spec_mlp():
    model = build("mlp", (28, 28, 1), 10)
    assert cost.count_params(model) == count_macs(model) == 2_386_000
    assert cost.count_nonzeros(model) == 2_386_000


def test_moving_statistics_are_no_params_and_zeros_no_nonzeros():
    model = build("mlp", (4, 4, 1), 3, widths=(6,), batch_norm=True, use_bias=True)
    # kernel, bias, gamma, beta; kernel, bias
    assert cost.count_params(model) == 96 + 6 + 6 + 6 + 18 + 3
    # Biases and beta begin at zero, gamma at one.
    assert cost.count_nonzeros(model) == 96 + 6 + 18


def test_what_is_frozen_counts():
    model = build("mlp", (4, 4, 1), 3, widths=(6,), batch_norm=True, use_bias=True)
    model.trainable = False
    assert cost.count_params(model) == 96 + 6 + 6 + 6 + 18 + 3
    assert cost.count_nonzeros(model) == 96 + 6 + 18
    half = {"hidden_1": np.arange(6) < 3}
    assert plan(model, half).params == (135, 48 + 3 + 3 + 3 + 9 + 3)


def test_sizes_leave_the_optimizer_out():
    model = tiny()
    before = cost.keras_bytes(model), cost.gzip_bytes(model)
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4, 4, 1)), np.ones((4, 3)), verbose=0)
    model.set_weights(tiny().get_weights())
    assert (cost.keras_bytes(model), cost.gzip_bytes(model)) == before


def test_the_keras_size_is_that_of_a_saved_file(tmp_path):
    model = tiny()
    model.save(tmp_path / "model.keras")
    assert cost.keras_bytes(model) == (tmp_path / "model.keras").stat().st_size


def test_gzip_gains_from_zeros_and_keras_does_not():
    model = build("mlp", (8, 8, 1), 3, widths=(60, 50))
    before = cost.keras_bytes(model), cost.gzip_bytes(model)
    model.set_weights([w * (np.abs(w) > 0.2) for w in model.get_weights()])
    assert cost.keras_bytes(model) == before[0]
    assert cost.gzip_bytes(model) < 0.6 * before[1]


def test_the_card_judges_the_split_it_is_given():
    model, data = tiny(), Images()
    card = cost.cost_card(model, data, latency=False)
    logits = model(data.x["test"]).numpy()
    labels = data.y["test"]
    assert card.accuracy == metrics.accuracy(logits, labels)
    assert card.cross_entropy == pytest.approx(metrics.cross_entropy(logits, labels))
    assert card.ece == pytest.approx(metrics.ece(logits, labels))
    assert card.latency is None
    other = cost.cost_card(model, data, latency=False, split="train")
    assert other.cross_entropy != card.cross_entropy


def test_int8_is_calibrated_on_training_images(monkeypatch):
    data, seen = Images(), []

    def spy(model, int8=False, representative=None):
        seen.append(representative)
        return b""

    monkeypatch.setattr(cost, "to_tflite", spy)
    cost.cost_card(tiny(), data, latency=False)
    assert seen[0] is None
    np.testing.assert_array_equal(seen[1], data.x["train"])


def test_quality_is_over_all_batches_of_a_stream():
    data = Images()
    whole = cost.cost_card(tiny(), data, latency=False)
    data.in_memory = False
    parts = cost.cost_card(tiny(), data, latency=False)
    assert parts.cross_entropy == pytest.approx(whole.cross_entropy, rel=1e-6)


def test_a_model_of_any_size_has_no_latency(caplog):
    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(pooled))
    for data in (None, Images()):
        card = cost.cost_card(model, data)
        assert card.latency is None
        assert card.tflite_bytes
        assert "a time is that of a size, expected keras.Input with one" in caplog.text


def test_the_card_without_data_has_no_quality():
    card = cost.cost_card(tiny())
    assert (card.accuracy, card.cross_entropy, card.nll, card.ece) == (None,) * 4
    assert card.params == 6 * 16 + 30 + 15
    assert card.tflite_int8_bytes > 0
    assert card.latency.litert_median_us > 0


def test_a_network_without_litert_form_still_has_a_card(caplog):
    inputs = keras.Input((4,))
    outputs = layers.Lambda(lambda x: tf.math.igamma(x, x))(layers.Dense(2)(inputs))
    card = cost.cost_card(keras.Model(inputs, outputs), latency=False)
    assert card.tflite_bytes is None and card.params == 10
    assert "no LiteRT form" in caplog.text


CARD = """
import time
import tf_keras as keras
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from models import build
from network_pruning.evaluation.cost import cost_card
keras.utils.set_random_seed(0)
model = build("mlp", (4, 4, 1), 3, widths=(6, 5))
print(cost_card(model, latency=False))
time.sleep(1.1)  # to another date_saved
print(cost_card(model, latency=False))
"""


@pytest.mark.slow
def test_the_card_is_the_same_in_another_process_and_at_another_time():
    done = subprocess.run(
        [sys.executable, "-c", CARD], capture_output=True, text=True, check=True
    )
    here = str(cost.cost_card(tiny(), latency=False))
    assert done.stdout.splitlines() == [here, here]


def test_the_date_of_saving_does_not_count(monkeypatch):
    model = tiny()
    first = cost.gzip_bytes(model)

    class Later(saving_lib.datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1111, 11, 11, 11, 11, 11)  # gzips better than any other

    monkeypatch.setattr(saving_lib.datetime, "datetime", Later)
    assert b"1111-11-11" in _metadata(cost._archive(model))
    assert cost.gzip_bytes(model) == first


def _metadata(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read("metadata.json")


def test_a_card_is_frozen():
    card = cost.cost_card(tiny(), latency=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.params = math.inf


def test_quality_needs_one_row_of_logits():
    one = tiny()
    two = keras.Model(one.inputs, [one.output, one.output])
    assert cost.cost_card(two, latency=False).tflite_bytes is None
    with pytest.raises(ValueError, match="got outputs .*, expected one of logits"):
        cost.cost_card(two, Images())
