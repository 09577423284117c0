"""Students that learn from a finished chain's record, and can be stopped at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import tf_keras as keras
from tqdm import tqdm

from experiments.gpeds import distill, networks
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.networks import Build
from experiments.gpeds.sets import Sets
from network_pruning.posterior import checkpoints
from network_pruning.posterior.recorded import Replay, read_positions
from network_pruning.posterior.students import Student
from network_pruning.runs import RunDir

AT_ONCE = 200
"""Updates between looks at the clock."""


class Record:
    """A finished chain's positions, from which students learn.

    Attributes:
        chain: Folder of the chain.
    """

    def __init__(self, config: GpedConfig, sets: Sets, build: Build) -> None:
        """Reads the positions.

        Args:
            config: Which chain.
            sets: Its images.
            build: `models.build`.

        Raises:
            ValueError: If there is no finished chain, or it kept no position.
        """
        self.chain = distill.finished(config, sets)
        self._positions = read_positions(self.chain, distill.RECORDED)
        self._config, self._sets, self._build = config, sets, build

    def teach(
        self, students: Sequence[Student], updates: int, run: RunDir, name: str
    ) -> None:
        """Lets students take their updates, going on where they were stopped.

        Args:
            students: With thin=1: an update for each position.
            updates: Of each student.
            run: Where the state is kept meanwhile.
            name: Of its npz.
        """
        config, sets = self._config, self._sets
        teacher = networks.teacher_of(config, sets, self._build)
        distiller = networks.distiller_of(config, sets, teacher, students)
        checkpoints.restore(distiller, run, name, sets.fingerprint)
        replay, saved = Replay(distiller, self._positions), time.monotonic()
        options: dict[str, Any] = {"unit": "update", "initial": replay.steps}
        with tqdm(total=updates, desc=name, disable=None, **options) as bar:
            while replay.steps < updates:
                here = replay.steps
                replay.advance(min(AT_ONCE, updates - here))
                bar.update(replay.steps - here)
                if time.monotonic() - saved > distill.SAVE_SECONDS:
                    checkpoints.save(distiller, run, name, sets.fingerprint)
                    saved = time.monotonic()


def kept_model(run: RunDir, name: str, make: Callable[[], keras.Model]) -> keras.Model:
    """Returns the model of a file, and makes it where there is none."""
    if not run.exists(f"{name}.keras"):
        run.write_model(f"{name}.keras", make())
        run.remove(f"{name}.npz")
    return run.read_model(f"{name}.keras")
