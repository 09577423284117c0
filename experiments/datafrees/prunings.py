"""Pruning without data: units ranked, and networks retrained, on reconstructed images.

The same with real images stands beside it, as what it is to be measured by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras as keras
from scipy import stats

from experiments.datafrees import found
from experiments.datafrees.config import DatafreeConfig
from experiments.datafrees.lessons import described, judge, plan_of
from experiments.stages import Chain, Stage
from network_pruning.jobs.distillations import Lesson, distill
from network_pruning.jobs.plans import FitPlan
from network_pruning.pruning.certificate import certify
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.surgery import shrink
from network_pruning.runs import RunDir
from network_pruning.types import Dataset, Scores
from network_pruning.views import without_test

MADE, REAL = "reconstructed", "real"
CUT, RETRAINED = "cut", "retrained"
PROOF_IMAGES = 64
"""A table proves many cuts."""
Ranked = Mapping[str, Scores]


def prune(
    config: DatafreeConfig, chain: Chain, load: found.Load, build: found.Build
) -> Stage:
    """Ranks, cuts and retrains the teacher without data, and with.

    Returns:
        The finished step.

    Raises:
        ValueError: If images have several labels each.
    """
    real, teacher = found.find_taught(config, chain, load, build)
    if real.multi_label:
        raise ValueError(
            f"prune: {real.name} has attributes, expected one class an image: choose "
            "celeb_a_balanced or celeb_a_identities"
        )
    images, _ = found.find_images(config, chain, teacher.mark)
    plan = plan_of(config, "prune", config.get("rng_seed"))
    fields = {
        **{"criteria": config.criteria, "sparsity": config.sparsity},
        **{"temperature": config.temperature, "soft_weight": config.soft_weight},
        **{"rng_seed": plan.seed, **described(plan)},
    }
    inputs = {
        **{"teacher": teacher.mark, "images": images.fingerprint},
        "data": real.fingerprint,
    }
    with chain.stage("prune", fields, inputs) as stage:
        if stage.made is None:
            # Real images to rank and retrain with are as a user has them: no test.
            sources: dict[str, Any] = {MADE: images, REAL: without_test(real)}
            pruning = _Pruning(config, teacher.network, sources, plan, stage.run)
            made: dict[str, Any] = {"teacher": judge(teacher.network, real)}
            for criterion in config.criteria:
                made[criterion] = pruning.by(criterion, real)
            return stage.finish(made)
    return chain.latest["prune"]


class _Pruning:
    """One teacher, cut by one share, on images of two sources."""

    def __init__(
        self,
        config: DatafreeConfig,
        teacher: keras.Model,
        sources: Mapping[str, Any],
        plan: FitPlan,
        run: RunDir,
    ) -> None:
        self.config, self.teacher, self.sources = config, teacher, sources
        self.plan, self.run = plan, run

    def by(self, criterion: str, real: Dataset) -> dict[str, Any]:
        """Cuts by a criterion.

        Returns:
            Agreement of the rankings, and by source the accuracy before and after
            retraining on it.
        """
        ranked = {
            source: score_units(
                self.teacher, criterion, data, seed=self.config.get("rng_seed")
            )
            for source, data in self.sources.items()
        }
        told: dict[str, Any] = {
            "rank_agreement": rank_agreement(ranked[MADE], ranked[REAL])
        }
        for source, scores in ranked.items():
            small = self._cut(scores)
            told[f"{source}, {CUT}"] = judge(small, real)["test_accuracy"]
            retrained = self._retrained(criterion, source, small)
            told[f"{source}, {RETRAINED}"] = judge(retrained, real)["test_accuracy"]
        return told

    def _cut(self, scores: Ranked) -> keras.Model:
        masks = keep_units(scores, sparsity=self.config.sparsity)
        small = shrink(self.teacher, masks)
        images = self.sources[MADE].x_train[:PROOF_IMAGES]
        certify(self.teacher, masks, small, images).require()
        return small

    def _plan(self, source: str) -> FitPlan:
        """Returns how to retrain: as many updates on few images as on many."""
        sizes = {name: data.size("train") for name, data in self.sources.items()}
        passes = round(self.plan.epochs * max(sizes.values()) / sizes[source])
        return dataclasses.replace(self.plan, epochs=passes)

    def _retrained(
        self, criterion: str, source: str, small: keras.Model
    ) -> keras.Model:
        lesson = Lesson(
            temperature=self.config.temperature, soft_weight=self.config.soft_weight
        )
        training = distill(
            lambda: small,
            [self.teacher],
            self.sources[source],
            self._plan(source),
            lesson,
            self.run,
            f"retrained/{criterion}/{source}",
        )
        return training.load(self.run, "last")


def rank_agreement(one: Ranked, other: Ranked) -> float:
    """Returns Spearman's correlation of two rankings, the mean over their groups."""
    found_ = [
        stats.spearmanr(one[group].values, other[group].values).statistic
        for group in one
        if np.ptp(one[group].values) and np.ptp(other[group].values)
    ]
    return float(np.mean(found_)) if found_ else float("nan")
