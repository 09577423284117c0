"""From flags to a smaller network: ranked, cut, proven, retrained, handed back."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.cut_configs import PruneConfig
from network_pruning.evaluation import metrics
from network_pruning.evaluation.cost import CostCard, cost_card, export
from network_pruning.evaluation.predict import predict_split
from network_pruning.jobs import networks
from network_pruning.jobs.boards import TrainingBoard
from network_pruning.jobs.choices import Step, choose, scores_file
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.pruning.certificate import Certificate, certify
from network_pruning.pruning.plan import Plan, plan
from network_pruning.pruning.surgery import shrink
from network_pruning.runs import RunDir, hold_run
from network_pruning.types import BoolArray, Dataset

log = logging.getLogger(__name__)

PROOF_IMAGES = 256
"""Validation images on which every cut is proven, with as many random ones."""
TABLE = "results.csv"
SHOWN = {
    "stage": "stage",
    "accuracy": "accuracy",
    "cross_entropy": "cross entropy",
    "params": "parameters",
    "macs": "MACs",
    "tflite_bytes": "bytes tflite",
}
Card = dict[str, Any]


def run(
    config: PruneConfig,
    load: Callable[..., Any],
    build_model: Callable[..., keras.Model],
) -> keras.Model:
    """Prunes a network, going on where an earlier process stopped.

    Args:
        config: What is asked for.
        load: `data.load`.
        build_model: `models.build`.

    Returns:
        The smaller network; with --plan the network as it was.
    """
    data = networks.load_data(config, load)
    found = networks.find(config, data, build_model)
    identity = _identity(config, found)
    name = config.run_name or f"prune-{networks.short_digest(identity)}"
    folder = found.home / name
    with hold_run(folder, "--run_name"):
        run_dir = RunDir(folder)
        _claim(run_dir, config, identity)
        if config.plan:
            return _say_plan(config, found, data, run_dir)
        cards = [_card("dense", found.network, data)]
        network = found.network
        for step in (Step(i + 1, config.steps) for i in range(config.steps)):
            network = _take(config, found, network, step, data, run_dir, cards)
        _report(config, found, cards, run_dir)
        _deliver(config, network, data, run_dir)
    print(table(cards))
    print(f"\npruned network: {folder / 'pruned.keras'}\nreport: {folder}/report.md")
    return network


def _identity(config: PruneConfig, found: networks.Found) -> Card:
    """Returns all that a cut follows from."""
    given = None if config.scores is None else scores_file(config.scores)
    return {
        "network": found.fingerprint,
        "images": found.images,
        "settings": config.digest(),
        "scores": given and RunDir(given.parent).digest(given.name),
    }


def _say_plan(
    config: PruneConfig, found: networks.Found, data: Dataset, run_dir: RunDir
) -> keras.Model:
    """Says what the first cut would be; the cut then finds its scores here.

    Returns:
        The network as it is.
    """
    part = RunDir(run_dir.path / "step-1")
    masks = choose(config, found, found.network, Step(1, config.steps), data, part)
    planned = _plan(part, found.network, masks)
    steps = f" (the first of {config.steps} steps)" if config.steps > 1 else ""
    print(planned)
    print(f"\nas JSON: {part.path / 'plan.json'}; nothing was cut{steps}")
    return found.network


def _plan(part: RunDir, network: keras.Model, masks: Mapping[str, BoolArray]) -> Plan:
    planned = plan(network, masks)
    part.write_text("plan.txt", f"{planned}\n")
    part.write_json("plan.json", planned.as_dict())
    return planned


def _claim(run_dir: RunDir, config: PruneConfig, ours: Card) -> None:
    """Makes a folder this cut's own.

    Raises:
        ValueError: If it holds a cut of other settings or of another network.
    """
    if run_dir.exists("identity.json") and run_dir.read_json("identity.json") != ours:
        raise ValueError(
            f"{run_dir.path} holds a cut of another network, or of other settings, "
            "scores or images: give this one another --run_name"
        )
    run_dir.write_json("identity.json", ours)
    run_dir.write_json("config.json", config.as_dict())


def _take(
    config: PruneConfig,
    found: networks.Found,
    network: keras.Model,
    step: Step,
    data: Dataset,
    run_dir: RunDir,
    cards: list[Card],
) -> keras.Model:
    """Takes one step: ranks, cuts, proves and retrains.

    Returns:
        The network after it.
    """
    prefix = f"step-{step.number}"
    if not config.retrain:
        part = RunDir(run_dir.path / prefix)
        masks = choose(config, found, network, step, data, part)
        part.write_arrays("masks.npz", masks)
        _plan(part, network, masks)
        small = shrink(network, masks)
        proof = prove(network, masks, small, data)
        part.write_json("certificate.json", dataclasses.asdict(proof))
        proof.require()
        cards.append(_card(f"cut {step.number}", small, data, proof.max_rel_diff))
        network = small
    if not config.retrain_epochs:
        return network
    training = fit(
        lambda: network,
        data,
        retraining_plan(config),
        run_dir,
        f"{prefix}/retraining",
        identity=networks.short_digest(_identity(config, found)),
        on_epoch=TrainingBoard(
            run_dir.path / "tensorboard" / prefix, config.retrain_epochs
        ),
    )
    again = f"delete {run_dir.path / training.folder} to have it retrained"
    network = training.load(run_dir, config.monitor, again)
    cards.append(_card(f"retrained {step.number}", network, data))
    return network


def retraining_plan(config: PruneConfig) -> FitPlan:
    """Returns how the flags say to retrain: the learning rate falls as a cosine."""
    names = (
        *("batch_size", "learning_rate", "seed", "optimizer", "momentum", "nesterov"),
        *("weight_decay", "augment", "shift", "early_stopping", "monitor"),
    )
    return FitPlan(
        **{name: getattr(config, name) for name in names},
        epochs=config.retrain_epochs,
        schedule="cosine",
        black=config.input_range[0],
    )


def prove(
    network: keras.Model,
    masks: Mapping[str, BoolArray],
    small: keras.Model,
    data: Dataset,
) -> Certificate:
    """Compares a cut with the masked network on validation and on random images.

    Returns:
        The certificate.
    """
    batch = next(iter(data.batches("valid", PROOF_IMAGES)))[0].numpy()
    low, high = float(batch.min()), float(batch.max())
    drawn = np.random.default_rng(0).uniform(low, high, batch.shape)
    inputs = np.concatenate([batch, drawn.astype(batch.dtype)])
    return certify(network, masks, small, inputs)


def _card(
    stage: str, network: keras.Model, data: Dataset, certificate: float | None = None
) -> Card:
    card: CostCard = cost_card(network, data)
    logits, labels = predict_split(network, data, "valid")
    values = {
        field.name: getattr(card, field.name)
        for field in dataclasses.fields(card)
        if field.name != "latency"
    }
    valid = metrics.accuracy(logits, labels)
    return {
        "stage": stage,
        **values,
        "valid_accuracy": valid,
        "certificate": certificate,
    }


def _deliver(
    config: PruneConfig, network: keras.Model, data: Dataset, run_dir: RunDir
) -> None:
    exports = export(network, data)
    run_dir.write_bytes("pruned.keras", exports.keras)
    for kind, content in (("tflite", exports.tflite), ("int8", exports.tflite_int8)):
        if kind in config.export:
            if content is None:
                raise ValueError(
                    f"export: the network has no {kind} form, its layers cannot be "
                    "converted to LiteRT; pruned.keras was written"
                )
            ending = "tflite" if kind == "tflite" else "int8.tflite"
            run_dir.write_bytes(f"pruned.{ending}", content)
    if "saved_model" in config.export:
        run_dir.write_folder("saved_model", lambda path: _save_model(network, path))


def _save_model(network: keras.Model, path: Path) -> None:
    logging.disable(logging.INFO)  # TensorFlow and Keras list what they write.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            network.export(str(path))
    finally:
        logging.disable(logging.NOTSET)


def _report(
    config: PruneConfig, found: networks.Found, cards: list[Card], run_dir: RunDir
) -> None:
    header = list(cards[0])
    out = io.StringIO()
    writer = csv.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cards)
    run_dir.write_text(TABLE, out.getvalue())
    rows = [[_shown(card[name]) for name in SHOWN] for card in cards]
    text = [
        f"# {found.network.name}, pruned",
        "",
        f"From {found.source}. Test split, except for `valid_accuracy` in {TABLE}.",
        "",
        "| " + " | ".join(SHOWN.values()) + " |",
        "|---" * len(SHOWN) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        "Every cut is proven equal to the masked network (certificate.json of each "
        "step); plan.txt says what went, tensor by tensor.",
        "",
        "```json",
        json.dumps(config.as_dict(), indent=2),
        "```",
    ]
    run_dir.write_text("report.md", "\n".join(text) + "\n")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(cards: list[Card]) -> str:
    """Returns the stages side by side, as text."""
    rows = [list(SHOWN.values()), *([_shown(c[name]) for name in SHOWN] for c in cards)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(SHOWN))]
    return "\n".join(
        "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    )
