"""A network whose layers' activations gather around few centres as it learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning import losses
from network_pruning.classifiers import ends_in_sigmoid, ends_in_softmax
from network_pruning.clustering.clusters import Clustering, Clusters
from network_pruning.replicas import share_of_mean, share_of_sum
from network_pruning.taps import call_tapped, tap_shapes, weighted_layers
from network_pruning.training import check_keras_file, is_right, with_check

ByLayer = Any
"""One value for all layers, or a mapping that has one for each, by path."""


@keras.saving.register_keras_serializable("network_pruning")
class ClusteringModel(keras.Model):
    """Learns with k-means on the pre-activations of some layers as a regulariser.

    R. Liao, A. Schwing, R. Zemel, R. Urtasun, "Learning Deep Parsimonious
    Representations", NIPS 2016. To the loss comes, for each layer, weight / 2 * mean of
    (x - mu)^2 over its rows x and their entries, mu the nearest centre. All of it
    happens in a call with training=True: whoever calls the model so and adds its
    `losses` trains it right, be it `fit`, a `Trainer` or a `Distiller`. In inference it
    is the network and nothing more.

    Attributes:
        network: The plain model that learns; it saves and loads without this project.
        layer_paths: The clustered layers.
        clusters: For each of them, what holds its centres.
    """

    jit_pays = False
    """XLA takes the number of the step for a constant, and compiles anew at each."""

    def __init__(
        self,
        network: keras.Model,
        layers: Sequence[str] | None = None,
        kind: ByLayer = "sample",
        clusters: ByLayer = 100,
        weight: ByLayer = 0.1,
        momentum: ByLayer = 0.1,
        *,
        legacy: bool = False,
        reset_every: int = 500,
        min_count: int = 10,
        seed: int = 0,
        name: str = "clustering",
    ) -> None:
        """Makes the centres; they begin as k-means++ does, with the first batches.

        Args:
            network: Functional or Sequential.
            layers: Paths of the layers to cluster; None takes every dense and
                convolutional one.
            kind: What is a row: an example (sample), a place of its images (spatial), a
                channel of an example (channel). Layers without places have one row an
                example whatever the kind.
            clusters: Number of centres, K.
            weight: Of the regulariser.
            momentum: Share of the old centre when it moves, in [0, 1).
            legacy: Let the centres of clusters without rows shrink, as the original
                does, instead of leaving them.
            reset_every: Steps after which each layer draws starved centres anew from
                the batch; 0 never does.
            min_count: Rows that a centre must have had in these steps.
            seed: Names what is drawn.
            name: Of this model.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        super().__init__(name=name)
        self.network = network
        self.layer_paths = _chosen(network, layers)
        rest = {"legacy": legacy, "reset_every": reset_every, "min_count": min_count}
        spread = {
            word: self._spread(word, value)
            for word, value in {
                **{"kind": kind, "clusters": clusters, "weight": weight},
                **{"momentum": momentum, **rest, "seed": seed},
            }.items()
        }
        self.clusters = [
            Clusters(
                Clustering(**{word: values[path] for word, values in spread.items()}),
                shape,
                path,
            )
            for path, shape in tap_shapes(network, self.layer_paths).items()
        ]
        # Metrics count all replicas already; Keras would add up what each says.
        self.distribute_reduction_method = "first"
        self._softmax = ends_in_softmax(network)
        # In a dict Keras would find them, and show them beside those of `compile`.
        self._told = SimpleNamespace(
            loss=keras.metrics.Mean("loss"),
            cross_entropy=keras.metrics.Mean("cross_entropy"),
            accuracy=keras.metrics.Mean("accuracy"),
        )
        if not isinstance(network.output, dict):
            # Losses and metrics of several outputs are known by these; Keras takes the
            # keys of a dict by itself.
            self.output_names = network.output_names
        self.built = True

    def _spread(self, word: str, value: ByLayer) -> dict[str, Any]:
        """Gives every layer its value.

        Returns:
            By path.

        Raises:
            ValueError: If a mapping has not exactly the layers that are clustered.
        """
        if not isinstance(value, Mapping):
            return dict.fromkeys(self.layer_paths, value)
        if set(value) != set(self.layer_paths):
            raise ValueError(
                f"{word}: got values for {', '.join(value) or 'no layer'}, expected "
                f"one for each of {', '.join(self.layer_paths)}"
            )
        return dict(value)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the network; in training, its activations are clustered on the way.

        Args:
            inputs: What the network takes.
            training: Whether to learn.

        Returns:
            What the network gives.
        """
        if not training:
            return self.network(inputs, training=False)
        return self.call_tapped(inputs, (), True)[0]

    def call_tapped(
        self, inputs: Any, paths: Sequence[str], training: bool | None = None
    ) -> tuple[Any, dict[str, tf.Tensor]]:
        """Runs the network as `call` does, and shows layers before their activation.

        Args:
            inputs: What the network takes.
            paths: Layers to show, clustered or not.
            training: Whether to learn.

        Returns:
            What the network gives, and pre-activations [n, ..., channels] by path.
        """
        self._clear_losses()  # as a call of the model itself does
        clusters = self.clusters if training else []
        wanted = dict.fromkeys([*(layer.path for layer in clusters), *paths])
        outputs, taps = call_tapped(self.network, inputs, [*wanted], bool(training))
        for layer in clusters:
            layer(taps[layer.path])
        return outputs, {path: taps[path] for path in paths}

    @property
    def stands_for(self) -> keras.Model:
        """The model whose outputs this one gives, for who asks what they mean."""
        return self.network

    def check_examples(self, examples: int) -> None:
        """Judges whether a training set has rows enough to begin every centre.

        Args:
            examples: Their number.

        Raises:
            ValueError: If a layer is to have more clusters than rows.
        """
        for layer in self.clusters:
            layer.check_examples(examples)

    def check_begun(self) -> None:
        """Judges whether every centre has begun, after an epoch.

        Raises:
            ValueError: If it has had fewer rows than a layer has clusters.
        """
        for layer in self.clusters:
            layer.check_begun()

    def fit(self, *args: Any, callbacks: Any = None, **options: Any) -> Any:
        """Trains, see keras.Model.fit.

        Args:
            *args: As there.
            callbacks: As there.
            **options: As there.

        Returns:
            The history.

        Raises:
            ValueError: If an epoch has had fewer rows than a layer has clusters.
        """
        callbacks = with_check(callbacks, self.check_begun)
        return super().fit(*args, callbacks=callbacks, **options)

    def save(self, filepath: Any, *args: Any, **options: Any) -> None:
        """Saves the model, its centres included, see keras.Model.save.

        Args:
            filepath: A .keras file.
            *args: As there.
            **options: As there.

        Raises:
            ValueError: If it is none: of a SavedModel Keras brings no trainer back.
        """
        check_keras_file(filepath, "network")
        super().save(filepath, *args, **options)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
    ) -> tf.Tensor:
        """Computes the loss that `compile` was given, or cross entropy on labels.

        Args:
            x: Not looked at.
            y: Targets; without a loss, int labels [n].
            y_pred: Outputs; without a loss, logits or probabilities [n, classes].
            sample_weight: Factors of the examples [n]; without a loss, or [n, 1].

        Returns:
            The loss, the network's penalties and the regularisers included.
        """
        if self.loss:
            return super().compute_loss(x, y, y_pred, sample_weight)
        each = self._cross_entropy(y, y_pred, sample_weight)
        penalties = tf.cast(share_of_sum(self.losses), each.dtype)
        return share_of_mean(each) + penalties

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any
    ) -> dict[str, tf.Tensor]:
        """Measures a batch.

        Args:
            x: Not looked at.
            y: As in `compute_loss`.
            y_pred: Likewise.
            sample_weight: Likewise.

        Returns:
            Means since the epoch began: what `compile` was given, or without a loss:
            loss, cross_entropy (nats), accuracy; and for each clustered layer
            regulariser, occupancy and revivals.
        """
        if not self.loss:
            each = self._cross_entropy(y, y_pred, sample_weight)
            penalty = losses.total(self.losses)
            self._told.loss.update_state(each + tf.cast(penalty, each.dtype))
            self._told.cross_entropy.update_state(each)
            self._told.accuracy.update_state(is_right(y_pred, losses.as_classes(y)))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Measures one batch, and updates nothing.

        Args:
            data: As in keras.Model.test_step.

        Returns:
            As `compute_metrics`, but for what only training has.
        """
        told = super().test_step(data)
        unmeasured = self.only_in_training
        return {name: value for name, value in told.items() if name not in unmeasured}

    @property
    def only_in_training(self) -> set[str]:
        """Names of metrics that a call in inference does not update."""
        return {metric.name for layer in self.clusters for metric in layer.metrics}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What Keras resets at each epoch."""
        runs = self.train_function is not None or self.test_function is not None
        own = vars(self._told).values() if runs and not self.loss else []
        return [*own, *super().metrics]

    def _cross_entropy(self, y: Any, y_pred: Any, sample_weight: Any) -> tf.Tensor:
        _check_classes(self.network)
        y = losses.as_classes(y)
        logits = losses.as_logits(y_pred, self._softmax)
        each = losses.cross_entropy(logits, y)
        if sample_weight is None:
            return each
        return each * tf.cast(tf.reshape(sample_weight, [-1]), each.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, those of layers by path."""
        hows = [dataclasses.asdict(layer.how) for layer in self.clusters]
        by_layer = {
            word: dict(zip(self.layer_paths, (how[word] for how in hows), strict=True))
            for word in hows[0]
        }
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "layers": list(self.layer_paths),
            "name": self.name,
            **by_layer,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> ClusteringModel:
        """Makes a model of these arguments, its centres not begun.

        Args:
            config: What `get_config` returns.
            custom_objects: Classes by name, for the network's layers.

        Returns:
            The model.
        """
        network = keras.saving.deserialize_keras_object(
            config["network"], custom_objects=custom_objects
        )
        return cls(**{**config, "network": network})


def _check_classes(network: keras.Model) -> None:
    """Judges whether cross entropy on labels is a loss for a network.

    Raises:
        ValueError: If not.
    """
    shapes = [x.shape.as_list() for x in network.outputs]
    gives, within = f"outputs {shapes}", tf.nest.is_nested(network.output)
    if within:
        gives += f" within a {type(network.output).__name__}"
    if not within and len(shapes[0]) == 2 and shapes[0][-1] != 1:
        if not ends_in_sigmoid(network):
            return
        gives = "a sigmoid"
    raise ValueError(
        f"loss: got none for model {network.name!r}, which gives {gives}, expected "
        "one, as in compile(optimizer, loss=...): without it the cross entropy of "
        "logits [n, classes], or of their softmax, is taken"
    )


def _chosen(network: keras.Model, layers: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the paths of the layers to cluster.

    Raises:
        ValueError: If there are none, or a path stands alone.
    """
    known = weighted_layers(network)
    if isinstance(layers, str):
        raise ValueError(f"layers: got {layers!r}, expected a list: [{layers!r}]")
    chosen = tuple(known if layers is None else layers)
    if not chosen:
        raise ValueError(
            "layers: got none, expected some of "
            f"{', '.join(known) or 'a network with layers'}"
        )
    return chosen
