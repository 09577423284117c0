"""The protocols: which network, cut how, retrained how, ranked by whom."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from network_pruning.configs import SweepConfig

SEEDS = (0, 1, 2)
RANDOM = "random"
SCRATCH, SCRATCH_LONG = "scratch", "scratch, dense + retraining epochs"
BASELINES = (SCRATCH, SCRATCH_LONG)


@dataclass(frozen=True)
class Contender:
    """A way to rank units.

    Attributes:
        criterion: By name.
        options: Of the criterion.
    """

    criterion: str
    options: Mapping[str, Any] = field(default_factory=dict)


CONTENDERS: Mapping[str, Contender] = {
    RANDOM: Contender("random"),
    "l1": Contender("l1"),
    "l2": Contender("l2"),
    "batch_norm": Contender("batch_norm"),
    "fpgm": Contender("fpgm"),
    "apoz": Contender("apoz"),
    "mean_activation": Contender("mean_activation"),
    "taylor": Contender("taylor"),
    "fisher": Contender("fisher"),
    "leave_one_out": Contender("leave_one_out"),
    "shapley permutation 30": Contender("shapley", {"samples": 30}),
    "shapley kernel": Contender("shapley", {"estimator": "kernel"}),
    "shapley legacy 100": Contender("shapley", {"estimator": "legacy"}),
    "dirichlet point": Contender("dirichlet"),
    "dirichlet integral": Contender("dirichlet", {"kind": "integral"}),
    "generalised dirichlet": Contender("generalised_dirichlet"),
    "softmax switch": Contender("softmax_switch"),
    "mean rank": Contender("combined"),
}
"""Label -> criterion and options; the published protocols' and their rivals."""


@dataclass(frozen=True)
class Preset:
    """A comparison.

    Attributes:
        training: Flags of the main job that make the dense network.
        keeps: Units kept of each group, in graph order; or empty for `budget`.
        budget: Share of a cost that may remain, for all groups.
        contenders: Labels compared before retraining.
        retrained: Labels, and baselines, compared after it.
        retraining: Fields of the retraining's plan.
        switch_steps: Of learning the switches whose covariances are shown; 0 for none.
        draws: Random cuts that are averaged before retraining.
        bars: (kept widths, largest test error after retraining of the best, in %).
        dense_bar: Largest test error of the dense network, in %.
        drop_bar: Of `budget`: points of test error the best may lose to the dense one;
            it is also to be no worse than a random cut and than training from scratch.
        seeds: One dense network each, unless there is one for all.
        dense_seed: Of the one dense network that all seeds begin with.
    """

    training: Mapping[str, Any]
    keeps: tuple[tuple[int, ...], ...]
    contenders: tuple[str, ...]
    retrained: tuple[str, ...]
    retraining: Mapping[str, Any]
    budget: Mapping[str, float] = field(default_factory=dict)
    switch_steps: int = 0
    draws: int = 10
    bars: Mapping[tuple[int, ...], float] = field(default_factory=dict)
    dense_bar: float | None = None
    drop_bar: float | None = None
    seeds: tuple[int, ...] = SEEDS
    dense_seed: int | None = None

    def digest(self) -> str:
        """Returns 8 hex digits that change with how networks are made and retrained."""
        made = {"training": dict(self.training), "retraining": dict(self.retraining)}
        text = json.dumps({**made, "draws": self.draws}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def widths(self) -> list[str]:
        """Returns what is kept, each as it is written: 8-9-36-17, or macs:0.5."""
        if self.keeps:
            return ["-".join(map(str, keep)) for keep in self.keeps]
        return [",".join(f"{kind}:{v:g}" for kind, v in self.budget.items())]

    def config(self, output_dir: str) -> SweepConfig:
        """Returns the main job that trains the dense networks."""
        return SweepConfig(
            **self.training,
            k_vals=(0.0,),
            kinds=("unit",),
            seeds=self.seeds if self.dense_seed is None else (self.dense_seed,),
            output_dir=output_dir,
        )


_SGD = {"optimizer": "sgd", "nesterov": True, "learning_rate": 0.05}
_MILD = {"weight_decay": 1e-4, "augment": "shift", "shift": 1}
# Half of LeNet's layers have no BatchNormalization to read a scale from.
_WITHOUT_SCALES = tuple(label for label in CONTENDERS if label != "batch_norm")
_LENET = Preset(
    # The published recipe but for the step size, ten times as large so that ten epochs
    # do. Dense networks trained longer, or on shifted images, fall further when cut.
    training={
        **{"model": "lenet5", "epochs": 10, "batch_size": 105, "optimizer": "sgd"},
        **{"learning_rate": 0.01, "weight_decay": 5e-4},
    },
    keeps=((8, 9, 36, 17), (6, 7, 35, 17), (5, 7, 45, 20)),
    contenders=_WITHOUT_SCALES,
    retrained=(*_WITHOUT_SCALES, *BASELINES),
    retraining={"epochs": 15, "batch_size": 128, **_SGD, **_MILD},
    switch_steps=300,
)

_RESNET20 = Preset(
    training={
        **{"model": "resnet20", "dataset": "cifar10", "epochs": 20},
        **{"schedule": "cosine", "optimizer": "sgd", "nesterov": True},
        **{"learning_rate": 0.1, "weight_decay": 5e-4},
        **{"augment": "flip_shift", "shift": 4},
    },
    keeps=(),
    budget={"macs": 0.5},
    contenders=(RANDOM, "l2", "batch_norm", "taylor", "fisher"),
    retrained=("l2", "fisher", RANDOM, *BASELINES),
    retraining={
        **{"epochs": 8, "batch_size": 128, "optimizer": "sgd", "nesterov": True},
        **{"learning_rate": 0.05, "weight_decay": 5e-4},
        **{"augment": "flip_shift", "shift": 4},
    },
    draws=3,
    dense_bar=11.0,
    drop_bar=1.0,
)

PRESETS: Mapping[str, Preset] = {
    "lenet5-digits": dataclasses.replace(
        _LENET,
        training={"dataset": "digits", **_LENET.training},
        bars={(8, 9, 36, 17): 0.9, (6, 7, 35, 17): 1.1},
    ),
    "lenet5-fashion": dataclasses.replace(
        _LENET, training={"dataset": "fashion", **_LENET.training}
    ),
    "resnet20-cifar10": _RESNET20,
    "resnet20-cifar10-50": dataclasses.replace(
        _RESNET20,
        training={
            **_RESNET20.training,
            **{"epochs": 50, "warmup_epochs": 1, "num_valid": 5000},
        },
    ),
    "vgg16_half-cifar10": Preset(
        training={
            **{"model": "vgg16_cifar", "width": 0.5, "dataset": "cifar10"},
            **{"epochs": 30, "schedule": "cosine", "optimizer": "sgd"},
            **{"nesterov": True, "learning_rate": 0.05, "weight_decay": 5e-4},
            **{"augment": "flip_shift", "shift": 4},
        },
        keeps=(),
        budget={"macs": 0.4},
        contenders=(RANDOM, "l2", "taylor", "fisher"),
        retrained=("l2", "fisher", RANDOM, *BASELINES),
        retraining={
            **{"epochs": 10, "batch_size": 128, "optimizer": "sgd", "nesterov": True},
            **{"learning_rate": 0.02, "weight_decay": 5e-4},
            **{"augment": "flip_shift", "shift": 4},
        },
        draws=3,
        drop_bar=1.0,
        dense_seed=0,
    ),
}
"""Name -> comparison."""
