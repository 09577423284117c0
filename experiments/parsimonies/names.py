"""What trainings are called in tables and figures; one name is one setting."""

from __future__ import annotations

from experiments.parsimonies import verdicts
from experiments.parsimonies.presets import PRESETS, SETTLED
from experiments.stages import Stage

TOLD = (
    *("learning_rate", "batch_size", "dropout", "weight_decay"),
    *("init", "conv_sd", "fc_activation"),
)
"""Settings that a name tells where no preset does and they are not the settled ones."""


def name_of(stage: Stage) -> str:
    """Returns what a training is called in tables."""
    made = stage.made or {}
    name = f"{made['label']}, {verdicts.length(stage.fields)}"
    if "teacher" in made:
        name += f", taught by {made['teacher']}"
        name += f" at T {stage.fields['temperature']:g}"
        name += f", soft weight {stage.fields['soft_weight']:g}"
    if made["label"] in PRESETS:
        return name
    for setting in TOLD:
        if (value := stage.fields.get(setting)) != SETTLED[setting]:
            name += f", {setting.replace('_', ' ')} {value}"
    if stage.fields["clustering"] != "none":
        fields = stage.fields
        weights = "/".join(f"{weight:g}" for weight in fields["weight"])
        name += f", weight {weights}, K {fields['clusters']}"
        name += f", momentum {fields['momentum']:g}"
        if list(fields["layers"]) != list(SETTLED["layers"]):
            name += f", of {'/'.join(fields['layers'])}"
        if fields["legacy"]:
            name += ", legacy"
    return name
