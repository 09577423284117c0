"""What a run shows in TensorBoard."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras
from PIL import Image
from tensorboard.plugins.hparams import api as hparams

from network_pruning.evaluation.rows import KINDS, Row, grid, sparsities
from network_pruning.types import FloatArray, Scores

HISTOGRAMS = 10
"""Weight histograms in a training, however many epochs it has."""


@contextlib.contextmanager
def _as_os_error(folder: Path) -> Generator[None, None, None]:
    """Says as Python does that the disk is full.

    Raises:
        OSError: Instead of TensorFlow's own error.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError:
        full = errno.ENOSPC
        raise OSError(full, os.strerror(full), str(folder)) from None


class TrainingBoard:
    """Curves and weight histograms of one training, epoch by epoch."""

    def __init__(self, folder: Path, epochs: int) -> None:
        """Names the event files; a training that has no epoch to go writes none.

        Args:
            folder: Of the training, inside the run's tensorboard folder.
            epochs: Planned, to spread the histograms.
        """
        self._folder = folder
        self._writers: dict[str, Any] = {}
        self._every = max(1, epochs // HISTOGRAMS)

    def __call__(
        self, epoch: int, numbers: dict[str, float], network: keras.Model
    ) -> None:
        """Writes one epoch."""
        with _as_os_error(self._folder):
            validated = {k[4:]: v for k, v in numbers.items() if k.startswith("val_")}
            trained = {k: v for k, v in numbers.items() if not k.startswith("val_")}
            for part, told in {"train": trained, "validation": validated}.items():
                with self._writer(part).as_default(step=epoch + 1):
                    for name, value in told.items():
                        tf.summary.scalar(f"epoch_{name}", value)
                    if part == "train" and (epoch + 1) % self._every == 0:
                        for weight in network.trainable_weights:
                            tf.summary.histogram(weight.name, weight)
                self._writer(part).flush()

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            folder = str(self._folder / part)
            self._writers[part] = tf.summary.create_file_writer(folder)
        return self._writers[part]


def show_sweep(
    folder: Path,
    rows: Sequence[Row],
    settings: dict[str, Any],
    figures: Sequence[Path],
) -> None:
    """Writes the sweep, the hyper-parameters and the figures.

    The step of a sweep's point is its sparsity in tenths of a percent.

    Args:
        folder: tensorboard folder of the run; earlier sweeps in it are replaced.
        rows: Of the sweep.
        settings: Hyper-parameters, flat.
        figures: PNG files.
    """
    for old in folder.glob("sweep*/events.*"):
        old.unlink()
    with _as_os_error(folder):
        for kind in KINDS:
            writer = tf.summary.create_file_writer(str(folder / f"sweep-{kind}"))
            with writer.as_default():
                for name in ("accuracy", "loss", "cross_entropy", "ece", "nonzeros"):
                    _show_curve(rows, kind, name)
            writer.close()
        _show_run(folder, rows, settings, figures)


def _show_run(
    folder: Path,
    rows: Sequence[Row],
    settings: dict[str, Any],
    figures: Sequence[Path],
) -> None:
    writer = tf.summary.create_file_writer(str(folder / "sweep"))
    with writer.as_default(step=0):
        hparams.hparams({name: _flat(value) for name, value in settings.items()})
        dense = [row.accuracy for row in rows if row.sparsity == 0]
        if dense:
            tf.summary.scalar("hparams/dense_accuracy", np.mean(dense))
        for path in figures:
            _show_figure(path)
    writer.close()


def _show_curve(rows: Sequence[Row], kind: str, name: str) -> None:
    """Writes the means over seeds of one quantity, where it was measured."""
    for sparsity, values in zip(
        sparsities(rows), grid(rows, kind, name).T, strict=True
    ):
        if not np.isnan(values).all():
            step = round(1000 * sparsity)
            tf.summary.scalar(f"sweep/{name}", np.nanmean(values), step=step)


def _flat(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def show_scores(folder: Path, scores: Mapping[str, Scores], figure: Path) -> None:
    """Writes the scores of a ranking: a histogram a group, and the figure.

    Args:
        folder: tensorboard folder of the ranking; what was in it is replaced.
        scores: By group name.
        figure: PNG file.
    """
    with _anew(folder):
        for group, found in scores.items():
            tf.summary.histogram(f"scores/{group}", found.values)
        _show_figure(figure)


def show_sensitivity(
    folder: Path,
    ratios: Sequence[float],
    curves: Mapping[str, FloatArray],
    figure: Path,
) -> None:
    """Writes the sensitivity: a curve a group, and the figure.

    The step of a point is the share of the group removed, in percent.

    Args:
        folder: tensorboard folder of the curves; what was in it is replaced.
        ratios: Shares removed.
        curves: Accuracy [ratios] by group name.
        figure: PNG file.
    """
    with _anew(folder):
        for group, curve in curves.items():
            for ratio, accuracy in zip(ratios, curve, strict=True):
                step = round(100 * ratio)
                tf.summary.scalar(f"sensitivity/{group}", accuracy, step=step)
        _show_figure(figure)


def show_curves(
    folder: Path,
    curves: Mapping[str, Sequence[tuple[int, float]]],
    figures: Sequence[Path],
) -> None:
    """Writes curves and figures.

    Args:
        folder: tensorboard folder; what was in it is replaced.
        curves: (step, value), by name.
        figures: PNG files.
    """
    with _anew(folder):
        for name, points in curves.items():
            for step, value in points:
                tf.summary.scalar(name, value, step=step)
        for path in figures:
            _show_figure(path)


def show_images(folder: Path, pictures: Mapping[str, npt.NDArray[np.uint8]]) -> None:
    """Writes pictures.

    Args:
        folder: tensorboard folder; what was in it is replaced.
        pictures: uint8 [height, width, 3] by name.
    """
    with _anew(folder):
        for name, picture in pictures.items():
            tf.summary.image(f"images/{name}", picture[None])


@contextlib.contextmanager
def _anew(folder: Path) -> Generator[None, None, None]:
    """Lets summaries be written to a folder, in the place of what was in it.

    Yields:
        Nothing.
    """
    for old in folder.glob("events.*"):
        old.unlink()
    with _as_os_error(folder):
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default(step=0):
            yield
        writer.close()


def _show_figure(path: Path) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    tf.summary.image(f"figures/{path.stem}", pixels[None])
