"""Students pressed by group lasso, cut, and fine-tuned on the chain's record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from experiments.gpeds import distill, networks, rows
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.lessons import Record, kept_model
from experiments.gpeds.networks import Build, Wanted
from experiments.gpeds.sets import Sets
from experiments.grids import text
from network_pruning.pruning.certificate import PROOF_IMAGES, certify
from network_pruning.pruning.group_lasso import GroupLasso
from network_pruning.pruning.surgery import shrink
from network_pruning.runs import RunDir

FIELDS = (
    *("lasso_weights", "lasso_updates", "lasso_step", "lasso_threshold"),
    *("finetune_updates", "finetune_learning_rate"),
)
RESULTS = "results.csv"


def prune_finetune(
    config: GpedConfig, sets: Sets, build: Build
) -> tuple[list[rows.Row], RunDir]:
    """Prunes every student of the chain under every weight of the lasso.

    Args:
        config: Which chain, which weights.
        sets: Students are measured on its test images.
        build: `models.build`.

    Returns:
        Rows of the students before (student), under the lasso (lasso), after the cut
        (pruned) and after fine-tuning (finetuned); and their folder.

    Raises:
        ValueError: If there is no finished chain with recorded positions.
    """
    keras.backend.experimental.enable_tf_random_generator()
    record = Record(config, sets, build)
    place = Path(config.output_dir) / config.run_id()
    run = RunDir(place / f"prune_finetune-{config.digest(*FIELDS)}")
    truth = distill.truth_of(record.chain, "test", sets.test[1])
    measured = [
        row
        for which in networks.wanted(config)
        for row in _all_of(config, sets, record, which, run, truth)
    ]
    run.write_text(RESULTS, text(rows.Row, measured))
    return measured, run


def _all_of(
    config: GpedConfig,
    sets: Sets,
    record: Record,
    which: Wanted,
    run: RunDir,
    truth: rows.Truth,
) -> Iterator[rows.Row]:
    expectation = networks.expectation_of(config, which.target)

    def row(stage: str, network: keras.Model) -> rows.Row:
        return rows.student_row(stage, network, expectation, sets.test[0], truth)

    yield row("student", record.chain.read_model(f"students/{which.name}.keras"))
    for weight in config.lasso_weights:
        part = RunDir(run.path / f"{which.name}/lasso={weight:g}")
        for stage, network in _stages(config, sets, record, which, weight, part):
            yield row(f"{stage} {weight:g}", network)


def _stages(
    config: GpedConfig,
    sets: Sets,
    record: Record,
    which: Wanted,
    weight: float,
    part: RunDir,
) -> Iterator[tuple[str, keras.Model]]:
    """Yields the network after each stage."""

    def start() -> keras.Model:
        keras.utils.set_random_seed(config.seed)
        return record.chain.read_model(f"students/{which.name}.keras")

    def pressed() -> keras.Model:
        network = start()
        rate = config.student_learning_rate
        options = _press(config, network, weight, rate)
        learner = _student(config, which, network, rate, **options)
        record.teach([learner], config.lasso_updates, part, "lasso.npz")
        return keras.Model(network.inputs, network.outputs, name=network.name)

    lasso = kept_model(part, "lasso", pressed)
    yield "lasso", lasso
    pruned = kept_model(part, "pruned", lambda: cut(config, lasso, sets))
    yield "pruned", pruned
    if not config.finetune_updates:
        return

    def finetuned() -> keras.Model:
        keras.utils.set_random_seed(config.seed)
        network = part.read_model("pruned.keras")
        learner = _student(config, which, network, config.finetune_learning_rate)
        record.teach([learner], config.finetune_updates, part, "finetuned.npz")
        return network

    yield "finetuned", kept_model(part, "finetuned", finetuned)


def _press(
    config: GpedConfig, network: keras.Model, weight: float, rate: float
) -> dict[str, Any]:
    """Presses a network's units.

    Returns:
        What its student must be told beside.
    """
    lasso = GroupLasso(network, weight)
    if config.lasso_step == "proximal":
        return {"after_update": lasso.proximal(rate)}
    network.add_loss(lasso.penalty)
    return {}


def _student(
    config: GpedConfig, which: Wanted, network: keras.Model, rate: float, **options: Any
) -> Any:
    optimizer = keras.optimizers.Adam(rate)
    return networks.student_of(
        config, which, network, thin=1, steps=1, optimizer=optimizer, **options
    )


def cut(config: GpedConfig, network: keras.Model, sets: Sets) -> keras.Model:
    """Removes the units whose norm is at most --lasso_threshold, with a certificate.

    Returns:
        The smaller network.
    """
    masks = GroupLasso(network, 0.0).alive(config.lasso_threshold)
    small = shrink(network, masks)
    images = np.ascontiguousarray(sets.pool[:PROOF_IMAGES])
    certify(network, masks, small, images).require()
    return small
