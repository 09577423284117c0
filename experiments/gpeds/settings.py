"""What the rows of the published tables leave open, and ours are told apart by."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.gpeds.config import ITERATIONS, GpedConfig

FULL = ITERATIONS["full"]


@dataclass(frozen=True, order=True)
class Setting:
    """How long a chain is, and how its students learn.

    Attributes:
        iterations: Steps of the chain.
        dropout: Of the students.
        thin: Steps from one lesson to the next; 0: the usual ones of each target.
    """

    iterations: int = FULL
    dropout: float = 0.0
    thin: int = 0

    @property
    def name(self) -> str:
        """In the ledger."""
        words = f"{self.iterations} steps"
        if self.dropout:
            words += f", dropout {self.dropout:g}"
        return words + (f", a lesson every {self.thin}" if self.thin else "")

    @property
    def flags(self) -> str:
        """Of `gped_table`, each after a blank."""
        flags = {
            "iterations": self.iterations if self.iterations != FULL else 0,
            "student_dropout": self.dropout,
            "thin": self.thin,
        }
        return "".join(f" --{name}={value}" for name, value in flags.items() if value)


def setting_of(chain: GpedConfig) -> Setting:
    """Returns the setting of a chain."""
    return Setting(chain.steps, chain.student_dropout, chain.thin or 0)
