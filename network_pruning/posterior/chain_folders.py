"""What a finished chain leaves in its folder, by name; needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path

CONFIG, DONE, TEACHER, RECORDED = (
    "config.json",
    "done.json",
    "teacher.keras",
    "recorded",
)
CHAINS = "distill-*"
"""Inside an experiment's folder: its chains, each with students of its own."""


def find(place: str | Path) -> Path | None:
    """Returns the folder of a finished chain.

    Args:
        place: That folder; or an experiment's, whose newest finished chain is meant.

    Returns:
        It, or None where there is none.
    """
    place = Path(place)
    if (place / DONE).is_file():
        return place
    done = list(place.glob(f"{CHAINS}/{DONE}"))
    newest = max(done, key=lambda path: path.stat().st_mtime, default=None)
    return newest and newest.parent


def tells_variances(file: str | Path) -> bool:
    """Returns whether a file is a chain's student of variances.

    They are as many as classes, and nothing in the network itself tells them apart.
    """
    file = Path(file)
    of_chain = (file.parent.parent / DONE).is_file()
    return of_chain and file.name.startswith("variance-")
