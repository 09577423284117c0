"""A chain and all that follows it, in one file, to be gone on with bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.runs import RunDir

IDENTITY = "identity"
TRACE = "trace"


def save(
    distiller: PosteriorDistiller, run: RunDir, name: str, identity: str = ""
) -> None:
    """Writes the whole state, atomically.

    Args:
        distiller: Compiled, if it has students.
        run: Where.
        name: Of the npz.
        identity: Names the settings and data that the chain came from.
    """
    arrays = {key: value.numpy() for key, value in variables(distiller).items()}
    for ensemble in distiller.ensembles:
        trace = np.array(ensemble.trace, np.float64).reshape(-1, 3)
        arrays[f"{TRACE}/{ensemble.name}"] = trace
    run.write_arrays(name, {**arrays, IDENTITY: np.array(identity)})


def restore(
    distiller: PosteriorDistiller, run: RunDir, name: str, identity: str = ""
) -> bool:
    """Puts a stored state back, if there is one.

    Args:
        distiller: As `save` was given it: the same teacher, students and ensembles.
        run: Where.
        name: Of the npz.
        identity: As it was saved.

    Returns:
        Whether there was one.

    Raises:
        ValueError: If it is of another chain; nothing is changed then.
    """
    if not run.exists(name):
        return False
    arrays, known = run.read_arrays(name), variables(distiller)
    where = run.path / name
    if str(arrays.pop(IDENTITY, "")) != identity:
        raise ValueError(
            f"{where} holds a chain of another model, of other data or settings: give "
            "this one another folder, or delete it to begin anew"
        )
    traces = {f"{TRACE}/{ensemble.name}": ensemble for ensemble in distiller.ensembles}
    _check_names(set(arrays), {*known, *traces}, where)
    for key, variable in known.items():
        if arrays[key].shape != tuple(variable.shape):
            raise ValueError(
                f"{where} holds another chain: {key} has the shape {arrays[key].shape}"
                f", expected {tuple(variable.shape)}"
            )
    for key, variable in known.items():
        variable.assign(arrays[key])
    for key, ensemble in traces.items():
        ensemble.trace[:] = _rows(arrays[key])
    return True


def _rows(trace: npt.NDArray[np.float64]) -> list[tuple[float, float, float]]:
    return [(float(a), float(b), float(c)) for a, b, c in trace]


def _check_names(stored: set[str], expected: set[str], where: Any) -> None:
    missing, extra = sorted(expected - stored), sorted(stored - expected)
    if missing or extra:
        what = f"it lacks {missing[0]}" if missing else f"it has {extra[0]}"
        raise ValueError(
            f"{where} holds another chain: {what}; expected the same teacher, students "
            "and ensembles"
        )


def variables(distiller: PosteriorDistiller) -> dict[str, tf.Variable]:
    """Returns every variable that the next step depends on, by name."""
    named = _numbered("chain", distiller.position)
    named |= _numbered("fixed", distiller.teacher.non_trainable_variables)
    lessons = distiller.lessons
    named |= _numbered("lessons", [lesson.visits for lesson in lessons])
    for student in distiller.students:
        for kind, variables in student.state.items():
            named |= _numbered(f"students/{student.name}/{kind}", variables)
    for ensemble in distiller.ensembles:
        named |= _numbered(f"ensembles/{ensemble.name}", ensemble.state)
    return named


def _numbered(prefix: str, variables: list[tf.Variable]) -> dict[str, tf.Variable]:
    return {f"{prefix}/{i}": variable for i, variable in enumerate(variables)}
