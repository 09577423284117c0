"""What clusters of activations say of the classes, against sums written out."""

import numpy as np
import pytest
import tf_keras as keras
from PIL import Image

from network_pruning.evaluation import clusters, embeddings, maps

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 20)
BLOBS = (RNG.normal(size=(60, 4)) * 0.1 + 5 * np.eye(4)[LABELS]).astype(np.float32)


def slow_nmi(a, b):
    def entropy(p):
        return -sum(x * np.log(x) for x in p if x)

    n = len(a)
    joint = [np.mean((a == i) & (b == j)) for i in set(a) for j in set(b)]
    h = [entropy([np.mean(x == v) for v in set(x)]) for x in (a, b)]
    return 2 * (sum(h) - entropy(joint)) / sum(h) if n else 0


def test_nmi_is_twice_the_information_over_the_entropies():
    a, b = RNG.integers(0, 4, 50), RNG.integers(0, 3, 50)
    assert clusters.nmi(a, b) == pytest.approx(slow_nmi(a, b), rel=1e-6)
    assert clusters.nmi(a, (a + 1) % 4) == pytest.approx(1)
    assert clusters.nmi(a, np.zeros_like(a)) == 0 == clusters.nmi(np.zeros_like(a), a)


def test_separate_classes_are_found():
    found = clusters.judge(clusters.by_kmeans(BLOBS, 3), LABELS)
    assert found == clusters.Clustered(pytest.approx(1), pytest.approx(1), 3)
    shuffled = clusters.judge(RNG.permutation(LABELS), LABELS)
    assert abs(shuffled.ari) < 0.1
    with pytest.raises(ValueError, match="k: got 61, expected at most 60"):
        clusters.by_kmeans(BLOBS, 61)


def test_rows_go_to_the_nearest_centre():
    centres = BLOBS[[0, 25, 45, 3]]
    expected = [
        np.argmin([np.sum((row - centre) ** 2) for centre in centres]) for row in BLOBS
    ]
    np.testing.assert_array_equal(clusters.by_centres(BLOBS, centres), expected)
    with pytest.raises(ValueError, match="centres: got width 3, expected 4"):
        clusters.by_centres(BLOBS, centres[:, :3])


def test_scatter_adds_up_to_the_variance():
    within, between = clusters.scatter(BLOBS, LABELS)
    total = np.sum(BLOBS.astype(np.float64).var(axis=0))
    assert within + between == pytest.approx(total, rel=1e-6)
    assert within == pytest.approx(0.04, rel=0.2)


def test_layers_are_read_before_their_activation(monkeypatch):
    monkeypatch.setattr(clusters, "CHUNK", 4)
    x = inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    x = keras.layers.Dense(5, "relu", name="fc")(keras.layers.Flatten()(x))
    network = keras.Model(inputs, x)
    images = RNG.normal(size=(6, 4, 4, 2)).astype(np.float32)
    read = clusters.read_layers(network, images, ["conv", "fc"])
    assert read["conv"].shape == (6, 12) and read["conv"].min() < 0
    np.testing.assert_allclose(np.maximum(read["fc"], 0), network(images), atol=1e-5)
    with pytest.raises(ValueError, match="'fd', expected one of"):
        clusters.read_layers(network, images, ["fd"])


def test_principal_components_keep_what_varies():
    assert clusters.principal(BLOBS) is BLOBS
    two = clusters.principal(BLOBS, 2)
    assert two.shape == (60, 2)
    spread = np.linalg.svd(BLOBS - BLOBS.mean(axis=0))[1][:2] ** 2
    np.testing.assert_allclose(np.sum(two**2, axis=0), spread, rtol=1e-3)


def test_a_map_keeps_neighbours_and_is_repeatable():
    places, components = embeddings.tsne(BLOBS, 10.0, seed=1)
    again, _ = embeddings.tsne(BLOBS, 10.0, seed=1)
    np.testing.assert_array_equal(places, again)
    assert components.shape == places.shape == (60, 2)
    assert clusters.judge(clusters.by_kmeans(places, 3), LABELS).nmi > 0.9
    with pytest.raises(ValueError, match="perplexity: got 60, expected .* below 60"):
        embeddings.tsne(BLOBS, 60.0)


def test_examples_and_pixels_are_drawn_by_seed():
    drawn = embeddings.subset(100, 10, 3)
    np.testing.assert_array_equal(drawn, embeddings.subset(100, 10, 3))
    assert len(set(drawn.tolist())) == 10 and (np.diff(drawn) > 0).all()
    assert len(embeddings.subset(5, 10, 0)) == 5
    images = RNG.random((3, 4, 4, 1))
    mixed = embeddings.shuffled_pixels(images, 0)
    assert not np.array_equal(mixed, images)
    np.testing.assert_array_equal(np.sort(mixed.ravel()), np.sort(images.ravel()))


def test_files_of_a_map_and_of_the_projector():
    text = embeddings.csv_text(np.array([[1.5, -2.0]]), np.array([3]))
    assert text == "x,y,label\n1.5,-2,3\n"
    files = embeddings.projector_files("fc1", np.array([[1.0, 2.0], [3.0, 4.0]]), "ab")
    assert files["tensors.tsv"] == "1\t2\n3\t4\n"
    assert files["metadata.tsv"] == "a\nb\n"
    from google.protobuf import text_format
    from tensorboard.plugins.projector import projector_config_pb2

    config = text_format.Parse(
        files["projector_config.pbtxt"], projector_config_pb2.ProjectorConfig()
    )
    assert config.embeddings[0].tensor_path == "tensors.tsv"


def test_maps_are_drawn_the_same_every_time(tmp_path):
    points = BLOBS[:, :2], LABELS
    grid = {
        row: dict.fromkeys(("baseline", "sample"), points) for row in ("big", "small")
    }
    for name in ("a", "b"):
        maps.panels(grid, list("xyz"), tmp_path / f"{name}.png")
        maps.scatter(points, list("xyz"), "fc1", tmp_path / f"{name}_one.png")
    for name in ("{}.png", "{}_one.png"):
        pair = [(tmp_path / name.format(x)).read_bytes() for x in "ab"]
        assert pair[0] == pair[1]
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 900
        assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 10
