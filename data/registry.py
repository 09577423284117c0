"""From the word after `--dataset` to where the images are, without TensorFlow."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from data import availability
from data.errors import DatasetError


@dataclass(frozen=True)
class Alias:
    """What a short name stands for.

    Attributes:
        tfds: Name in tensorflow-datasets, or None for the embedded set.
        image_size: (height, width) the images are resized to, or None: as they are.
        classes: balanced_attribute or persons where CelebA is to have one class an
            image.
    """

    tfds: str | None
    image_size: tuple[int, int] | None = None
    classes: str | None = None


ALIASES = {
    "digits": Alias("mnist"),
    "mnist": Alias("mnist"),
    # As in the data-free paper's code: interpolated, not padded.
    "mnist_conv": Alias("mnist", image_size=(32, 32)),
    "fashion": Alias("fashion_mnist"),
    "fashion_conv": Alias("fashion_mnist", image_size=(32, 32)),
    "kmnist": Alias("kmnist"),
    "cifar10": Alias("cifar10"),
    "cifar100": Alias("cifar100"),
    "svhn": Alias("svhn_cropped"),
    "celeb_a": Alias("celeb_a"),
    "celeb_a_balanced": Alias("celeb_a", classes="balanced_attribute"),
    "celeb_a_identities": Alias("celeb_a", classes="persons"),
    "imagenet": Alias("imagenet2012", image_size=(224, 224)),
    "uci_digits": Alias(None),
}
"""Every short name. To add one that tensorflow-datasets knows: a line here."""


@dataclass(frozen=True)
class Place:
    """Where a dataset is.

    Attributes:
        kind: "embedded", "tfds", "folder" or "npz".
        name: Short: the alias or name as given, or the last part of the path.
        alias: What it stands for; for a path, an alias of nothing.
        path: Of the folder or file, or None.
    """

    kind: str
    name: str
    alias: Alias
    path: Path | None = None


def resolve(name: str) -> Place:
    """Finds what a dataset name means: an alias, else a path, else a TFDS name.

    A folder that shares its name with an alias is reached as `./name`.

    Args:
        name: As the user gives it.

    Returns:
        Where to read.

    Raises:
        DatasetError: If it is none of them.
    """
    if name in ALIASES:
        alias = ALIASES[name]
        return Place("tfds" if alias.tfds else "embedded", name, alias)
    path = Path(name).expanduser()
    if name and path.exists():
        return _place_of_path(name, path)
    if _looks_like_path(name):
        raise DatasetError(
            f"dataset: {name!r} looks like a path, but there is no such folder or .npz "
            f"file (from {os.getcwd()})"
        )
    if not availability.is_known(name):
        raise DatasetError(_unknown(name))
    return Place("tfds", name, Alias(name))


def _place_of_path(name: str, path: Path) -> Place:
    kind = "folder" if path.is_dir() else "npz"
    if kind == "npz" and path.suffix != ".npz":
        raise DatasetError(
            f"dataset: {name!r} is a file, expected a .npz file or a folder"
        )
    full = path.resolve()
    return Place(kind, full.stem if kind == "npz" else full.name, Alias(None), path)


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or name.endswith((".npz", os.sep))


def _unknown(name: str) -> str:
    known = [*ALIASES, *availability.tfds_names()]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"dataset: got {name!r}, expected one of {', '.join(sorted(ALIASES))}, any "
        f"other name that tensorflow-datasets knows, or the path of a folder or .npz "
        f"file{hint}"
    )
