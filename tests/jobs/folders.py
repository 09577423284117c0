"""What tests read in a run folder, and what should stand there."""

import csv

import numpy as np
import tf_keras as keras

from network_pruning.evaluation.rows import read_rows


def rows_of(folder):
    return read_rows((folder / "rows.csv").read_text())


def table_of(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def load(path):
    return keras.models.load_model(path, compile=False)


def slow_mask(kernel, k, kind):
    """True = keep; the smallest go first, of equal ones the last."""
    scores = np.abs(kernel) if kind == "weight" else np.sqrt((kernel**2).sum(axis=0))
    ascending = np.argsort(-scores.ravel(), kind="stable")[::-1]
    mask = np.ones(scores.size, bool)
    mask[ascending[: int(scores.size * k)]] = False
    return np.broadcast_to(mask.reshape(scores.shape), kernel.shape)


def slow_row(network, digits, k, kind):
    """Accuracy, cross entropy and masked penalty, in plain numpy."""
    x = digits.x_test.reshape(len(digits.x_test), -1).astype(np.float64)
    *hidden, last = [weight.numpy() for weight in network.weights]
    penalty = 0.0
    for kernel in hidden:
        masked = kernel * slow_mask(kernel, k, kind)
        x = np.maximum(x @ masked, 0)
        penalty += 1e-3 * (masked.astype(np.float64) ** 2).sum()
    logits = x @ last
    log_sums = np.log(np.exp(logits).sum(axis=1))
    right = logits[np.arange(len(logits)), digits.y_test]
    accuracy = np.mean(logits.argmax(axis=1) == digits.y_test)
    return accuracy, np.mean(log_sums - right), penalty
