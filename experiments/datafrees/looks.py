"""What images look like, and how near they come to those that were learnt."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from experiments.datafrees import found
from experiments.datafrees.config import DatafreeConfig
from experiments.stages import Chain, Stage
from network_pruning.chunks import fitting
from network_pruning.evaluation import image_figures, neighbours
from network_pruning.evaluation.predict import predict_logits
from network_pruning.inversion.shards import read_all
from network_pruning.jobs.boards import show_images
from network_pruning.runs import RunDir

SHOWN = 10
"""Images of each class in a grid."""
LEARNT = 10_000
"""Training images that are compared at once, at most."""


def plot(
    config: DatafreeConfig, chain: Chain, load: found.Load, build: found.Build
) -> Stage:
    """Draws the reconstructed images, and what teacher and student make of them.

    Returns:
        The finished step.
    """
    del load
    teacher = found.find_teacher(config, chain, build)
    images, folder = found.find_images(config, chain, teacher.mark)
    student = config.student_model
    wanted = {} if student is None else {"student": student}
    read = {"teacher": teacher.mark, found.IMAGES: images.fingerprint}
    learnt = chain.find("distill", wanted, read)
    inputs = {"teacher": teacher.mark, "images": images.fingerprint}
    if learnt is not None:
        inputs["student"] = learnt.run.path.name
    seed = config.get("rng_seed")
    with chain.stage("plot", {"rng_seed": seed}, inputs) as stage:
        if stage.made is None:
            x, y = images.x_train, images.y_train
            grids = {
                "classes": (image_figures.by_class(x, y, SHOWN), SHOWN),
                "mean_and_random": (
                    image_figures.mean_and_random(x, y, seed),
                    images.num_classes,
                ),
            }
            for name, (shown, columns) in grids.items():
                _draw(stage.run, name, image_figures.image_grid, shown, columns)
            _draw(stage.run, "pixels", image_figures.pixel_histograms, {"made": x})
            traces = [shard.trace for shard in read_all(RunDir(folder))]
            _draw(stage.run, "loss", image_figures.loss_traces, traces)
            logits = {"teacher": predict_logits(teacher.network, x)}
            if learnt is not None:
                student = learnt.run.read_model(found.TEACHER)
                logits["student"] = predict_logits(student, x)
            names = list(map(str, range(images.num_classes)))
            _draw(stage.run, "logits", image_figures.logit_curves, logits, y, names)
            pictures = {
                name: image_figures.tiled(shown, columns)
                for name, (shown, columns) in grids.items()
            }
            show_images(stage.run.path / "tensorboard", pictures)
            return stage.finish({"figures": 5})
    return chain.latest["plot"]


def _draw(run: RunDir, name: str, figure: Callable[..., None], *words: Any) -> None:
    run.write(f"{name}.png", lambda path: figure(*words, path))


def leakage(
    config: DatafreeConfig, chain: Chain, load: found.Load, build: found.Build
) -> Stage:
    """Compares distances to training images: of reconstructed ones, of test images.

    Returns:
        The finished step.
    """
    real, teacher = found.find_taught(config, chain, load, build)
    images, _ = found.find_images(config, chain, teacher.mark)
    inputs = {
        "teacher": teacher.mark,
        "images": images.fingerprint,
        "data": real.fingerprint,
    }
    with chain.stage("leakage", {"compared": config.compared}, inputs) as stage:
        if stage.made is None:
            unseen, _ = next(iter(real.batches("test", config.compared)))
            compared = {
                "made": images.x_train[: config.compared],
                "test": unseen.numpy(),
            }
            size = fitting(LEARNT, math.prod(real.input_shape))
            near = {
                name: neighbours.nearest(
                    x, (batch.numpy() for batch, _ in real.batches("train", size))
                )
                for name, x in compared.items()
            }
            stage.run.write_arrays("distances.npz", near)
            _draw(stage.run, "distances", image_figures.distances, near)
            told = dataclasses.asdict(neighbours.leak(near["made"], near["test"]))
            return stage.finish(told)
    return chain.latest["leakage"]
