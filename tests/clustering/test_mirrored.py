"""Clustering on two replicas takes the steps of one process."""

import numpy as np
import pytest

from tests.processes import last_json

CODE = """
import json
import numpy as np
import tensorflow as tf
import tf_keras as keras
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import network_pruning as npr
from network_pruning.training import Trainer
from tests.clustering.test_model import make_network

rng = np.random.default_rng(0)
images = rng.random((25, 6, 5, 2), np.float32)  # the last batch holds 1: 1 + 0
labels = rng.integers(0, 3, len(images))
start = make_network().get_weights()
found = {}
strategies = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy()
for name, kind, wrap in (
    ("sample", "sample", lambda model: model),
    ("spatial", "spatial", lambda model: model),
    ("channel", "channel", Trainer),
):
    for strategy in strategies:
        with strategy.scope():
            network = make_network()
            network.set_weights(start)
            model = npr.ClusteringModel(
                network, ["conv", "fc"], kind, 10, 1.0, reset_every=2, min_count=3
            )
            trained = wrap(model)
            trained.compile(keras.optimizers.SGD(1e-2, 0.9))
        batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
        history = trained.fit(batches, epochs=2, verbose=0).history
        moved = [np.abs(w).sum(axis=-1).ravel().tolist() for w in model.get_weights()]
        found.setdefault(name, []).append({**history, "weights": sum(moved, [])})
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_replicas_equal_one_process():
    found = last_json(CODE)
    assert list(found) == ["sample", "spatial", "channel"]
    for alone, two in found.values():
        assert list(alone) == list(two)
        assert sum(alone["fc_revivals"]) > 0
        for name, values in alone.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-4, err_msg=name)
