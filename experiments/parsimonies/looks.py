"""What is looked at when networks are trained: test, clusters, removability."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.parsimonies import drawings, pictures, publishing
from experiments.parsimonies.finished import (
    finished,
    images_of,
    read_by,
    show,
    trained,
)
from experiments.parsimonies.names import name_of
from experiments.parsimonies.studies import Study
from experiments.stages import Stage
from network_pruning.evaluation import clusters, embeddings, metrics
from network_pruning.evaluation.predict import predict_split
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.surgery import shrink
from network_pruning.views import without_test

WIDE = 2000
"""Of a layer: wider ones are judged on --examples, by their principal components."""
SEARCHED = (
    *("learning_rate", "clusters", "weight", "momentum", "layers"),
    *("temperature", "soft_weight"),
)


def search(study: Study) -> None:
    """Trains every setting that is searched; writes search.md, the best on valid first.

    Test is not read.
    """
    study.search()
    stages = sorted(study.trainings(), key=lambda stage: -(stage.made or {})["valid"])
    rows = [
        [
            (stage.made or {})["label"],
            str(stage.fields["seed"]),
            (stage.made or {}).get("teacher", ""),
            *(_setting(stage.fields.get(name)) for name in SEARCHED),
            *(f"{(stage.made or {})[what]:.4f}" for what in ("valid", "train")),
        ]
        for stage in stages
    ]
    header = ["setting", "seed", "teacher", *SEARCHED, "valid", "train"]
    show(study, "search.md", f"Validation accuracy, {study.data.name}", header, rows)


def _setting(value: Any) -> str:
    if value is None:
        return ""
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def test(study: Study) -> None:
    """Measures each finished training on test, once, and writes results.md.

    Raises:
        ValueError: If nothing is trained.
    """
    for stage in trained(study):
        with study.chain.stage("test", {}, read_by(study, stage)) as step:
            if step.made is None:
                found = predict_split(study.network(stage), study.data, "test")
                step.finish({"accuracy": metrics.accuracy(*found)})
    by_name: dict[str, list[tuple[Stage, float]]] = {}
    for stage, made in finished(study, "test"):
        by_name.setdefault(name_of(stage), []).append((stage, made["accuracy"]))
    header = ["setting", "epochs", "seeds", "valid", "test", "sd", "train"]
    rows = [_row(name, pairs) for name, pairs in sorted(by_name.items())]
    show(study, "results.md", f"Test accuracy, {study.data.name}", header, rows)


def _row(name: str, pairs: list[tuple[Stage, float]]) -> list[str]:
    values = [accuracy for _, accuracy in pairs]
    sd = float(metrics.per_seed(values)[1])
    valid, train = (
        np.mean([(stage.made or {})[what] for stage, _ in pairs])
        for what in ("valid", "train")
    )
    return [
        name,
        str(pairs[0][0].fields["epochs"]),
        " ".join(str(seed) for seed in sorted(s.fields["seed"] for s, _ in pairs)),
        f"{valid:.4f}",
        f"{np.mean(values):.4f}",
        "" if math.isnan(sd) else f"{sd:.4f}",
        f"{train:.4f}",
    ]


def evaluate_clusters(study: Study) -> None:
    """Compares clusters of activations, train and valid, with the classes.

    Raises:
        ValueError: If nothing is trained.
    """
    config = study.config
    ks = config.k or (100, study.data.num_classes)
    fields = {
        "layers": config.read_layers,
        "k": ks,
        "n_init": config.n_init,
        "examples": config.examples,
    }
    for stage in trained(study):
        read = read_by(study, stage)
        with study.chain.stage("evaluate_clusters", fields, read) as step:
            if step.made is None:
                step.finish({"lines": list(_judged(study, stage, ks))})
    header = ["setting", "seed", "layer", "by", "K", "NMI", "ARI", "used"]
    header += ["within", "between"]
    rows = [
        [name_of(stage), str(stage.fields["seed"]), *map(_text, line)]
        for stage, made in finished(study, "evaluate_clusters", **fields)
        for line in made["lines"]
    ]
    show(study, "clusters.md", "Clusters and classes", header, rows)


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _judged(study: Study, stage: Stage, ks: tuple[int, ...]) -> Iterator[list[Any]]:
    """Yields layer, what clusters, K, NMI, ARI, used, within, between."""
    network, images, labels = study.network(stage), *images_of(study)
    few = embeddings.subset(len(images), study.config.examples or len(images), 0)
    centres = study.centres(stage, network)
    for layer in study.config.read_layers:
        values = clusters.read_layers(network, images[:1], [layer])[layer]
        wide = values.shape[1] > WIDE
        rows = few if wide else np.arange(len(images))
        values = clusters.read_layers(network, images[rows], [layer])[layer]
        found = {}
        if layer in centres and centres[layer].shape[1] == values.shape[1]:
            by_centres = clusters.by_centres(values, centres[layer])
            found["learned", len(centres[layer])] = by_centres
        if wide:
            values = clusters.principal(values)
        for k in ks:
            found["k-means", k] = clusters.by_kmeans(values, k, study.config.n_init)
        scatter = clusters.scatter(values, labels[rows])
        for (how, k), assigned in found.items():
            said = clusters.judge(assigned, labels[rows])
            yield [layer, how, k, said.nmi, said.ari, said.used, *scatter]


def removability(study: Study) -> None:
    """Cuts units of every plain and clustered teacher, deeper and deeper.

    Raises:
        ValueError: If nothing is trained.
    """
    config = study.config
    stages = trained(study, "train")
    fields = {"criteria": config.criteria, "sparsities": config.sparsities}
    curves: dict[str, dict[str, list[list[float]]]] = {}
    for stage in stages:
        with study.chain.stage("removability", fields, read_by(study, stage)) as step:
            if step.made is None:
                told = {"sparsities": config.sparsities, "accuracy": _cut(study, stage)}
                step.finish(told)
        found = (study.chain.latest["removability"].made or {})["accuracy"]
        for criterion, values in found.items():
            by_name = curves.setdefault(criterion, {})
            by_name.setdefault(name_of(stage), []).append(values)
    drawings.removability(study.run, config.sparsities, curves)
    header = ["criterion", "setting", *(f"{k:g}" for k in config.sparsities)]
    rows = [
        [criterion, name, *map(_mean_sd, zip(*values, strict=True))]
        for criterion, by_name in curves.items()
        for name, values in by_name.items()
    ]
    title = "Test accuracy against the share of units cut, nothing retrained"
    show(study, "removability.md", title, header, rows)


def _mean_sd(values: Sequence[float]) -> str:
    mean, sd = metrics.per_seed(values)
    return f"{mean:.4f}" if math.isnan(sd) else f"{mean:.4f} ± {sd:.4f}"


def _cut(study: Study, stage: Stage) -> dict[str, list[float]]:
    network, seed = study.network(stage), stage.fields["seed"]
    seen = without_test(study.data)
    found: dict[str, list[float]] = {}
    for criterion in study.config.criteria:
        scores = score_units(network, criterion, seen, seed=seed)
        for sparsity in study.config.sparsities:
            small = shrink(network, keep_units(scores, sparsity=sparsity))
            told = metrics.accuracy(*predict_split(small, study.data, "test"))
            found.setdefault(criterion, []).append(told)
    return found


LOOKS: Mapping[str, Callable[[Study], None]] = {
    "search": search,
    "test": test,
    "evaluate_clusters": evaluate_clusters,
    "record": pictures.record,
    "tsne": pictures.tsne,
    "plot": pictures.plot,
    "removability": removability,
    "publish": publishing.publish,
}
"""Procedure -> what it does."""
READING = frozenset(("evaluate_clusters", "record"))
"""Those that read --read_layers."""
