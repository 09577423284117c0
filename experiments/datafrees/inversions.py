"""Records of a teacher, and images made from them."""

from __future__ import annotations

import dataclasses

import numpy as np

from experiments.datafrees import found
from experiments.datafrees.config import DatafreeConfig
from experiments.stages import Chain, Stage
from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_logits
from network_pruning.inversion import shards
from network_pruning.inversion.reconstruct import reconstruct
from network_pruning.inversion.reconstructed import Reconstructed
from network_pruning.inversion.records import ActivationRecords


def compute_stats(
    config: DatafreeConfig, chain: Chain, load: found.Load, build: found.Build
) -> Stage:
    """Takes records of the teacher on its training images.

    Returns:
        The finished step.
    """
    data, teacher = found.find_taught(config, chain, load, build)
    fields = {
        **{"layers": config.layers, "form": config.get("form")},
        **{"rank": config.get("rank"), "joint": config.get("joint")},
        **{"spectra": config.spectra(), "basis": config.get("basis")},
        "fraction": config.get("fraction"),
    }
    inputs = {"teacher": teacher.mark, "data": data.fingerprint}
    with chain.stage("compute_stats", fields, inputs) as stage:
        if stage.made is None:
            records = ActivationRecords.from_data(
                teacher.network,
                data,
                config.layers,
                fields["form"],
                fields["rank"],
                fields["joint"],
                ("network", "pairs") if fields["spectra"] else (),
                fields["basis"],
                fields["fraction"],
                folder=stage.run.path,
            )
            records.save(stage.run.path / found.RECORDS)
            made = {
                "records": records.digest,
                "bytes": sum(records.sizes.values()),
                "bytes_by_part": records.sizes,
                "rank_by_part": records.ranks,
                "images_by_class": records.counts.tolist(),
            }
            return stage.finish(made, [found.RECORDS])
    return chain.latest["compute_stats"]


def optimize_dataset(
    config: DatafreeConfig, chain: Chain, load: found.Load, build: found.Build
) -> Stage:
    """Makes images from teacher and records alone; no dataset is opened.

    Returns:
        The finished step.
    """
    del load
    if config.records is not None:
        records = found.find_records(config, chain, None)
        teacher = found.find_teacher(
            config, chain, build, records.input_shape, records.classes
        )
    else:
        teacher = found.find_teacher(config, chain, build)
        records = found.find_records(config, chain, teacher.mark)
    recipe = config.recipe()
    fields = dataclasses.asdict(recipe)
    inputs = {"teacher": teacher.mark, "records": records.digest}
    with chain.stage("optimize_dataset", fields, inputs) as stage:
        if stage.made is None:
            data = reconstruct(
                teacher.network, records, folder=stage.run.path, **fields
            )
            agreement = _agreement(teacher, records, data)
            made = {"images": data.fingerprint, "aim_met": agreement}
            return stage.finish(made, shards.names(stage.run))
    return chain.latest["optimize_dataset"]


def _agreement(
    teacher: found.Teacher, records: ActivationRecords, data: Reconstructed
) -> float:
    """Returns the share of images where the teacher sees what was aimed at."""
    logits = predict_logits(teacher.network, data.x_train)
    if records.multi_label:
        aimed = np.take_along_axis(logits, data.y_train[:, None], axis=1)
        return float(np.mean(aimed > 0))
    return metrics.accuracy(logits, data.y_train)
