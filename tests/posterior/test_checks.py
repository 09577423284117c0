"""What users bring along: labels, frozen networks, callbacks, cycles, large steps."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.ensembles import Ensemble
from network_pruning.posterior.samplers.cyclical import cyclical_sgld
from network_pruning.posterior.samplers.sgld import sgld
from network_pruning.posterior.students import Student, StudentDivergedError
from network_pruning.training import DivergedError
from tests.posterior.small import BATCH, CASES, CLASSES, network


def us(**options):
    return Student(network("us"), batch_size=BATCH, **{"thin": 2, **options})


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float64"])
def test_labels_of_any_kind_are_the_same_walk(make, images, labels, kind):
    walked = []
    for given in (labels, labels.astype(kind), labels[:, None].astype(kind)):
        ensemble = Ensemble("those", images, given, every=2)
        distiller = make(ensembles=[ensemble])
        nll = ResidentChain(distiller, images, given, BATCH, jit=False).advance(4)
        walked.append((nll, ensemble.trace))
    assert walked[0] == walked[1] == walked[2]
    distiller = make()
    distiller.fit(images, labels.astype(kind), BATCH, verbose=0)
    assert np.isfinite(distiller.evaluate(images, labels.astype(kind), verbose=0))


def test_a_resident_chain_judges_what_it_is_given(make, images, labels):
    for given, message in (
        (labels[:-1], "labels: got 23, expected as many as images: 24"),
        (np.eye(CLASSES)[labels], "labels: got shape .*, expected the number"),
    ):
        with pytest.raises(ValueError, match=message):
            ResidentChain(make(), images, given, BATCH)
        with pytest.raises(ValueError, match=message):
            Ensemble("those", images, given)
    raw = PosteriorDistiller(network("t"), [us()], sgld(0.1), CASES, pool=images)
    with pytest.raises(ValueError, match="students without an optimiser, expected tha"):
        ResidentChain(raw, images, labels, BATCH)


def test_epochs_without_a_lesson_have_no_loss(make, images, labels):
    distiller = make([lambda: us(thin=6)])
    history = distiller.fit(images, labels, BATCH, epochs=3, verbose=0).history
    # Four steps an epoch: the lessons are at the steps 6 and 12.
    assert np.isnan(history["us_loss"]).tolist() == [True, False, False]
    assert np.isfinite(history["nll"]).all()


def test_callbacks_change_the_rate_of_students_that_have_no_own(make, images, labels):
    own = keras.optimizers.SGD(0.5)

    def other():
        return Student(network("own"), batch_size=BATCH, thin=2, optimizer=own)

    distiller = make([us, other])
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25 / (epoch + 1))
    distiller.fit(images, labels, BATCH, epochs=2, verbose=0, callbacks=[schedule])
    rates = [float(s.optimizer.learning_rate) for s in distiller.students]
    assert rates == [0.125, 0.5]
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    distiller.compile(keras.optimizers.SGD(decay))
    distiller.fit(images, labels, BATCH, verbose=0)


def test_an_optimiser_may_be_named(make, images, labels):
    distiller = make([lambda: us(optimizer="adam")])
    ResidentChain(distiller, images, labels, BATCH, jit=False).advance(2)
    (student,) = distiller.students
    assert isinstance(student.optimizer, keras.optimizers.Adam)
    with pytest.raises(ValueError, match="optimizer: got .*Adam, expected one of tf_"):
        distiller.compile(keras.optimizers.legacy.Adam())


def test_long_cycles_are_looked_through_to_their_end(make):
    long = dict(cycle=200_000, exploring=0.8)
    make([us], sampler=cyclical_sgld(1e-5, **long))
    with pytest.raises(ValueError, match="thin: got 200000, .*the sampler never draws"):
        make([lambda: us(thin=200_000)], sampler=cyclical_sgld(1e-5, **long), burn_in=9)


@pytest.mark.parametrize("estimator", ["us", "uo"])
@pytest.mark.parametrize("way", ["fit", "resident"])
def test_nobody_learns_from_a_position_that_predicts_nothing(
    make, images, labels, estimator, way
):
    large = 1e38 if way == "fit" else 10.0  # A chain judges by its NLL.
    blown = sgld(lambda t: tf.where(t < 9, 1e-6, large), noise="two_point")
    watching = Ensemble("those", images, every=2)
    distiller = make(
        [lambda: us(estimator=estimator)], sampler=blown, ensembles=[watching]
    )
    (student,) = distiller.students
    what = "predictions are no numbers" if way == "fit" else "NLL became .*"
    message = f"{what} at step 10.*: lower the step size"
    if way == "fit":
        with pytest.raises(DivergedError, match=message):
            distiller.fit(images, labels, BATCH, epochs=9, verbose=0)
    else:
        chain = ResidentChain(distiller, images, labels, BATCH, jit=False)
        with pytest.raises(DivergedError, match=message + "; it stands at step 8 agai"):
            chain.advance(20)
        assert chain.steps == 8
    assert watching.draws == 4 and int(student.optimizer.iterations) == 4
    for values in (*student.model.get_weights(), *student.means):
        assert np.isfinite(values).all()


def test_one_case_of_a_lesson_that_predicts_nothing_stops_all_of_it(make, images):
    """Of several steps at one position none is taken, the sound ones before neither."""
    # A logit overflows on one image alone: the last that the lesson comes to.
    large = images.copy()
    distiller = make([lambda: us(steps=3)])
    (lesson,) = (w for w in distiller.watchers if hasattr(w, "students"))
    last = lesson._next_visits()[2][1].numpy()
    others = np.concatenate([lesson._next_visits()[i][1].numpy() for i in (0, 1)])
    (only, *_) = (row for row in last if row not in others)
    large[only] = np.inf
    lesson._pool = tf.constant(large)
    (student,) = distiller.students
    before = student.model.get_weights()
    with pytest.raises(DivergedError, match="predictions are no numbers at step 2"):
        lesson.look(2)
    for value, kept in zip(student.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    assert int(lesson.visits) == 0


def test_fit_judges_the_last_minibatch_and_not_the_epoch_so_far(make, images, labels):
    blown = sgld(lambda t: tf.where(t < 40, 1e-6, 5.0), noise="two_point")
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH).repeat()
    distiller = make(sampler=blown)
    with pytest.raises(DivergedError, match="NLL became .* at step 42"):
        distiller.fit(data, steps_per_epoch=50, verbose=0)


def test_a_turn_within_an_execution_is_said_before_a_step_is_taken(
    make, images, labels
):
    distiller = make([lambda: us(thin=4)])
    distiller.compile("sgd", steps_per_execution=4)
    with pytest.raises(ValueError, match="one of 4 at step 6, across a turn at 8"):
        distiller.fit(images[:18], labels[:18], 3, epochs=9, verbose=0)
    assert int(distiller.steps) == 6


def test_embeddings_and_weights_without_effect_walk(images, labels):
    layers = keras.layers
    tokens = np.random.default_rng(0).integers(0, 7, (CASES, 3))
    inputs = keras.Input((3,), dtype=tf.int32)
    hidden = layers.Flatten()(layers.Embedding(7, 2)(inputs))
    cut = layers.Lambda(tf.stop_gradient)(layers.Dense(2)(hidden))
    outputs = layers.Dense(CLASSES)(layers.Concatenate()([hidden, cut]))
    distiller = PosteriorDistiller(
        keras.Model(inputs, outputs), [], sgld(0.01, noise="two_point"), CASES
    )
    distiller.compile()
    history = distiller.fit(tokens, labels, BATCH, verbose=0).history
    assert np.isfinite(history["nll"]).all()


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_noise_on_pools_of_other_kinds(images, labels, kind):
    def build(dtype):
        keras.utils.set_random_seed(0)
        student = us(input_noise=0.5)
        pool = np.round(images * 9).astype(dtype)
        distiller = PosteriorDistiller(
            network("t"), [student], sgld(0.01, noise="two_point"), CASES, pool=pool
        )
        distiller.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        ResidentChain(distiller, images, labels, BATCH, jit=False).advance(4)
        return student.model.get_weights()

    for ours, theirs in zip(build(kind), build("float32"), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_teachers_and_lists_that_cannot_be(images):
    def make(teacher, students=()):
        PosteriorDistiller(teacher, students, sgld(0.1), CASES, pool=images)

    with pytest.raises(ValueError, match="data_size: got nan, expected a whole number"):
        PosteriorDistiller(network("t"), [], sgld(0.1), np.nan)
    still = network("t")
    still.trainable = False
    shared = keras.optimizers.SGD()
    both = [Student(network(name), batch_size=BATCH, optimizer=shared) for name in "ab"]
    for given, message in (
        ((still,), "teacher 't' has no weight that could walk"),
        (
            (network("t", 1),),
            "teacher 't': got 1 outputs, expected one for each of two",
        ),
        ((network("t"), network("s")), "students: got Functional, expected a list"),
        ((network("t"), [network("s")]), "students: got Functional, expected a list"),
        ((network("t"), us()), "students: got one Student, expected a list"),
        ((network("t"), both), "students: got one optimiser for two of them"),
    ):
        with pytest.raises(ValueError, match=message):
            make(*given)


def test_weights_alone_in_the_formats_of_keras_are_refused(make, tmp_path):
    for name in ("a.weights.h5", "b.h5"):
        with pytest.raises(ValueError, match="have no place: keep the chain with all"):
            make([us]).save_weights(tmp_path / name)
    make([us]).save_weights(tmp_path / "c")


def test_executions_are_counted_in_whole_numbers(make):
    with pytest.raises(ValueError, match="steps_per_execution: got 'auto', expected a"):
        make([us]).compile("adam", steps_per_execution="auto")


def test_a_student_that_blows_up_is_told_apart_from_its_chain(make, images, labels):
    rate = keras.optimizers.SGD(1e30)
    distiller = make([lambda: us(optimizer=rate)])
    chain = ResidentChain(distiller, images, labels, BATCH, jit=False)
    with pytest.raises(StudentDivergedError, match="student 'us' is no number"):
        chain.advance(20)
