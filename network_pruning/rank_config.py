"""The flags of the command that ranks the units of a trained network."""

from __future__ import annotations

from dataclasses import dataclass

from network_pruning.flags import fields_of, flag
from network_pruning.network_config import NetworkConfig
from network_pruning.ranges import check_above, check_from


@dataclass(frozen=True)
class RankConfig(NetworkConfig):
    """Scores every unit of a network by a criterion."""

    layer: str | None = flag(
        None, "Rank one group alone: the name of the layer that makes it."
    )
    estimator: str | None = flag(
        None,
        "Of shapley: permutation, kernel, exact or legacy; short for "
        "--option=estimator=...",
    )
    samples: int | None = flag(
        None, "Of shapley: coalitions or permutations; short for ...=samples=..."
    )
    sensitivity: bool = flag(
        False,
        "Also measure the validation accuracy against the share of each group removed: "
        "sensitivity.npz, a figure, TensorBoard.",
        "view",
    )
    extend: int = flag(
        0, "Draw so many samples more than the finished ranking has.", "view"
    )

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        super().__post_init__()
        check_above(fields_of(self, "samples"))
        check_from(fields_of(self, "extend"))

    @property
    def all_options(self) -> tuple[str, ...]:
        """Options of the criterion, the short flags among them."""
        short = {"estimator": self.estimator, "samples": self.samples}
        given = [
            f"{name}={value}" for name, value in short.items() if value is not None
        ]
        return (*super().all_options, *given)
