"""Networks that learn: teachers from labels, students from their teachers."""

from __future__ import annotations

import functools
import logging
from typing import Any

import numpy as np
import tf_keras as keras

from experiments.datafrees import found
from experiments.datafrees.config import DatafreeConfig
from experiments.datafrees.trainers import SquaresTrainer
from experiments.stages import Chain, Stage
from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_logits, predict_split
from network_pruning.graph import fingerprint
from network_pruning.jobs.boards import TrainingBoard
from network_pruning.jobs.distillations import Lesson, distill
from network_pruning.jobs.fit import OnEpoch, fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.runs import RunDir
from network_pruning.training import Trainer
from network_pruning.types import Dataset

log = logging.getLogger(__name__)

TRAINING = "training"
Judged = dict[str, float]


def train(
    config: DatafreeConfig, chain: Chain, load: found.Load, build: found.Build
) -> Stage:
    """Trains a network on real images.

    Returns:
        The finished step.

    Raises:
        ValueError: If the loss is not one of such labels.
    """
    import models

    model = config.get("model")
    name = config.dataset or found.usual_dataset(model)
    plan = plan_of(config, "train", config.get("rng_seed"))
    init = found.started(model, config.get("init"), models.options)
    fields = {
        **{"model": model, "dataset": name, "init": config.get("init")},
        **{"rng_seed": plan.seed, "loss": config.loss, **described(plan)},
        **{"num_valid": config.num_valid, "image_size": config.image_size},
    }
    data = found.load_real(name, config, load)
    with chain.stage("train", fields, {found.IMAGES: data.fingerprint}) as stage:
        if stage.made is None:
            _check_loss(config.loss, data)
            training = fit(
                functools.partial(
                    build, model, data.input_shape, data.num_classes, **init
                ),
                data,
                plan,
                stage.run,
                TRAINING,
                identity=data.fingerprint,
                make_trainer=SquaresTrainer if config.loss == "mse" else Trainer,
                on_epoch=watcher(config, stage.run, plan.epochs),
            )
            network = training.load(stage.run, "val_accuracy")
            stage.run.write_model(found.TEACHER, network)
            made = {"fingerprint": fingerprint(network), **judge(network, data)}
            return stage.finish(made, [found.TEACHER])
        _tell_what_was_not_kept(config, plan.epochs, stage)
    return chain.latest["train"]


def _check_loss(loss: str, data: Dataset) -> None:
    if data.multi_label != (loss == "attrxent"):
        expected = "attrxent" if data.multi_label else "xent or mse"
        raise ValueError(
            f"loss: got {loss}, expected {expected}: {data.name} has "
            f"{'any number of attributes' if data.multi_label else 'one class'} an "
            "image"
        )


def distil(
    config: DatafreeConfig, chain: Chain, load: found.Load, build: found.Build
) -> Stage:
    """Teaches a student, on reconstructed images or on real ones.

    Returns:
        The finished step.
    """
    import models

    real, teacher = found.find_taught(config, chain, load, build, judging=True)
    data, source = lesson_images(config, chain, load, teacher, real.multi_label)
    found.check_fit("dataset", data, teacher.network)
    model = config.student_model or found.usual_student(
        str(teacher.fields.get("model", config.get("model")))
    )
    plan = plan_of(config, "distill", config.get("rng_seed"))
    lesson = Lesson(
        "attributes" if real.multi_label else "kd",
        config.temperature,
        config.soft_weight,
    )
    init = found.started(model, config.get("init"), models.options)
    fields = {
        **{"student": model, "init": config.get("init"), "images": source},
        **{"eval_dataset": real.name, "temperature": lesson.temperature},
        **{"soft_weight": lesson.soft_weight, "rng_seed": plan.seed},
        **described(plan),
    }
    inputs = {
        **{"teacher": teacher.mark, found.IMAGES: data.fingerprint},
        "eval_dataset": real.fingerprint,
    }
    with chain.stage("distill", fields, inputs) as stage:
        if stage.made is None:
            training = distill(
                functools.partial(
                    build, model, data.input_shape, data.num_classes, **init
                ),
                [teacher.network],
                data,
                plan,
                lesson,
                stage.run,
                TRAINING,
                on_epoch=watcher(config, stage.run, plan.epochs, real),
            )
            student = training.load(stage.run, "last")
            stage.run.write_model(found.TEACHER, student)
            judged = judge(student, real, teacher.network, config)
            return stage.finish(judged, [found.TEACHER])
        _tell_what_was_not_kept(config, plan.epochs, stage)
    return chain.latest["distill"]


def lesson_images(
    config: DatafreeConfig,
    chain: Chain,
    load: found.Load,
    teacher: found.Teacher,
    many: bool,
) -> tuple[Any, str]:
    """Returns what a student learns from, and its name.

    Args:
        config: Names it.
        chain: Where reconstructed images may lie.
        load: Of real data.
        teacher: Whose images they are.
        many: Whether an image has any number of attributes.
    """
    # With all, --dataset names what the teacher learns from.
    named = None if config.procedure == "all" else found.real_name(config)
    if named is None:
        images, folder = found.find_images(config, chain, teacher.mark)
        if many:
            images = images.with_attributes(teacher.network)
        return images, folder.name
    return found.load_real(named, config, load), named


def plan_of(config: DatafreeConfig, procedure: str, seed: int) -> FitPlan:
    """Returns how the flags say to train in a procedure."""
    return FitPlan(
        epochs=config.get("epochs", procedure),
        batch_size=config.train_batch_size,
        learning_rate=config.get("lr", procedure),
        seed=seed,
        schedule=config.schedule,
        augment=config.augment,
        shift=config.shift,
    )


def described(plan: FitPlan) -> dict[str, Any]:
    """Returns what of a plan a step's folder is named by."""
    names = ("epochs", "batch_size", "learning_rate", "schedule", "augment", "shift")
    return {name: getattr(plan, name) for name in names}


def watcher(
    config: DatafreeConfig, run: RunDir, epochs: int, real: Dataset | None = None
) -> OnEpoch:
    """Returns what looks at a network after each epoch.

    Args:
        config: How often it is judged and kept.
        run: Where that goes.
        epochs: Planned.
        real: Images to judge it on, whose numbers are shown and choose nothing.
    """
    board = TrainingBoard(run.path / "tensorboard", epochs)

    def look(epoch: int, numbers: dict[str, float], network: keras.Model) -> None:
        if "cross_entropy" in numbers:
            board(epoch, numbers, network)
        if real is not None and (epoch + 1) % config.eval_interval == 0:
            known = run.read_json("curve.json") if run.exists("curve.json") else {}
            known[str(epoch + 1)] = judge(network, real, None, config)["test_accuracy"]
            run.write_json("curve.json", known)
        every = config.checkpoint_interval
        if every and (epoch + 1) % every == 0:
            run.write_model(_kept(epoch + 1), network)

    return look


def _kept(epochs: int) -> str:
    """Returns the file of a network after so many epochs."""
    return f"checkpoints/epoch={epochs}.keras"


def _tell_what_was_not_kept(config: DatafreeConfig, epochs: int, stage: Stage) -> None:
    """Says where a finished step lacks the networks that are asked for now."""
    every = config.checkpoint_interval
    if 0 < every <= epochs and not stage.run.exists(_kept(every)):
        log.warning(
            "checkpoint_interval: got %d, but %s was finished without, and kept no "
            "network on its way: another --run_name trains again",
            *(every, stage.run.path),
        )


def judge(
    network: keras.Model,
    data: Dataset,
    teacher: keras.Model | None = None,
    config: DatafreeConfig | None = None,
) -> Judged:
    """Judges a network on test images, at temperature 1.

    Args:
        network: Images -> logits.
        data: Real.
        teacher: With whom it may agree.
        config: Says how many images are judged at once.

    Returns:
        test_accuracy, of true labels; with a teacher its own accuracy, and agreement:
        the share of images where both choose the same class. Of attributes, all are
        shares of the attributes of all images.
    """
    logits, labels = _logits(network, data, config)
    many = data.multi_label
    accuracy = metrics.attributes_accuracy if many else metrics.accuracy
    judged = {"test_accuracy": accuracy(logits, labels)}
    if teacher is not None:
        theirs, _ = _logits(teacher, data, config)
        judged["teacher_test_accuracy"] = accuracy(theirs, labels)
        said = theirs > 0 if many else theirs.argmax(axis=1)
        judged["agreement"] = accuracy(logits, said)
    return judged


def _logits(
    network: keras.Model, data: Dataset, config: DatafreeConfig | None
) -> tuple[Any, Any]:
    if config is None or not data.in_memory:
        return predict_split(network, data, "test")
    chunk = config.test_batch_size
    return predict_logits(network, data.x_test, chunk), np.asarray(data.y_test)
