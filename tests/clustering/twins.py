"""The clustering arithmetic once more, in numpy's plainest loops."""

from __future__ import annotations

import numpy as np


def embed(activation, kind):
    if activation.ndim == 2:
        return activation
    n, height, width, channels = activation.shape
    rows = []
    for i in range(n):
        if kind == "sample":
            rows.append(activation[i].ravel())
        elif kind == "spatial":
            rows += [activation[i, y, x] for y in range(height) for x in range(width)]
        else:
            rows += [activation[i, :, :, c].ravel() for c in range(channels)]
    return np.array(rows)


def squared(x, y):
    return sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True))


def assign(rows, centres):
    found = []
    for row in rows:
        distances = [squared(row, centre) for centre in centres]
        found.append(distances.index(min(distances)))
    return np.array(found)


def move(centres, rows, clusters, momentum, legacy=False):
    """The original divides the sum of no rows by 1e-16 and goes on with that mean."""
    moved = []
    for k, centre in enumerate(centres.astype(np.float64)):
        members = [row for row, z in zip(rows, clusters, strict=True) if z == k]
        if members or legacy:
            total = sum(members, np.zeros(rows.shape[1]))
            mean = total / (len(members) + 1e-16)
            centre = (1 - momentum) * mean + momentum * centre
        moved.append(centre)
    return np.array(moved)


def regulariser(rows, centres, clusters, weight):
    errors = [squared(row, centres[z]) for row, z in zip(rows, clusters, strict=True)]
    return weight / 2 * sum(errors)


def pick(weights, uniform):
    goal, reached = float(uniform) * sum(map(float, weights)), 0.0
    for index, weight in enumerate(weights):
        reached += float(weight)
        if reached > goal:
            return index
    raise AssertionError("no weight is positive")


def redraw(centres, starved, rows, valid, uniforms):
    centres = centres.copy()
    alive = [k for k in range(len(centres)) if not starved[k]]
    drawn = 0
    for k in np.flatnonzero(starved):
        weights = []
        for row, may in zip(rows, valid, strict=True):
            distances = [squared(row, centres[other]) for other in alive]
            weights.append(min(distances, default=1.0) if may else 0.0)
        if max(weights) == 0:
            break
        centres[k] = rows[pick(weights, uniforms[drawn])]
        alive.append(k)
        drawn += 1
    return centres, drawn
