from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning import graph
from network_pruning.pruning import gradual, weights
from tests import cases

STEPS = 30
SCHEDULE = {"begin_step": 0, "end_step": 20, "frequency": 5}


class Trainer:
    """Training steps on random labels."""

    def __init__(self, model):
        self.model = model
        self.optimizer = keras.optimizers.Adam(1e-2)
        self.optimizer.build(model.trainable_variables)
        generator = np.random.default_rng(0)
        shape = (STEPS, 8, *model.input_shape[1:])
        self.x = tf.constant(generator.random(shape, np.float32))
        self.y = tf.constant(generator.integers(0, 3, (STEPS, 8)))

    def step(self, x, y):
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            )
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        gradual.advance(self.model)

    def run(self, first=0, last=STEPS):
        for i in range(first, last):
            self.step(self.x[i], self.y[i])

    def run_traced(self, jit):
        """Runs all steps as one loop in one function.

        Returns:
            Zeros in each kernel after each step [steps, kernels].
        """
        step = tf.function(self.step, jit_compile=True) if jit else self.step
        kernels = [v for v in self.model.trainable_variables if "kernel" in v.name]

        @tf.function
        def loop():
            zeros = tf.TensorArray(tf.int64, STEPS)
            for i in tf.range(STEPS):
                step(self.x[i], self.y[i])
                count = [tf.math.count_nonzero(kernel == 0) for kernel in kernels]
                zeros = zeros.write(i, tf.stack(count))
            return zeros.stack()

        return loop().numpy()


def wrapped(sparsity=0.75, build=cases.plain, **options):
    model = cases.randomise(build())
    return gradual.wrap(model, sparsity, **{**SCHEDULE, **options})


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_traced_loop_reaches_the_sparsity_and_keeps_it(jit):
    model = wrapped()
    zeros = Trainer(model).run_traced(jit)
    sizes = np.array([192, 120, 80, 24])
    assert (zeros[0] == 0).all()
    assert (np.diff(zeros, axis=0) >= 0).all()
    assert (zeros[20:, :3] == 0.75 * sizes[:3]).all()
    assert (zeros[:, 3] == 0).all()
    # The schedule's renewals: steps 5, 10, 15, 20 (the first step is 1).
    share = 0.75 * (1 - (1 - np.array([5, 10, 15, 20]) / 20) ** 3)
    kept = np.round(np.float32(192) * (1 - share.astype("f4")))
    assert zeros[[4, 9, 14, 19], 0].tolist() == (192 - kept).tolist()
    plain = gradual.strip(model)
    assert weights.achieved_sparsity(plain) == dict.fromkeys(
        ("hidden_1/kernel", "hidden_2/kernel", "hidden_3/kernel"), 0.75
    )
    assert gradual.achieved(plain) == gradual.achieved(model)


def test_wrapping_changes_nothing_yet(case):
    before = graph.fingerprint(case)
    model = gradual.wrap(case, 0.5, **SCHEDULE)
    x = cases.examples(case)
    assert np.array_equal(cases.flat(model(x)), cases.flat(case(x)))
    assert float(sum(model.losses)) == float(sum(case.losses))
    names = [path for path, _ in graph.leaf_layers(model)]
    assert names != [path for path, _ in graph.leaf_layers(case)]
    model.get_layer("logits").kernel.assign_add(
        tf.ones_like(model.get_layer("logits").kernel)
    )
    assert graph.fingerprint(case) == before


def test_stripped_is_an_ordinary_model_of_the_same_graph(case):
    model = gradual.wrap(case, 0.0, **SCHEDULE)
    assert graph.fingerprint(gradual.strip(model)) == graph.fingerprint(case)


@pytest.mark.parametrize("build", [cases.nested, cases.normalised, cases.sequential])
def test_other_networks_train_to_their_sparsity(build):
    model = wrapped(0.5, build)
    Trainer(model).run()
    plain = gradual.strip(model)
    shares = weights.achieved_sparsity(plain)
    assert len(shares) == {"nested": 4}.get(plain.name, 2)
    for share, kernel in zip(
        shares.values(), weights.hidden_kernels(plain).values(), strict=True
    ):
        assert abs(share - 0.5) <= 0.5 / kernel.size
    x = cases.examples(plain)
    assert np.array_equal(plain(x), model(x))


def test_constant_schedule():
    model = wrapped(schedule="constant", begin_step=3, end_step=13)
    trainer = Trainer(model)
    trainer.run(0, 2)
    assert gradual.achieved(model)["hidden_1/kernel"] == 0
    trainer.run(2, 3)
    assert gradual.achieved(model)["hidden_1/kernel"] == 0.75
    trainer.run(3)
    assert gradual.achieved(model)["hidden_1/kernel"] == 0.75


def test_the_last_renewal_falls_on_the_end():
    model = wrapped(end_step=24)
    Trainer(model).run(0, 20)
    assert gradual.achieved(gradual.strip(model))["hidden_1/kernel"] == 0.75


def test_blocks():
    model = wrapped(0.5, block_size=(4, 2))
    Trainer(model).run()
    kernel = gradual.strip(model).get_layer("hidden_1").kernel.numpy() != 0
    blocks = kernel.reshape(4, 4, 6, 2).any(axis=(1, 3))
    assert blocks.sum() == 12
    assert kernel.sum() == 12 * 8


def test_blocks_on_a_ragged_edge_are_reported(caplog):
    model = wrapped(0.5, block_size=(5, 5))
    Trainer(model).run()
    plain = gradual.strip(model)
    shares = gradual.achieved(plain)
    uneven = [path for path, share in shares.items() if share < 0.5]
    assert uneven
    for path in uneven:
        assert f"{path.removesuffix('/kernel')}: sparsity" in caplog.text


def test_two_of_four():
    model = wrapped(0.5, m_by_n=(2, 4))
    Trainer(model).run()
    plain = gradual.strip(model)
    for name in ("hidden_1", "hidden_2"):
        kernel = plain.get_layer(name).kernel.numpy()
        zeros = (kernel.reshape(-1, 4, kernel.shape[1]) == 0).sum(axis=1)
        assert (zeros == 2).all()
    assert np.count_nonzero(plain.get_layer("logits").kernel) == 24


def test_resumes_from_its_weights():
    whole, parts = wrapped(), wrapped()
    Trainer(whole).run()
    first = Trainer(parts)
    first.run(0, 12)
    state = parts.get_weights(), [v.numpy() for v in first.optimizer.variables]
    again = wrapped()
    again.set_weights(state[0])
    second = Trainer(again)
    for variable, value in zip(second.optimizer.variables, state[1], strict=True):
        variable.assign(value)
    second.run(12, STEPS)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_stripping_too_early_is_an_error():
    model = wrapped()
    Trainer(model).run(0, 10)
    with pytest.raises(
        ValueError, match="hidden_1: got .* more than .* after 10 steps"
    ):
        gradual.strip(model)
    with pytest.raises(ValueError, match="got 2 weights or blocks more"):
        gradual.strip(wrapped(0.5, m_by_n=(2, 4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "sparsity: got 1.0"),
        ({"initial_sparsity": -1}, "sparsity: got -1"),
        ({"schedule": "cubic"}, "schedule: got 'cubic'"),
        ({"frequency": 21}, "lower the frequency or train longer"),
        ({"frequency": 0}, "got 0, 20, 0"),
        ({"begin_step": -5}, "got -5, 20, 5"),
        ({"block_size": (0, 1)}, "block_size: got"),
        ({"m_by_n": (4, 2)}, "m_by_n: got"),
        ({"m_by_n": (2, 4), "sparsity": 0.75}, "expected 0 < m < n, sparsity m / n"),
        ({"m_by_n": (2, 4), "sparsity": 0.5, "block_size": (2, 2)}, "no blocks"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        wrapped(**options)


def test_nothing_to_prune():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match="no hidden layer to prune"):
        gradual.wrap(model, 0.5, **SCHEDULE)


@pytest.mark.slow
def test_tfmot_is_loaded_only_when_used():
    code = (
        "import sys, network_pruning.pruning.gradual\n"
        "assert 'tensorflow_model_optimization' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
