"""What a run says: a line for each step on the terminal, and report.md."""

from __future__ import annotations

from typing import Any

from experiments.stages import Chain, Stage
from network_pruning.runs import RunDir

HIDDEN = ("git", "fingerprint", "images", "records", "bytes_by_part", "images_by_class")


def told(stage: Stage) -> str:
    """Returns what a finished step says, and where it is."""
    numbers = ", ".join(f"{name} {value}" for name, value in _numbers(stage))
    return f"{stage.procedure}: {numbers or 'done'}\n  {stage.run.path}"


def _numbers(stage: Stage) -> list[tuple[str, Any]]:
    made = {k: v for k, v in (stage.made or {}).items() if k not in HIDDEN}
    flat: dict[str, Any] = {}
    for name, value in made.items():
        if isinstance(value, dict):
            flat |= {f"{name}: {inner}": each for inner, each in value.items()}
        else:
            flat[name] = value
    return [
        (name, f"{value:.4f}" if isinstance(value, float) else value)
        for name, value in flat.items()
    ]


def report(chain: Chain) -> None:
    """Writes report.md of the run: every finished step, its settings and numbers."""
    lines = [f"# {chain.root.name}", ""]
    for stage in chain.all():
        lines += [f"## {stage.procedure}", "", f"`{stage.run.path.name}/`", ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in _numbers(stage)]
        settings = ", ".join(f"{name}={value}" for name, value in stage.fields.items())
        lines += ["", f"Settings: {settings}.", ""]
        pictures = sorted(stage.run.path.glob("*.png"))
        name = stage.run.path.name
        lines += [f"![{each.stem}]({name}/{each.name})\n" for each in pictures]
    RunDir(chain.root).write_text("report.md", "\n".join(lines))
