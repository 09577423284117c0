"""From flags to a smaller network: ranked, cut, proven, retrained, handed back."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.evaluation import metrics
from network_pruning.evaluation.cost import CostCard, cost_card, export
from network_pruning.evaluation.predict import predict_split
from network_pruning.graph import fingerprint
from network_pruning.jobs import networks, teachers
from network_pruning.jobs.boards import TrainingBoard
from network_pruning.jobs.choices import Step, choose, scores_file
from network_pruning.jobs.distillations import Lesson, distill
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.jobs.proofs import proof_images
from network_pruning.jobs.prune_remarks import remarks
from network_pruning.jobs.rankings import images_mark
from network_pruning.jobs.trainings import Training
from network_pruning.prune_config import PruneConfig
from network_pruning.pruning.certificate import Certificate, certify
from network_pruning.pruning.plan import Plan, plan
from network_pruning.pruning.surgery import shrink
from network_pruning.runs import RunDir, hold_run
from network_pruning.types import BoolArray, Dataset

log = logging.getLogger(__name__)

TABLE = "results.csv"
OF = "of.json"
"""In a step's folder: of which network it is."""
SHOWN = {
    "stage": "stage",
    "accuracy": "accuracy",
    "cross_entropy": "cross entropy",
    "params": "parameters",
    "macs": "MACs",
    "tflite_bytes": "bytes tflite",
}
Card = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """What the flags name, loaded.

    Attributes:
        found: The network to cut.
        data: The images it is judged and retrained on.
        strangers: Of --ood.
        teacher: Of --teacher.
        identity: All that a cut follows from.
    """

    found: networks.Found
    data: Dataset
    strangers: Dataset | None
    teacher: keras.Model | None
    identity: Card


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
    given = _load(config, load, build_model)
    name = config.run_name or f"prune-{networks.short_digest(given.identity)}"
    folder = given.found.home / name
    with hold_run(folder, "--run_name"):
        run_dir = RunDir(folder)
        _claim(run_dir, config, given.identity)
        if config.plan:
            return _say_plan(config, given, run_dir)
        network = given.found.network
        cards = [_card("dense", network, given.data)]
        for step in (Step(i + 1, config.steps) for i in range(config.steps)):
            network = _take(config, given, network, step, run_dir, cards)
        _report(config, given.found, cards, run_dir)
        _deliver(config, network, given.data, run_dir)
    print(table(cards))
    print("".join(f"\n{line}" for line in remarks(run_dir, config)), end="")
    print(f"\npruned network: {folder / 'pruned.keras'}\nreport: {folder}/report.md")
    return network


def _load(
    config: PruneConfig,
    load: Callable[..., Any],
    build_model: Callable[..., keras.Model],
) -> Given:
    data = networks.load_data(config, load)
    strangers = networks.load_strangers(config, data, load)
    found = networks.find(config, data, build_model)
    if config.retrain_epochs and not found.network.trainable_weights:
        raise ValueError(
            f"retrain_epochs: got {config.retrain_epochs} for model "
            f"{found.network.name!r}, whose weights are all frozen, expected 0, or a "
            "network saved with model.trainable = True"
        )
    teacher = teachers.find(config, data, build_model)
    identity = _identity(config, found)
    # Runs without them, older ones among these, do not tell of them.
    if strangers is not None:
        identity["strangers"] = images_mark(strangers, config.input_range)
    if teacher is not None:
        identity["teacher"] = fingerprint(teacher)
    return Given(found, data, strangers, teacher, identity)


def _identity(config: PruneConfig, found: networks.Found) -> Card:
    scores = None if config.scores is None else scores_file(config.scores)
    return {
        "network": found.fingerprint,
        "images": found.images,
        "settings": config.digest(),
        "scores": scores and RunDir(scores.parent).digest(scores.name),
    }


def _say_plan(config: PruneConfig, given: Given, run_dir: RunDir) -> keras.Model:
    """Says what the first cut would be; the cut then finds its scores here.

    Returns:
        The network as it is.
    """
    part = RunDir(run_dir.path / "step-1")
    masks = _choose(config, given, given.found.network, Step(1, config.steps), part)
    planned = _plan(part, given.found.network, masks)
    steps = f" (the first of {config.steps} steps)" if config.steps > 1 else ""
    print(planned)
    print("".join(f"\n{line}" for line in remarks(run_dir, config)), end="")
    print(f"\nas JSON: {part.path / 'plan.json'}; nothing was cut{steps}")
    return given.found.network


def _choose(
    config: PruneConfig, given: Given, network: keras.Model, step: Step, part: RunDir
) -> dict[str, BoolArray]:
    images = given.data, part, given.strangers
    return choose(config, given.found, network, step, *images)


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
    given: Given,
    network: keras.Model,
    step: Step,
    run_dir: RunDir,
    cards: list[Card],
) -> keras.Model:
    """Takes one step: ranks, cuts, proves and retrains.

    Returns:
        The network after it.
    """
    prefix, data = f"step-{step.number}", given.data
    if not config.retrain:
        part = _part(run_dir.path / prefix, network)
        masks = _choose(config, given, network, step, part)
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
    training = _retrain(config, given, network, run_dir, prefix)
    again = f"delete {run_dir.path / training.folder} to have it retrained"
    network = training.load(run_dir, config.monitor, again)
    cards.append(_card(f"retrained {step.number}", network, data))
    return network


def _part(path: Path, network: keras.Model) -> RunDir:
    """Returns the folder of a step, without what it held of another network.

    It does where an earlier step was made again, and did not end the same.
    """
    part, mark = RunDir(path), {"network": fingerprint(network)}
    if part.exists(OF) and part.read_json(OF) != mark:
        log.info("%s: made again, the step before it has ended otherwise", path)
        shutil.rmtree(path)
        part = RunDir(path)
    part.write_json(OF, mark)
    return part


def _retrain(
    config: PruneConfig,
    given: Given,
    network: keras.Model,
    run_dir: RunDir,
    prefix: str,
) -> Training:
    """Retrains on labels, or towards --teacher, going on where it was stopped.

    Returns:
        The finished training.
    """
    board = TrainingBoard(run_dir.path / "tensorboard" / prefix, config.retrain_epochs)
    where = run_dir, f"{prefix}/retraining"
    options: dict[str, Any] = {
        "identity": networks.short_digest(given.identity),
        "on_epoch": board,
    }
    plan = retraining_plan(config)
    if given.teacher is None:
        return fit(lambda: network, given.data, plan, *where, **options)
    lesson = Lesson("kd", config.temperature, config.soft_weight)
    taught = [given.teacher], given.data, plan, lesson
    return distill(lambda: network, *taught, *where, **options)


def retraining_plan(config: PruneConfig) -> FitPlan:
    """Returns how the flags say to retrain: the learning rate falls as a cosine."""
    names = (
        *("batch_size", "learning_rate", "seed", "optimizer", "momentum", "nesterov"),
        *("weight_decay", "augment", "shift", "erase", "early_stopping", "monitor"),
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
    batch = proof_images(data)
    low, high = float(batch.min()), float(batch.max())
    drawn = np.random.default_rng(0).uniform(low, high, batch.shape)
    inputs = np.concatenate([batch, drawn.astype(batch.dtype)])
    return certify(network, masks, small, inputs)


def _card(
    stage: str, network: keras.Model, data: Dataset, certificate: float | None = None
) -> Card:
    card: CostCard = cost_card(network, data, latency=False)
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
    forms = {"tflite": exports.tflite, "int8": exports.tflite_int8}
    wanted = {kind: forms[kind] for kind in config.export if kind in forms}
    for kind, content in wanted.items():
        if content is not None:
            ending = "tflite" if kind == "tflite" else "int8.tflite"
            run_dir.write_bytes(f"pruned.{ending}", content)
    if "saved_model" in config.export:
        run_dir.write_folder("saved_model", lambda path: _save_model(network, path))
    missing = [kind for kind, content in wanted.items() if content is None]
    if missing:
        raise ValueError(
            f"export: the network has no {' and no '.join(missing)} form, its layers "
            f"cannot be converted to LiteRT; pruned.keras and all else that was asked "
            f"for is in {run_dir.path}"
        )


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
        *(f"- {line}" for line in remarks(run_dir, config)),
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
