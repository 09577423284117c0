"""The trainings of a run: one folder for each setting and seed, shared by processes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from experiments.parsimonies import verdicts
from experiments.parsimonies.config import ParsimoniousConfig
from experiments.parsimonies.names import name_of
from experiments.parsimonies.presets import PRESETS
from experiments.stages import Chain, Stage
from network_pruning.classifiers import plain
from network_pruning.clustering.model import ClusteringModel
from network_pruning.flags import is_model_file
from network_pruning.graph import fingerprint
from network_pruning.jobs.boards import TrainingBoard
from network_pruning.jobs.distillations import Lesson, distill
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.jobs.trainings import Epoch, Training, finished
from network_pruning.runs import RunDir, lock
from network_pruning.taps import check_layers
from network_pruning.types import Dataset

log = logging.getLogger("network_pruning.jobs.parsimonious")

MONITOR = "val_accuracy"
"""What chooses the epoch that counts."""
FOLDER, CENTRES = "training", "centres.npz"
OPTIONS = ("init", "conv_sd", "fc_activation", "dropout")
PLACE = ("run_name", "output_dir", "dataset", "num_valid", "num_train")
"""Flags that say where a run is, and which images it is of."""
MADE = ("train", "distill")
"""Procedures whose steps hold trainings."""


@dataclass(frozen=True)
class Teacher:
    """Who teaches.

    Attributes:
        network: The model.
        label: What it is called.
        clustering: How it was trained.
    """

    network: keras.Model
    label: str
    clustering: str


class Study:
    """Makes the trainings of a run, those that are missing.

    Attributes:
        chain: The steps of the run.
    """

    def __init__(
        self,
        config: ParsimoniousConfig,
        data: Dataset,
        build: Callable[..., keras.Model],
        output_dir: Path,
    ) -> None:
        """Takes up a run.

        Args:
            config: What is asked for.
            data: Networks are chosen on valid; test is read by the step test alone.
            build: `models.build`.
            output_dir: Folder of all runs.
        """
        self.config, self.data, self.build = config, data, build
        self.run = RunDir(output_dir / config.run_name)
        self.chain = Chain(self.run.path)

    def check_read(self, distils: bool) -> None:
        """Judges whether a network will have what is to be read of it.

        Raises:
            ValueError: If a layer of --read_layers is unknown.
        """
        shape, classes = self.data.input_shape, self.data.num_classes
        name = self.config.settings(distils)["network"]
        check_layers(self.build(name, shape, classes), self.config.read_layers)

    def train(self, distils: bool) -> None:
        """Trains the setting of the flags, or has it taught, for each seed."""
        for seed in self.config.seeds:
            self._one(self.config, seed, distils)

    def search(self) -> None:
        """Trains every setting that is searched."""
        for config in self.searched():
            for seed in config.seeds:
                self._one(config, seed, config.distils())

    def searched(self) -> Iterator[ParsimoniousConfig]:
        """Yields the settings of a search: a teacher's, or else a clustering's.

        Raises:
            ValueError: If there is neither.
        """
        config = self.config
        if config.taught() is not None:
            for warmth, share in product(config.temperatures, config.soft_weights):
                yield replace(config, temperature=warmth, soft_weight=share)
            return
        if config.get("clustering") == "none":
            raise ValueError(
                "clustering: got none, search needs sample, spatial or channel, or a "
                "teacher"
            )
        for weight, number, momentum in product(
            config.weights, config.numbers, config.momenta
        ):
            yield replace(config, weight=(weight,), clusters=number, momentum=momentum)

    def trainings(self) -> list[Stage]:
        """Returns the finished trainings on these images, oldest first."""
        return [
            stage
            for stage in self.chain.all()
            if stage.procedure in MADE
            and stage.inputs.get("data") == self.data.fingerprint
        ]

    def network(self, stage: Stage) -> keras.Model:
        """Returns what a training has made: the epoch of best validation accuracy.

        Raises:
            ValueError: If it is not finished.
        """
        training = finished(stage.run, FOLDER)
        if training is None:
            raise ValueError(f"{stage.run.path} holds no finished training")
        return training.load(stage.run, MONITOR)

    def centres(
        self, stage: Stage, network: keras.Model
    ) -> dict[str, npt.NDArray[Any]]:
        """Returns the centres a network has learned, by layer; there may be none."""
        if not stage.run.exists(CENTRES):
            return {}
        arrays = stage.run.read_arrays(CENTRES)
        del arrays["accuracy"]
        if str(arrays.pop("network")) != fingerprint(network):
            log.info("%s: its centres are another epoch's", stage.run.path)
            return {}
        return arrays

    def _one(self, config: ParsimoniousConfig, seed: int, distils: bool) -> None:
        settings = config.settings(distils)
        own = {**settings, "seed": seed}
        inputs = {"data": self.data.fingerprint}
        teacher = None
        if distils:
            teacher = self.teacher(str(config.taught()), seed)
            inputs["teacher"] = fingerprint(teacher.network)
        text = json.dumps([own, inputs], sort_keys=True)
        mark = hashlib.sha256(text.encode()).hexdigest()[:10]
        with lock(self.run.path / "claims" / f"{mark}.lock") as mine:
            if not mine:
                log.info("seed %d: another process is at it", seed)
                return
            procedure = "distill" if distils else "train"
            with self.chain.stage(procedure, own, inputs) as stage:
                if stage.made is None:
                    label = config.preset if _is_preset(config, settings) else None
                    label = label or f"{settings['network']}-{settings['clustering']}"
                    training = self._fit(stage, settings, seed, teacher, mark)
                    stage.finish(_told(label, training, teacher))
            made = self.chain.latest[procedure].made or {}
            log.info(
                "%s: %s, seed %d, valid %.4f, in %s",
                *(procedure, made["label"], seed, made["valid"], stage.run.path),
            )

    def _fit(
        self,
        stage: Stage,
        settings: Mapping[str, Any],
        seed: int,
        teacher: Teacher | None,
        identity: str,
    ) -> Training:
        plan = FitPlan(
            settings["epochs"],
            settings["batch_size"],
            settings["learning_rate"],
            seed,
            schedule="cosine",
            optimizer="sgd",
            weight_decay=settings["weight_decay"],
            warmup_epochs=min(1, settings["epochs"] - 1),
            monitor=MONITOR,
        )
        watch = _Watch(stage, self._make(settings, seed), plan.epochs)
        if teacher is None:
            return fit(
                watch.make,
                self.data,
                plan,
                stage.run,
                FOLDER,
                identity=identity,
                export=plain,
                on_epoch=watch,
            )
        lesson = Lesson(
            temperature=settings["temperature"], soft_weight=settings["soft_weight"]
        )
        return distill(
            watch.make,
            [teacher.network],
            self.data,
            plan,
            lesson,
            stage.run,
            FOLDER,
            identity=identity,
            on_epoch=watch,
        )

    def _make(
        self, settings: Mapping[str, Any], seed: int
    ) -> Callable[[], keras.Model]:
        """Returns what makes the network, with clusters where they are asked for."""
        from models import options

        name = settings["network"]
        known = options(name)
        chosen = {word: settings[word] for word in OPTIONS if word in known}
        if "mean" in known:
            chosen["mean"] = mean_image(self.data)
        steps = -(-self.data.size("train") // settings["batch_size"])

        def make() -> keras.Model:
            network = self.build(
                name, self.data.input_shape, self.data.num_classes, **chosen
            )
            if settings["clustering"] == "none":
                return network
            layers, weights = settings["layers"], settings["weight"]
            if len(weights) == 1:
                weights = weights * len(layers)
            model = ClusteringModel(
                network,
                layers,
                settings["clustering"],
                settings["clusters"],
                dict(zip(layers, weights, strict=True)),
                settings["momentum"],
                legacy=settings["legacy"],
                reset_every=steps,
                seed=seed,
            )
            model.check_examples(self.data.size("train"))
            return model

        return make

    def teacher(self, name: str, seed: int) -> Teacher:
        """Finds a teacher.

        Args:
            name: A .keras file, the folder of a training, or a preset's id.
            seed: Of a preset's training.

        Returns:
            The teacher.

        Raises:
            ValueError: If there is none, with the command that makes it; or if it has
                learned from other images.
        """
        if name in PRESETS:
            stage = self._trained(name, seed)
        elif (Path(name) / "done.json").exists():
            stage = _stage_at(Path(name))
        elif is_model_file(name):
            shape, classes = self.data.input_shape, self.data.num_classes
            network = self.build(name, shape, classes)
            label = f"{Path(name).stem} ({fingerprint(network)[:6]})"
            return Teacher(network, label, "none")
        else:
            raise ValueError(
                f"teacher: got {name!r}, expected a .keras file, the folder of a "
                f"finished training, or one of {', '.join(PRESETS)}"
            )
        if stage.inputs.get("data") != self.data.fingerprint:
            raise ValueError(
                f"teacher: {stage.run.path} has learned from other images or another "
                f"split than those of {self.data.name} here: give the same --dataset "
                "and --num_valid (and --num_train)"
            )
        label = str((stage.made or {}).get("label"))
        ours = verdicts.length(self.config.settings(distils=True))
        if label not in PRESETS or verdicts.length(stage.fields) != ours:
            label = name_of(stage)
        clustering = str(stage.fields.get("clustering"))
        return Teacher(self.network(stage), label, clustering)

    def _trained(self, preset: str, seed: int) -> Stage:
        """Returns the newest training of a preset, of as many epochs if there is one.

        Raises:
            ValueError: If there is none.
        """
        found = [
            stage
            for stage in self.trainings()
            if (stage.made or {})["label"] == preset and stage.fields["seed"] == seed
        ]
        epochs = self.config.get("epochs")
        found.sort(key=lambda stage: stage.fields["epochs"] == epochs)
        if not found:
            raise ValueError(
                f"teacher: no finished training of {preset}, seed {seed}, in "
                f"{self.run.path}: make one with python -m experiments.parsimonious "
                f"--procedure=train --preset={preset} --seeds={seed} "
                f"--epochs={epochs} {self._place()}"
            )
        return found[-1]

    def _place(self) -> str:
        """Returns the flags that lead another command to this run and its images."""
        usual = {field.name: field.default for field in fields(ParsimoniousConfig)}
        given = {name: getattr(self.config, name) for name in PLACE}
        return " ".join(
            f"--{name}={value}"
            for name, value in given.items()
            if name == "run_name" or value != usual[name]
        )


class _Watch:
    """Follows a training: TensorBoard, and the centres of its best epoch."""

    def __init__(
        self, stage: Stage, make: Callable[[], keras.Model], epochs: int
    ) -> None:
        self._make, self._run = make, stage.run
        self._board = TrainingBoard(stage.run.path / "tensorboard", epochs)
        self._model: Any = None

    def make(self) -> keras.Model:
        """Returns a new model, and keeps it in sight."""
        self._model = self._make()
        return self._model

    def __call__(self, epoch: int, numbers: Epoch, network: keras.Model) -> None:
        """Takes note of an epoch."""
        self._board(epoch, numbers, network)
        if not isinstance(self._model, ClusteringModel):
            return
        best = -1.0
        if self._run.exists(CENTRES):
            best = float(self._run.read_arrays(CENTRES)["accuracy"])
        if numbers[MONITOR] > best:
            centres = {
                path: layer.centres.numpy()
                for path, layer in zip(
                    self._model.layer_paths, self._model.clusters, strict=True
                )
            }
            mark = np.array(fingerprint(network))
            kept = {"accuracy": np.array(numbers[MONITOR]), "network": mark, **centres}
            self._run.write_arrays(CENTRES, kept)


def mean_image(data: Dataset) -> npt.NDArray[np.float32]:
    """Returns the mean of the training images, and of no others, [h, w, c]."""
    total = np.zeros(data.input_shape)
    for images, _ in data.batches("train", 1000):
        total += np.sum(images, axis=0, dtype=np.float64)
    return (total / data.size("train")).astype(np.float32)


def _is_preset(config: ParsimoniousConfig, settings: Mapping[str, Any]) -> bool:
    """Returns whether settings and teacher are those of the preset.

    Length, batches and images are told beside its name, see `verdicts.length`.
    """
    if config.preset is None:
        return False
    pure = ParsimoniousConfig(preset=config.preset)
    theirs = pure.settings(pure.distils())
    free = {"epochs", "num_valid", "num_train", "batch_size", "dataset"}
    if pure.distils() and config.taught() != pure.taught():
        return False
    return {k: v for k, v in settings.items() if k not in free} == {
        k: v for k, v in theirs.items() if k not in free
    }


def _told(label: str, training: Training, teacher: Teacher | None) -> dict[str, Any]:
    best = training.history[training.chosen(MONITOR)]
    told = {"label": label, "epoch": training.chosen(MONITOR) + 1}
    told |= {"valid": best[MONITOR], "train": best.get("accuracy", 0.0)}
    if teacher is not None:
        told |= {"teacher": teacher.label, "teacher_clustering": teacher.clustering}
    return told


def _stage_at(folder: Path) -> Stage:
    """Returns the finished step in a folder.

    Raises:
        ValueError: If it holds no training.
    """
    for stage in Chain(folder.parent).all():
        if stage.run.path.name == folder.name and stage.procedure in MADE:
            return stage
    raise ValueError(f"teacher: {folder} holds no finished training")
