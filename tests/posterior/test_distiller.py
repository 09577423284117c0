"""The chain, its lessons and ensembles, each against a slow twin."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.posterior import streams
from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.checkpoints import variables
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.ensembles import Ensemble
from network_pruning.posterior.samplers import noise
from network_pruning.posterior.samplers.cyclical import cyclical_sgld
from network_pruning.posterior.samplers.sghmc import sghmc
from network_pruning.posterior.samplers.sgld import sgld
from network_pruning.posterior.students import Student
from network_pruning.training import DivergedError
from tests import cases
from tests.posterior.small import BATCH, CASES, CLASSES, network


class Positions:
    """Keeps the teacher's weights at each of its turns."""

    def __init__(self, distiller, every):
        self.every, self.distiller, self.kept = every, distiller, {}
        distiller.watchers.append(self)

    def look(self, step):
        self.kept[step] = self.distiller.teacher.get_weights()


def predict(weights, images):
    """Returns log-probabilities of a perceptron, in NumPy."""
    hidden = np.maximum(images.reshape(len(images), -1) @ weights[0] + weights[1], 0)
    logits = hidden @ weights[2] + weights[3]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("jit", "kind"), [(False, "gaussian"), (True, "two_point")])
def test_steps_of_the_chain_equal_a_slow_twin(make, images, labels, jit, kind):
    eta, tau = 0.01, 2.0
    distiller = make(sampler=sgld(eta, prior_precision=tau, noise=kind))
    theta = distiller.teacher.get_weights()
    shapes = [weight.shape for weight in theta]
    expected = []
    for step in range(5):
        rows = streams.rows_of(3, streams.BATCHES, step, BATCH, CASES).numpy()
        twin = [tf.Variable(weight) for weight in theta]
        with tf.GradientTape() as tape:
            x = images[rows].reshape(BATCH, -1)
            logits = tf.nn.relu(x @ twin[0] + twin[1]) @ twin[2] + twin[3]
            chosen = tf.gather(tf.nn.log_softmax(logits), labels[rows], batch_dims=1)
            nll = -tf.reduce_mean(chosen)
        pair = streams.seed_of(3, streams.NOISE, step)
        unit = noise.shape_noise(kind, noise.draw(kind, shapes, pair), shapes)
        theta = [
            w - eta / 2 * (CASES * g.numpy() + tau * w) + np.sqrt(eta) * z.numpy()
            for w, g, z in zip(theta, tape.gradient(nll, twin), unit, strict=True)
        ]
        expected.append(float(nll))
    chain = ResidentChain(distiller, images, labels, BATCH, jit)
    assert chain.advance(5) == {"nll": pytest.approx(np.mean(expected), rel=1e-5)}
    for got, wanted in zip(distiller.teacher.get_weights(), theta, strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-5)
    assert chain.steps == 5


def students(*names):
    """Returns builders of students of all kinds, or of those named."""
    kinds = {
        "us": lambda: Student(network("us"), thin=4, batch_size=BATCH),
        "uo": lambda: Student(
            network("uo", width=3), estimator="uo", thin=4, batch_size=BATCH, steps=2
        ),
        "both": lambda: Student(
            network("both", CLASSES + 1), "both", "uo", thin=2, batch_size=BATCH
        ),
        "dropped": lambda: Student(
            network("dropped", dropout=0.5), thin=4, batch_size=BATCH
        ),
        "dirichlet": lambda: Student(
            network("dirichlet"), "dirichlet", "uo", thin=4, batch_size=5
        ),
        "noisy": lambda: Student(
            network("noisy"), thin=3, batch_size=BATCH, input_noise=0.1
        ),
    }
    return [kinds[name] for name in names or kinds]


def test_lessons_come_after_the_burn_in_and_at_their_time(make, images, labels):
    ensemble = Ensemble("test", images[:5], labels[:5], every=6)
    names = ("us", "uo", "both", "noisy")
    distiller = make(students(*names), burn_in=5, ensembles=[ensemble])
    positions = Positions(distiller, 4)
    ResidentChain(distiller, images, labels, BATCH, jit=False).advance(23)
    visits = {
        s.name: lesson.visits.numpy()
        for lesson in distiller.lessons
        for s in lesson.students
    }
    assert visits == {"us": 4, "uo": 8, "both": 9, "noisy": 6}
    assert [len(lesson.students) for lesson in distiller.lessons] == [1, 1, 1, 1]
    assert ensemble.draws == 3 and [t[0] for t in ensemble.trace] == [11, 17, 23]
    assert list(positions.kept) == [9, 13, 17, 21]


def test_uo_is_the_average_of_what_the_chain_said_of_each_case(make, images, labels):
    distiller = make(students("both"))
    positions = Positions(distiller, 2)
    ResidentChain(distiller, images, labels, BATCH, jit=False).advance(18)
    said = {case: [] for case in range(CASES)}
    for visit, weights in enumerate(positions.kept.values()):
        for case in streams.rows_of(3, streams.CASES, visit, BATCH, CASES).numpy():
            logs = predict(weights, images[case : case + 1])[0]
            said[case].append([*np.exp(logs), -np.sum(np.exp(logs) * logs)])
    (student,) = distiller.students
    counts = [len(values) for values in said.values()]
    assert max(counts) - min(counts) == 1 and sum(counts) == 9 * BATCH
    np.testing.assert_array_equal(student.means[1], counts)
    for case, values in said.items():
        np.testing.assert_allclose(
            student.means[0][case], np.mean(values, axis=0), atol=1e-5
        )


def test_us_steps_towards_the_last_draw(make, images, labels):
    rate = 0.5
    distiller = make(students("us"), optimizer=keras.optimizers.SGD(rate), jit=True)
    positions = Positions(distiller, 4)
    (student,) = distiller.students
    twin = network("twin")
    twin.set_weights(student.model.get_weights())
    logs = ResidentChain(distiller, images, labels, BATCH, jit=False).advance(8)
    losses = []
    for visit, weights in enumerate(positions.kept.values()):
        rows = streams.rows_of(3, streams.CASES, visit, BATCH, CASES).numpy()
        target = np.exp(predict(weights, images[rows]))
        with tf.GradientTape() as tape:
            said = tf.nn.log_softmax(twin(images[rows]))
            loss = -tf.reduce_mean(tf.reduce_sum(target * said, axis=1))
        gradients = tape.gradient(loss, twin.trainable_variables)
        for w, g in zip(twin.trainable_variables, gradients, strict=True):
            w.assign_sub(rate * g)
        losses.append(float(loss))
    assert logs["us_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    for got, wanted in zip(student.model.weights, twin.weights, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_student_learns_in_company_what_it_learns_alone(make, images, labels):
    def learnt(*names):
        distiller = make(students(*names))
        ResidentChain(distiller, images, labels, BATCH, jit=False).advance(8)
        return next(s for s in distiller.students if s.name == "us").model.get_weights()

    alone, company = learnt("us"), learnt("us", "dirichlet")
    for a, b in zip(alone, company, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_ensembles_average_predictions_and_entropies(make, images, labels):
    ensemble = Ensemble("test", images, labels, every=3)
    distiller = make(ensembles=[ensemble])
    positions = Positions(distiller, 3)
    ResidentChain(distiller, images, labels, BATCH, jit=False).advance(9)
    logs = np.array([predict(weights, images) for weights in positions.kept.values()])
    mean = np.exp(logs).mean(axis=0)
    np.testing.assert_allclose(np.exp(ensemble.log_probabilities), mean, atol=1e-6)
    data = -(np.exp(logs) * logs).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(ensemble.uncertainty.data, data, atol=1e-5)
    total = -(mean * np.log(mean)).sum(axis=1)
    np.testing.assert_allclose(ensemble.uncertainty.total, total, atol=1e-5)
    rows = np.arange(CASES)
    for i, (step, now, whole) in enumerate(ensemble.trace):
        assert step == 3 * (i + 1)
        assert now == pytest.approx(-logs[i][rows, labels].mean(), rel=1e-4)
        so_far = np.log(np.exp(logs[: i + 1]).mean(axis=0))
        assert whole == pytest.approx(-so_far[rows, labels].mean(), rel=1e-4)


def test_fit_walks_the_same_chain(make, images, labels):
    names = ("us", "both")
    resident, fitted = make(students(*names)), make(students(*names))
    ResidentChain(resident, images, labels, BATCH, jit=False).advance(12)
    rows = [streams.rows_of(3, streams.BATCHES, i, BATCH, CASES) for i in range(12)]
    order = np.concatenate(rows)
    pairs = tf.data.Dataset.from_tensor_slices((images[order], labels[order]))
    history = fitted.fit(pairs.batch(BATCH, drop_remainder=True), verbose=0).history
    assert set(history) == {"nll", "us_loss", "both_loss"}
    assert resident.steps == fitted.steps == 12
    twins = variables(resident), variables(fitted)
    for name, value in twins[0].items():
        np.testing.assert_allclose(value, twins[1][name], atol=1e-5, err_msg=name)
    assert fitted.fit(images, labels, batch_size=BATCH, verbose=0).history["nll"]
    assert fitted.steps == 16
    measured = fitted.evaluate(images, labels, verbose=0)
    logs = predict(fitted.teacher.get_weights(), images)
    assert measured == pytest.approx(-logs[np.arange(CASES), labels].mean(), rel=1e-5)


@pytest.mark.slow
def test_several_steps_of_a_fit_are_one_call(make, images, labels):
    distiller = make(students("us", "both"))
    with pytest.raises(ValueError, match="steps_per_execution: got 4, expected a div"):
        distiller.compile("adam", steps_per_execution=4)
    distiller.compile("adam", steps_per_execution=2)
    with pytest.raises(ValueError, match="got one of 2 at step 3, across a turn at 4"):
        distiller.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    distiller = make(students("us", "both"))
    distiller.compile("adam", steps_per_execution=2)
    distiller.fit(images, labels, batch_size=BATCH, verbose=0)
    assert [lesson.visits.numpy() for lesson in distiller.lessons] == [1, 2]


def test_lessons_wait_for_draws(make, images, labels):
    sampler = cyclical_sgld(0.01, cycle=8, exploring=0.5)
    distiller = make(students("both"), sampler=sampler)
    positions = Positions(distiller, 2)
    ResidentChain(distiller, images, labels, BATCH, jit=False).advance(16)
    assert list(positions.kept) == [6, 8, 14, 16]
    assert distiller.lessons[0].visits == 4


def test_turns_that_never_meet_a_draw_are_refused(make):
    sampler = cyclical_sgld(0.01, cycle=20, exploring=0.5)
    with pytest.raises(ValueError, match="from step 10 on, where the sampler never"):
        make([lambda: student(thin=20)], sampler=sampler, burn_in=10)


def test_the_loss_of_no_lesson_is_no_number(make, images, labels):
    distiller = make([student], burn_in=100)
    logs = ResidentChain(distiller, images, labels, BATCH).advance(5)
    assert np.isnan(logs["s_loss"]) and logs["nll"] > 0


def test_small_gradients_survive_half_precision(make, images, labels):
    moved = []
    for policy in ("float32", "mixed_float16"):
        with cases.precision(policy):
            keras.utils.set_random_seed(0)
            teacher = network("teacher")
            last = teacher.layers[-1]
            last.kernel.assign(last.kernel * 1e-6)
            start = teacher.get_weights()[0]
            sampler = sgld(100.0, prior_precision=0.0)
            distiller = make(teacher=teacher, sampler=sampler)
            drawn = tf.zeros_like(distiller.draw_noise(tf.constant(0)))
            distiller.walk(images, tf.constant(labels), drawn)
            moved.append(teacher.get_weights()[0] - start)
    largest = np.abs(moved[0]).max()
    assert largest > 0
    np.testing.assert_allclose(moved[1], moved[0], atol=0.15 * largest)


def test_another_compile_changes_the_students_optimiser(make):
    own = keras.optimizers.SGD(0.5)
    distiller = make([student, lambda: student(model=network("t"), optimizer=own)])
    distiller.compile(keras.optimizers.Adam(0.25))
    rates = [float(s.optimizer.learning_rate) for s in distiller.students]
    assert rates == [0.25, 0.5]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("expectation", ["predictive", "entropy", "dirichlet"])
def test_mixed_precision(make, images, labels, policy, expectation):
    outputs = {"entropy": 1}.get(expectation, CLASSES)
    with cases.precision(policy):
        build = partial(student, outputs=outputs, expectation=expectation, thin=2)
        distiller = make([partial(build, estimator="uo")])
        before = distiller.students[0].model.get_weights()
        logs = ResidentChain(distiller, images, labels, BATCH).advance(8)
    assert np.isfinite(logs["s_loss"])
    after = distiller.students[0].model.get_weights()
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_checkpoints_of_tensorflow_hold_the_whole_chain(make, images, labels, tmp_path):
    def build():
        names = "us", "both", "dropped"
        sampler = sghmc(0.01, friction=0.1)
        kept = Ensemble("those-here", images, labels, every=2)
        return make(students(*names), sampler=sampler, ensembles=[kept])

    whole, stopped = build(), build()
    whole.fit(images, labels, BATCH, 4, verbose=0, shuffle=False)
    stopped.fit(images, labels, BATCH, 2, verbose=0, shuffle=False)
    tf.train.Checkpoint(model=stopped).write(str(tmp_path / "point"))
    again = build()
    again.train_on_batch(images[:BATCH], labels[:BATCH])
    tf.train.Checkpoint(model=again).read(str(tmp_path / "point"))
    again.fit(images, labels, BATCH, 2, verbose=0, shuffle=False)
    for name, value in variables(whole).items():
        np.testing.assert_array_equal(variables(again)[name], value, name)
    with pytest.raises(ValueError, match="a chain is no model: save .teacher and the"):
        whole.save(tmp_path / "chain.keras")


def test_labels_and_weights_are_judged(make, images, labels):
    told = []
    for given in (labels, labels[:, None]):
        distiller = make()
        told.append(distiller.evaluate(images, given, BATCH, verbose=0))
    assert told[0] == told[1]
    with pytest.raises(ValueError, match="labels: got shape .*, 3.*, expected the num"):
        make().fit(images, np.eye(CLASSES)[labels], BATCH, verbose=0)
    with pytest.raises(ValueError, match="batch: got 3 parts, expected images and lab"):
        make().fit(images, labels, BATCH, verbose=0, sample_weight=np.ones(len(labels)))
    with pytest.raises(ValueError, match="loss: got 'mse' in compile, expected none"):
        make().compile("sgd", loss="mse")


def test_a_chain_that_blows_up_is_put_back(make, images, labels):
    distiller = make(students("us"), sampler=sgld(1e6))
    chain = ResidentChain(distiller, images, labels, BATCH, jit=False)
    before = distiller.teacher.get_weights()
    message = r"NLL became .* at step [23], .* has 1.1: lower the .* at step 0 again"
    with pytest.raises(DivergedError, match=message):
        chain.advance(50)
    assert chain.steps == 0
    for now, then in zip(distiller.teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_fit_that_blows_up_ends(make, images, labels):
    distiller = make(sampler=sgld(1e6))
    with pytest.raises(DivergedError, match="lower the step size"):
        distiller.fit(images, labels, batch_size=BATCH, epochs=9, verbose=0)


def test_a_student_whose_loss_is_no_number_is_named(make, images, labels):
    distiller = make(students("us"), optimizer=keras.optimizers.SGD(1e38))
    chain = ResidentChain(distiller, images, labels, BATCH, jit=False)
    with pytest.raises(DivergedError, match="student 'us' is no number at step"):
        chain.advance(20)


def test_a_teacher_with_softmax_and_convolutions(make, images, labels):
    x = inputs = keras.Input((2, 2, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(3, 2, activation="relu")(x))
    outputs = keras.layers.Dense(CLASSES, "softmax")(x)
    teacher = keras.Model(inputs, outputs)
    distiller = make(students("us"), teacher=teacher)
    said = distiller.log_probabilities(images)
    np.testing.assert_allclose(np.exp(said), teacher(images), atol=1e-6)
    logs = ResidentChain(distiller, images, labels, BATCH, jit=False).advance(8)
    assert 0 < logs["nll"] < 5 and 0 < logs["us_loss"] < 5


def test_the_update_hook_acts_within_each_step(make, images, labels):
    def clip(model):
        for weight in model.trainable_variables:
            weight.assign(tf.clip_by_value(weight, -0.1, 0.1))

    def student():
        return Student(network("us"), thin=2, batch_size=BATCH, after_update=clip)

    distiller = make([student])
    ResidentChain(distiller, images, labels, BATCH, jit=False).advance(2)
    values = np.concatenate([w.ravel() for w in distiller.models[0].get_weights()])
    assert np.abs(values).max() == np.float32(0.1)


def test_penalties_of_a_student_are_minimised(make, images, labels):
    def student():
        regularizer = keras.regularizers.L2(10.0)
        inputs = keras.Input((2, 2, 1))
        x = keras.layers.Flatten()(inputs)
        x = keras.layers.Dense(CLASSES, kernel_regularizer=regularizer)(x)
        return Student(keras.Model(inputs, x, name="s"), thin=1, batch_size=BATCH)

    distiller = make([student])
    before = np.abs(distiller.models[0].get_weights()[0]).max()
    ResidentChain(distiller, images, labels, BATCH, jit=False).advance(20)
    assert np.abs(distiller.models[0].get_weights()[0]).max() < before / 3


@pytest.mark.slow
def test_the_posterior_of_a_coin(images):
    """Two logits on a constant image: the predictive mean is known by quadrature."""
    cases, tau = 10, 1.0
    x = np.ones((cases, 1, 1, 1), np.float32)
    y = (np.arange(cases) < 7).astype(np.int64)

    def one(name):
        inputs = keras.Input((1, 1, 1))
        flat = keras.layers.Flatten()(inputs)
        outputs = keras.layers.Dense(2, use_bias=False, name=f"{name}_out")(flat)
        return keras.Model(inputs, outputs, name=name)

    student = Student(one("student"), estimator="uo", thin=40, batch_size=10)
    ensemble = Ensemble("x", x[:1], every=20)
    distiller = PosteriorDistiller(
        one("teacher"),
        [student],
        sgld(0.1, prior_precision=tau, noise="two_point"),
        cases,
        pool=x,
        ensembles=[ensemble],
        burn_in=200,
    )
    distiller.compile(keras.optimizers.Adam(0.03))
    ResidentChain(distiller, x, y, 10).advance(12_000)
    d = np.linspace(-12, 12, 4001)
    p = 1 / (1 + np.exp(-d))
    weight = p**7 * (1 - p) ** 3 * np.exp(-(d**2) / 2 / (2 / tau))
    expected = np.sum(weight * p) / weight.sum()
    assert np.exp(ensemble.log_probabilities)[0, 1] == pytest.approx(
        expected, abs=0.015
    )
    learnt = tf.nn.softmax(student.model(x[:1]))[0, 1]
    assert float(learnt) == pytest.approx(expected, abs=0.02)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    wanted = np.sum(weight * np.nan_to_num(entropy)) / weight.sum()
    assert ensemble.uncertainty.data[0] == pytest.approx(wanted, abs=0.01)


def test_rows_of_a_pass_are_all_different():
    rows = [streams.rows_of(3, 1, i, 6, 20).numpy() for i in range(6)]
    for start in (0, 3):
        passed = np.concatenate(rows[start : start + 3])
        assert len(set(passed)) == 18 and passed.min() >= 0 and passed.max() < 20
    assert (np.concatenate(rows[:3]) != np.concatenate(rows[3:])).any()
    np.testing.assert_array_equal(rows[4], streams.rows_of(3, 1, 4, 6, 20))
    assert (rows[0] != streams.rows_of(4, 1, 0, 6, 20).numpy()).any()
    assert (rows[0] != streams.rows_of(3, 2, 0, 6, 20).numpy()).any()


def frozen(model):
    model.trainable = False
    return model


def student(**options):
    model = options.pop("model", None) or network("s", options.pop("outputs", CLASSES))
    return Student(model, batch_size=options.pop("batch_size", BATCH), **options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: student(thin=0), "thin: got 0, expected a whole number, 1 or more"),
        (lambda: student(thin=2.5), "thin: got 2.5, expected a whole number"),
        (lambda: student(estimator="mean"), "estimator: got 'mean', expected us"),
        (lambda: student(input_noise=-1.0), "input_noise: got -1.0"),
        (
            lambda: student(input_noise=0.1, estimator="uo"),
            "input_noise: got 0.1 with the estimator uo, expected 0",
        ),
        (
            lambda: student(model=network("s", activation="softmax")),
            "student 's' ends in an activation, expected linear outputs",
        ),
        (
            lambda: student(model=network("s", activation="exponential")),
            "student 's' ends in an activation, expected linear outputs",
        ),
        (
            lambda: student(model=frozen(network("s"))),
            "student 's' has no weight that could learn",
        ),
        (
            lambda: student(optimizer=keras.optimizers.legacy.Adam()),
            "optimizer: got .*Adam, expected one of tf_keras.optimizers outside legacy",
        ),
        (lambda: Ensemble("t", np.zeros((0, 1))), "ensemble 't': got every=100 and 0"),
    ],
)
def test_bad_settings_of_students_are_said(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        ([lambda: student(outputs=4)], {}, "'s': got 4 outputs, expected 3 linear"),
        ([lambda: student(batch_size=25)], {}, "batch_size: got 25, expected 1 to 24"),
        ([student, student], {}, "students: got s, s, expected different names"),
        ([], {"burn_in": -1}, "burn_in: got -1, expected a whole number, 0 or more"),
        ([], {"burn_in": 1.5}, "burn_in: got 1.5, expected a whole number"),
    ],
)
def test_bad_settings_of_distillers_are_said(make, made, options, message):
    with pytest.raises(ValueError, match=message):
        make(made, **options)


def test_nobody_shares_weights(images):
    teacher = network("t")
    alike = [Student(model, batch_size=BATCH) for model in (teacher, network("u"))]
    same = keras.Model(alike[1].model.inputs, alike[1].model.outputs, name="v")
    for students_, message in (
        (alike, "'t' shares weights with 't', expected a model of its own"),
        ([alike[1], Student(same, batch_size=BATCH)], "'v' shares weights with 'u'"),
    ):
        with pytest.raises(ValueError, match=message):
            PosteriorDistiller(teacher, students_, sgld(1e-3), CASES, pool=images)


def test_a_pool_of_other_images_or_none_is_refused(images):
    for pool in (images[:, :1], images[:0]):
        with pytest.raises(ValueError, match=r"pool: got images \[.*, expected \[None"):
            PosteriorDistiller(network("t"), [student()], sgld(0.1), CASES, pool=pool)


def test_a_pool_and_a_fit_batch_are_asked_for(make, images, labels):
    with pytest.raises(ValueError, match="pool: got none, expected the images"):
        PosteriorDistiller(network("t"), [student()], sgld(0.1), CASES)
    with pytest.raises(ValueError, match=r"seed: got -1, expected .* \[0, 2\^31\)"):
        PosteriorDistiller(network("t"), [], sgld(0.1), CASES, seed=-1)
    with pytest.raises(ValueError, match="batch_size: got 25, expected 1 to 24"):
        ResidentChain(make(), images, labels, 25)
    ensemble = Ensemble("t", images, every=10)
    make(ensembles=[ensemble])
    with pytest.raises(ValueError, match="'t' holds no draw, expected a chain longer"):
        ensemble.log_probabilities  # noqa: B018
