"""A Distiller on two replicas takes the steps of one process."""

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
from network_pruning.distillation.hints import Hint
from tests.distillation.test_distiller import *

rng = np.random.default_rng(0)
images = rng.random((EXAMPLES + 3, *SHAPE), np.float32)  # the last batch holds 1: 1 + 0
labels = rng.integers(0, CLASSES, len(images))
teachers = [make_teacher(seed) for seed in (1, 2)]
start = make_student().get_weights()
found = {}
strategies = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy()
for name, teacher, loss, hints in (
    ("kd", teachers, "kd", None),
    ("dist", teachers[0], "dist", None),
    ("hints", teachers[0], "dkd", HINTS),
):
    for strategy in strategies:
        with strategy.scope():
            keras.utils.set_random_seed(3)
            student = make_student()
            student.set_weights(start)
            distiller = npr.Distiller(student, teacher, loss, hints=hints)
            distiller.compile(keras.optimizers.SGD(1e-3, 0.9))
        batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
        history = distiller.fit(batches, epochs=2, verbose=0).history
        told = distiller.evaluate(batches, verbose=0, return_dict=True)
        moved = [float(np.abs(w).sum()) for w in student.get_weights()]
        numbers = {**history, **told, "weights": moved}
        found.setdefault(name, []).append(numbers)
        assert np.abs(student.get_weights()[0] - start[0]).max() > 1e-3
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_replicas_equal_one_process():
    found = last_json(CODE)
    assert list(found) == ["kd", "dist", "hints"]
    for alone, two in found.values():
        assert list(alone) == list(two)
        for name, values in alone.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-4, err_msg=name)
