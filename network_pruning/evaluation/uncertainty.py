"""What a prediction leaves open, and how well that tells errors and strangers: float64.

Uncertainties are entropies in nats. Total = expected data + knowledge: H(E[p]) =
E[H(p)] + I(y; theta), the entropy of the mean prediction, the mean entropy of the
predictions, and the mutual information between label and weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.ArrayLike
Float64 = npt.NDArray[np.float64]
SHARPEST = 600.0
"""Largest log concentration that is computed with; its exponential is in range."""


@dataclass(frozen=True)
class Uncertainty:
    """What a model says about each input, in nats.

    Attributes:
        total: Entropy of its mean prediction [n].
        data: Mean entropy of its predictions [n].
    """

    total: Float64
    data: Float64

    @property
    def knowledge(self) -> Float64:
        """Mutual information of label and weights [n]; never negative but for dust."""
        return self.total - self.data


def entropy(log_probabilities: Floats) -> Float64:
    """Computes -sum p log p over the last axis.

    Args:
        log_probabilities: [..., classes]; -inf counts as probability 0.

    Returns:
        Entropy [...] in nats.
    """
    logs = np.asarray(log_probabilities, np.float64)
    return special.entr(np.exp(logs)).sum(axis=-1)


def of_samples(log_probabilities: Floats) -> Uncertainty:
    """Splits the uncertainty of an ensemble.

    Args:
        log_probabilities: Of each member [members, n, classes].

    Returns:
        Its uncertainty.

    Raises:
        ValueError: If the shape is another.
    """
    logs = np.asarray(log_probabilities, np.float64)
    if logs.ndim != 3 or len(logs) == 0:
        raise ValueError(
            f"log_probabilities: got {logs.shape}, expected [members, n, classes]"
        )
    return Uncertainty(
        entropy(mean_log_probabilities(logs)), entropy(logs).mean(axis=0)
    )


def mean_log_probabilities(log_probabilities: Floats) -> Float64:
    """Returns log E[p] of an ensemble: [members, n, classes] -> [n, classes]."""
    logs = np.asarray(log_probabilities, np.float64)
    return special.logsumexp(logs, axis=0) - np.log(len(logs))


def of_dirichlet(log_concentrations: Floats) -> Uncertainty:
    """Splits the uncertainty of a Dirichlet law of predictions.

    E[p_c] = a_c / a_0 and E[H(p)] = -sum_c a_c / a_0 (psi(a_c + 1) - psi(a_0 + 1)); A.
    Malinin, M. Gales, "Predictive Uncertainty Estimation via Prior Networks", NeurIPS
    2018.

    Args:
        log_concentrations: log a [n, classes].

    Returns:
        Its uncertainty.
    """
    logs = np.asarray(log_concentrations, np.float64)
    shares = special.softmax(logs, axis=-1)
    # Sharper than this makes no difference, and leaves float64.
    excess = np.maximum(logs.max(axis=-1, keepdims=True) - SHARPEST, 0)
    alpha = np.exp(logs - excess)
    total = alpha.sum(axis=-1, keepdims=True)
    each = shares * (special.digamma(alpha + 1) - special.digamma(total + 1))
    return Uncertainty(special.entr(shares).sum(axis=-1), -each.sum(axis=-1))


def entropy_mae(ours: Floats, theirs: Floats) -> float:
    """Returns the mean absolute difference of two entropies of each input [n].

    Raises:
        ValueError: If the shapes differ.
    """
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"got {a.shape} and {b.shape} entropies, expected [n] twice")
    return float(np.abs(a - b).mean())


def auroc(inside: Floats, outside: Floats) -> float:
    """Computes the area under the ROC curve.

    The probability that a random stranger scores higher than a random familiar input,
    ties counted half.

    Args:
        inside: Scores of inputs of the distribution that was learnt [n].
        outside: Scores of inputs of another [m]; these are the positives.

    Returns:
        Area in [0, 1].
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_marked(inside, outside)))


def aupr(inside: Floats, outside: Floats) -> float:
    """Computes the area under the precision-recall curve, as average precision.

    sum_i (recall_i - recall_(i-1)) * precision_i over falling thresholds, without
    interpolation; equal scores share a threshold.

    Args:
        inside: Scores of familiar inputs [n].
        outside: Scores of strangers [m]; these are the positives.

    Returns:
        Area in (0, 1].
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_marked(inside, outside)))


def fpr95(inside: Floats, outside: Floats) -> float:
    """Computes the false positive rate at a true positive rate of 95 %.

    Args:
        inside: Scores of familiar inputs [n].
        outside: Scores of strangers [m]; these are the positives.

    Returns:
        Share of familiar inputs flagged by the highest threshold that flags at least
        95 % of the strangers.
    """
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(*_marked(inside, outside), drop_intermediate=False)
    return float(false[np.argmax(true >= 0.95 - 1e-9)])


def _marked(inside: Floats, outside: Floats) -> tuple[Float64, Float64]:
    """Returns whether each input is a stranger, 1 or 0, and its score; [n + m] both.

    Raises:
        ValueError: If there is none of one kind, or a score is no number.
    """
    pair = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    if any(scores.ndim != 1 or len(scores) == 0 for scores in pair):
        raise ValueError(
            f"got scores {pair[0].shape} inside and {pair[1].shape} outside, expected "
            "at least one of each, [n] and [m]"
        )
    scores = np.concatenate(pair)
    if not np.isfinite(scores).all():
        raise ValueError("scores: got some that are no numbers, expected finite ones")
    return np.repeat([0.0, 1.0], [len(pair[0]), len(pair[1])]), scores


def ndcg(relevance: Floats, scores: Floats, k: int = 20) -> float:
    """Computes the normalised discounted cumulative gain of a ranking, linear gain.

    sum over the first k of relevance / log2(rank + 1), ranked by score, over the same
    ranked by relevance.

    Args:
        relevance: True gain [n], none below 0 but for dust, which counts as 0.
        scores: What the ranking goes by [n]; ties keep the order of the inputs.
        k: Ranks that count.

    Returns:
        Value in [0, 1]; 1 where nothing is relevant.

    Raises:
        ValueError: If the shapes differ or a relevance is below 0.
    """
    gain, guess = np.asarray(relevance, np.float64), np.asarray(scores, np.float64)
    if gain.ndim != 1 or gain.shape != guess.shape:
        raise ValueError(f"got {gain.shape} and {guess.shape}, expected [n] twice")
    if gain.min() < -DUST:
        raise ValueError(f"relevance: got {gain.min()}, expected no gain below 0")
    gain = np.maximum(gain, 0)
    discount = 1 / np.log2(np.arange(2, min(k, len(gain)) + 2))
    best = np.sort(gain)[::-1][: len(discount)] @ discount
    chosen = np.argsort(-guess, kind="stable")[: len(discount)]
    return float(gain[chosen] @ discount / best) if best > 0 else 1.0


DUST = 1e-4
"""Nats by which rounding may take a knowledge uncertainty below 0."""


def ndcg_of_draws(
    relevance: Floats,
    scores: Floats,
    seed: int,
    trials: int = 500,
    inputs: int = 100,
    k: int = 20,
) -> tuple[float, float]:
    """Computes the nDCG of random handfuls of inputs, as published: 500 of 100, k = 20.

    M. Vadera, B. Jalaian, B. Marlin, "Generalized Bayesian Posterior Expectation
    Distillation for Deep Neural Networks", UAI 2020, experiment 4; the gain there is
    not said, here it is the ensemble's uncertainty itself.

    Args:
        relevance: The ensemble's uncertainty [n].
        scores: The student's [n].
        seed: Of the draws, without replacement within one.
        trials: Draws.
        inputs: Of each.
        k: Ranks that count.

    Returns:
        Mean and standard deviation over the trials.
    """
    gain, guess = np.asarray(relevance, np.float64), np.asarray(scores, np.float64)
    generator = np.random.default_rng(seed)
    size = min(inputs, len(gain))
    values = []
    for _ in range(trials):
        rows = generator.choice(len(gain), size, replace=False)
        values.append(ndcg(gain[rows], guess[rows], k))
    return float(np.mean(values)), float(np.std(values))


def split_rhat(chains: Floats) -> float:
    """Computes the potential scale reduction of chains, each split in halves.

    sqrt(((n - 1) / n * W + B / n) / W): W is the mean variance within the halves, B n
    times the variance of their means; A. Gelman et al., "Bayesian Data Analysis", 3rd
    edition, section 11.4. Chains that forget their start come near 1.

    Args:
        chains: One quantity along each chain [chains, draws].

    Returns:
        R-hat; nan where nothing varies at all, inf where every chain stands still,
        each at a place of its own.

    Raises:
        ValueError: If there are fewer than 4 draws.
    """
    values = np.asarray(chains, np.float64)
    if values.ndim != 2 or values.shape[1] < 4:
        raise ValueError(
            f"chains: got {values.shape}, expected [chains, draws] with 4 draws or more"
        )
    half = values.shape[1] // 2
    halves = np.concatenate([values[:, :half], values[:, -half:]])
    within = halves.var(axis=1, ddof=1).mean()
    between = halves.mean(axis=1).var(ddof=1)
    if within == 0:
        return float("inf" if between > 0 else "nan")
    return float(np.sqrt((half - 1) / half + between / within))
