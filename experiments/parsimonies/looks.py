"""What is looked at when networks are trained: test, clusters, maps, removability."""

from __future__ import annotations

import datetime
import functools
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments import ledger
from experiments.benchmarks.table import markdown_of
from experiments.parsimonies import drawings, verdicts
from experiments.parsimonies.presets import PRESETS
from experiments.parsimonies.studies import MADE, Study
from experiments.stages import Stage
from network_pruning.evaluation import clusters, embeddings, metrics
from network_pruning.evaluation.predict import predict_split
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.surgery import shrink
from network_pruning.runs import RunDir
from network_pruning.views import without_test

WIDE = 2000
"""Of a layer: wider ones are judged on --examples, by their principal components."""
PAGES = ("results.md", "search.md", "clusters.md", "removability.md")
FIGURES = ("panels.png", "removability.png")
SEARCHED = ("clusters", "weight", "momentum", "layers", "temperature", "soft_weight")
PIXELS = ("pixels", "shuffled_pixels")
SAME_IMAGES = "with the same --dataset, --num_valid and --num_train"


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
            *(_setting(stage.fields.get(name)) for name in SEARCHED),
            *(f"{(stage.made or {})[what]:.4f}" for what in ("valid", "train")),
        ]
        for stage in stages
    ]
    header = ["setting", "seed", *SEARCHED, "valid", "train"]
    _show(study, "search.md", f"Validation accuracy, {study.data.name}", header, rows)


def _setting(value: Any) -> str:
    if value is None:
        return ""
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def test(study: Study) -> None:
    """Measures each finished training on test, once, and writes results.md.

    Raises:
        ValueError: If nothing is trained.
    """
    for stage in _trained(study):
        with study.chain.stage("test", {}, _read_by(study, stage)) as step:
            if step.made is None:
                found = predict_split(study.network(stage), study.data, "test")
                step.finish({"accuracy": metrics.accuracy(*found)})
    by_name: dict[str, list[tuple[Stage, float]]] = {}
    for stage, made in _finished(study, "test"):
        by_name.setdefault(name_of(stage), []).append((stage, made["accuracy"]))
    header = ["setting", "epochs", "seeds", "valid", "test", "sd", "train"]
    rows = [_row(name, pairs) for name, pairs in sorted(by_name.items())]
    _show(study, "results.md", f"Test accuracy, {study.data.name}", header, rows)


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
        " ".join(str(stage.fields["seed"]) for stage, _ in pairs),
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
    for stage in _trained(study):
        read = _read_by(study, stage)
        with study.chain.stage("evaluate_clusters", fields, read) as step:
            if step.made is None:
                step.finish({"lines": list(_judged(study, stage, ks))})
    header = ["setting", "seed", "layer", "by", "K", "NMI", "ARI", "used"]
    header += ["within", "between"]
    rows = [
        [name_of(stage), str(stage.fields["seed"]), *map(_text, line)]
        for stage, made in _finished(study, "evaluate_clusters")
        for line in made["lines"]
    ]
    _show(study, "clusters.md", "Clusters and classes", header, rows)


def _judged(study: Study, stage: Stage, ks: tuple[int, ...]) -> Iterator[list[Any]]:
    """Yields layer, what clusters, K, NMI, ARI, used, within, between."""
    network, images, labels = study.network(stage), *_images(study)
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


def record(study: Study) -> None:
    """Writes activations of each finished training, and raw and shuffled pixels.

    Raises:
        ValueError: If nothing is trained.
    """
    trainings = _trained(study)
    config, (images, labels) = study.config, _images(study)
    rows = embeddings.subset(len(images), config.examples or len(images), 0)
    fields = {"layers": config.read_layers, "examples": config.examples}
    pixels = {"data": study.data.fingerprint}
    with study.chain.stage("record", {"examples": config.examples}, pixels) as step:
        if step.made is None:
            flat = np.reshape(images[rows], (len(rows), -1))
            mixed = embeddings.shuffled_pixels(flat, 0)
            arrays = dict(zip(PIXELS, (flat, mixed), strict=True))
            arrays |= {"labels": labels[rows], "examples": rows}
            step.run.write_arrays("recorded.npz", arrays)
            step.finish({"layers": list(PIXELS)})
    for stage in trainings:
        with study.chain.stage("record", fields, _read_by(study, stage)) as step:
            if step.made is None:
                network = study.network(stage)
                read = clusters.read_layers(network, images[rows], config.read_layers)
                arrays = {**read, "labels": labels[rows], "examples": rows}
                step.run.write_arrays("recorded.npz", arrays)
                step.finish({"layers": list(config.read_layers)})


def tsne(study: Study) -> None:
    """Maps what is recorded of --map_layer, of every training.

    Raises:
        ValueError: If it is not recorded, with the command that does.
    """
    config = study.config
    fields = {"layer": config.map_layer, "perplexity": config.perplexity, "seed": 0}
    recorded = [
        step
        for step in study.chain.all()
        if step.procedure == "record"
        and step.inputs["data"] == study.data.fingerprint
        and step.fields["examples"] == config.examples
        and config.map_layer in (step.made or {})["layers"]
    ]
    if not recorded:
        raise ValueError(
            f"map_layer: no {config.map_layer} is recorded in {study.run.path}: run "
            f"--procedure=record --read_layers={config.map_layer} first"
        )
    for source in recorded:
        read = {**source.inputs, "record": source.run.path.name}
        with study.chain.stage("tsne", fields, read) as step:
            if step.made is None:
                _map(study, source, step)


def _map(study: Study, source: Stage, step: Stage) -> None:
    arrays = source.run.read_arrays("recorded.npz")
    values, labels = arrays[study.config.map_layer], arrays["labels"]
    places, components = embeddings.tsne(values, study.config.perplexity)
    made = {"places": places, "components": components, "labels": labels}
    step.run.write_arrays("map.npz", made)
    step.run.write_text("map.csv", embeddings.csv_text(places, labels))
    words = [class_names(study)[label] for label in labels]
    reduced = clusters.principal(values)
    files = embeddings.projector_files(study.config.map_layer, reduced, words)
    for name, content in files.items():
        step.run.write_text(f"projector/{name}", content)
    step.finish({"examples": len(labels)})


def plot(study: Study) -> None:
    """Draws every map, and the panels of those that are there.

    Where several trainings have one place in the panels, the best on valid has it.

    Raises:
        ValueError: If there is no map.
    """
    drawn: dict[drawings.Place, tuple[float, Any]] = {}
    maps = [
        step
        for step in study.chain.all()
        if step.procedure == "tsne" and step.inputs["data"] == study.data.fingerprint
    ]
    if not maps:
        raise ValueError(
            f"{study.run.path} holds no map of these images: run --procedure=record, "
            f"then --procedure=tsne, {SAME_IMAGES}"
        )
    for step in maps:
        training = _training(study, step)
        arrays = step.run.read_arrays("map.npz")
        points = arrays["places"], arrays["labels"]
        name = name_of(training) if training else step.fields["layer"]
        drawings.one_map(step, points, class_names(study), f"{name}, t-SNE")
        if training and _is_in_panels(study, step, training):
            place, valid = drawings.place_of(training), (training.made or {})["valid"]
            if place not in drawn or valid > drawn[place][0]:
                drawn[place] = valid, points
    best = {place: points for place, (_, points) in drawn.items()}
    drawings.panels(study.run, best, class_names(study))


def _is_in_panels(study: Study, step: Stage, training: Stage) -> bool:
    """Returns whether a map is of the first seed's teacher, or of one it taught.

    A student's network that was trained alone is neither.
    """
    config = study.config
    known = training.procedure == "distill" or (
        training.fields["network"] == config.get("network")
    )
    first = training.fields["seed"] == config.seeds[0]
    return known and first and step.fields["layer"] == config.map_layer


def removability(study: Study) -> None:
    """Cuts units of every plain and clustered teacher, deeper and deeper.

    Raises:
        ValueError: If nothing is trained.
    """
    config = study.config
    stages = _trained(study, "train")
    fields = {"criteria": config.criteria, "sparsities": config.sparsities}
    curves: dict[str, dict[str, list[list[float]]]] = {}
    for stage in stages:
        with study.chain.stage("removability", fields, _read_by(study, stage)) as step:
            if step.made is None:
                step.finish({"accuracy": _cut(study, stage)})
        found = (study.chain.latest["removability"].made or {})["accuracy"]
        for criterion, values in found.items():
            by_name = curves.setdefault(criterion, {})
            by_name.setdefault(name_of(stage), []).append(values)
    drawings.removability(study.run, config.sparsities, curves)
    header = ["criterion", "setting", *(f"{k:g}" for k in config.sparsities)]
    rows = [
        [criterion, name, *(f"{value:.4f}" for value in np.mean(values, axis=0))]
        for criterion, by_name in curves.items()
        for name, values in by_name.items()
    ]
    title = "Test accuracy against the share of units cut, nothing retrained"
    _show(study, "removability.md", title, header, rows)


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


def publish(study: Study) -> None:
    """Puts means over seeds beside what was published, into the ledger."""
    found: dict[str, dict[tuple[str, str], dict[int, float]]] = {}
    flags: dict[str, str] = {}
    note = study.config.note and f" ({study.config.note})"
    for stage, metric, value in _numbers(study):
        label = (stage.made or {})["label"]
        if label in PRESETS:
            length = verdicts.length(stage.fields)
            flags[length] = verdicts.length_flags(stage.fields)
            table = found.setdefault(length, {})
            table.setdefault((label, metric), {})[stage.fields["seed"]] = value
    today = datetime.date.today().isoformat()
    references = RunDir(study.config.references_dir)
    for length, numbers in found.items():
        lines = verdicts.ledger_lines(numbers, length + note, flags[length], today)
        ledger.record(references, lines)
        for line in lines:
            print(f"{line.row} {line.metric}: {line.ours_mean} {line.verdict}")
    for name in filter(study.run.exists, PAGES):
        page = f"{study.run.path.name}_{name}"
        references.write_text(page, study.run.read_text(name))
    for name in filter(study.run.exists, FIGURES):
        copy = functools.partial(shutil.copyfile, study.run.path / name)
        references.write(f"{study.run.path.name}_{name}", copy)


def _numbers(study: Study) -> Iterator[tuple[Stage, str, float]]:
    """Yields each number of a training that could stand in the ledger, by its name."""
    for stage, made in _finished(study, "test"):
        yield stage, verdicts.ACCURACY, made["accuracy"]
    for stage, made in _finished(study, "evaluate_clusters"):
        for layer, how, k, nmi, *_ in made["lines"]:
            if how == "k-means":
                yield stage, f"nmi {layer} K={k}", nmi


LOOKS: Mapping[str, Callable[[Study], None]] = {
    "search": search,
    "test": test,
    "evaluate_clusters": evaluate_clusters,
    "record": record,
    "tsne": tsne,
    "plot": plot,
    "removability": removability,
    "publish": publish,
}
"""Procedure -> what it does."""
READING = frozenset(("evaluate_clusters", "record"))
"""Those that read --read_layers."""


def name_of(stage: Stage) -> str:
    """Returns what a training is called in tables."""
    made = stage.made or {}
    name = f"{made['label']}, {verdicts.length(stage.fields)}"
    if "teacher" in made:
        name += f", taught by {made['teacher']}"
        name += f" at T {stage.fields['temperature']:g}"
        name += f", soft weight {stage.fields['soft_weight']:g}"
    if stage.fields["clustering"] != "none" and not made["label"].startswith("CIFAR"):
        weights = "/".join(f"{weight:g}" for weight in stage.fields["weight"])
        name += f", weight {weights}, K {stage.fields['clusters']}"
        name += f", momentum {stage.fields['momentum']:g}"
    return name


def class_names(study: Study) -> list[str]:
    """Returns the words of the classes, or their numbers."""
    known = getattr(study.data, "class_names", None)
    return list(known or map(str, range(study.data.num_classes)))


def _images(study: Study) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns images and labels of train and valid together."""
    data = study.data
    images = np.concatenate([data.x_train, data.x_valid])
    return images, np.concatenate([data.y_train, data.y_valid])


def _read_by(study: Study, stage: Stage) -> dict[str, str]:
    return {"training": stage.run.path.name, "data": study.data.fingerprint}


def _trained(study: Study, *procedures: str) -> list[Stage]:
    """Returns the finished trainings on these images, of some procedures or of all.

    Raises:
        ValueError: If there is none.
    """
    wanted = procedures or MADE
    found = [stage for stage in study.trainings() if stage.procedure in wanted]
    if not found:
        raise ValueError(
            f"{study.run.path} holds no finished training on these images: run "
            f"--procedure={wanted[0]} first, {SAME_IMAGES}"
        )
    return found


def _training(study: Study, step: Stage) -> Stage | None:
    """Returns the training a step has looked at, None where it looked at pixels."""
    for stage in study.trainings():
        if stage.run.path.name == step.inputs.get("training"):
            return stage
    return None


def _finished(study: Study, procedure: str) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """Yields each training on these images, and what a step says of it."""
    for step in study.chain.all():
        training = _training(study, step)
        if step.procedure == procedure and training is not None:
            yield training, step.made or {}


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _show(
    study: Study, name: str, title: str, header: list[str], rows: list[list[str]]
) -> None:
    text = f"# {title}\n\n{markdown_of(header, rows)}"
    study.run.write_text(name, text)
    print(text)
