"""Trainings as a run folder holds them: finished, or stopped after some epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tf_keras as keras

from network_pruning import optimizers
from network_pruning.jobs.devices import chief_number, from_chief
from network_pruning.runs import RunDir
from network_pruning.training import Trainer

MONITORS = ("val_loss", "val_accuracy")
FILES = (*MONITORS, "last")
RETRAIN = "train again with --force_train"
Epoch = dict[str, float]


def best_epoch(history: list[Epoch], monitor: str, start: int = 0) -> int:
    """Returns the first epoch, from `start` on, that no other beats.

    Args:
        history: Numbers of each epoch.
        monitor: val_loss (lowest is best) or val_accuracy (highest).
        start: First epoch that counts.
    """
    sign = 1 if monitor == "val_loss" else -1
    values = [sign * float(numbers[monitor]) for numbers in history]
    start = min(start, len(values) - 1)
    return start + int(np.argmin(values[start:]))


@dataclass(frozen=True)
class Training:
    """A finished training, as its folder holds it.

    Attributes:
        folder: Inside the run.
        history: One dict an epoch: what the trainer tells (loss, cross_entropy,
            accuracy, or other parts), and val_loss, val_cross_entropy, val_accuracy.
        digests: sha256 of each model file by name (val_loss, val_accuracy, last).
        identity: Names the settings and data it came from.
        select_from: First epoch that could be the best.
        epochs: Passes made: fewer than planned after early stopping; 0 where the
            network was taken as it was, and the one entry of the history is what it
            does. None in files of older versions: as many as the history has.
    """

    folder: str
    history: list[Epoch]
    digests: dict[str, str]
    identity: str = ""
    select_from: int = 0
    epochs: int | None = None

    def chosen(self, which: str) -> int:
        """Returns the epoch (from 0) of a file: val_loss, val_accuracy or last."""
        if which == "last":
            return len(self.history) - 1
        return best_epoch(self.history, which, self.select_from)

    def load(self, run: RunDir, which: str, remedy: str = RETRAIN) -> keras.Model:
        """Returns the network: val_loss or val_accuracy (best epoch by it), or last.

        Args:
            run: Where it lies.
            which: The file.
            remedy: What to do about a damaged one.
        """
        name = f"{self.folder}/{which}.keras"
        return run.read_model(name, self.digests[which], remedy)


def finished(run: RunDir, folder: str) -> Training | None:
    """Returns the training a folder holds, or None where it is not complete.

    Raises:
        DamagedFile: If the folder's record is not what was written.
    """
    name = f"{folder}/training.json"
    if not run.exists(name):
        return None
    stored = run.read_json(name)
    try:
        training = Training(**stored)
        epochs = [training.chosen(which) for which in FILES]
        fits = training.folder == folder and set(training.digests) == set(FILES)
    except (TypeError, KeyError, ValueError, IndexError):
        fits = False
    if not fits or min(epochs) < 0:
        raise run.damaged(name, "expected what a finished training writes")
    return training


def check_identity(theirs: str, ours: str, run: RunDir, folder: str) -> None:
    """Judges whether a stored training is the one that is asked for.

    Raises:
        ValueError: If it was made from other settings or other data.
    """
    if theirs != ours:
        raise ValueError(
            f"{run.path / folder} holds a training of other settings or data (the "
            "dataset or the model file has changed): give this run another "
            f"--experiment_id, or {RETRAIN}"
        )


class TrainingState:
    """All that an epoch hands to the next, in one file.

    Attributes:
        digests: sha256 of the network files kept so far, by name.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: RunDir,
        folder: str,
        identity: str,
        distribute: str = "none",
    ) -> None:
        """Names the file; nothing is read yet."""
        self.run, self.folder, self.identity = run, folder, identity
        self.distribute = distribute
        self.name = f"{folder}/state.npz"
        self.network = trainer.network
        if distribute != "none":
            # Variables of a strategy are read by all workers or by none, and the chief
            # saves alone: it needs a network without them.
            self.network = keras.models.clone_model(trainer.network)
        self.digests: dict[str, str] = {}
        self.variables = [*trainer.state, *optimizers.variables(trainer.optimizer)]
        self.values = [
            np.zeros(variable.shape, variable.dtype.as_numpy_dtype)
            for variable in self.variables
        ]

    def read(self) -> keras.Model:
        """Takes the values that `save` writes; every worker must call it.

        Returns:
            The network, on one device.
        """
        self.values = [variable.numpy() for variable in self.variables]
        if self.distribute != "none":
            self.network.set_weights(self.values[: len(self.network.weights)])
            # Each replica has moving averages of its own, and their mean was read: all
            # go on from that, as a resumed training does.
            self._assign(self.values)
        return self.network

    def _assign(self, values: list[np.ndarray]) -> None:
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def keep(self, which: str, network: keras.Model) -> None:
        """Writes a network file: the best by a monitor, or the last."""
        name = f"{self.folder}/{which}.keras"
        self.run.write_model(name, network)
        self.digests[which] = self.run.digest(name)

    def save(self, history: list[Epoch]) -> None:
        """Writes every variable and the history, atomically."""
        arrays = {f"variable_{i}": value for i, value in enumerate(self.values)}
        arrays["identity"] = np.array(self.identity)
        for which, digest in self.digests.items():
            arrays[f"digest_{which}"] = np.array(digest)
        for key in history[0]:
            arrays[f"history_{key}"] = np.array([numbers[key] for numbers in history])
        self.run.write_arrays(self.name, arrays)

    def restore(self) -> list[Epoch]:
        """Puts the chief's stored state back; every worker must call it.

        Returns:
            The history up to it, empty where nothing is stored; of a worker that is not
            the chief, its length alone means something.

        Raises:
            ValueError: If the file is of another training.
        """
        history = self._load() if self.run.exists(self.name) else []
        epochs = chief_number(self.distribute, len(history))
        if epochs:
            self._assign(from_chief(self.distribute, self.values))
        return history or [{}] * epochs

    def _load(self) -> list[Epoch]:
        """Reads the file.

        Returns:
            The history.

        Raises:
            ValueError: If the file is of another training.
        """
        arrays = self.run.read_arrays(self.name)
        identity = str(arrays.get("identity", ""))
        check_identity(identity, self.identity, self.run, self.folder)
        self.digests = {
            key.removeprefix("digest_"): str(value)
            for key, value in arrays.items()
            if key.startswith("digest_")
        }
        for i, variable in enumerate(self.variables):
            stored = arrays.get(f"variable_{i}")
            if stored is None or stored.shape != tuple(variable.shape):
                raise ValueError(
                    f"{self.run.path / self.name} holds another network's training "
                    f"(at {variable.name}): delete it to train from the start"
                )
            self.values[i] = stored
        keys = [key for key in arrays if key.startswith("history_")]
        columns = zip(*(arrays[key].tolist() for key in keys), strict=True)
        names = [key.removeprefix("history_") for key in keys]
        return [dict(zip(names, values, strict=True)) for values in columns]
