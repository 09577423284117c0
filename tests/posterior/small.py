"""Networks of the posterior wing's tests."""

import tf_keras as keras

CASES, CLASSES, BATCH = 24, 3, 6


def network(name, outputs=CLASSES, width=5, dropout=0.0, activation=None):
    """Returns a perceptron on 2x2 images."""
    layers = keras.layers
    x = inputs = keras.Input((2, 2, 1))
    x = layers.Dense(width, "relu", name="hidden")(layers.Flatten()(x))
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(outputs, activation)(x), name=name)
