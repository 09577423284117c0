"""The steps of a run, each in a folder of its own, each going on from earlier ones.

`<run>/<procedure>-<digest>/`, the digest of the step's own settings and of what it has
read. config.json is written first, done.json last; a step with done.json, and with the
files that it names, is finished and not repeated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network_pruning.jobs.manifest import git_state
from network_pruning.runs import RunDir, hold_run

Fields = Mapping[str, Any]
CONFIG = "config.json"
GIT, FILES = "git", "files"
"""In done.json, beside what the step tells: the state of the code, and the files that
later steps read; without one of them the step is not finished after all."""


@dataclass(frozen=True)
class Stage:
    """One step.

    Attributes:
        procedure: Its name.
        run: Its folder.
        fields: Its own settings.
        inputs: What it has read: digests by name.
        made: What it says of what it made; None until it is finished.
    """

    procedure: str
    run: RunDir
    fields: dict[str, Any]
    inputs: dict[str, str]
    made: dict[str, Any] | None = None

    def finish(self, made: Fields, files: Iterable[str] = ()) -> Stage:
        """Marks the step finished.

        Args:
            made: What later steps and the report are told; JSON.
            files: In its folder, that later steps read.

        Returns:
            The finished step.
        """
        done = {**made, FILES: list(files), GIT: git_state()}
        self.run.write_json("done.json", done)
        return Stage(self.procedure, self.run, self.fields, self.inputs, dict(made))


class Chain:
    """The steps of one run.

    Attributes:
        root: The run's folder.
        latest: Steps of this process, by procedure: later ones go on from them.
    """

    def __init__(self, root: Path) -> None:
        """Names the folder; nothing is made yet."""
        self.root = root
        self.latest: dict[str, Stage] = {}

    @contextmanager
    def stage(
        self, procedure: str, fields: Fields, inputs: Mapping[str, str]
    ) -> Generator[Stage, None, None]:
        """Holds a step's folder for this process.

        Args:
            procedure: Its name.
            fields: Its own settings; JSON.
            inputs: Digests of what it reads.

        Yields:
            The step, finished or not.

        Raises:
            ValueError: If another process holds it, or the step is refused: then
                nothing is left of one that had not begun.
        """
        own = json.loads(json.dumps(dict(fields)))
        text = json.dumps([own, dict(inputs)], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        folder = self.root / f"{procedure}-{digest}"
        with hold_run(folder, "--run_name"):
            run = RunDir(folder)
            if not run.exists(CONFIG):
                run.write_json(CONFIG, {"fields": own, "inputs": dict(inputs)})
            try:
                yield _read(procedure, run)
            except ValueError:
                _remove_if_empty(folder)
                raise
        self.latest[procedure] = _read(procedure, run)

    def find(self, procedure: str, fields: Fields, inputs: Fields) -> Stage | None:
        """Returns the newest finished step that fits, or None.

        Args:
            procedure: Its name.
            fields: Settings it must have; others may be any.
            inputs: What it must have read.
        """
        latest = self.latest.get(procedure)
        if latest is not None and latest.made is not None:
            return latest
        done = self.root.glob(f"{procedure}-*/done.json")
        for path in sorted(done, key=lambda p: p.stat().st_mtime, reverse=True):
            stage = _read(procedure, RunDir(path.parent))
            wanted = fits(stage.fields, fields) and fits(stage.inputs, inputs)
            if wanted and stage.made is not None:
                return stage
        return None

    def all(self) -> list[Stage]:
        """Returns the finished steps, oldest first."""
        done = sorted(self.root.glob("*-*/done.json"), key=lambda p: p.stat().st_mtime)
        stages = [
            _read(path.parent.name.rpartition("-")[0], RunDir(path.parent))
            for path in done
        ]
        return [stage for stage in stages if stage.made is not None]


def _remove_if_empty(folder: Path) -> None:
    if [path.name for path in folder.iterdir()] == [CONFIG]:
        (folder / CONFIG).unlink()
        folder.rmdir()


def fits(had: Fields, wanted: Fields) -> bool:
    """Returns whether settings, as a step's file has them, are those wanted."""
    plain = json.loads(json.dumps(dict(wanted)))
    return all(had.get(name) == value for name, value in plain.items())


def _read(procedure: str, run: RunDir) -> Stage:
    config = run.read_json(CONFIG)
    made = run.read_json("done.json") if run.exists("done.json") else None
    if made is not None and not all(map(run.exists, made.pop(FILES, ()))):
        made = None
    try:
        return Stage(procedure, run, config["fields"], config["inputs"], made)
    except KeyError as error:
        raise run.damaged(CONFIG, f"{error} is missing") from None
