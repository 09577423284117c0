"""Activations as pictures: recorded, mapped by t-SNE, drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.parsimonies import drawings
from experiments.parsimonies.finished import (
    SAME_IMAGES,
    class_names,
    images_of,
    read_by,
    trained,
    training_of,
)
from experiments.parsimonies.names import name_of
from experiments.parsimonies.presets import PRESETS, SETTLED
from experiments.parsimonies.studies import Study
from experiments.stages import Stage
from network_pruning.evaluation import clusters, embeddings

PIXELS = ("pixels", "shuffled_pixels")


def record(study: Study) -> None:
    """Writes activations of each finished training, and raw and shuffled pixels.

    Raises:
        ValueError: If nothing is trained.
    """
    trainings = trained(study)
    config, (images, labels) = study.config, images_of(study)
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
        with study.chain.stage("record", fields, read_by(study, stage)) as step:
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
        layer = config.map_layer
        flags = "" if layer in PIXELS else f" --read_layers={layer}"
        raise ValueError(
            f"map_layer: no {layer} of {config.examples or 'all'} examples is recorded "
            f"in {study.run.path}: run --procedure=record{flags} "
            f"--examples={config.examples} first, {SAME_IMAGES}"
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
        training = training_of(study, step)
        arrays = step.run.read_arrays("map.npz")
        points = arrays["places"], arrays["labels"]
        drawings.one_map(step, points, class_names(study), _title(step, training))
        if training and _is_in_panels(study, step, training):
            place, valid = drawings.place_of(training), (training.made or {})["valid"]
            if place not in drawn or valid >= drawn[place][0]:
                drawn[place] = valid, points
    best = {place: points for place, (_, points) in drawn.items()}
    drawings.panels(study.run, best, class_names(study))


def _is_in_panels(study: Study, step: Stage, training: Stage) -> bool:
    """Returns whether a map is of the first seed's teacher, or of one it taught.

    A student's network that was trained alone is neither.
    """
    config = study.config
    large = config.get("network")
    if config.distils():
        large = PRESETS.get(str(config.taught()), {}).get("network", SETTLED["network"])
    known = training.procedure == "distill" or training.fields["network"] == large
    first = training.fields["seed"] == config.seeds[0]
    asked = config.map_layer, config.perplexity
    same = (step.fields["layer"], step.fields["perplexity"]) == asked
    return known and first and same


def _title(step: Stage, training: Stage | None) -> str:
    name = f"{name_of(training)}, seed {training.fields['seed']}: " if training else ""
    how = f"by t-SNE of perplexity {step.fields['perplexity']:g}"
    return f"{name}{step.fields['layer']} {how}"
