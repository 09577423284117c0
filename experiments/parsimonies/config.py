"""The flags of parsimonious training, distillation and the hybrid.

A flag that is `none` is what the preset says, or else what is settled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from experiments.parsimonies.presets import KINDS, NUM_VALID, PRESETS, SEEDS, SETTLED
from network_pruning.criterion_flags import check_criteria
from network_pruning.flags import (
    Meant,
    check_id,
    check_meant_for,
    check_seeds,
    fields_of,
    flag,
    words,
)
from network_pruning.ranges import check_above, check_from, check_share

TRAINING = (
    *("dataset", "network", "clustering", "init", "conv_sd", "fc_activation"),
    *("dropout", "weight_decay", "epochs", "learning_rate", "batch_size", "num_valid"),
)
CLUSTERING = ("clusters", "weight", "momentum", "layers", "legacy")
"""Settings that mean something where there is clustering."""
TAUGHT = ("temperature", "soft_weight")
"""Settings that mean something where there is a teacher."""
GRIDS = {"weights": "weight", "numbers": "clusters", "momenta": "momentum"}
"""What a search tries -> what it tries of it, where there is no teacher."""
TAUGHT_GRIDS = {"temperatures": "temperature", "soft_weights": "soft_weight"}
"""Likewise, where there is one."""
ALL = ("test", "evaluate_clusters", "record", "tsne", "plot")
"""What follows the training under --procedure=all."""


@dataclass(frozen=True)
class ParsimoniousConfig:
    """Train with activations that cluster, and distil what was learned."""

    procedure: Literal[
        "train",
        "distill",
        "test",
        "evaluate_clusters",
        "record",
        "tsne",
        "plot",
        "search",
        "removability",
        "publish",
        "all",
    ] = flag("all", "Which step; each goes on from those before it.")
    preset: str | None = flag(
        None, "Settings of an experiment by its id, such as CIFAR10_sample_clustering."
    )
    run_name: str = flag("parsimonious", "Name of the run's folder.")
    output_dir: str = flag("results", "Folder of all runs.")
    references_dir: str = flag("references", "Folder of publish: ledger and tables.")
    note: str = flag(
        "", "Of publish: said at each number from now on, say: a JPEG copy of it."
    )
    seeds: tuple[int, ...] = flag(SEEDS, "Seeds, one training each.")
    dataset: str | None = flag(None, "Images; by default cifar10.")
    num_valid: int | None = flag(
        None,
        "Validation images, taken from training; of CIFAR 5000 by default, else as "
        "network_pruning.train has it.",
    )
    num_train: int | None = flag(None, "Training images; by default all there are.")
    network: str | None = flag(None, "Network; by default quick.")
    student: str | None = flag(
        None, "Network that a teacher teaches; by default quick_student."
    )
    teacher: str | None = flag(
        None,
        "Of distill: a .keras file, the folder of a training, or a preset's id, whose "
        "training of the same seed in this run it is.",
    )
    temperature: float | None = flag(None, "Of distillation; by default 5.")
    soft_weight: float | None = flag(None, "Share of the teacher's word; .9.")
    clustering: Literal["none", "sample", "spatial", "channel"] | None = flag(
        None, "What is clustered: examples, places or channels; by default none."
    )
    clusters: int | None = flag(None, "Centres of a layer; by default 100.")
    weight: tuple[float, ...] | None = flag(
        None, "Of the regulariser: one, or one for each layer; by default .1."
    )
    momentum: float | None = flag(None, "Share of the old centre; by default .1.")
    layers: tuple[str, ...] | None = flag(
        None, "Clustered layers; by default conv1,conv2,conv3,fc1,logits."
    )
    legacy: bool = flag(False, "Whether empty clusters shrink, as in the original.")
    init: Literal["he", "original"] | None = flag(None, "How weights start; he.")
    conv_sd: float | None = flag(None, "Of convolutions under --init=original; .01.")
    fc_activation: Literal["linear", "relu"] | None = flag(None, "Of fc1; linear.")
    dropout: float | None = flag(None, "Rate before dense layers; 0.")
    weight_decay: float | None = flag(None, "Of kernels; 0.")
    epochs: int | None = flag(None, "Passes over the training split; 60.")
    learning_rate: float | None = flag(
        None, "Highest step size of SGD, momentum .9, falling as a cosine; .03."
    )
    batch_size: int | None = flag(None, "Images in a step; 100.")
    weights: tuple[float, ...] = flag((0.1, 0.3, 0.5, 1.0), "That search tries.")
    numbers: tuple[int, ...] = flag((20, 100), "Of clusters, that search tries.")
    momenta: tuple[float, ...] = flag((0.1, 0.5), "That search tries.")
    temperatures: tuple[float, ...] = flag(
        (2.0, 5.0, 10.0), "That search tries where there is a teacher."
    )
    soft_weights: tuple[float, ...] = flag(
        (0.5, 0.9), "That search tries where there is a teacher."
    )
    read_layers: tuple[str, ...] = flag(
        ("fc1", "logits"), "Layers that are recorded and judged."
    )
    k: tuple[int, ...] | None = flag(
        None, "Clusters of evaluate_clusters; by default 100 and the classes."
    )
    n_init: int = flag(3, "Starts of evaluate_clusters' k-means.")
    examples: int = flag(5000, "Images that are recorded and mapped; 0 for all.")
    perplexity: float = flag(50.0, "Of t-SNE.")
    map_layer: str = flag("fc1", "Layer that is mapped; pixels, shuffled_pixels.")
    criteria: tuple[str, ...] = flag(
        ("l1", "mean_activation"), "Of removability: what ranks units."
    )
    sparsities: tuple[float, ...] = flag(
        (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "Of removability."
    )

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        check_id("run_name", self.run_name)
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(
                f"preset: got {self.preset!r}, expected one of {', '.join(PRESETS)}"
            )
        self._check_numbers()
        check_seeds(self.seeds)
        check_criteria(self.criteria)
        weights, layers = self.get("weight"), self.get("layers")
        if len(weights) not in {1, len(layers)}:
            raise ValueError(
                f"weight: got {len(weights)} numbers, expected one, or {len(layers)}, "
                f"one for each of {','.join(layers)}"
            )
        mapped = (*self.read_layers, "pixels", "shuffled_pixels")
        given = self.map_layer != type(self).map_layer
        if self.procedure == "all" and given and self.map_layer not in mapped:
            raise ValueError(
                f"map_layer: got {self.map_layer!r}, expected one of "
                f"{', '.join(mapped)}: what --read_layers has recorded"
            )
        if self.procedure == "distill" and not self.taught():
            raise ValueError(
                "teacher: got none, expected a .keras file, the folder of a training, "
                f"or one of {', '.join(PRESETS)}"
            )

        self._check_meant()

    def _check_meant(self) -> None:
        meant: Meant = {"conv_sd": ("init", {"original"})}
        if self.procedure != "search":
            meant = {**meant, **dict.fromkeys(CLUSTERING, ("clustering", {*KINDS}))}
        check_meant_for(self, meant, type(self).get)
        if self.network is not None and self.distils():
            raise ValueError(
                f"network: got {self.network} where a teacher teaches, expected "
                f"--student={self.network}"
            )
        named = ("teacher", "student", *TAUGHT)
        given = [name for name in named if getattr(self, name) is not None]
        if given and not self.distils():
            raise ValueError(
                f"{given[0]}: got it for --procedure={self.procedure} without a "
                "teacher, expected --procedure=distill or a --preset that has one"
            )

    def _check_numbers(self) -> None:
        def chosen(*names: str) -> dict[str, Any]:
            return {name: self.get(name) for name in names}

        check_from(chosen("clusters", "epochs", "batch_size", "n_init"), 1)
        check_from(fields_of(self, "numbers", "k", "num_train", "num_valid"), 1)
        check_from(chosen("weight_decay", "weight"))
        check_from(fields_of(self, "weights", "examples"))
        check_above(chosen("temperature", "learning_rate", "conv_sd", "perplexity"))
        check_above(fields_of(self, "temperatures"))
        check_share(chosen("soft_weight"))
        check_share(fields_of(self, "soft_weights"))
        check_share(chosen("momentum", "dropout"), high=")")
        check_share(fields_of(self, "momenta", "sparsities"), high=")")

    def get(self, name: str) -> Any:
        """Returns a flag, or what the preset says, or what is settled."""
        value = getattr(self, name)
        if value is not None and value is not False:
            return value
        known = {**SETTLED, **PRESETS.get(self.preset or "", {})}
        if name == "num_valid" and str(self.get("dataset")).startswith("cifar"):
            return NUM_VALID
        return known.get(name, value)

    def taught(self) -> str | None:
        """Returns the teacher, a preset's in full; None where there is none."""
        teacher = self.get("teacher")
        if teacher == "baseline":
            return f"{(self.preset or '').split('_')[0]}_baseline"
        return teacher

    def distils(self) -> bool:
        """Returns whether the training is a student's."""
        return self.procedure == "distill" or (
            self.procedure != "train" and self.taught() is not None
        )

    def settings(self, distils: bool) -> dict[str, Any]:
        """Returns all that changes the weights of a training, but for seed and teacher.

        Args:
            distils: Whether a teacher teaches it.

        Returns:
            Settings by name, those that say nothing left out.
        """
        chosen = {name: self.get(name) for name in TRAINING}
        if distils:
            usual = PRESETS.get(self.preset or "", {}).get("network", "quick_student")
            chosen["network"] = self.student or usual
            chosen |= {name: self.get(name) for name in TAUGHT}
        if self.num_train is not None:
            chosen["num_train"] = self.num_train
        if chosen["clustering"] != "none":
            chosen |= {name: self.get(name) for name in CLUSTERING}
        return chosen

    def procedures(self) -> tuple[str, ...]:
        """Returns the steps to take."""
        if self.procedure != "all":
            return (self.procedure,)
        return ("distill" if self.distils() else "train", *ALL)


def check_searched(config: ParsimoniousConfig) -> None:
    """Judges the flags of search, and those that it replaces.

    Raises:
        ValueError: For the first that would do nothing.
    """
    searches, fields = config.procedure == "search", type(config).__dataclass_fields__
    tried = TAUGHT_GRIDS if config.taught() is not None else GRIDS
    expected = "it with --procedure=search alone"
    if searches:
        expected = f"{', '.join(f'--{grid}' for grid in tried)}: they are tried here"
    for grid in (*GRIDS, *TAUGHT_GRIDS):
        value = getattr(config, grid)
        if value != fields[grid].default and not (searches and grid in tried):
            raise ValueError(f"{grid}: got {words(value)}, expected {expected}")
    for grid, single in tried.items():
        if searches and getattr(config, single) is not None:
            raise ValueError(
                f"{single}: got it for --procedure=search, which tries --{grid}"
            )
