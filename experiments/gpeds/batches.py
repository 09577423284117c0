"""Trials of one search, shared by processes, of which each takes up a batch at a time.

A batch is asked for under a lock and entered into the storage as a whole. While it is
trained, its process holds a lock of its own; the kernel lets go of it when the process
dies, and whoever looks next takes the same batch up again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.gpeds.config import GpedConfig
from network_pruning.runs import RunDir, lock

if TYPE_CHECKING:
    import optuna

STORAGE, CLAIMS = "search.journal", "claims"
RANGES = {"gped_fc": (0.05, 5.0), "gped_cnn_mnist": (0.2, 3.0)}
"""Teacher -> least and largest multiplication factor."""
USUAL_RANGE = (0.2, 3.0)
FACTORS = ("factor_1", "factor_2")
PREFIX = "batch-"


@dataclass(frozen=True)
class Batch:
    """Architectures that are trained side by side.

    Attributes:
        name: Of it, for files.
        numbers: Of its trials.
        factors: On the widths, of each.
    """

    name: str
    numbers: tuple[int, ...]
    factors: tuple[tuple[float, float], ...]


class Batches:
    """The trials of a search as its folder holds them."""

    def __init__(self, config: GpedConfig, run: RunDir) -> None:
        """Opens the storage.

        Args:
            config: How many trials, how many at a time.
            run: Folder.
        """
        self._config, self._run = config, run
        self._study = _open_study(run)

    def are_told(self) -> bool:
        """Returns whether as many trials as asked for have their values."""
        return len(self.told()) >= self._config.trials

    def told(self) -> list[Any]:
        """Returns the trials that have their values, as Optuna has them."""
        import optuna

        states = (optuna.trial.TrialState.COMPLETE,)
        return self._study.get_trials(deepcopy=False, states=states)

    def front(self) -> set[int]:
        """Returns the numbers of those that no other beats."""
        return {trial.number for trial in self._study.best_trials}

    def tell(self, batch: Batch, values: Sequence[Sequence[float]]) -> None:
        """Enters what the trials of a batch came to; what was entered before stays."""
        for number, each in zip(batch.numbers, values, strict=True):
            self._study.tell(number, list(each), skip_if_finished=True)

    @contextmanager
    def claim(self) -> Generator[Batch | None, None, None]:
        """Takes up a batch for this process.

        Yields:
            One that nobody trains: left by a killed process, or asked for now; None
            where other processes train all that remain.
        """
        with ExitStack() as held:
            with lock(self._run.path / CLAIMS / "ask.lock", wait=True):
                batch = self._left(held) or self._ask(held)
            yield batch

    def _left(self, held: ExitStack) -> Batch | None:
        done = {trial.number for trial in self.told()}
        for name, numbers in self._entered().items():
            if not done.issuperset(numbers) and self._hold(name, held):
                return self._batch(name, numbers)
        return None

    def _ask(self, held: ExitStack) -> Batch | None:
        """Asks for the next batch.

        The sampler is seeded anew by what was asked for before, so that a search that
        was killed while it asked asks for the same.

        Returns:
            The batch; None if there are as many as are wanted.
        """
        import optuna

        config, study = self._config, self._study
        before = self._asked()
        count = min(config.population, config.trials - before)
        if count < 1:
            return None
        study.sampler = optuna.samplers.NSGAIISampler(
            population_size=config.population, seed=config.seed_of(100_000, before)
        )
        low, high = RANGES.get(config.teacher, USUAL_RANGE)
        asked = [study.ask() for _ in range(count)]
        for trial in asked:
            for name in FACTORS:
                trial.suggest_float(name, low, high, log=True)
        name, numbers = f"{PREFIX}{before}", [trial.number for trial in asked]
        self._hold(name, held)
        study.set_user_attr(name, numbers)
        return self._batch(name, numbers)

    def _asked(self) -> int:
        """Counts the trials asked for; those that were never entered are given up.

        Returns:
            How many are told, or in a batch.
        """
        import optuna

        known = {n for numbers in self._entered().values() for n in numbers}
        states = (optuna.trial.TrialState.RUNNING,)
        for trial in self._study.get_trials(deepcopy=False, states=states):
            if trial.number not in known:
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return len(known | {trial.number for trial in self.told()})

    def _entered(self) -> dict[str, list[int]]:
        entered = self._study.user_attrs.items()
        return {name: value for name, value in entered if name.startswith(PREFIX)}

    def _hold(self, name: str, held: ExitStack) -> bool:
        return held.enter_context(lock(self._run.path / CLAIMS / f"{name}.lock"))

    def _batch(self, name: str, numbers: Sequence[int]) -> Batch:
        trials = {trial.number: trial for trial in self._study.get_trials()}
        params = [trials[number].params for number in numbers]
        factors = tuple((each["factor_1"], each["factor_2"]) for each in params)
        return Batch(name, tuple(numbers), factors)


def _open_study(run: RunDir) -> optuna.Study:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = JournalFileBackend(str(run.path / STORAGE))
    return optuna.create_study(
        study_name="students",
        storage=optuna.storages.JournalStorage(backend),
        directions=["minimize"] * 3,
        load_if_exists=True,
    )
