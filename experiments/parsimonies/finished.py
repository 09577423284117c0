"""What a study has finished: its trainings, and what steps say of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmarks.table import markdown_of
from experiments.parsimonies.studies import MADE, Study
from experiments.stages import Stage, fits

SAME_IMAGES = "with the same --dataset, --num_valid and --num_train"


def class_names(study: Study) -> list[str]:
    """Returns the words of the classes, or their numbers."""
    known = getattr(study.data, "class_names", None)
    return list(known or map(str, range(study.data.num_classes)))


def images_of(study: Study) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns images and labels of train and valid together."""
    data = study.data
    images = np.concatenate([data.x_train, data.x_valid])
    return images, np.concatenate([data.y_train, data.y_valid])


def read_by(study: Study, stage: Stage) -> dict[str, str]:
    """Returns what a step that looks at a training has read."""
    return {"training": stage.run.path.name, "data": study.data.fingerprint}


def trained(study: Study, *procedures: str) -> list[Stage]:
    """Returns the finished trainings on these images, of some procedures or of all.

    Raises:
        ValueError: If there is none.
    """
    wanted = procedures or MADE
    found = [stage for stage in study.trainings() if stage.procedure in wanted]
    if not found:
        raise ValueError(
            f"{study.run.path} holds no finished training on these images: run "
            f"--procedure={wanted[0]} first, {SAME_IMAGES}"
        )
    return found


def training_of(study: Study, step: Stage) -> Stage | None:
    """Returns the training a step has looked at, None where it looked at pixels."""
    for stage in study.trainings():
        if stage.run.path.name == step.inputs.get("training"):
            return stage
    return None


def finished(
    study: Study, procedure: str, **fields: Any
) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """Yields each training on these images, and what a step says of it.

    Args:
        study: Which.
        procedure: Of the step.
        **fields: Settings that the step must have; others may be any.
    """
    for step in study.chain.all():
        if step.procedure != procedure or not fits(step.fields, fields):
            continue
        if (training := training_of(study, step)) is not None:
            yield training, step.made or {}


def show(
    study: Study, name: str, title: str, header: list[str], rows: list[list[str]]
) -> None:
    """Writes a table to a page of the study, and prints it."""
    text = f"# {title}\n\n{markdown_of(header, rows)}"
    study.run.write_text(name, text)
    print(text)
