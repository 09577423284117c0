"""What --criterion and its options may say, known without loading a criterion.

Each criterion is a file of pruning/criteria/, named as it is; its options are the
arguments of its `score` after the four that all of them take.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "pruning" / "criteria"
_COMMON = 4
"""model, groups, data and seed."""
_OF_THE_JOB = {"earlier", "checkpoint"}
"""Options by which a job keeps what is drawn: nothing a flag could hold."""


def criterion_names() -> list[str]:
    """Returns the names of all criteria."""
    return sorted(path.stem for path in _FOLDER.glob("[!_]*.py"))


def option_names(criterion: str) -> list[str]:
    """Returns the options of a criterion, read from the text of its file."""
    tree = ast.parse((_FOLDER / f"{criterion}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "score":
            words = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            return [word.arg for word in words[_COMMON:]]
    return []


def is_option(name: str) -> bool:
    """Returns whether some criterion takes an option of this name."""
    return name not in _OF_THE_JOB and any(
        name in option_names(criterion) for criterion in criterion_names()
    )


def check_criterion(
    name: str, options: Sequence[str] = (), flag: str = "criterion"
) -> None:
    """Judges the two flags.

    Args:
        name: Of the criterion.
        options: Each as name=value.
        flag: That says the name.

    Raises:
        ValueError: If there is no such criterion, or it has no such option.
    """
    known = criterion_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{flag}: got {name!r}, expected one of {', '.join(known)}{hint}"
        )
    given = [read_option(option)[0] for option in options]
    taken = [option for option in option_names(name) if option not in _OF_THE_JOB]
    if not set(given) <= set(taken) or len(set(given)) < len(given):
        raise ValueError(
            f"criterion_options: got {','.join(options)}, expected "
            f"{'each once of ' + ', '.join(taken) if taken else 'none'}: that is what "
            f"{name} takes"
        )


def check_criteria(names: Sequence[str]) -> None:
    """Judges --criteria.

    Raises:
        ValueError: If there is no criterion of one of the names.
    """
    for name in names:
        check_criterion(name, flag="criteria")


def read_option(option: str) -> tuple[str, Any]:
    """Reads a name=value.

    Returns:
        The name, and the value: a number, None or the like as Python writes it, else
        text.

    Raises:
        ValueError: If it is no such pair.
    """
    name, equals, text = option.partition("=")
    if not (name.isidentifier() and equals and text):
        raise ValueError(
            f"criterion_options: got {option!r}, expected name=value as in samples=100"
        )
    try:
        return name, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return name, text
