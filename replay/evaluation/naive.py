"""Two simple answers that are wrong, to measure others against: recorded latencies reassigned, and plain IPS.

Both hold the recorded queues fixed: the picks of another policy would have made other queues.
"""

from __future__ import annotations

import numpy as np

from replay.evaluation.attempts import Column, Floats, Seen


def reassigned(seen: Seen, target: Floats, rng: np.random.Generator, timeout: float) -> tuple[Floats, Column]:
    """Latencies (n,) and failures (n,): each request goes where the policy would have sent it, and takes as long as a
    request drawn from those that went there.

    `target` (n, instances): the policy's probabilities at each request's first attempt, in order of `due`.
    """
    requests = seen.requests
    total = np.cumsum(target, axis=1)
    drawn = rng.random(len(target))[:, None] * total[:, -1:]
    pick = np.minimum((total < drawn).sum(axis=1), target.shape[1] - 1)
    latency, failed = np.empty(len(pick)), np.zeros(len(pick), dtype=bool)
    taken = np.where(requests.failed, timeout, requests.latency)
    for i in range(target.shape[1]):
        here = np.flatnonzero(requests.first == i)
        mine = np.flatnonzero(pick == i)
        source = rng.choice(here if len(here) else np.arange(len(taken)), len(mine))
        latency[mine], failed[mine] = taken[source], requests.failed[source]
    return latency, failed


def weighted(seen: Seen, target: Floats, propensity: Floats, timeout: float) -> tuple[Floats, float]:
    """Plain IPS: the 50th and 99th percentile of latency (2,), and the share of failures, each request weighted.

    `target` as above; `propensity` (n,) that of the recorded first attempts, in order of `due`.
    """
    requests = seen.requests
    weight = target[np.arange(len(target)), requests.first] / np.maximum(propensity, 1e-9)
    taken = np.where(requests.failed, timeout, requests.latency)
    order = np.argsort(taken, kind="stable")
    below = np.cumsum(weight[order]) / len(weight)  # IPS does not normalise: the last may be off 1
    at = np.minimum(np.searchsorted(below, (0.5, 0.99)), len(taken) - 1)
    return taken[order][at], float((weight * requests.failed).mean())
