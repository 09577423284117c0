"""The flags that name a trained network, its images, and what ranks its units."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from network_pruning.criterion_flags import check_criterion, read_option
from network_pruning.flags import (
    check_image_size,
    check_input_range,
    check_seeds,
    flag,
    is_model_file,
    repeated,
)


@dataclass(frozen=True)
class NetworkConfig:
    """Which trained network, and on which images."""

    model: str = flag(
        "mlp",
        "Trained network: path/to/a.keras or .h5, a SavedModel folder, or the name of "
        "a network that network_pruning.train has trained under --output_dir.",
    )
    model_checkpoint: str | None = flag(
        None, "File of the network, where --model is only its name.", "view"
    )
    pretrained: bool = flag(
        False,
        "Take --model=MobileNetV2 or another of tf_keras.applications at its ImageNet "
        "weights; the dataset's classes must be ImageNet's.",
    )
    dataset: str = flag(
        "digits",
        "Images: digits (MNIST), fashion, uci_digits (embedded, needs no network), any "
        "tensorflow-datasets name, a folder or a .npz.",
    )
    input_range: tuple[float, ...] = flag(
        (0.0, 1.0), "Low,high: what black and white are when fed to the network."
    )
    num_valid: int | None = flag(
        None,
        "Validation images taken from the training split; by default 10000, or a fifth "
        "where there are fewer than 20000.",
    )
    split: Literal["random", "first"] = flag(
        "random", "Which images validate: a seeded draw, or the first num_valid."
    )
    image_size: tuple[int, int] | None = flag(
        None, "Height,width to resize images to, where their sizes differ."
    )
    monitor: Literal["val_loss", "val_accuracy"] = flag(
        "val_loss", "Which epoch of a finished training is taken: the best by this."
    )
    seed: int = flag(
        0, "Which seed of a finished training is taken, and seed of what is drawn here."
    )
    criterion: str = flag("l2", "What ranks the units, by name.")
    option: tuple[str, ...] = repeated(
        "An option of the criterion, name=value; once for each of several."
    )
    criterion_options: tuple[str, ...] = flag(
        (), "The same in one flag: name=value,name=value."
    )
    output_dir: str = flag("results", "Folder of all runs.", "view")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        check_input_range(self.input_range)
        check_image_size(self.image_size)
        check_criterion(self.criterion, self.all_options)
        check_seeds((self.seed,), "seed")
        if not self.output_dir:
            raise ValueError("output_dir: got none, expected a folder, . for this one")
        if self.model_checkpoint and not is_model_file(self.model_checkpoint):
            raise ValueError(
                f"model_checkpoint: got {self.model_checkpoint!r}, expected the path "
                "of a .keras or .h5 file, or of a SavedModel"
            )
        if self.model_checkpoint and is_model_file(self.model):
            raise ValueError(
                f"model_checkpoint: got {self.model_checkpoint} with --model="
                f"{self.model}, two files, expected one of them"
            )

    def as_dict(self) -> dict[str, Any]:
        """Returns every field as JSON can hold it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def all_options(self) -> tuple[str, ...]:
        """Options of the criterion, whichever flags they came by."""
        return (*self.criterion_options, *self.option)

    def score_options(self) -> dict[str, Any]:
        """Returns the options of the criterion, numbers as Python's."""
        return dict(map(read_option, self.all_options))

    def digest(self) -> str:
        """Returns 8 hex digits that change with any field that is no view.

        Fields at their default are left out, so that a later version with more fields
        still knows its old runs.
        """
        fields = {field.name: field for field in dataclasses.fields(self)}
        default = json.loads(json.dumps({n: f.default for n, f in fields.items()}))
        options = [*self.criterion_options, *self.option]
        given = {**self.as_dict(), "criterion_options": options, "option": []}
        chosen = {
            name: value
            for name, value in given.items()
            if fields[name].metadata["changes"] != "view" and value != default[name]
        }
        text = json.dumps(chosen, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def source(self) -> str:
        """What `models.build` is asked for: a file, or a network's name."""
        return self.model_checkpoint or self.model
