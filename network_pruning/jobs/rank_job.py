"""From flags to a saved ranking of every unit of a network."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.criterion_flags import option_names
from network_pruning.evaluation import ranking_figures
from network_pruning.jobs import networks
from network_pruning.jobs.boards import show_scores, show_sensitivity
from network_pruning.jobs.rankings import FILE, TABLE, Ranking, ask, order
from network_pruning.network_config import NetworkConfig
from network_pruning.pruning.criteria.shapley import STOPPING
from network_pruning.pruning.games import Samples
from network_pruning.pruning.masks import check_numbers
from network_pruning.pruning.sensitivity import RATIOS, sensitivity
from network_pruning.pruning.units import Groups, UnitGroup, find_groups
from network_pruning.rank_config import RankConfig
from network_pruning.runs import RunDir, hold_run
from network_pruning.types import Dataset

log = logging.getLogger(__name__)

CURVES = "sensitivity.npz"
STATES = "samples"
"""Folder of what is drawn so far, one file a group."""


def run(
    config: RankConfig,
    load: Callable[..., Any],
    build_model: Callable[..., keras.Model],
) -> Ranking:
    """Ranks the units of a network, going on where an earlier process stopped.

    Args:
        config: What is asked for.
        load: `data.load`.
        build_model: `models.build`.

    Returns:
        The ranking.
    """
    data = networks.load_data(config, load)
    found = networks.find(config, data, build_model)
    groups = _chosen(found.network, find_groups(found.network), config.layer)
    digest = networks.short_digest(config.digest(), found.images)
    folder = found.home / f"rank-{config.criterion}-{digest}"
    with hold_run(folder, "--output_dir"):
        run_dir = RunDir(folder)
        run_dir.write_json("config.json", config.as_dict())
        ranking = rank(config, found, groups, data, run_dir, config.extend)
        _show(ranking, run_dir)
        if config.sensitivity:
            _show_sensitivity(found.network, ranking, data, run_dir)
    print(terminal_table(ranking))
    print(f"\nranking: {folder}\ntensorboard --logdir={folder}")
    return ranking


def rank(
    config: NetworkConfig,
    found: networks.Found,
    groups: list[UnitGroup],
    data: Dataset,
    run_dir: RunDir,
    extend: int = 0,
    kept: Mapping[str, int] | None = None,
) -> Ranking:
    """Returns the scores of a network's units, from disk where they are there.

    Args:
        config: Criterion, its options, the seed.
        found: The network.
        groups: Those to score.
        data: The test split is hidden from the criterion.
        run_dir: Where scores and samples are kept.
        extend: Samples to draw beyond those there are.
        kept: Units that each group will keep, where that is known: a criterion that
            draws samples may end once they decide which.

    Raises:
        ValueError: If the folder holds the scores of another network, or the criterion
            draws no samples that could be extended.
    """
    options = _stopping(config, kept or {}) | config.score_options()
    known = Ranking.load(run_dir) if run_dir.exists(FILE) else None
    if known is not None:
        known.check(found.fingerprint, found.images, str(run_dir.path / FILE))
        if not extend:
            return known
    given = {**options, **_resuming(config.criterion, run_dir, groups)}
    if extend:
        given["samples"] = _more_samples(config.criterion, known, options, extend)
    ranking = ask(
        found.network,
        config.criterion,
        given,
        config.seed,
        data,
        found.images,
        groups,
    )
    for each in ranking.scores.values():
        check_numbers(each.values)
    drawn = {"samples": given["samples"]} if "samples" in given else {}
    asked = dataclasses.replace(ranking.asked, options={**options, **drawn})
    ranking = Ranking(asked, ranking.scores)
    # The scores last: they mark the ranking as made.
    run_dir.write_text(TABLE, ranking.table())
    ranking.save(run_dir)
    return ranking


def _stopping(config: NetworkConfig, kept: Mapping[str, int]) -> dict[str, Any]:
    """Returns the option by which sampling ends early, if the criterion has one."""
    estimator = config.score_options().get("estimator", STOPPING[0])
    can = "kept" in option_names(config.criterion) and estimator in STOPPING
    return {"kept": dict(kept)} if kept and can else {}


def _chosen(network: keras.Model, groups: Groups, layer: str | None) -> list[UnitGroup]:
    if not groups:
        raise ValueError(networks.nothing_to_cut(network, groups))
    if layer is None:
        return list(groups)
    if not any(group.name == layer for group in groups):
        names = ", ".join(group.name for group in groups)
        why = dict(groups.refused).get(layer)
        reason = f" ({layer} is not cut: {why})" if why else ""
        raise ValueError(f"layer: got {layer!r}, expected one of {names}{reason}")
    return [group for group in groups if group.name == layer]


def _resuming(
    criterion: str, run_dir: RunDir, groups: list[UnitGroup]
) -> dict[str, Any]:
    """Returns the options by which a sampling criterion goes on and keeps its state."""
    if "checkpoint" not in option_names(criterion):
        return {}
    earlier = {
        group.name: _earlier(run_dir, _state_file(group.name))
        for group in groups
        if run_dir.exists(_state_file(group.name))
    }

    def keep(group: str, samples: Samples) -> None:
        run_dir.write_arrays(_state_file(group), samples.arrays())

    return {"earlier": earlier, "checkpoint": keep}


def _earlier(run_dir: RunDir, name: str) -> Samples:
    try:
        return Samples.from_arrays(run_dir.read_arrays(name))
    except KeyError as error:
        raise run_dir.damaged(name, f"expected samples, {error} is missing") from None


def _state_file(group: str) -> str:
    return f"{STATES}/{group.replace('/', '+')}.npz"


def _more_samples(
    criterion: str, known: Ranking | None, options: dict[str, Any], extend: int
) -> int:
    exact = options.get("estimator") == "exact"
    if exact or not {"samples", "earlier"} <= set(option_names(criterion)):
        which = f"{criterion}, exact," if exact else criterion
        raise ValueError(
            f"extend: {which} draws no samples that could be added to, expected "
            "--extend=0"
        )
    had = options.get("samples")
    if known is not None:
        drawn = [each.samples for each in known.scores.values() if each.samples]
        had = known.asked.options.get("samples") or max(drawn, default=None)
    if had is None:
        raise ValueError(
            "extend: expected --samples=<number> as the ranking was made with, so that "
            "it is known how many there are"
        )
    return int(had) + extend


def _show(ranking: Ranking, run_dir: RunDir) -> None:
    drawn = {
        group: (scores.values, scores.standard_error)
        for group, scores in ranking.scores.items()
    }

    def draw(path: Path) -> None:
        ranking_figures.unit_scores(drawn, ranking.asked.criterion, path)

    picture = run_dir.write("figures/scores.png", draw)
    show_scores(run_dir.path / "tensorboard", ranking.scores, picture)


def _show_sensitivity(
    network: keras.Model, ranking: Ranking, data: Dataset, run_dir: RunDir
) -> None:
    """Measures the curves, once for a ranking, and draws them."""
    mark = np.array(ranking.digest())
    known = run_dir.read_arrays(CURVES) if run_dir.exists(CURVES) else {}
    if known.get("ranking") != mark:
        curves = sensitivity(network, ranking.scores, data)
        run_dir.write_arrays(CURVES, {**curves, "ranking": mark})
    known = run_dir.read_arrays(CURVES)
    curves = {group: known[group] for group in ranking.scores}
    picture = run_dir.write(
        "figures/sensitivity.png",
        lambda path: ranking_figures.sensitivity(RATIOS, curves, path),
    )
    board = run_dir.path / "tensorboard" / "sensitivity"
    show_sensitivity(board, RATIOS, curves, picture)


def terminal_table(ranking: Ranking, shown: int = 5) -> str:
    """Returns each group's best and worst units, and the price, as text."""
    price = ranking.price
    width = max(map(len, ranking.scores))
    lines = [f"{ranking.asked.criterion}: units, best ... worst"]
    for group, scores in ranking.scores.items():
        units = order(scores)
        ends = units if len(units) <= 2 * shown else [*units[:shown], *units[-shown:]]
        words = [f"{unit} ({scores.values[unit]:.3g})" for unit in ends]
        if len(units) > 2 * shown:
            words.insert(shown, "...")
        lines.append(f"{group.ljust(width)}  {' '.join(words)}")
    lines.append(
        f"price: {price.forward:,} examples forward, {price.backward:,} backward, "
        f"{price.seconds:.1f} s"
    )
    return "\n".join([*lines, *ranking.ties()])
