"""What classifiers take and give, and who is told that it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import network_pruning as npr
from data.arrays import ArrayDataset
from network_pruning import classifiers
from network_pruning.training import Trainer
from network_pruning.types import SPLITS


def dataset(shape=(4, 4, 1), classes=3):
    images = np.random.default_rng(0).random((classes * 2, *shape), np.float32)
    part = images, np.arange(classes * 2) % classes
    return ArrayDataset("tiny", dict.fromkeys(SPLITS, part), num_classes=classes)


def network(shape=(4, 4, 1), classes=3):
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(6, "relu", name="hidden"),
            keras.layers.Dense(classes),
        ],
        name="small",
    )


IMAGES = r"data: got images \[4, 4, 1\] of 'tiny', expected \[5, 5, 1\], which model"
CLASSES = r"data: got 3 classes of 'tiny', expected 7, as many as model 'small' tells"


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, data: npr.cost_card(model, data, latency=False),
        lambda model, data: npr.sensitivity(model, npr.score_units(model, "l1"), data),
        lambda model, data: npr.ActivationRecords.from_data(model, data),
    ],
)
def test_data_that_do_not_fit_are_refused(ask):
    for model, message in (
        (network((5, 5, 1)), IMAGES),
        (network(classes=7), CLASSES),
    ):
        with pytest.raises(ValueError, match=message):
            ask(model, dataset())
    ask(network(), dataset())


@pytest.mark.parametrize("criterion", ["taylor", "mean_activation", "shapley"])
def test_criteria_refuse_other_images(criterion):
    with pytest.raises(ValueError, match=IMAGES):
        npr.score_units(network((5, 5, 1)), criterion, data=dataset())


def test_images_of_any_size_fit_a_model_that_takes_them():
    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(pooled))
    classifiers.check_fits(model, dataset((9, 4, 1)))


def test_a_card_names_the_splits_there_are():
    with pytest.raises(ValueError, match="split: got 'tst', expected train, valid, "):
        npr.cost_card(network(), dataset(), latency=False, split="tst")


def test_sigmoids_at_the_end_are_refused():
    inputs = keras.Input((4,))
    inner = keras.layers.Dense(3, activation="sigmoid")(inputs)
    logits = keras.Model(inputs, keras.layers.Dense(2)(inner))
    classifiers.check_classifier(logits)
    dense = keras.layers.Dense(3)(inputs)
    alone = keras.layers.Activation("sigmoid")(dense)
    for outputs in (inner, alone, tf.sigmoid(dense)):
        model = keras.Model(inputs, outputs)
        for judge in (classifiers.check_classifier, Trainer):
            with pytest.raises(ValueError, match="got a sigmoid at its end, expected"):
                judge(model)
