"""What students are held against: trained networks, alone, dropped out, together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from data.arrays import ArrayDataset
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.networks import Build
from experiments.gpeds.sets import Sets
from network_pruning.evaluation.predict import predict_logits
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.runs import RunDir
from network_pruning.training import reseed
from network_pruning.types import FloatArray

DROPOUT, PASSES = 0.5, 50
"""Of MC dropout: its rate, and the passes that make its ensemble."""
FEW = 1_000
"""Training images that are watched where none are held out; nothing is chosen then."""


class Baselines:
    """Trains the networks once, and lets them speak.

    Attributes:
        names: Of the contenders.
    """

    names = ("deterministic", "mc dropout", "deep ensemble")

    def __init__(
        self, config: GpedConfig, sets: Sets, build: Build, run: RunDir
    ) -> None:
        """Names the place; nothing is trained yet.

        Args:
            config: How many networks, how long.
            sets: What they learn.
            build: `models.build`.
            run: Folder of the trainings.
        """
        self._config, self._sets, self._build, self._run = config, sets, build, run

    def log_probabilities(
        self, name: str, images: npt.NDArray[np.float32]
    ) -> FloatArray:
        """Returns what each member of a contender says [members, n, classes].

        Args:
            name: One of `names`.
            images: [n, h, w, c].
        """
        if name == "mc dropout":
            return self._dropped(images)
        members = self._config.members if name == "deep ensemble" else 1
        logits = [predict_logits(self._network(i), images) for i in range(members)]
        return tf.nn.log_softmax(np.stack(logits)).numpy()

    def _dropped(self, images: npt.NDArray[np.float32]) -> FloatArray:
        network, said = self._network(0, DROPOUT), []
        run = tf.function(lambda x: tf.nn.log_softmax(network(x, training=True)))
        for number in range(PASSES):
            reseed(network, self._config.seed, number)
            starts = range(0, len(images), 2000)
            said.append(np.concatenate([run(images[s : s + 2000]) for s in starts]))
        return np.stack(said)

    def _network(self, number: int, dropout: float = 0.0) -> keras.Model:
        config, sets = self._config, self._sets
        watched = sets.valid
        if not len(watched[0]):
            watched = sets.train[0][:FEW], sets.train[1][:FEW]
        parts = {"train": sets.train, "valid": watched, "test": watched}
        data = ArrayDataset(
            "gped", parts, num_classes=sets.classes, fingerprint=sets.fingerprint
        )
        plan = FitPlan(
            config.baseline_epochs,
            config.batch_size,
            config.student_learning_rate,
            seed=config.seed_of(1_000, number),
            schedule="cosine",
        )
        folder = f"dropout={dropout:g}/member={number}"
        training = fit(
            lambda: self._build(
                config.teacher, sets.shape, sets.classes, dropout=dropout
            ),
            data,
            plan,
            self._run,
            folder,
            identity=sets.fingerprint,
        )
        which = "val_loss" if len(sets.valid[0]) else "last"
        keras.backend.experimental.enable_tf_random_generator()
        return training.load(self._run, which, f"delete {self._run.path / folder}")
