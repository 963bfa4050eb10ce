"""Off-policy estimators beside the simulation's figures, from the logged propensities of first attempts."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from adaptive.balancer import Balancer
from adaptive.types import Cluster, Endpoint, Mark, Member, Topology, first_snapshot
from replay.evaluation.attempts import Floats, Seen
from replay.evaluation.chances import NoDistribution
from replay.evaluation.estimators import Logged, effective, ips, quantile, snips
from replay.evaluation.fit import Fit
from replay.evaluation.intervals import Resampling, block_ids, block_seconds
from replay.evaluation.overlap import refusals
from replay.evaluation.target import decisions
from replay.policies import Policy


class NoTruth:
    """A fleet of so many slots that answers no probe: a trace knows none."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def probe(self, slot: int, now: float) -> tuple[int, float]:
        """Nothing."""
        return 0, math.nan

    def utilisation(self, slot: int, now: float) -> float:
        """Nothing."""
        return math.nan

    def capacity(self, slot: int) -> float:
        """All alike, as whoever set no weights took them to be."""
        return 1.0

    def truths(self, now: float) -> tuple[Sequence[float], Collection[int]]:
        """Nothing."""
        return [0.0] * self.slots, ()


def cluster_of(seen: Seen) -> Cluster:
    """The trace's instances as a cluster, with the slots that they had."""
    members = tuple(Member(Endpoint(seen.cluster, one.name, 0), one.slot) for one in seen.instances)
    return Cluster(seen.cluster, 0, members)


def targets(seen: Seen, policy: Policy, seed: int) -> Floats:
    """The policy's probabilities at each request's first attempt, (n, instances), in order of `due`.

    Raises NoDistribution where the policy cannot say them.
    """
    cluster = cluster_of(seen)
    slots = max(one.slot for one in seen.instances) + 1
    snapshot = first_snapshot(Topology(1, (cluster,), slots), float(seen.rows["sent_at"][0]))

    def make(rng: random.Random) -> Balancer:
        made = policy.build(cluster, rng, (), NoTruth(slots))
        made.apply(snapshot)
        return made

    first = first_rows(seen)
    found = np.asarray(decisions(seen.rows, make, seed).target[first])
    share = policy.settings.get("random", 0.0)
    if share:
        random_ones = (seen.rows["marks"][first] & int(Mark.REPEATABLE)) > 0
        found[random_ones] = (1.0 - share) * found[random_ones] + share / found.shape[1]
    return found


def first_rows(seen: Seen) -> Any:
    """Index of each request's first attempt in `seen.rows`, in order of `due`."""
    rows = seen.rows
    order = np.lexsort((rows["sent_at"], rows["attempt"], rows["request"]))
    requests = rows["request"][order]
    first = order[np.r_[True, requests[1:] != requests[:-1]]]
    return first[np.argsort(rows["sent_at"][first], kind="stable")]


def beside(seen: Seen, policy: Policy, fit: Fit, seed: int) -> tuple[dict[str, Any], float]:
    """IPS and SNIPS of mean, p50, p99 and failures with their intervals, and the effective sample size.

    Where they cannot be had, `refused` says why, and the effective sample size is NaN.
    """
    try:
        chances = targets(seen, policy, seed)
    except NoDistribution as error:
        return {"refused": [str(error)]}, math.nan
    requests = seen.requests
    judged = requests.due >= fit.warm
    propensity = np.asarray(seen.rows["propensity"][first_rows(seen)], dtype=float)[judged]
    target = chances[np.arange(len(chances)), requests.first][judged]
    why = refusals(propensity, target, slot=requests.first[judged], target_all=chances[judged])
    if not np.all(np.isfinite(propensity) & (propensity > 0.0)):
        return {"refused": why}, math.nan
    taken = requests.seen(fit.warm, fit.timeout)
    due, failed = requests.due[judged], requests.failed[judged].astype(float)
    ids = block_ids(due, block_seconds(due, taken))
    draw = Resampling(int(ids.max()) + 1, np.random.default_rng([seed, 4]))
    made: dict[str, Any] = {"refused": why}
    for name, reward in (("mean", taken), ("failed_share", failed)):
        log = Logged(reward, propensity, target, ids)
        for each in (ips(log, draw), snips(log, draw)):
            made[f"{each.name}_{name}"] = [each.value, each.interval.low, each.interval.high]
    log = Logged(taken, propensity, target, ids)
    for name, q in (("p50", 0.5), ("p99", 0.99)):
        each = quantile(log, q, draw)
        made[f"{each.name}_{name}"] = [each.value, each.interval.low, each.interval.high]
    return made, effective(log.weights())
