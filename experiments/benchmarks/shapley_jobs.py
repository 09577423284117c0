"""Contestants for Shapley values of a convolution: ours, and shap's KernelExplainer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

import models
from data import uci_digits
from experiments.benchmarks.config import CLASSES, IMAGE, MOST_IMAGES, BenchmarkConfig
from experiments.benchmarks.worker import Ready
from network_pruning.evaluation import metrics
from network_pruning.losses import cross_entropy
from network_pruning.pruning import removals, shapley
from network_pruning.pruning.coalitions import Coalitions
from network_pruning.pruning.gates import gate
from network_pruning.pruning.units import UnitGroup, find_groups
from network_pruning.types import BoolArray

EPOCHS = 5
MOST_EXACT = 12
"""Players whose every coalition is evaluated for the reference."""
PERMUTATIONS = 100
"""Of the reference where there are more players."""
PREDICT_BATCH = 1000
"""Images at once for `predict`: twice as fast as its default of 32."""

Float64 = npt.NDArray[np.float64]
Game = Callable[[BoolArray], Float64]


@dataclass(frozen=True)
class Task:
    """A trained network, a group of its units, and what coalitions are judged on."""

    model: keras.Model
    group: UnitGroup
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of players."""
        return self.group.n_units

    @property
    def probes(self) -> BoolArray:
        """A few coalitions that all must value alike: every other unit, and halves."""
        places = np.arange(self.n)
        return np.stack([
            places % 2 == 0,
            places % 2 == 1,
            places < self.n // 2,
            places >= self.n // 2,
        ])


def digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Returns scikit-learn's 1,797 digits at 28x28 pixels in [0, 1], and labels."""
    images, labels = uci_digits.read().train
    return np.divide(images, 255, dtype=np.float32), np.asarray(labels, np.int64)


def train(path: Path, widths: tuple[int, ...]) -> float:
    """Trains a LeNet-5 on the digits no coalition is judged on, and saves it.

    Args:
        path: Of the file, ending in .keras.
        widths: Of the network.

    Returns:
        Its accuracy on the others.
    """
    keras.utils.set_random_seed(0)
    model = models.build("lenet5", IMAGE, CLASSES, widths=widths)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    x, y = digits()
    model.fit(x[MOST_IMAGES:], y[MOST_IMAGES:], 32, EPOCHS, verbose=0)
    model.save(path)
    return metrics.accuracy(model(x[:MOST_IMAGES]).numpy(), y[:MOST_IMAGES])


def load(path: str, group: str, images: int) -> Task:
    """Returns the task of a saved network and one of its convolutions."""
    model = keras.models.load_model(path, compile=False)
    x, y = digits()
    found = next(g for g in find_groups(model) if g.name == group)
    return Task(model, found, x[:images], y[:images])


def reference(path: str, group: str, images: int) -> Mapping[str, Any]:
    """Computes what estimates are compared with.

    Returns:
        "values" [n]; "how" they were found; "gate", the largest difference between the
        engine and `gate` on the probes; "probes", their values by `gate`.
    """
    task = load(path, group, images)
    game = _coalitions(task)
    if task.n <= MOST_EXACT:
        values, how = removals.exact(game, task.n).values, "every coalition"
    else:
        found = shapley.permutation(game, task.n, PERMUTATIONS)
        values = found.values
        error = np.max(np.asarray(found.standard_error)) / np.abs(values).max()
        how = f"{PERMUTATIONS} permutations, standard error {error:.3f}"
    probes = np.array([_gated(task, mask) for mask in task.probes])
    return {
        "values": values.tolist(),
        "how": how,
        "probes": probes.tolist(),
        "gate": float(np.abs(game(task.probes) - probes).max()),
    }


def ours(config: BenchmarkConfig, path: str, group: str) -> Ready:
    """Makes the contestant that estimates with this library's engine.

    A job is everything: it reads the graph, traces, and computes what the coalitions
    have in common; nothing is kept from the job before.

    Returns:
        The contestant, warm.
    """
    task = load(path, group, config.images)
    seeds = itertools.count()

    def run() -> dict[str, float]:
        game = _Counted(_coalitions(task))
        seed = next(seeds)
        values = shapley.kernel(game, task.n, config.coalitions, seed).values
        return _result(values, len(game.seen))

    run()
    return Ready(run, _facts(_coalitions(task), task))


def with_shap(
    config: BenchmarkConfig,
    path: str,
    group: str,
    forward: Literal["predict", "function"],
    l1_reg: bool,
) -> Ready:
    """Makes the contestant that hands the masked network to shap's KernelExplainer.

    A job is the explainer and its shap_values, for as many coalitions as ours; the
    masked network is made, and traced, before.

    Args:
        config: Of the benchmark.
        path: Of the network.
        group: Whose units play.
        forward: Whether Keras' predict or a traced tf.function runs the network.
        l1_reg: Whether shap selects features as it does by default.

    Returns:
        The contestant, warm.
    """
    import shap

    task = load(path, group, config.images)
    game = _Counted(_loop(task, predict=forward == "predict"))
    seeds = itertools.count()
    chosen = {} if l1_reg else {"l1_reg": False}

    def run() -> dict[str, float]:
        game.seen.clear()
        np.random.seed(next(seeds))  # noqa: NPY002 - shap draws from it.
        explainer = shap.KernelExplainer(
            lambda rows: game(np.asarray(rows) > 0), np.zeros((1, task.n))
        )
        values = explainer.shap_values(
            np.ones((1, task.n)), nsamples=config.coalitions, silent=True, **chosen
        )
        return _result(np.ravel(values), len(game.seen))

    return Ready(run, _facts(game, task))


class _Counted:
    """A game that remembers which coalitions it was asked for."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.seen: set[bytes] = set()

    def __call__(self, masks: BoolArray) -> Float64:
        self.seen.update(mask.tobytes() for mask in masks)
        return self.game(masks)


def _coalitions(task: Task) -> Coalitions:
    return Coalitions(task.model, task.group, task.images, task.labels)


def _loop(task: Task, predict: bool) -> Game:
    """Returns the game one coalition after the other, as shap's users write it."""
    masked = _masked(task)

    def by_predict(mask: BoolArray) -> float:
        rows = np.repeat(mask[None].astype(np.float32), len(task.images), axis=0)
        logits = masked.predict(
            [task.images, rows], batch_size=PREDICT_BATCH, verbose=0
        )
        return -metrics.cross_entropy(logits, task.labels)

    images, labels = tf.constant(task.images), tf.constant(task.labels)

    @tf.function(autograph=False)
    def traced(mask: tf.Tensor) -> tf.Tensor:
        logits = masked([images, mask[None]], training=False)
        return -tf.reduce_mean(cross_entropy(logits, labels))

    def by_function(mask: BoolArray) -> float:
        return float(traced(tf.constant(mask, tf.float32)))

    value = by_predict if predict else by_function
    return lambda masks: np.array([value(mask) for mask in masks])


def _masked(task: Task) -> keras.Model:
    """Returns the LeNet with a second input: which channels pass."""
    mask = keras.Input((task.n,), name="mask")
    x = task.model.input
    for layer in task.model.layers[1:]:
        x = layer(x)
        if layer.name == f"{task.group.name}_norm":
            spread = keras.layers.Reshape((1, 1, task.n))(mask)
            x = keras.layers.Multiply()([x, spread])
    return keras.Model([task.model.input, mask], x)


def _gated(task: Task, mask: BoolArray) -> float:
    logits = gate(task.model, {task.group.name: mask})(task.images).numpy()
    return -metrics.cross_entropy(logits, task.labels)


def _facts(game: Game, task: Task) -> dict[str, Any]:
    """Values the probes, which warms a game up.

    Returns:
        What the table should say, and the values.
    """
    return {"players": task.n, "probes": game(task.probes).tolist()}


def _result(values: Float64, evaluated: int) -> dict[str, float]:
    found = {f"phi {i}": float(value) for i, value in enumerate(values)}
    return {"evaluated": evaluated, **found}
