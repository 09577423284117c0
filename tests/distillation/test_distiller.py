"""The Distiller, against a step written out by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import network_pruning as npr
from network_pruning.distillation.distiller import Distiller
from network_pruning.distillation.hints import Hint
from network_pruning.resident import ResidentLoop
from network_pruning.taps import call_tapped
from network_pruning.training import Trainer
from tests import cases

EXAMPLES, BATCH, CLASSES, RATE = 22, 8, 4, 0.02
SHAPE = (4, 4, 2)
TEMPERATURE, SOFT = 3.0, 0.7
layers = keras.layers


def make_student(width=5, end=None, name="student"):
    penalty = keras.regularizers.L2(0.05)
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(width, "relu", kernel_regularizer=penalty, name="fc")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, end, name="logits")(x), name=name)


def make_teacher(seed=1, end=None):
    """Has all that could move or leak: dropout, normalisation, a penalty."""
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, 2, padding="same", activation="relu", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.Dense(9, "relu", kernel_regularizer="l2", name="fc")(x)
    outputs = layers.Dense(CLASSES, end, name="logits")(x)
    model = keras.Model(inputs, outputs, name="teacher")
    rng = np.random.default_rng(seed)
    model.set_weights([0.5 * rng.random(w.shape) for w in model.weights])
    model.get_layer("logits").kernel.assign(rng.normal(size=(9, CLASSES)))
    return model


@pytest.fixture
def images():
    return np.random.default_rng(0).random((EXAMPLES, *SHAPE), np.float32)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, CLASSES, EXAMPLES)


def compiled(distiller, momentum=0.9):
    distiller.compile(keras.optimizers.SGD(RATE, momentum))
    return distiller


def stored(teacher, images):
    return teacher(images, training=False).numpy()


def assert_equal_weights(model, expected, **tolerance):
    for weight, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(weight, value, **tolerance)


def slow_steps(student, aims, images, labels, batches, momentum=0.9):
    """Plain SGD on the sum of the parts; returns their means over the examples."""
    slots = [tf.Variable(tf.zeros_like(w)) for w in student.trainable_weights]
    sums = dict.fromkeys(Distiller.TOLD[:3], 0.0)
    for rows in batches:
        with tf.GradientTape() as tape:
            z = student(images[rows], training=True)
            p = tf.nn.softmax(aims[rows] / TEMPERATURE)
            q = tf.nn.softmax(z / TEMPERATURE)
            soft = tf.reduce_mean(tf.reduce_sum(p * tf.math.log(p / q), axis=1))
            chances = tf.gather(tf.nn.softmax(z), labels[rows], axis=1, batch_dims=1)
            hard = -tf.reduce_mean(tf.math.log(chances))
            penalty = 0.05 * tf.reduce_sum(student.get_layer("fc").kernel ** 2)
            loss = SOFT * TEMPERATURE**2 * soft + (1 - SOFT) * hard + penalty
        for name, part in zip(sums, (loss, soft, hard), strict=True):
            sums[name] += float(part) * len(rows) / EXAMPLES
        weights = student.trainable_weights
        gradients = tape.gradient(loss, weights)
        for weight, gradient, slot in zip(weights, gradients, slots, strict=True):
            slot.assign(momentum * slot - RATE * gradient)
            weight.assign_add(slot)
    return sums


def in_order():
    rows = np.arange(EXAMPLES)
    return [rows[start : start + BATCH] for start in range(0, EXAMPLES, BATCH)]


def test_fit_equals_steps_by_hand_and_the_teacher_stays(images, labels):
    student, teacher = make_student(), make_teacher()
    twin = keras.models.clone_model(student)
    twin.set_weights(student.get_weights())
    before = teacher.get_weights()
    distiller = compiled(npr.Distiller(student, teacher, "kd", TEMPERATURE, SOFT))
    history = distiller.fit(
        images, labels, batch_size=BATCH, shuffle=False, verbose=0
    ).history
    expected = slow_steps(twin, stored(teacher, images), images, labels, in_order())
    assert list(history) == ["loss", "soft", "hard", "accuracy", "agreement"]
    for name, value in expected.items():
        assert history[name][0] == pytest.approx(value, rel=1e-4)
    assert_equal_weights(student, twin.get_weights(), rtol=1e-4, atol=1e-6)
    assert distiller.optimizer.iterations == 3
    assert_equal_weights(teacher, before, rtol=0, atol=0)
    assert [w.name for w in distiller.weights] == [w.name for w in student.weights]
    assert distiller.student is student
    found = distiller.evaluate(images, labels, verbose=0, return_dict=True)
    theirs = stored(teacher, images).argmax(axis=1)
    ours = student(images).numpy().argmax(axis=1)
    assert found["agreement"] == pytest.approx(np.mean(ours == theirs))
    assert found["accuracy"] == pytest.approx(np.mean(ours == labels))
    assert_equal_weights(student, twin.get_weights(), rtol=1e-4, atol=1e-6)


def train(distiller, *columns):
    """Takes the steps of an epoch, untraced; returns what they tell."""
    for rows in in_order():
        batch = tuple(tf.constant(column[rows]) for column in columns)
        told = distiller.train_step(batch if len(batch) > 1 else batch[0])
    return {name: float(value) for name, value in told.items()}


@pytest.mark.parametrize(("loss", "teachers"), [("kd", 1), ("dist", 2)])
def test_stored_logits_teach_like_their_teachers(images, labels, loss, teachers):
    models = [make_teacher(seed) for seed in range(teachers)]
    logits = np.stack([stored(model, images) for model in models], axis=1)
    logits = logits[:, 0] if teachers == 1 else logits
    start, told = make_student().get_weights(), []
    for teacher, columns in ((models, ()), (None, (logits,))):
        student = make_student()
        student.set_weights(start)
        distiller = compiled(Distiller(student, teacher, loss, TEMPERATURE, SOFT))
        told.append((train(distiller, images, labels, *columns), student.get_weights()))
    assert told[0][0] == pytest.approx(told[1][0], rel=1e-5)
    assert_equal_weights(student, told[0][1], rtol=1e-4, atol=1e-6)


def test_stored_logits_travel_through_the_loop(images, labels):
    logits = stored(make_teacher(), images)
    student, twin = make_student(), make_student()
    twin.set_weights(student.get_weights())
    rows = np.arange(BATCH)[::-1]
    batch = [tf.constant(column[rows]) for column in (images, labels, logits)]
    expected = compiled(Distiller(twin, None)).train_step(batch)
    distiller = compiled(Distiller(student, None))
    loop = ResidentLoop(distiller, images, labels, BATCH, True, targets=logits)
    assert loop.epoch(rows) == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-4
    )
    assert_equal_weights(student, twin.get_weights(), rtol=1e-4, atol=1e-6)


def test_several_teachers_average_their_predictions(images, labels):
    models = [make_teacher(seed) for seed in range(2)]
    student = make_student()
    distiller = Distiller(student, models, "kd", TEMPERATURE, SOFT)
    told = distiller.test_step((tf.constant(images), tf.constant(labels)))
    p = np.mean(
        [tf.nn.softmax(stored(m, images) / TEMPERATURE) for m in models], axis=0
    )
    log_q = tf.nn.log_softmax(student(images) / TEMPERATURE).numpy()
    expected = np.mean(np.sum(p * (np.log(p) - log_q), axis=1))
    assert float(told["soft"]) == pytest.approx(expected, rel=1e-4)


def test_the_ends_of_soft_weight(images, labels):
    teacher, start = make_teacher(), make_student().get_weights()
    told, moved = [], []
    for make, columns in (
        (lambda student: Distiller(student, teacher, soft_weight=1.0), [images]),
        (lambda student: Distiller(student, teacher, soft_weight=1.0), None),
        (lambda student: Distiller(student, teacher, soft_weight=0.0), None),
        (Trainer, None),
    ):
        student = make_student()
        student.set_weights(start)
        told.append(train(compiled(make(student)), *(columns or [images, labels])))
        moved.append(student.get_weights())
    assert list(told[0]) == ["loss", "soft", "agreement"]
    assert list(told[1]) == ["loss", "soft", "hard", "accuracy", "agreement"]
    for unlabelled, labelled, hard, plain in zip(*moved, strict=True):
        np.testing.assert_array_equal(unlabelled, labelled)
        np.testing.assert_allclose(hard, plain, rtol=1e-5, atol=1e-6)
    assert np.abs(moved[1][0] - moved[2][0]).max() > 1e-3


def test_a_softmax_at_the_end_is_not_applied_twice(images, labels):
    told, moved = [], []
    student, teacher = make_student(), make_teacher()
    for end in (None, "softmax"):
        ending, asked = make_student(end=end), make_teacher(end=end)
        ending.set_weights(student.get_weights())
        asked.set_weights(teacher.get_weights())
        distiller = compiled(Distiller(ending, asked, "kd", TEMPERATURE, SOFT))
        batch = tf.constant(images), tf.constant(labels)
        told.append({k: float(v) for k, v in distiller.train_step(batch).items()})
        moved.append(ending.get_weights())
    assert told[0] == pytest.approx(told[1], rel=1e-4)
    for a, b in zip(*moved, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def learn(distiller, images, labels, name, steps=6):
    """Takes untraced steps on one batch; returns a part before the first and last."""
    batch, seen = (tf.constant(images), tf.constant(labels)), []
    for _ in range(steps):
        distiller.reset_metrics()
        seen.append(float(distiller.train_step(batch)[name]))
    return seen[0], seen[-1]


@pytest.mark.parametrize("loss", ["reversed_kd", "dkd", "dist"])
def test_other_losses_teach_too(images, labels, loss):
    options = {"dkd": {"beta": 2.0}, "dist": {"gamma": 2.0}}.get(loss, {})
    student = make_student()
    distiller = Distiller(student, make_teacher(), loss, 2.0, 1.0, **options)
    distiller.compile(keras.optimizers.Adam(0.05))
    before, after = learn(distiller, images, labels, "soft")
    assert after < 0.9 * before


HINTS = [
    Hint("conv", "conv", "hint", 0.5),
    Hint("conv", "conv", "attention_transfer", 2.0),
    Hint("fc", "fc"),
    Hint("fc", "conv", "similarity_preserving"),
    Hint("fc", "fc", "relational"),
]


def test_hints_bring_layers_together(images, labels):
    student, teacher = make_student(), make_teacher()
    asked = teacher.get_weights()
    distiller = Distiller(student, teacher, "kd", TEMPERATURE, SOFT, HINTS)
    distiller.compile(keras.optimizers.Adam(0.01))
    adapters = [(3, 6), (6,), (5, 9), (9,)]
    assert [tuple(w.shape) for w in distiller.state[len(student.weights) :]] == adapters
    batch = tf.constant(images), tf.constant(labels)
    told = {k: float(v) for k, v in distiller.test_step(batch).items()}
    kernel, bias = distiller.state[-2:]
    fc = keras.Model(student.input, student.get_layer("fc").input)(images)
    fc = fc @ student.get_layer("fc").kernel + student.get_layer("fc").bias
    theirs = keras.Model(teacher.input, teacher.get_layer("fc").input)(images)
    theirs = theirs @ teacher.get_layer("fc").kernel + teacher.get_layer("fc").bias
    alone = Distiller(student, teacher, hints={"fc": "fc"})
    alone._hinted[0].adapter.set_weights([kernel, bias])
    gap = np.mean((fc @ kernel + bias - theirs) ** 2)
    assert float(alone.test_step(batch)["hints"]) == pytest.approx(gap, rel=1e-4)
    parts = SOFT * TEMPERATURE**2 * told["soft"] + (1 - SOFT) * told["hard"]
    penalty = float(student.losses[0])
    assert told["loss"] == pytest.approx(parts + told["hints"] + penalty, rel=1e-5)
    adapter = kernel.numpy()
    assert list(told) == list(Distiller.TOLD)
    before, after = learn(distiller, images, labels, "hints")
    assert after < before
    assert np.abs(adapter - kernel).max() > 0
    assert_equal_weights(teacher, asked, rtol=0, atol=0)


def test_weights_are_saved_and_read_with_adapters(images, labels, tmp_path):
    def make():
        distiller = Distiller(make_student(), make_teacher(), hints={"conv": "conv"})
        return compiled(distiller)

    first = make()
    kept = keras.callbacks.ModelCheckpoint(tmp_path / "at", save_weights_only=True)
    first.fit(images, labels, verbose=0, callbacks=[kept])
    first.save_weights(tmp_path / "all.weights.h5")
    tf.train.Checkpoint(distiller=first).write(str(tmp_path / "point"))
    expected = [w.numpy() for w in first.state]
    assert len(expected) == len(first.student.weights) + 2
    for read in (
        lambda new: new.load_weights(tmp_path / "all.weights.h5"),
        lambda new: new.load_weights(tmp_path / "at").expect_partial(),
        lambda new: tf.train.Checkpoint(distiller=new).restore(str(tmp_path / "point")),
    ):
        second = make()
        read(second)
        for weight, value in zip(second.state, expected, strict=True):
            np.testing.assert_array_equal(weight, value)
    first.student.save(tmp_path / "student.keras")
    again = keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(again(images), first.student(images))


def test_one_file_keeps_student_teachers_and_optimiser(images, labels, tmp_path):
    def make(seed):
        teachers = [make_teacher(seed), make_teacher(seed + 1)]
        made = Distiller(make_student(), teachers, "dkd", 3.0, 0.6, beta=2.0)
        return compiled(made)

    def go_on(distiller):
        options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
        distiller.fit(images, labels, **options)
        return distiller.get_weights()

    first = make(1)
    go_on(first)
    first.save(tmp_path / "whole.keras")
    again = keras.models.load_model(tmp_path / "whole.keras")
    assert again.get_config()["beta"] == 2.0
    for weight, expected in zip(go_on(again), go_on(first), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
    asked = first._teacher.ask(images)[0]
    np.testing.assert_array_equal(again._teacher.ask(images)[0], asked)
    first.save_weights(tmp_path / "all.weights.h5")
    with pytest.raises(ValueError, match="written with a teacher of other weights"):
        make(5).load_weights(tmp_path / "all.weights.h5")


def test_formats_that_lose_the_trainer_are_refused(tmp_path):
    distiller = Distiller(make_student(), make_teacher())
    with pytest.raises(ValueError, match=r"a .keras file; .* save .student in any"):
        distiller.save(tmp_path / "folder")


def test_hints_are_saved_and_functions_are_not(tmp_path):
    hinted = Distiller(make_student(), make_teacher(), hints={"conv": "conv"})
    hinted.save(tmp_path / "hinted.keras")
    again = keras.models.load_model(tmp_path / "hinted.keras")
    assert_equal_weights(again, hinted.get_weights(), atol=0)
    assert [layer.hint for layer in again._hinted] == [Hint("conv", "conv")]
    held = Distiller(make_student(), make_teacher(), after_update=lambda network: None)
    with pytest.raises(
        ValueError, match=r"after_update: got a function.*save \.student"
    ):
        held.save(tmp_path / "held.keras")
    stored_alone = Distiller(make_student(), None)
    stored_alone.save(tmp_path / "stored.keras")
    assert keras.models.load_model(tmp_path / "stored.keras")._teacher.models == ()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_precisions(images, labels, policy):
    with cases.precision(policy):
        student, teacher = make_student(), make_teacher()
        distiller = Distiller(student, teacher, temperature=2.0, hints={"fc": "fc"})
        distiller.compile(keras.optimizers.Adam(0.01))
        before, after = learn(distiller, images, labels, "loss")
    assert student.get_layer("fc").compute_dtype == policy.removeprefix("mixed_")
    assert after < before
    own = {w.dtype for w in student.weights}
    assert own == {tf.float64 if policy == "float64" else tf.float32}


class Gathering(keras.Model):
    """Stands for a student that clusters: a term and a state of its own."""

    def __init__(self, network):
        super().__init__()
        self.network = self.stands_for = network
        self.centre = self.add_weight("centre", (), None, "zeros", trainable=False)
        self.distance = keras.metrics.Mean("distance")

    def call(self, inputs, training=None):
        outputs = self.network(inputs, training=training)
        if training:
            self.centre.assign(tf.reduce_mean(outputs))
            distance = tf.reduce_mean((outputs - self.centre) ** 2)
            self.distance.update_state(distance)
            self.add_loss(100.0 * distance)
        return outputs


def test_a_student_with_terms_of_its_own_is_a_hybrid(images, labels):
    spread = []
    for wrap in (Gathering, lambda network: network):
        keras.utils.set_random_seed(0)
        student = wrap(make_student())
        distiller = Distiller(student, make_teacher(), soft_weight=0.5)
        distiller.compile(keras.optimizers.Adam(0.05))
        learn(distiller, images, labels, "loss")
        spread.append(np.std(student(images)))
        told = [metric.name for metric in distiller.metrics]
        assert told == [*Distiller.TOLD, *["distance"] * (wrap is Gathering)]
    assert spread[0] < 0.5 * spread[1]


def test_hints_of_a_student_that_stands_for_another(images, labels):
    class Showing(Gathering):
        def call_tapped(self, inputs, paths, training):
            return call_tapped(self.network, inputs, paths, training)

    student, teacher, hints = make_student(), make_teacher(), {"fc": "fc"}
    with pytest.raises(ValueError, match="got a Gathering as student"):
        Distiller(Gathering(student), teacher, hints=hints)
    batch, told = (tf.constant(images), tf.constant(labels)), []
    for learner in (student, Showing(student)):
        keras.utils.set_random_seed(0)
        distiller = Distiller(learner, teacher, hints=hints)
        told.append(float(distiller.test_step(batch)["hints"]))
    assert told[0] == told[1]


def wider():
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(5)])


def taller():
    inputs = keras.Input((5, 4, 2))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(inputs)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"temperature": 0.0}, "temperature: got 0.0, expected a number above 0"),
        ({"temperature": float("nan")}, "temperature: got nan"),
        ({"temperature": "5"}, "temperature: got '5', expected a number above 0"),
        ({"soft_weight": None}, "soft_weight: got None, expected a share"),
        ({"l2_decay": -1.0}, "l2_decay: got -1.0, expected 0 or more"),
        ({"loss": "dkd", "alpha": "x"}, "alpha: got 'x', expected 0 or more"),
        ({"hints": 3}, "hints: got 3, expected a dict"),
        ({"hints": {"fc": None}}, "hints: got .*, expected a dict"),
        ({"soft_weight": 1.1}, r"soft_weight: got 1.1, expected a share in \[0,1\]"),
        ({"loss": ["kd"]}, r"loss: got \['kd'\], expected one of kd"),
        ({"loss": "kl"}, "loss: got 'kl', expected one of kd, reversed_kd, dkd, dist"),
        ({"beta": 2.0}, "beta: no option of loss 'kd', expected none"),
        ({"loss": "dkd", "gamma": 1.0}, "gamma: no option.*expected alpha, beta"),
        ({"teacher": wider}, r"classes: got \[4\] of the student and \[5\]"),
        ({"teacher": taller}, r"input shapes: got \[4, 4, 2\].*\[5, 4, 2\]"),
        ({"teacher": lambda: []}, "teacher: got an empty list"),
        ({"teacher": lambda: "file"}, "teacher: got the path file, expected a model"),
        ({"teacher": lambda: 3}, "got int, expected a tf_keras model"),
        (
            {"hints": {"fc9": "fc"}},
            "hints, of the student: .*'fc9', expected one of conv, .*, fc, logits",
        ),
        (
            {"hints": {"fc": "fcc"}},
            "hints, of the teacher: .*'fcc', expected one of conv, norm.*mean 'fc'",
        ),
        ({"hints": {"conv": "fc"}}, "hint 'fc' -> 'conv': got activations"),
        ({"hints": "fc"}, "hints: got 'fc', expected a dict"),
        ({"hints": {"fc": "fc"}, "teacher": lambda: None}, "hints: got 0 teachers"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(words, said):
    teacher = words.get("teacher", make_teacher)()
    with pytest.raises(ValueError, match=said) as caught:
        Distiller(
            make_student(),
            teacher,
            **{k: v for k, v in words.items() if k != "teacher"},
        )
    assert "\n" not in str(caught.value)


def test_a_student_that_is_no_model_is_refused():
    with pytest.raises(ValueError, match="got str, expected a tf_keras model"):
        Distiller("student.keras", None)


def frozen():
    student = make_student()
    student.trainable = False
    return student


def one_logit():
    x = inputs = keras.Input(SHAPE)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)), name="one")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (frozen, "'student': got no weight that is trainable, expected some"),
        (one_logit, "'one': got one output, expected at least 2 classes"),
    ],
)
def test_a_student_that_could_learn_nothing_is_refused(make, said):
    with pytest.raises(ValueError, match=f"student {said}"):
        Distiller(make(), None)


def test_one_attribute_can_be_learnt(images):
    labels = np.ones((EXAMPLES, 1), np.int64)
    logits = np.ones((EXAMPLES, 1), np.float32)
    distiller = compiled(Distiller(one_logit(), None, "attributes"))
    batches = tf.data.Dataset.from_tensors((images, labels, logits))
    told = distiller.fit(batches, verbose=0)
    assert told.history["soft"][0] > 0


def test_a_teacher_that_is_the_student_is_refused():
    student = make_student()
    with pytest.raises(ValueError, match="shares weights with its student"):
        Distiller(student, [make_teacher(), student])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "fsp"}, "got 'fsp', expected one of hint, attention_transfer"),
        ({"weight": 0.0}, "weight of hint 'fc' -> 'fc': got 0.0"),
        ({"weight": "x"}, "weight of hint 'fc' -> 'fc': got 'x'"),
    ],
)
def test_unfit_hints(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(Hint("fc", "fc"), **changes)


@pytest.mark.parametrize(
    ("words", "count", "said"),
    [
        ({}, 1, "got no labels, expected int"),
        ({"soft_weight": 1.0, "loss": "dkd"}, 1, "and a loss other than dkd"),
        ({}, 3, "got 3 parts, expected images, labels; logits are floats"),
        ({"teacher": None}, 2, "got 2 parts, expected images, labels, logits"),
        ({"teacher": None, "classes": 7}, 3, "got 7 classes, expected 4"),
        (
            {"one_hot": True},
            2,
            r"labels: got shape .*, 4\), expected the number",
        ),
    ],
)
def test_batches_that_do_not_fit_are_said_in_one_line(
    images, labels, words, count, said
):
    words = {"teacher": make_teacher()} | words
    logits = np.zeros((EXAMPLES, words.pop("classes", CLASSES)), np.float32)
    told = np.eye(CLASSES)[labels] if words.pop("one_hot", False) else labels
    distiller = Distiller(make_student(), **words)
    batch = tuple(map(tf.constant, (images, told, logits)[:count]))
    with pytest.raises(ValueError, match=said) as caught:
        distiller.test_step(batch)
    assert "\n" not in str(caught.value)


def test_labels_in_a_column_are_labels(images, labels):
    distiller = Distiller(make_student(), make_teacher())
    told = []
    for given in (labels, labels[:, None]):
        for metric in distiller.metrics:
            metric.reset_state()
        batch = tf.constant(images), tf.constant(given)
        told.append({k: float(v) for k, v in distiller.test_step(batch).items()})
    assert told[0] == told[1]


def test_losses_and_metrics_of_compile_are_refused():
    distiller = Distiller(make_student(), make_teacher())
    for given in ({"loss": "mse"}, {"metrics": ["mae"]}):
        with pytest.raises(
            ValueError, match="in compile, expected none: Distiller has"
        ):
            distiller.compile("sgd", **given)
    with pytest.raises(ValueError, match="loss: got 'mse' in compile"):
        distiller.compile("sgd", "mse")


@pytest.mark.parametrize("teacher", [make_teacher, lambda: None])
def test_weights_of_examples_are_refused(images, labels, teacher):
    distiller = compiled(Distiller(make_student(), teacher()))
    columns = [labels] if distiller._teacher.models else [labels, labels]
    batch = tuple(map(tf.constant, (images, *columns, np.ones(EXAMPLES))))
    with pytest.raises(ValueError, match="neither sample_weight nor class_weight"):
        distiller.test_step(batch)


def test_attributes_are_labels_of_many(images, labels):
    distiller = Distiller(make_student(), make_teacher(), loss="attributes")
    with pytest.raises(ValueError, match=r"expected \[n, attributes\] for the loss"):
        distiller.test_step((tf.constant(images), tf.constant(labels)))


def test_attributes_agree_one_by_one(images):
    teacher = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(3)])
    student = keras.models.clone_model(teacher)
    for model, bias in ((teacher, [9, 8, 8]), (student, [9, -1, -1])):
        model.set_weights([np.zeros((np.prod(SHAPE), 3)), np.array(bias)])
    distiller = Distiller(student, teacher, loss="attributes")
    seen = np.ones((EXAMPLES, 3))
    told = distiller.test_step((tf.constant(images), tf.constant(seen)))
    assert float(told["agreement"]) == pytest.approx(1 / 3)


def anywhere(strides, name):
    x = inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(3, 3, strides, padding="same", name="conv")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)


def test_hints_between_images_of_any_size_are_resized():
    student, teacher = anywhere(1, "student"), anywhere(2, "teacher")
    distiller = compiled(Distiller(student, teacher, hints={"conv": "conv"}))
    images = tf.random.stateless_uniform([5, 8, 6, 1], [0, 1])
    told = distiller.test_step((images, tf.zeros([5], tf.int64)))
    assert 0 < float(told["hints"]) < np.inf


def test_lengths_that_differ_are_no_hint():
    models = []
    for strides in (1, 2):
        x = inputs = keras.Input((8, 2))
        x = layers.Conv1D(3, 3, strides, padding="same", name="conv")(x)
        x = layers.Dense(CLASSES)(layers.Flatten()(x))
        models.append(keras.Model(inputs, x, name=f"by_{strides}"))
    with pytest.raises(ValueError, match="expected equal lengths"):
        Distiller(*models, hints={"conv": "conv"})


def test_channels_that_come_first_are_refused():
    x = inputs = keras.Input((2, 6, 6))
    x = layers.Conv2D(3, 3, data_format="channels_first", name="conv")(x)
    first = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))
    with pytest.raises(ValueError, match="'conv': got data_format='channels_first'"):
        npr.ClusteringModel(first, ["conv"])
