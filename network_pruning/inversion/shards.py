"""Reconstructed images as a folder holds them, written as they are finished."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from network_pruning.inversion.recipe import Recipe
from network_pruning.inversion.reconstructed import Reconstructed
from network_pruning.inversion.records import ActivationRecords
from network_pruning.runs import RunDir

SETTINGS = "reconstruction.json"


@dataclass(frozen=True)
class Shard:
    """Images that were moved together.

    Attributes:
        images: [n, h, w, c] float32.
        labels: Class that each aims at [n] int64.
        trace: Mean loss before each step [steps] float32.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    trace: npt.NDArray[np.float32]


def load_reconstructed(folder: str | os.PathLike[str]) -> Reconstructed:
    """Returns the images that `reconstruct` has written to a folder.

    Raises:
        ValueError: If there are none, or not all of them.
    """
    path = Path(folder)
    if not (path / SETTINGS).is_file():
        raise ValueError(f"{path} holds no reconstructed images: make them first")
    run = RunDir(path)
    settings = run.read_json(SETTINGS)
    found = read_all(run)
    try:
        classes, total = settings["classes"], settings["classes"] * settings["n"]
    except (KeyError, TypeError):
        raise run.damaged(SETTINGS, "expected classes and n") from None
    made = sum(len(shard.labels) for shard in found)
    if made != total:
        raise ValueError(
            f"{path} holds {made} of {total} images: let the command that makes them "
            "come to its end"
        )
    return gathered(found, classes)


def gathered(found: Sequence[Shard], classes: int) -> Reconstructed:
    """Returns shards as one dataset."""
    images = np.concatenate([shard.images for shard in found])
    labels = np.concatenate([shard.labels for shard in found])
    return Reconstructed(images, labels, classes)


def read_all(run: RunDir) -> list[Shard]:
    """Returns the finished shards of a folder, in order."""
    numbers = [int(Path(name).stem) for name in names(run)]
    found = [read(run, number) for number in numbers]
    return [shard for shard in found if shard is not None]


def names(run: RunDir) -> list[str]:
    """Returns the files of the finished shards of a folder, in order."""
    return sorted(f"images/{p.name}" for p in (run.path / "images").glob("[!.]*.npz"))


def read(run: RunDir, number: int) -> Shard | None:
    """Returns a finished shard, or None.

    Raises:
        DamagedFile: If it cannot be read.
    """
    name = _name(number)
    if not run.exists(name):
        return None
    arrays = run.read_arrays(name)
    try:
        return Shard(arrays["images"], arrays["labels"], arrays["trace"])
    except KeyError as error:
        raise run.damaged(name, f"expected images, {error} is missing") from None


def write(run: RunDir, number: int, shard: Shard) -> None:
    """Writes a shard, whole or not at all."""
    fields = dataclasses.fields(shard)
    arrays = {field.name: getattr(shard, field.name) for field in fields}
    run.write_arrays(_name(number), arrays)


def keep(run: RunDir, images: npt.NDArray[np.float32], classes: int) -> None:
    """Writes images that no records were needed for, as reconstructed ones.

    Args:
        run: An empty folder.
        images: [n, h, w, c], of the classes in turns.
        classes: How many.
    """
    labels = np.arange(len(images)) % classes
    write(run, 0, Shard(images, labels, np.zeros(0, np.float32)))
    run.write_json(SETTINGS, {"classes": classes, "n": len(images) // classes})


def _name(number: int) -> str:
    return f"images/{number:05d}.npz"


def claim(run: RunDir, records: ActivationRecords, recipe: Recipe) -> None:
    """Makes a folder the one of this reconstruction.

    Raises:
        ValueError: If it holds another one.
    """
    ours = {
        "records": records.digest,
        "classes": records.classes,
        **dataclasses.asdict(recipe),
    }
    if run.exists(SETTINGS):
        theirs = run.read_json(SETTINGS)
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise ValueError(
                    f"{run.path} holds images of other settings ({name}: "
                    f"{theirs.get(name)}, now {value}): choose another folder"
                )
    run.write_json(SETTINGS, ours)
