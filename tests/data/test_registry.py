from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import data
from data import DatasetError, registry

ROOT = Path(data.__file__).parent.parent
HEAVY = "{'numpy', 'tensorflow', 'tensorflow_datasets', 'sklearn', 'PIL'}"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_import_and_aliases_are_light():
    out = run(
        "import sys, data\n"
        "for name in data.names(): data.check(name)\n"
        f"print({HEAVY} & set(sys.modules))"
    )
    assert out.stdout.strip() == "set()", out.stderr


def test_a_tfds_name_is_judged_without_tensorflow(tmp_path):
    out = run(
        "import sys, data\n"
        "data.check('caltech101')\n"
        "print('tensorflow' in sys.modules)",
        TFDS_DATA_DIR=str(tmp_path),
    )
    assert out.stdout.strip() == "False", out.stderr


def test_missing_set_without_network_fails_with_the_remedy(tmp_path):
    out = run(
        "import sys, data\n"
        "try: data.load('cifar100')\n"
        "except data.DatasetError as error: print(error)\n"
        "print('tensorflow' in sys.modules)",
        TFDS_DATA_DIR=str(tmp_path),
        HTTPS_PROXY="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
        NO_PROXY="",
        no_proxy="",
    )
    message, tensorflow = out.stdout.splitlines()
    assert f"'cifar100' is not prepared in {tmp_path}" in message
    assert "www.cs.toronto.edu cannot be reached" in message
    assert "`tfds build cifar100`" in message
    assert "TFDS_DATA_DIR" in message
    assert tensorflow == "False"
    assert not out.stderr


@pytest.mark.parametrize(
    ("name", "tfds_name"),
    [("digits", "mnist"), ("fashion", "fashion_mnist"), ("svhn", "svhn_cropped")],
)
def test_aliases(name, tfds_name):
    place = registry.resolve(name)
    assert (place.kind, place.name, place.alias.tfds) == ("tfds", name, tfds_name)


def test_mnist_conv_is_mnist_at_another_size():
    assert data.ALIASES["mnist_conv"] == data.Alias("mnist", (32, 32))


def test_names_are_the_aliases():
    assert data.names() == sorted(data.ALIASES)
    assert {"uci_digits", "cifar10", "celeb_a", "imagenet"} <= set(data.names())


def test_every_alias_is_a_tfds_name():
    from data import availability

    known = set(availability.tfds_names())
    assert {a.tfds for a in data.ALIASES.values() if a.tfds} <= known


@pytest.mark.parametrize(
    ("name", "near"), [("fasion", "fashion"), ("caltech102", "caltech101")]
)
def test_unknown_name_lists_and_suggests(name, near, data_dir):
    with pytest.raises(DatasetError) as caught:
        data.check(name)
    message = str(caught.value)
    assert message.startswith(f"dataset: got '{name}', expected one of celeb_a, ")
    assert "uci_digits" in message
    assert message.endswith(f"did you mean '{near}'?")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["", "nothing like it", "no/such/folder"])
def test_other_unknown_names(name, data_dir):
    with pytest.raises(DatasetError, match="dataset: got"):
        data.check(name)


@pytest.mark.parametrize("name", ["./gone", "/gone/for/good", "~/gone", "gone.npz"])
def test_path_that_is_not_there(name):
    with pytest.raises(DatasetError, match="looks like a path, but there is no"):
        data.check(name)


def test_paths(tmp_path, monkeypatch):
    (tmp_path / "my.set").mkdir()
    (tmp_path / "other.npz").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    folder, file = registry.resolve("my.set"), registry.resolve("other.npz")
    assert (folder.kind, folder.name) == ("folder", "my.set")
    assert (file.kind, file.name) == ("npz", "other")
    with pytest.raises(DatasetError, match=r"is a file, expected a \.npz file"):
        data.check("notes.txt")


def test_alias_comes_before_a_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert registry.resolve("digits").kind == "tfds"
    assert registry.resolve("./digits").kind == "folder"


def test_own_prepared_set_is_known(data_dir):
    (data_dir / "my_very_own").mkdir()
    data.check("my_very_own")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_valid": 0}, "num_valid: got 0, expected at least 1"),
        ({"num_valid": -5}, "num_valid: got -5"),
        ({"split": "last"}, "split: got 'last', expected one of random, first"),
        ({"seed": -1}, "seed: got -1"),
        ({"image_size": (0, 8)}, r"image_size: got \(0, 8\)"),
        ({"image_size": (8,)}, r"image_size: got \(8,\)"),
    ],
)
def test_options_are_judged_first(options, words):
    with pytest.raises(DatasetError, match=words):
        data.load("no such set", **options)


def test_uci_digits():
    from sklearn.datasets import load_digits

    from data import images, uci_digits

    dataset = data.load("uci_digits")
    sizes = [dataset.size(split) for split in ("train", "valid", "test")]
    assert sizes == [1151, 287, 359]
    assert (dataset.input_shape, dataset.num_classes) == ((28, 28, 1), 10)
    assert data.load("uci_digits").fingerprint == dataset.fingerprint
    assert data.load("uci_digits", seed=1).fingerprint != dataset.fingerprint

    eight = load_digits().images[..., None].astype("float32") / 16
    exact = images.resize(eight, (28, 28))
    pixels = images.to_unit_floats(uci_digits.read().train[0])
    assert abs(pixels - exact).max() < 2 / 255
    assert data.load("uci_digits", image_size=(8, 8)).input_shape == (8, 8, 1)
