"""What a study has finished: its trainings, what steps say of them, how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmarks.table import markdown_of
from experiments.parsimonies import verdicts
from experiments.parsimonies.presets import PRESETS, SETTLED
from experiments.parsimonies.studies import MADE, Study
from experiments.stages import Stage

TOLD = (
    *("learning_rate", "batch_size", "dropout", "weight_decay"),
    *("init", "conv_sd", "fc_activation"),
)
"""Settings that a name tells where no preset does and they are not the settled ones."""
SAME_IMAGES = "with the same --dataset, --num_valid and --num_train"


def name_of(stage: Stage) -> str:
    """Returns what a training is called in tables."""
    made = stage.made or {}
    name = f"{made['label']}, {verdicts.length(stage.fields)}"
    if "teacher" in made:
        name += f", taught by {made['teacher']}"
        name += f" at T {stage.fields['temperature']:g}"
        name += f", soft weight {stage.fields['soft_weight']:g}"
    if made["label"] in PRESETS:
        return name
    for setting in TOLD:
        if (value := stage.fields.get(setting)) != SETTLED[setting]:
            name += f", {setting.replace('_', ' ')} {value}"
    if stage.fields["clustering"] != "none":
        weights = "/".join(f"{weight:g}" for weight in stage.fields["weight"])
        name += f", weight {weights}, K {stage.fields['clusters']}"
        name += f", momentum {stage.fields['momentum']:g}"
    return name


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


def finished(study: Study, procedure: str) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """Yields each training on these images, and what a step says of it."""
    for step in study.chain.all():
        training = training_of(study, step)
        if step.procedure == procedure and training is not None:
            yield training, step.made or {}


def show(
    study: Study, name: str, title: str, header: list[str], rows: list[list[str]]
) -> None:
    """Writes a table to a page of the study, and prints it."""
    text = f"# {title}\n\n{markdown_of(header, rows)}"
    study.run.write_text(name, text)
    print(text)
