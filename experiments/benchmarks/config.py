"""The flags of the benchmarks."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from network_pruning.configs import K_VALS
from network_pruning.flags import fields_of, flag
from network_pruning.pruning.masks import check_sparsity
from network_pruning.ranges import check_from

SUITES = {
    "sweep": "the main job's parts: a training epoch, and all evaluations of a sweep",
    "sparsity": "what zeros buy: bytes and seconds of one kernel",
    "ranking": "Shapley values, a cut of ResNet-50, and what a cut network gains",
    "clustering": "a clustered and a distillation step beside the plain step",
    "posterior": "steps of the sampler, and one more student on a chain",
    "datafree": "images made from records, and how records are taken",
}
"""Suite -> what it times; its module bears its name."""

BATCH_SIZE = 128
LEARNING_RATE = 1e-3
IMAGE = (28, 28, 1)
CLASSES = 10
PARTS = ("shapley", "cut", "litert")
"""Of the suite ranking."""
MOST_IMAGES = 1000
"""Images that coalitions are judged on, at most; the others train the network."""


COUNTS = ("rounds", "epoch_images", "test_images", "coalitions", "images", "steps")
PEERS: dict[str | None, dict[str, tuple[str, ...]]] = {
    "sweep": {"torch": ("torch",)},
    "ranking": {"torch": ("torch", "torch_pruning"), "shap": ("shap",)},
    "clustering": {"torch": ("torch",)},
    "datafree": {"torch": ("torch",)},
    "posterior": {"torch": ("torch",)},
}
"""Suite -> flag -> the modules that it needs."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """One suite, and how large and how often."""

    suite: (
        Literal["sweep", "sparsity", "ranking", "clustering", "datafree", "posterior"]
        | None
    ) = flag(None, "What to time; without it the suites are listed.")
    rounds: int = flag(5, "Turns of every contestant; the table shows medians.")
    epoch_images: int = flag(50_000, "Random training images of an epoch.")
    test_images: int = flag(10_000, "Random images of an evaluation.")
    widths: tuple[int, ...] = flag(
        (1000, 1000, 500, 200), "Units of each hidden layer of the mlp."
    )
    k_vals: tuple[float, ...] = flag(K_VALS, "Fractions to prune.")
    torch: bool = flag(
        True, "Whether PyTorch takes part: in ranking, as Torch-Pruning."
    )
    shap: bool = flag(True, "Whether shap takes part in the suite ranking.")
    torch_threads: tuple[int, ...] = flag(
        (1, 2), "Thread settings of PyTorch; the fastest counts."
    )
    run: str | None = flag(
        None,
        "Folder of a finished run whose network to prune; none takes an untrained one.",
    )
    parts: tuple[str, ...] = flag(PARTS, "Of the suite ranking.")
    coalitions: int = flag(512, "Coalitions of a Shapley estimate.")
    images: int = flag(1000, "Images that each coalition is judged on.")
    steps: int = flag(50, "Steps of a turn in the suites clustering and datafree.")
    output_dir: str = flag("references/benchmarks", "Folder of the tables.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        check_from(fields_of(self, *COUNTS), 1)
        for name in ("widths", "torch_threads", "k_vals"):
            if not getattr(self, name):
                raise ValueError(f"{name}: got none, expected at least one number")
        if len(self.widths) < 2 or min(self.widths) < 1 or min(self.torch_threads) < 1:
            raise ValueError(
                f"widths, torch_threads: got {self.widths}, {self.torch_threads}, "
                "expected numbers above 0, of widths at least two"
            )
        for k in self.k_vals:
            check_sparsity(k)
        self._check_ranking()

    def _check_ranking(self) -> None:
        if not self.parts or set(self.parts) - set(PARTS):
            raise ValueError(
                f"parts: got {','.join(self.parts)!r}, expected some of "
                f"{', '.join(PARTS)}"
            )
        if self.images > MOST_IMAGES:
            raise ValueError(
                f"images: got {self.images}, expected at most {MOST_IMAGES}: the other "
                "digits train the network"
            )

    def check(self) -> None:
        """Judges what the flags name outside the command line.

        Raises:
            ValueError: If a peer or the run is not there.
        """
        for name, modules in PEERS.get(self.suite, {}).items():
            for module in modules if getattr(self, name) else ():
                if not _is_installed(module):
                    raise ValueError(
                        f"{module}: not installed, the suite {self.suite} compares "
                        f"with it: pip install -e .[bench], or leave it out with "
                        f"--no{name}"
                    )
        if self.run is not None and not trained_seeds(self.run):
            raise ValueError(
                f"run: got {self.run!r}, expected the folder of a finished run of "
                "python -m network_pruning.train"
            )

    def command(self) -> str:
        """Returns the command line, without flags at their defaults.

        Of an absolute path it shows the last name: tables are for other machines.
        """
        default = BenchmarkConfig()
        flags = [
            f"--{name}={_text(value)}"
            for name, value in dataclasses.asdict(self).items()
            if name != "output_dir" and value != getattr(default, name)
        ]
        return " ".join(["python -m experiments.benchmark", *flags])

    def to_json(self) -> str:
        """Returns what `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BenchmarkConfig:
        """Returns the config that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


def trained_seeds(run: str) -> list[str]:
    """Returns the training folders of a run, "checkpoints/seed=0" and so on."""
    found = sorted(Path(run).glob("checkpoints/seed=*/training.json"))
    return [path.parent.relative_to(run).as_posix() for path in found]


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return str(value).lower() if isinstance(value, bool) else str(value)
